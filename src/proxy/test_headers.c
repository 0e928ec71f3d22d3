/* What the upstream gets to see: paths, forwarding headers, identity, settings; and what the log says. */
#include <unistd.h>

#include "test_world.h"

#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

/* Sends one request and returns what arrived at the upstream, "" if it was answered here. */
static const char *upstream_sees(const char *request)
{
    const char *text;

    says(CLIENT, request);
    text = dialled ? heard(UP(0)) : "";
    if (*text)
        says(UP(0), OK);
    return text;
}

static void check_has(const char *text, const char *line, bool has)
{
    char whole[600];

    snprintf(whole, sizeof(whole), "\r\n%s\r\n", line);
    if (!strstr(text, whole) == has)
        fail_msg("\"%s\" is %s in: %s", line, has ? "not" : "still", text);
}

/* ---- prefixes and joining ------------------------------------------------------------ */

static void check_path(const char *path, const char *want_path)
{
    char request[300], want[300];
    const char *text;

    snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: a\r\n\r\n", path);
    text = upstream_sees(request);
    if (!want_path) {
        assert_string_equal(text, "");
        assert_non_null(strstr(heard(CLIENT), "404 Not Found\r\n"));
        return;
    }
    snprintf(want, sizeof(want), "GET %s HTTP/1.1\r\n", want_path);
    if (strncmp(text, want, strlen(want)) != 0)
        fail_msg("%s: wanted %s, got %s", path, want, text);
    assert_non_null(strstr(heard(CLIENT), "200 OK\r\n"));
}

static const char *const test_prefixes[] = { "/subpath", "/other/subpath", "funnel:/funnel-only-subpath",
                                             "tailnet:/tsnet-only-subpath" };

static void prefixes_on_the_tailnet(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.prefixes = test_prefixes;
    c.prefix_count = COUNT_OF(test_prefixes);
    start_with(&c);
    client_connects();
    check_path("/", NULL);
    check_path("/subpath", "/");
    check_path("/subpath/hi", "/hi");
    check_path("/other/subpath", "/");
    check_path("/other/subpath/hi", "/hi");
    check_path("/tsnet-only-subpath", "/");
    check_path("/tsnet-only-subpath/hi", "/hi");
    check_path("/funnel-only-subpath", NULL);
    check_path("/subpathology", NULL);
}

static void prefixes_on_the_funnel(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    struct proxy_arrival a = { .listen_port = 443, .tls = true, .funnel = true };

    assert_true(ip_port_parse(span_from_str("100.64.0.7:5555"), &a.peer));
    c.prefixes = test_prefixes;
    c.prefix_count = COUNT_OF(test_prefixes);
    known = true;
    start_with(&c);
    client_connects_from(a);
    check_path("/", NULL);
    check_path("/other/subpath/hi", "/hi");
    check_path("/funnel-only-subpath", "/");
    check_path("/funnel-only-subpath/hi", "/hi");
    check_path("/tsnet-only-subpath", NULL);
    check_has(upstream_sees("GET /subpath HTTP/1.1\r\nHost: a\r\n\r\n"), "X-Tailscale-User: userid:0", false);
}

static void prefixes_by_text_also_match_inside_a_segment(void **state)
{
    (void)state;
    static const char *const api[] = { "/api" };
    struct proxy_service_config c = default_config();

    c.prefixes = api;
    c.prefix_count = 1;
    c.prefix_by_text = true;
    start_with(&c);
    client_connects();
    check_path("/apifoo", "/foo");
    check_path("/api", "/");
    check_path("/ap", NULL);
}

/* The table of joining: prefix, destination path, strip, request, what the upstream is asked for. */
static const struct {
    const char *prefix, *destination;
    bool strip;
    const char *request, *want;
} routing[] = {
    { "/", "http://up.test/", true, "/", "/" },
    { "/api/push-github", "http://up.test/api/push-github", true, "/api/push-github", "/api/push-github" },
    { "/api", "http://up.test/api", true, "/api/push-github", "/api/push-github" },
    { "/", "http://up.test/api/push-github", true, "/", "/api/push-github" },
    { "/_matrix", "http://up.test/", false, "/_matrix/client/versions", "/_matrix/client/versions" },
    { NULL, "http://up.test/base", true, "/x", "/base/x" },
    { NULL, "http://up.test/base/", true, "/", "/base/" },
    { NULL, "http://up.test", true, "/x%2Fy", "/x%2Fy" },
    { NULL, "http://up.test/?k=v", true, "/x?a=b", "/x?k=v&a=b" },
    { NULL, "http://up.test/?k=v", true, "/x", "/x?k=v" },
    { NULL, "http://up.test/#frag", true, "/x?", "/x?" },
    { NULL, "http://up.test", true, "/x?a=/../b//c", "/x?a=/../b//c" },
    { NULL, "http://up.test", true, "http://other.test/x", "/x" },
};

static void requests_are_joined_with_the_destination(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT_OF(routing); i++) {
        struct proxy_service_config c = default_config();

        if (i) {
            world_teardown(NULL);
            world_setup(NULL);
        }
        c.upstream = routing[i].destination;
        c.prefixes = &routing[i].prefix;
        c.prefix_count = routing[i].prefix ? 1 : 0;
        c.keep_prefix = !routing[i].strip;
        start_with(&c);
        client_connects();
        check_path(routing[i].request, routing[i].want);
    }
}

static void unclean_paths_pass_untouched_where_asked_for(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.keep_unclean_paths = true;
    start_with(&c);
    client_connects();
    check_path("/a//b/../c", "/a//b/../c");
}

/* ---- forged headers --------------------------------------------------------------------- */

static const char *const forged[] = {
    "X-Tailscale-Evil: x",
    "x-tailscale-evil: x",
    "x-tAILSCALE-LoginName: x",
    "X_Tailscale_User: x",
    "X-Tailscale_User: x",
    "Tailscale-User-Login: x",
    "tailscale_user_name: x",
    "Tailscale-Funnel-Request: ?1",
    "Tailscale-App-Capabilities: {}",
    "Tailscale-Headers-Info: x",
    "Forwarded: for=1.2.3.4",
    "X-Forwarded-For: 1.2.3.4",
    "x_forwarded_for: 1.2.3.4",
    "X-Forwarded-Host: evil",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Port: 1",
    "X-Forwarded-Server: evil",
    "X-Forwarded-Prefix: /evil",
    "X-Real-IP: 1.2.3.4",
    "X_Real_IP: 1.2.3.4",
    "X.Tailscale.User: x",
    "Remote!User: x",
    "X-Scheme: gopher",
    "Remote-User: root",
    "REMOTE_USER: root",
    "Remote-Groups: wheel",
    "X-Webauth-User: root",
};

static void forged_identity_and_forwarding_never_pass(void **state)
{
    (void)state;

    start();
    for (size_t i = 0; i < COUNT_OF(forged); i++) {
        char request[300];
        const char *text;

        snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\nX-Ok: y\r\n\r\n", forged[i]);
        text = upstream_sees(request);
        check_has(text, forged[i], false);
        check_has(text, "X-Ok: y", true);
    }
    check_has(upstream_sees("GET / HTTP/1.1\r\nHost: a\r\nX-Tailscaled: y\r\nRemote-Users: z\r\n\r\n"),
              "X-Tailscaled: y", true);
}

static void hop_by_hop_headers_stay_on_their_hop(void **state)
{
    (void)state;
    const char *text;

    start();
    text = upstream_sees(
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Host\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\n"
        "Proxy-Authorization: basic\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: websocket\r\n"
        "Trailer: X\r\nX-End: 2\r\n\r\n");
    check_has(text, "X-Hop: 1", false);
    check_has(text, "Host: a", true); /* naming it does not remove it */
    check_has(text, "X-End: 2", true);
    assert_null(strstr(text, "Connection"));
    assert_null(strstr(text, "Keep-Alive"));
    assert_null(strstr(text, "Proxy-"));
    assert_null(strstr(text, "TE:"));
    assert_null(strstr(text, "Upgrade"));
    assert_null(strstr(text, "Trailer"));
}

static void naming_the_length_in_connection_does_not_remove_it(void **state)
{
    (void)state;

    start();
    check_has(upstream_sees(
                  "POST / HTTP/1.1\r\nHost: a\r\nConnection: Content-Length\r\nContent-Length: 2\r\n\r\nhi"),
              "Content-Length: 2", true);
}

static void responses_lose_their_hop_by_hop_headers(void **state)
{
    (void)state;

    start();
    says(CLIENT, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    says(UP(0), "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: "
                "timeout=5\r\nUpgrade: h2c\r\n"
                "Server: s\r\nContent-Length: 0\r\n\r\n");
    assert_string_equal(heard(CLIENT), "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 0\r\n\r\n");
}

/* ---- forwarding ----------------------------------------------------------------------------- */

static void the_port_comes_from_host_or_from_the_listener(void **state)
{
    (void)state;
    const char *text;

    start();
    text = upstream_sees("GET / HTTP/1.1\r\nHost: web.test:8443\r\n\r\n");
    check_has(text, "X-Forwarded-Host: web.test:8443", true);
    check_has(text, "X-Forwarded-Server: web.test", true);
    check_has(text, "X-Forwarded-Port: 8443", true);
    text = upstream_sees("GET / HTTP/1.1\r\nHost: [fd7a::1]\r\n\r\n");
    check_has(text, "X-Forwarded-Server: [fd7a::1]", true);
    check_has(text, "X-Forwarded-Port: 443", true);
}

static void without_the_recommended_headers_host_is_the_upstreams(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.plain_headers = true;
    start_with(&c);
    client_connects();
    assert_string_equal(upstream_sees("GET / HTTP/1.1\r\nHost: web.test\r\nX-Real-Ip: 1.1.1.1\r\n\r\n"),
                        "GET / HTTP/1.1\r\nX-Forwarded-For: 100.64.0.7\r\nX-Forwarded-Host: web.test\r\n"
                        "X-Forwarded-Proto: https\r\nHost: up.test:8080\r\n\r\n");
}

/* ---- identity --------------------------------------------------------------------------------- */

static void the_identity_of_the_client_is_told(void **state)
{
    (void)state;
    const char *text;

    identity = (struct proxy_identity) { .user_id = 123,
                                         .node_id = 7,
                                         .login = span_from_str("alice@example.com"),
                                         .display_name = span_from_str("J\xc3\xb6rg\r\nX-Evil: 1"),
                                         .profile_pic = span_from_str("https://pic.test/a"),
                                         .node_name = span_from_str("laptop"),
                                         .tag_count = 0,
                                         .cap_count = 3,
                                         .node_cap_count = 1 };
    identity.caps[0] = span_from_str("example.com/cap/z");
    identity.caps[1] = span_from_str("example.com/cap/a");
    identity.caps[2] = span_from_str("bad\ncap");
    identity.node_caps[0] = span_from_str("ssh");
    known = true;
    start();
    text = upstream_sees("GET / HTTP/1.1\r\nHost: a\r\nX-Tailscale-User: userid:1\r\n\r\n");
    assert_non_null(strstr(text, "\r\nX-Tailscale-User: userid:123\r\n"
                                 "X-Tailscale-User-LoginName: alice@example.com\r\n"
                                 "X-Tailscale-User-LoginName-Localpart: alice\r\n"
                                 "X-Tailscale-User-LoginName-Domain: example.com\r\n"
                                 "X-Tailscale-User-DisplayName: J\xc3\xb6rgX-Evil: 1\r\n"
                                 "X-Tailscale-User-ProfilePicURL: https://pic.test/a\r\n"
                                 "X-Tailscale-Caps: example.com/cap/a, example.com/cap/z\r\n"
                                 "X-Tailscale-Node: nodeid:7\r\n"
                                 "X-Tailscale-Node-Name: laptop\r\n"
                                 "X-Tailscale-Node-Caps: ssh\r\n\r\n"));
    check_has(text, "X-Tailscale-User: userid:1", false);
}

static void a_tagged_node_is_told_by_its_tags(void **state)
{
    (void)state;
    const char *text;

    identity = (struct proxy_identity) { .login = span_from_str("tagged-devices"), .tag_count = 2 };
    identity.tags[0] = span_from_str("tag:web");
    identity.tags[1] = span_from_str("tag:ci");
    known = true;
    start();
    text = upstream_sees("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    check_has(text, "X-Tailscale-User-LoginName: tagged-devices", true);
    check_has(text, "X-Tailscale-Node-Tags: tag:web, tag:ci", true);
    check_has(text, "X-Tailscale-User-DisplayName: ", true);
    assert_null(strstr(text, "Localpart"));
    assert_null(strstr(text, "-Caps"));
    assert_null(strstr(text, "ProfilePic"));
}

static void an_unknown_client_has_no_identity(void **state)
{
    (void)state;

    start();
    assert_null(strstr(upstream_sees("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "X-Tailscale"));
}

static void who_is_can_be_suppressed(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.suppress_whois = true;
    known = true;
    start_with(&c);
    client_connects();
    assert_null(
        strstr(upstream_sees("GET / HTTP/1.1\r\nHost: a\r\nX-Tailscale-User: x\r\n\r\n"), "X-Tailscale"));
}

/* ---- settings ------------------------------------------------------------------------------------ */

static void settings_win_over_everything(void **state)
{
    (void)state;
    static const struct proxy_header headers[] = {
        { "X-Something-Custom", "hi there" },
        { "X-Forwarded-Server", "something-made-up.example.com" },
        { "x-tailscale-user", "nobody" },
        { "Host", "inner.test" },
        { "X-Two", "a" },
        { "X-Two", "b" },
    };
    struct proxy_service_config c = default_config();
    const char *text;

    c.headers = headers;
    c.header_count = COUNT_OF(headers);
    known = true;
    start_with(&c);
    client_connects();
    text = upstream_sees("GET / HTTP/1.1\r\nHost: a\r\nX-Two: c\r\nx-something-custom: d\r\n\r\n");
    check_has(text, "X-Something-Custom: hi there", true);
    check_has(text, "X-Forwarded-Server: something-made-up.example.com", true);
    check_has(text, "X-Forwarded-Server: a", false);
    check_has(text, "x-tailscale-user: nobody", true);
    check_has(text, "X-Tailscale-User: userid:0", false);
    check_has(text, "Host: inner.test", true);
    check_has(text, "Host: a", false);
    check_has(text, "X-Forwarded-Host: a", true);
    check_has(text, "X-Two: a\r\nX-Two: b", true);
    check_has(text, "X-Two: c", false);
    check_has(text, "x-something-custom: d", false);
}

static void wrong_settings_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const bad_prefix[] = { "api" };
    static const struct proxy_header bad_headers[] = {
        { "X Y", "z" },
        { "X", "a\nb" },
        { "Content-Length", "0" },
        { "connection", "close" },
    };
    struct proxy_service *s;
    char why[PROXY_WHY_BYTES];

    for (size_t i = 0; i < COUNT_OF(bad_headers); i++) {
        struct proxy_service_config c = default_config();

        c.headers = &bad_headers[i];
        c.header_count = 1;
        assert_int_equal(proxy_service_new(&s, shard, &c, &ops, NULL, why), PROXY_E_CONFIG);
        assert_non_null(strstr(why, bad_headers[i].name));
    }
    struct proxy_service_config c = default_config();

    c.prefixes = bad_prefix;
    c.prefix_count = 1;
    assert_int_equal(proxy_service_new(&s, shard, &c, &ops, NULL, why), PROXY_E_CONFIG);
    assert_non_null(strstr(why, "slash"));
    c = default_config();
    c.upstream = "ftp://x";
    assert_int_equal(proxy_service_new(&s, shard, &c, &ops, NULL, why), PROXY_E_CONFIG);
    assert_non_null(strstr(why, "scheme"));
}

static void headers_beyond_the_limit_of_fields_are_431(void **state)
{
    (void)state;
    struct buf b;

    start();
    buf_init(&b, 1 << 20);
    assert_int_equal(buf_append_str(&b, "GET / HTTP/1.1\r\nHost: a\r\n"), 0);
    for (int i = 0; i < HTTP_FIELDS_RECEIVED_MAX; i++)
        assert_int_equal(buf_printf(&b, "X-%d: y\r\n", i), 0);
    assert_int_equal(buf_append(&b, span_make("\r\n", 3)), 0);
    says(CLIENT, (const char *)buf_span(&b).data);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 431 "));
    buf_deinit(&b);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(prefixes_on_the_tailnet),
        T(prefixes_on_the_funnel),
        T(prefixes_by_text_also_match_inside_a_segment),
        T(requests_are_joined_with_the_destination),
        T(unclean_paths_pass_untouched_where_asked_for),
        T(forged_identity_and_forwarding_never_pass),
        T(hop_by_hop_headers_stay_on_their_hop),
        T(naming_the_length_in_connection_does_not_remove_it),
        T(responses_lose_their_hop_by_hop_headers),
        T(the_port_comes_from_host_or_from_the_listener),
        T(without_the_recommended_headers_host_is_the_upstreams),
        T(the_identity_of_the_client_is_told),
        T(a_tagged_node_is_told_by_its_tags),
        T(an_unknown_client_has_no_identity),
        T(who_is_can_be_suppressed),
        T(settings_win_over_everything),
        T(wrong_settings_are_refused_with_a_sentence),
        T(headers_beyond_the_limit_of_fields_are_431),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
