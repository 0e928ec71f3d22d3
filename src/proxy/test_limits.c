/* Connections to the upstream: how many, who waits for one, how long the idle ones stay. */
#define PEERS_MAX 1100 /* more than a shard keeps idle */
#include "test_world.h"

#define GET "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static struct proxy_service_config limited(uint32_t connections, uint32_t queue)
{
    struct proxy_service_config c = default_config();

    c.upstreams_max = connections;
    c.queue_max = queue;
    return c;
}

static const struct proxy_counters *n(void)
{
    return proxy_service_counters(service);
}

/* Deadlines of a millisecond: the loop has its own clock. */
static void wait_for(const bool *what)
{
    for (int i = 0; i < 2000 && !*what; i++) {
        assert_int_equal(ev_loop_turn(loop, MSEC), 0);
        run();
    }
    assert_true(*what);
}

static void who_finds_all_connections_busy_waits_for_one(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 2);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    assert_int_equal(dialled, 1);
    assert_int_equal(n()->waiting, 2);
    assert_int_equal(n()->upstream_waits, 2);
    for (int i = 0; i < 3; i++) { /* in the order in which they came, over the one connection */
        assert_string_equal(heard(&clients[i]), "");
        assert_non_null(strstr(heard(UP(0)), "GET /x HTTP/1.1\r\n"));
        says(UP(0), OK);
        assert_string_equal(heard(&clients[i]), OK);
    }
    assert_int_equal(dialled, 1);
    assert_int_equal(n()->waiting, 0);
    assert_int_equal(n()->upstream_refusals, 0);
}

static void a_full_queue_is_503(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 1);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    assert_non_null(strstr(heard(&clients[2]), "HTTP/1.1 503 Service Unavailable\r\n"));
    assert_int_equal(n()->upstream_refusals, 1);
    assert_int_equal(n()->proxy_errors, 0); /* the upstream did nothing wrong */
    says(UP(0), OK);
    assert_string_equal(heard(&clients[0]), OK);
    says(&clients[2], GET); /* its connection lives; it stands in the queue now */
    assert_int_equal(n()->waiting, 1);
}

static void a_wait_that_takes_too_long_is_504(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    c.queue_timeout = MSEC;
    start_with(&c);
    says(client_connects(), GET);
    says(client_connects(), "GET /x HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n");
    wait_for(&clients[1].ended);
    assert_non_null(strstr(heard(&clients[1]), "HTTP/1.1 504 Gateway Timeout\r\n"));
    assert_int_equal(n()->waiting, 0);
    says(UP(0), OK); /* the one in front of it never noticed */
    assert_string_equal(heard(&clients[0]), OK);
}

static void who_leaves_the_queue_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    stream_abort(clients[1].end);
    clients[1].end = NULL;
    run();
    assert_int_equal(n()->waiting, 1);
    heard(UP(0));
    says(UP(0), OK);
    assert_non_null(strstr(heard(UP(0)), "GET /x "));
    says(UP(0), OK);
    assert_string_equal(heard(&clients[2]), OK);
}

/* Between being let off the queue and having its turn, nobody can take its place. */
static void a_promise_is_kept_against_newcomers(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    start_with(&c);
    says(client_connects(), "GET /first HTTP/1.1\r\nHost: a\r\n\r\n");
    says(client_connects(), "GET /second HTTP/1.1\r\nHost: a\r\n\r\n");
    heard(UP(0));
    assert_int_equal(buf_append_str(&UP(0)->says, OK), 0);
    assert_int_equal(buf_append_str(&client_connects()->says, "GET /third HTTP/1.1\r\nHost: a\r\n\r\n"), 0);
    peer_step(UP(0)); /* both arrive in one turn */
    peer_step(&clients[2]);
    run();
    assert_non_null(strstr(heard(UP(0)), "GET /second "));
    says(UP(0), OK);
    assert_non_null(strstr(heard(UP(0)), "GET /third "));
    assert_int_equal(dialled, 1);
}

static void a_connection_that_fails_makes_room(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    start_with(&c);
    says(client_connects(), GET);
    says(client_connects(), GET);
    peer_close(UP(0));
    assert_non_null(strstr(heard(&clients[0]), "HTTP/1.1 502 "));
    assert_int_equal(dialled, 2);
    says(UP(1), OK);
    assert_string_equal(heard(&clients[1]), OK);
}

static void a_client_that_goes_with_a_promise_passes_it_on(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    heard(UP(0));
    assert_int_equal(buf_append_str(&UP(0)->says, OK), 0);
    peer_step(UP(0));
    stream_pair_break(clients[1].pair, -ECONNRESET);
    run();
    assert_non_null(strstr(heard(UP(0)), "GET /x "));
    says(UP(0), OK);
    assert_string_equal(heard(&clients[2]), OK);
}

static void ending_a_service_ends_those_who_wait(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(1, 5);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    proxy_service_free(service);
    service = NULL;
    run();
    assert_int_equal(proxy_shard_connections(shard), 0);
}

static void two_connections_serve_two_at_once(void **state)
{
    (void)state;
    struct proxy_service_config c = limited(2, 5);

    start_with(&c);
    for (int i = 0; i < 3; i++)
        says(client_connects(), GET);
    assert_int_equal(dialled, 2);
    says(UP(1), OK);
    assert_string_equal(heard(&clients[1]), OK);
    says(UP(1), OK);
    assert_string_equal(heard(&clients[2]), OK);
    says(UP(0), OK);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 2);
    assert_int_equal(dialled, 2);
}

static void idle_connections_go_after_their_time(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.idle_upstream_timeout = MSEC;
    start_with(&c);
    client_connects();
    says(CLIENT, GET);
    says(UP(0), OK);
    wait_for(&UP(0)->ended);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 0);
    says(CLIENT, GET);
    assert_int_equal(dialled, 2);
}

/* Four at once, where two connections may be kept. */
static void burst(int clients_there)
{
    for (int i = clients_there; i < 4; i++)
        client_connects();
    for (int i = 0; i < 4; i++)
        says(&clients[i], GET);
    for (int i = 0; i < 4; i++)
        says(UP(i), OK);
}

static void a_burst_finds_the_connections_of_the_one_before(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.idle_upstreams_max = 2;
    start_with(&c);
    service->backend.burst_timeout = MINUTE;
    burst(0);
    burst(4);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 4);
    assert_int_equal(dialled, 4);
}

static void what_a_burst_leaves_goes_before_the_others(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.idle_upstreams_max = 2;
    start_with(&c);
    service->backend.burst_timeout = MSEC;
    burst(0);
    wait_for(&UP(1)->ended);
    assert_true(UP(0)->ended && !UP(2)->ended && !UP(3)->ended);
    assert_int_equal(proxy_shard_idle_upstreams(shard), 2);
}

static void say_later(struct peer *p, const char *text)
{
    assert_int_equal(buf_append_str(&p->says, text), 0);
    peer_step(p);
}

/* One service has a connection that has been idle for longest, UP(0). Then another one, which may keep
 * `idle_max`, has so many requests at once that all connections together are one more than a shard keeps.
 * The other one's oldest is UP(1). Returns the first service. */
static struct proxy_service *fill_the_shard(uint32_t idle_max)
{
    struct proxy_service_config c = default_config();
    struct proxy_service *first;

    start_with(&c);
    first = service;
    client_connects();
    says(CLIENT, GET);
    says(UP(0), OK);
    c.idle_upstreams_max = idle_max;
    start_with(&c);
    service->backend.burst_timeout = MINUTE;
    for (int i = 1; i <= PROXY_IDLE_UPSTREAMS_MAX; i++)
        say_later(client_connects(), GET);
    run();
    assert_int_equal(dialled, PROXY_IDLE_UPSTREAMS_MAX + 1);
    says(UP(1), OK);
    for (int i = 2; i <= PROXY_IDLE_UPSTREAMS_MAX; i++)
        say_later(UP(i), OK);
    run();
    assert_int_equal(proxy_shard_idle_upstreams(shard), PROXY_IDLE_UPSTREAMS_MAX);
    return first;
}

static void at_the_bound_of_the_shard_a_burst_pays_for_itself(void **state)
{
    (void)state;
    struct proxy_service *first = fill_the_shard(2);

    assert_false(UP(0)->ended);
    assert_true(UP(1)->ended);
    assert_false(UP(2)->ended);
    proxy_service_free(first);
}

static void at_the_bound_of_the_shard_the_longest_idle_one_goes_whosever_it_is(void **state)
{
    (void)state;
    struct proxy_service *first = fill_the_shard(PROXY_IDLE_UPSTREAMS_MAX);

    assert_true(UP(0)->ended);
    assert_false(UP(1)->ended);
    assert_false(UP(2)->ended);
    proxy_service_free(first);
}

/* A TLS handshake that never ends counts as connecting. */
static void an_upstream_that_does_not_connect_in_time_is_502(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();

    c.upstream = "https://up.test";
    c.connect_timeout = MSEC;
    start_with(&c);
    client_connects();
    says(CLIENT, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    wait_for(&CLIENT->ended);
    assert_non_null(strstr(heard(CLIENT), "HTTP/1.1 502 Bad Gateway\r\n"));
    assert_int_equal(n()->proxy_errors, 1);
}

static void a_plain_address_is_taken_for_http(void **state)
{
    (void)state;
    static const char *const urls[] = { "localhost:8080", "127.0.0.1:8080", "[::1]:8080/base", "box/base" };
    char why[PROXY_WHY_BYTES];

    for (size_t i = 0; i < COUNT_OF(urls); i++)
        assert_true(proxy_upstream_check(urls[i], NULL, NULL, why));
    start();
    proxy_service_free(service);
    struct proxy_service_config c = default_config();
    c.upstream = "localhost:8080/base";
    start_with(&c);
    says(client_connects(), GET);
    assert_non_null(strstr(heard(UP(0)), "GET /base/x HTTP/1.1\r\n"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(who_finds_all_connections_busy_waits_for_one),
        T(a_full_queue_is_503),
        T(a_wait_that_takes_too_long_is_504),
        T(who_leaves_the_queue_does_not_hold_up_the_others),
        T(a_promise_is_kept_against_newcomers),
        T(a_connection_that_fails_makes_room),
        T(a_client_that_goes_with_a_promise_passes_it_on),
        T(ending_a_service_ends_those_who_wait),
        T(two_connections_serve_two_at_once),
        T(idle_connections_go_after_their_time),
        T(a_burst_finds_the_connections_of_the_one_before),
        T(what_a_burst_leaves_goes_before_the_others),
        T(at_the_bound_of_the_shard_a_burst_pays_for_itself),
        T(at_the_bound_of_the_shard_the_longest_idle_one_goes_whosever_it_is),
        T(an_upstream_that_does_not_connect_in_time_is_502),
        T(a_plain_address_is_taken_for_http),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
