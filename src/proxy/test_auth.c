/* Forward auth: the first connection that the proxy dials goes to the auth server, the next to the upstream.
 */
#include "test_world.h"

#define GET "GET /x?q=1 HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define GRANT "HTTP/1.1 200 OK\r\nRemote-User: testuser\r\nContent-Length: 0\r\n\r\n"
#define AUTH UP(0)

static const char *const copied[] = { "Remote-User", "X-Groups" };

static struct proxy_service_config auth_config(void)
{
    struct proxy_service_config c = default_config();

    c.auth_url = "http://auth.test:9091";
    c.auth_copy_headers = copied;
    c.auth_copy_count = COUNT_OF(copied);
    return c;
}

static void start_auth(const struct proxy_service_config *c)
{
    start_with(c);
    client_connects();
}

static bool has(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

static uint64_t results(enum proxy_auth_result r)
{
    return proxy_service_counters(service)->auth[r];
}

/* Deadlines of a millisecond: the loop has its own clock. */
static void wait_for_answer(void)
{
    for (int i = 0; i < 2000 && !CLIENT->got.len; i++) {
        assert_int_equal(ev_loop_turn(loop, MSEC), 0);
        run();
    }
}

/* ---- tsnsrv's nine cases -------------------------------------------------------------- */

static void without_an_auth_url_nobody_is_asked(void **state)
{
    (void)state;

    start();
    says(CLIENT, GET);
    assert_int_equal(dialled, 1);
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static void a_granted_request_goes_on_with_the_copied_headers(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *seen;

    start_auth(&c);
    says(CLIENT, GET);
    assert_string_equal(heard(AUTH), "GET /api/authz/forward-auth?q=1 HTTP/1.1\r\nHost: auth.test:9091\r\n"
                                     "X-Forwarded-Method: GET\r\nX-Forwarded-Proto: https\r\n"
                                     "X-Forwarded-Host: web.test\r\nX-Forwarded-Uri: /x?q=1\r\n"
                                     "X-Forwarded-For: 100.64.0.7\r\n\r\n");
    assert_int_equal(dialled, 1); /* the upstream hears nothing before */
    says(AUTH, GRANT);
    assert_int_equal(dialled, 2);
    seen = heard(UP(1));
    assert_true(has(seen, "GET /x?q=1 HTTP/1.1\r\nHost: web.test\r\nRemote-User: testuser\r\n"));
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(results(PROXY_AUTH_2XX), 1);
    assert_int_equal(proxy_service_counters(service)->timing->auth.count, 1);
}

static void a_denial_reaches_the_client_as_it_is(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, "HTTP/1.1 401 Unauthorized\r\nLocation: /login\r\nContent-Length: 4\r\n\r\nstop");
    assert_string_equal(heard(CLIENT),
                        "HTTP/1.1 401 Unauthorized\r\nLocation: /login\r\nContent-Length: 4\r\n\r\nstop");
    assert_int_equal(dialled, 1);
    assert_int_equal(results(PROXY_AUTH_4XX), 1);
    assert_int_equal(proxy_service_counters(service)->requests[4], 1);
    assert_int_equal(proxy_service_counters(service)->answers[4], 0); /* it was not the upstream's */
}

static void meet_user(uint64_t id, const char *login)
{
    identity = (struct proxy_identity) { .user_id = id, .node_id = 7, .login = span_from_str(login) };
    known = true;
}

static void a_user_of_the_tailnet_passes_where_that_is_set(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_bypass_for_tailnet = true;
    meet_user(12345, "user@example.com");
    start_auth(&c);
    says(CLIENT, GET);
    assert_true(has(heard(UP(0)), "GET /x?q=1 HTTP/1.1\r\nHost: web.test\r\n"));
    says(UP(0), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(results(PROXY_AUTH_BYPASS), 1);
}

static void expect_question(const struct proxy_service_config *c)
{
    start_auth(c);
    says(CLIENT, GET);
    assert_true(has(heard(AUTH), "GET /api/authz/forward-auth"));
    assert_int_equal(results(PROXY_AUTH_BYPASS), 0);
}

static void a_user_of_the_tailnet_is_asked_where_it_is_not_set(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    meet_user(12345, "user@example.com");
    expect_question(&c);
}

static void a_user_without_an_id_is_asked(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_bypass_for_tailnet = true;
    meet_user(0, "user@example.com");
    expect_question(&c);
}

static void an_auth_server_that_takes_too_long_is_502(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_timeout = MSEC;
    start_auth(&c);
    says(CLIENT, GET);
    wait_for_answer();
    assert_true(has(heard(CLIENT), "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_int_equal(dialled, 1);
    assert_true(AUTH->broke);
    assert_int_equal(results(PROXY_AUTH_ERROR), 1);
}

static void an_auth_server_that_cannot_be_reached_is_502(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *answer;

    refuse_connections = true;
    start_auth(&c);
    says(CLIENT, GET);
    answer = heard(CLIENT);
    assert_true(has(answer, "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_true(has(answer, "\r\n\r\nAuthorization service unavailable\n"));
    assert_int_equal(dialled, 1);
    assert_int_equal(results(PROXY_AUTH_ERROR), 1);
    assert_string_equal(proxy_service_auth_trouble(service)->why, "Connection refused");
    assert_null(proxy_service_trouble(service)); /* the upstream has nothing to do with it */
}

static void a_redirect_is_passed_on_and_never_followed(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH,
         "HTTP/1.1 307 Temporary Redirect\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 307 Temporary Redirect\r\nWWW-Authenticate: Basic "
                                       "realm=x\r\nContent-Length: 0\r\n\r\n");
    says(CLIENT, GET);
    says(AUTH, "HTTP/1.1 302 Found\r\nLocation: https://login.test/\r\nContent-Length: 0\r\n\r\n");
    assert_true(has(heard(CLIENT), "Location: https://login.test/\r\n"));
    assert_int_equal(dialled, 1);
    assert_int_equal(results(PROXY_AUTH_3XX), 2);
}

/* ---- what must not be possible ---------------------------------------------------------- */

#define FORGED                                                                                          \
    "GET / HTTP/1.1\r\nHost: web.test\r\nX-Groups: admins\r\nx_groups: admins\r\nREMOTE-USER: root\r\n" \
    "X-Forwarded-For: 6.6.6.6\r\nX-Original-URL: /public\r\nX-Forwarded-Method: OPTIONS\r\nCookie: "    \
    "a=b\r\nAccept: text/html\r\nAuthorization: Basic eA==\r\n\r\n"

static void copied_headers_cannot_be_forged(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *seen;

    start_auth(&c);
    says(CLIENT, FORGED);
    seen = heard(AUTH);
    assert_false(has(seen, "admins") || has(seen, "root") || has(seen, "6.6.6.6") || has(seen, "/public") ||
                 has(seen, "OPTIONS"));
    assert_true(has(seen, "Cookie: a=b\r\n") && has(seen, "Accept: text/html\r\n") &&
                has(seen, "Authorization: Basic eA==\r\n"));
    says(AUTH, "HTTP/1.1 204 No Content\r\nX-Groups:\r\n\r\n"); /* grants, and says nothing of them */
    seen = heard(UP(1));
    assert_false(has(seen, "admins") || has(seen, "root"));
    assert_true(has(seen, "Cookie: a=b\r\n"));
}

static void they_cannot_be_forged_past_a_bypass_either(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_bypass_for_tailnet = true;
    meet_user(1, "alice@example.com");
    start_auth(&c);
    says(CLIENT, FORGED);
    assert_null(strstr(heard(UP(0)), "admins"));
}

static void settings_of_the_service_beat_copied_headers(void **state)
{
    (void)state;
    struct proxy_header fixed = { "X-Groups", "guests" };
    struct proxy_service_config c = auth_config();
    const char *seen;

    c.headers = &fixed;
    c.header_count = 1;
    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, "HTTP/1.1 200 OK\r\nX-Groups: admins\r\nContent-Length: 0\r\n\r\n");
    seen = heard(UP(1));
    assert_true(has(seen, "X-Groups: guests\r\n"));
    assert_false(has(seen, "admins"));
}

static void there_is_no_bypass_from_the_public_ingress(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    struct proxy_arrival a = { .listen_port = 443, .tls = true, .funnel = true };

    c.auth_bypass_for_tailnet = true;
    meet_user(1, "alice@example.com");
    start_with(&c);
    client_connects_from(a);
    says(CLIENT, GET);
    assert_true(has(heard(AUTH), "forward-auth"));
    assert_int_equal(results(PROXY_AUTH_BYPASS), 0);
}

static void machines_do_not_pass_as_users(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_bypass_for_tailnet = true;
    meet_user(5, "tagged-devices");
    expect_question(&c);
}

static void nodes_with_tags_do_not_pass_as_users(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_bypass_for_tailnet = true;
    meet_user(5, "alice@example.com");
    identity.tags[identity.tag_count++] = span_from_str("tag:ci");
    expect_question(&c);
}

static void a_path_that_is_not_served_is_no_question(void **state)
{
    (void)state;
    static const char *const prefixes[] = { "/only" };
    struct proxy_service_config c = auth_config();

    c.prefixes = prefixes;
    c.prefix_count = 1;
    start_auth(&c);
    says(CLIENT, GET);
    assert_true(has(heard(CLIENT), "HTTP/1.1 404 "));
    assert_int_equal(dialled, 0);
    says(CLIENT, "GET /only/this HTTP/1.1\r\nHost: web.test\r\n\r\n");
    assert_true(has(heard(AUTH), "X-Forwarded-Uri: /only/this\r\n")); /* as the client asked for it */
    says(AUTH, GRANT);
    assert_true(has(heard(UP(1)), "GET /this HTTP/1.1\r\n"));
}

/* ---- bodies, cookies, connections ------------------------------------------------------------ */

static void a_body_waits_until_access_is_granted(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *seen;

    start_auth(&c);
    says(CLIENT, "POST /x HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    seen = heard(AUTH);
    assert_true(has(seen, "GET /api/authz/forward-auth HTTP/1.1\r\n") &&
                has(seen, "X-Forwarded-Method: POST"));
    assert_false(has(seen, "Content-Length") || has(seen, "Expect"));
    assert_string_equal(heard(CLIENT), "");
    says(AUTH, GRANT);
    assert_true(has(heard(UP(1)), "Expect: 100-continue\r\n"));
    says(UP(1), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 100 Continue\r\n\r\n");
    says(CLIENT, "hello");
    assert_string_equal(heard(UP(1)), "hello");
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static void an_upload_stands_still_while_the_question_is_open(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    static char body[300001];

    memset(body, 'x', sizeof(body) - 1);
    start_auth(&c);
    says(CLIENT, "POST /x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 300000\r\n\r\n");
    says(CLIENT, body);
    assert_true(CLIENT->says.len > 300000 - (192 << 10)); /* the rest is still the client's */
    says(AUTH, GRANT);
    for (int i = 0; i < 20; i++)
        peer_step(CLIENT), run();
    assert_int_equal(proxy_service_counters(service)->active, 1);
    assert_int_equal(CLIENT->says.len, 0);
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static void a_denied_upload_is_answered_and_closed(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, "POST /x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\n");
    says(AUTH, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    assert_string_equal(heard(CLIENT),
                        "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno");
    assert_true(CLIENT->ended);
    assert_int_equal(dialled, 1);
}

static void cookies_of_a_granting_answer_reach_the_client(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *answer;

    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, "HTTP/1.1 200 OK\r\nSet-Cookie: s=1; HttpOnly\r\nSet-Cookie: t=2\r\nX: y\r\n"
               "Content-Length: 3\r\n\r\nyes");
    assert_null(strstr(heard(UP(1)), "s=1"));
    says(CLIENT, GET); /* in the pipeline already: it gets none of them */
    says(UP(1), "HTTP/1.1 200 OK\r\nSet-Cookie: own=3\r\nContent-Length: 2\r\n\r\nhi");
    answer = heard(CLIENT);
    assert_true(has(answer, "Set-Cookie: own=3\r\n") && has(answer, "Set-Cookie: s=1; HttpOnly\r\n") &&
                has(answer, "Set-Cookie: t=2\r\n"));
    assert_false(has(answer, "X: y"));
    says(AUTH, GRANT);
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static void connections_to_the_auth_server_are_kept(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    for (int i = 0; i < 3; i++) {
        says(CLIENT, GET);
        says(AUTH, GRANT);
        says(UP(1), OK);
        assert_string_equal(heard(CLIENT), OK);
    }
    assert_int_equal(dialled, 2);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 2);
}

static void a_dead_kept_connection_costs_one_more_question(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, GRANT);
    says(UP(1), OK);
    heard(CLIENT);
    AUTH->close_on_read = true; /* it reads the question and goes away */
    says(CLIENT, "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 2\r\n\r\nhi");
    assert_int_equal(dialled, 3);
    assert_true(has(heard(UP(2)), "X-Forwarded-Method: POST"));
    says(UP(2), GRANT);
    assert_true(has(heard(UP(1)), "POST / HTTP/1.1"));
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
    assert_int_equal(results(PROXY_AUTH_ERROR), 0);
}

/* It is not dead: asking again would only wait again, and without an end. */
static void a_kept_connection_that_is_silent_is_asked_once(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_timeout = 300 * MSEC;
    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, GRANT);
    says(UP(1), OK);
    heard(CLIENT);
    says(CLIENT, GET);
    wait_for_answer();
    assert_true(has(heard(CLIENT), "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_int_equal(dialled, 2);
    assert_int_equal(results(PROXY_AUTH_ERROR), 1);
}

static void a_long_granting_answer_is_not_read_to_its_end(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    static char body[AUTH_BODY_BYTES_MAX + 30000];

    memset(body, 'x', sizeof(body) - 1);
    start_auth(&c);
    says(CLIENT, GET);
    says(AUTH, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n");
    assert_int_equal(dialled, 1);
    for (int i = 0; i < 20 && dialled == 1; i++)
        says(AUTH, body);
    assert_int_equal(dialled, 2);
    assert_true(AUTH->broke || AUTH->ended);
    says(UP(1), OK);
    assert_string_equal(heard(CLIENT), OK);
}

static void a_denied_head_has_no_body(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, "HEAD / HTTP/1.1\r\nHost: web.test\r\n\r\n");
    says(AUTH, "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nstop");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\n");
    says(CLIENT, GET);
    assert_true(has(heard(AUTH), "X-Forwarded-Method: GET")); /* both connections live on */
}

static void an_upgrade_is_asked_about_like_any_request(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();
    const char *seen;

    start_auth(&c);
    says(CLIENT, "GET /ws HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    seen = heard(AUTH);
    assert_true(has(seen, "X-Forwarded-Uri: /ws\r\n"));
    assert_false(has(seen, "Upgrade"));
    says(AUTH, "HTTP/1.1 200 OK\r\nSet-Cookie: s=1\r\nContent-Length: 0\r\n\r\n");
    assert_true(has(heard(UP(1)), "Connection: Upgrade\r\nUpgrade: websocket\r\n"));
    says(UP(1), "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nhello");
    seen = heard(CLIENT);
    assert_true(has(seen, "HTTP/1.1 101 ") && has(seen, "Set-Cookie: s=1\r\n") && has(seen, "\r\n\r\nhello"));
    says(CLIENT, "ping");
    assert_string_equal(heard(UP(1)), "ping");
}

/* More clients than the auth server is to see connections. */
static void questions_wait_for_one_another(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_connections_max = 1;
    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    assert_int_equal(dialled, 1);
    for (int i = 0; i < 3; i++) {
        assert_true(has(heard(AUTH), "forward-auth"));
        says(AUTH, "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        assert_true(has(heard(&clients[i]), "HTTP/1.1 403 "));
    }
    assert_int_equal(dialled, 1);
    assert_int_equal(results(PROXY_AUTH_4XX), 3);
}

static void a_question_that_waits_too_long_is_502(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    c.auth_connections_max = 1;
    c.auth_timeout = 2 * MSEC;
    start_with(&c);
    for (int i = 0; i < 2; i++)
        says(client_connects(), GET);
    for (int i = 0; i < 2000 && (!clients[0].got.len || !clients[1].got.len); i++) {
        assert_int_equal(ev_loop_turn(loop, MSEC), 0);
        run();
    }
    for (int i = 0; i < 2; i++)
        assert_true(has(heard(&clients[i]), "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_int_equal(proxy_service_counters(service)->waiting, 0);
}

static void nonsense_and_silence_never_grant(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "nonsense\r\n\r\n",
        "HTTP/1.1 200\n\n",
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nRemote-User: x",
        "HTTP/1.1 100 Continue\r\n\r\n"
    };

    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        struct proxy_service_config c = auth_config();

        start_auth(&c);
        says(CLIENT, GET);
        says(AUTH, answers[i]);
        peer_close(AUTH);
        assert_true(has(heard(CLIENT), "HTTP/1.1 502 Bad Gateway\r\n"));
        assert_int_equal(dialled, 1);
        world_teardown(state);
        world_setup(state);
    }
}

static void a_client_that_leaves_cancels_the_question(void **state)
{
    (void)state;
    struct proxy_service_config c = auth_config();

    start_auth(&c);
    says(CLIENT, GET);
    stream_abort(CLIENT->end);
    CLIENT->end = NULL;
    run();
    assert_true(AUTH->broke);
    assert_int_equal(proxy_service_counters(service)->client_aborts, 1);
}

/* ---- settings ------------------------------------------------------------------------------------ */

static void expect_target(const char *url, const char *path, const char *wanted)
{
    void *state = NULL;
    struct proxy_service_config c = auth_config();

    c.auth_url = url;
    c.auth_path = path;
    start_auth(&c);
    says(CLIENT, GET);
    assert_true(has(heard(AUTH), wanted));
    world_teardown(&state);
    world_setup(&state);
}

static void the_question_goes_where_the_settings_say(void **state)
{
    (void)state;

    expect_target("http://a.test", NULL, "GET /api/authz/forward-auth?q=1 HTTP/1.1\r\nHost: a.test\r\n");
    expect_target("http://a.test/", "", "GET /api/authz/forward-auth?q=1 HTTP/1.1\r\n");
    expect_target("http://a.test/verify", NULL, "GET /verify?q=1 HTTP/1.1\r\n");
    expect_target("http://a.test/verify", "/other", "GET /other?q=1 HTTP/1.1\r\n");
    /* Where the operator wrote a query, the client's is not added to it. */
    expect_target("http://a.test/verify?groups=a", NULL, "GET /verify?groups=a HTTP/1.1\r\n");
    expect_target("http://a.test", "/v?groups=a", "GET /v?groups=a HTTP/1.1\r\n");
}

static void wrong_settings_are_refused(void **state)
{
    (void)state;
    static const char *const hop[] = { "Connection" }, *const ours[] = { "x_tailscale_user" },
                             *const bad[] = { "no token" };
    const struct {
        const char *url, *path;
        const char *const *copy;
        const char *says;
    } rows[] = {
        { "ftp://a.test", NULL, copied, "authURL ftp://a.test" },
        { "http://", NULL, copied, "authURL http://" },
        { "http://a.test", "no-slash", copied, "authPath no-slash" },
        { "http://a.test", "/a b", copied, "authPath /a b" },
        { "http://a.test", "/%zz", copied, "broken escape" },
        { "http://a.test", NULL, hop, "authCopyHeaders Connection" },
        { "http://a.test", NULL, ours, "set by the proxy itself" },
        { "http://a.test", NULL, bad, "not the name of a header" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct proxy_service_config c = auth_config();
        char why[PROXY_WHY_BYTES];

        c.auth_url = rows[i].url;
        c.auth_path = rows[i].path;
        c.auth_copy_headers = rows[i].copy;
        c.auth_copy_count = 1;
        assert_false(proxy_auth_check(&c, why));
        assert_true(has(why, rows[i].says));
        assert_int_equal(proxy_service_new(&service, shard, &c, &ops, NULL, why), PROXY_E_CONFIG);
        assert_true(has(why, rows[i].says));
        service = NULL;
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(without_an_auth_url_nobody_is_asked),
        T(a_granted_request_goes_on_with_the_copied_headers),
        T(a_denial_reaches_the_client_as_it_is),
        T(a_user_of_the_tailnet_passes_where_that_is_set),
        T(a_user_of_the_tailnet_is_asked_where_it_is_not_set),
        T(a_user_without_an_id_is_asked),
        T(an_auth_server_that_takes_too_long_is_502),
        T(an_auth_server_that_cannot_be_reached_is_502),
        T(a_redirect_is_passed_on_and_never_followed),
        T(copied_headers_cannot_be_forged),
        T(they_cannot_be_forged_past_a_bypass_either),
        T(settings_of_the_service_beat_copied_headers),
        T(there_is_no_bypass_from_the_public_ingress),
        T(machines_do_not_pass_as_users),
        T(nodes_with_tags_do_not_pass_as_users),
        T(a_path_that_is_not_served_is_no_question),
        T(a_body_waits_until_access_is_granted),
        T(an_upload_stands_still_while_the_question_is_open),
        T(a_denied_upload_is_answered_and_closed),
        T(cookies_of_a_granting_answer_reach_the_client),
        T(connections_to_the_auth_server_are_kept),
        T(a_dead_kept_connection_costs_one_more_question),
        T(a_kept_connection_that_is_silent_is_asked_once),
        T(a_long_granting_answer_is_not_read_to_its_end),
        T(a_denied_head_has_no_body),
        T(an_upgrade_is_asked_about_like_any_request),
        T(questions_wait_for_one_another),
        T(a_question_that_waits_too_long_is_502),
        T(nonsense_and_silence_never_grant),
        T(a_client_that_leaves_cancels_the_question),
        T(the_question_goes_where_the_settings_say),
        T(wrong_settings_are_refused),
    };
    static const size_t splits[] = { 1, 13, 40, 100, 200 };
    int failed = cmocka_run_group_tests_name("whole", tests, NULL, NULL);

    for (size_t i = 0; i < COUNT_OF(splits); i++) {
        way = (struct stream_pair_options) { .split_at = splits[i] };
        failed += cmocka_run_group_tests_name("cut in two", tests, NULL, NULL);
    }
    return failed;
}
