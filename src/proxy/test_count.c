/* What requests leave in the counters. */
#include "test_world.h"

#include "tls/tls.h"

#define GET "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n"

static uint64_t count_of(uint16_t code)
{
    const struct proxy_counters *n = proxy_service_counters(service);

    for (size_t i = 0; i < PROXY_CODES_MAX && n->codes[i].code; i++)
        if (n->codes[i].code == code)
            return n->codes[i].count;
    return 0;
}

static void request_answered_with(int status)
{
    char text[80];

    says(CLIENT, GET);
    snprintf(text, sizeof(text), "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", status);
    says(UP(0), text);
    assert_non_null(strstr(heard(CLIENT), " X\r\n"));
}

static void statuses_are_counted_by_class_and_code(void **state)
{
    (void)state;
    const struct proxy_counters *n;

    start();
    n = proxy_service_counters(service);
    assert_null(n->timing); /* a service that nobody asked costs nothing */
    request_answered_with(200);
    request_answered_with(404);
    request_answered_with(200);
    assert_int_equal(count_of(200), 2);
    assert_int_equal(count_of(404), 1);
    assert_int_equal(count_of(500), 0);
    assert_int_equal(n->answers[2], 2);
    assert_int_equal(n->answers[4], 1);
    assert_non_null(n->timing);
    assert_int_equal(n->timing->request.count, 3);
    assert_int_equal(n->timing->upstream.count, 3);
    assert_int_equal(n->timing->auth.count, 0);
}

static void bytes_are_those_on_the_wire(void **state)
{
    (void)state;
    uint64_t in = moved(ACCOUNT_IN), out = moved(ACCOUNT_OUT);

    start();
    says(CLIENT, "POST /x HTTP/1.1\r\nHost: web.test\r\nContent-Length: 9\r\n\r\n1234");
    says(CLIENT, "56789");
    says(UP(0), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    says(CLIENT, "GET /x HTTP/1.1\r\nHost: web.test\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    says(UP(0), "HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n");
    says(CLIENT, "up");
    says(UP(0), "down");
    assert_non_null(strstr(heard(CLIENT), "down"));
    assert_int_equal(moved(ACCOUNT_IN) - in, stream_pair_written(CLIENT->pair, 0));
    assert_int_equal(moved(ACCOUNT_OUT) - out, stream_pair_written(CLIENT->pair, 1));
}

static void answers_of_our_own_are_no_answers_of_the_upstream(void **state)
{
    (void)state;
    static const char *const prefixes[] = { "/only" };
    struct proxy_service_config c = default_config();

    c.prefixes = prefixes;
    c.prefix_count = 1;
    start_with(&c);
    client_connects();
    says(CLIENT, GET);
    assert_int_equal(count_of(404), 1);
    assert_int_equal(proxy_service_counters(service)->not_allowed, 1);
    assert_int_equal(proxy_service_counters(service)->answers[4], 0);
    assert_int_equal(proxy_service_counters(service)->timing->request.count, 1);
    assert_int_equal(proxy_service_counters(service)->timing->upstream.count, 0);
}

static void more_codes_than_rows_still_count_in_their_class(void **state)
{
    (void)state;

    start();
    for (int i = 0; i < PROXY_CODES_MAX + 3; i++)
        request_answered_with(400 + i);
    assert_int_equal(count_of(400 + PROXY_CODES_MAX - 1), 1);
    assert_int_equal(count_of(400 + PROXY_CODES_MAX), 0);
    assert_int_equal(proxy_service_counters(service)->requests[4], PROXY_CODES_MAX + 3);
}

static void what_an_upstream_did_wrong_is_kept_in_words_until_it_answers(void **state)
{
    (void)state;
    const struct proxy_trouble *t;
    time_ns first;

    start();
    assert_null(proxy_service_trouble(service));
    refuse_connections = true;
    says(CLIENT, GET);
    t = proxy_service_trouble(service);
    assert_non_null(t);
    assert_string_equal(t->where, "http://up.test:8080");
    assert_string_equal(t->why, "Connection refused");
    assert_int_equal(t->times, 1);
    first = t->first;
    says(CLIENT, GET);
    assert_int_equal(t->times, 2);
    assert_int_equal(t->first, first);
    assert_true(t->last >= first && !t->answers_since);
    refuse_connections = false;
    says(CLIENT, GET);
    says(UP(2), "HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n");
    assert_true(t->answers_since >= t->last && t->answers_since > 0);
    assert_int_equal(t->times, 2); /* how it was before */
    says(UP(2), "nonsense");       /* the kept connection is gone */
    refuse_connections = true;
    says(CLIENT, GET);
    assert_int_equal(t->times, 1); /* since it answered */
    assert_int_equal(t->answers_since, 0);
}

static void trouble_follows_a_service_to_the_same_upstream_only(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    struct proxy_service *same, *other;
    char why[PROXY_WHY_BYTES];

    start();
    refuse_connections = true;
    says(CLIENT, GET);
    assert_int_equal(proxy_service_new(&same, shard, &c, &ops, NULL, why), 0);
    c.upstream = "http://elsewhere.test";
    assert_int_equal(proxy_service_new(&other, shard, &c, &ops, NULL, why), 0);
    proxy_service_move_counters(other, service);
    assert_null(proxy_service_trouble(other));
    proxy_service_move_counters(same, service);
    assert_int_equal(proxy_service_trouble(same)->times, 1);
    assert_null(proxy_service_trouble(service));
    proxy_service_free(service);
    service = NULL;
    assert_string_equal(proxy_service_trouble(same)->where, "http://up.test:8080");
    proxy_service_free(same);
    proxy_service_free(other);
}

/* A reload: the totals of a service never fall, and what is there now is counted where it is. */
static void a_service_that_takes_the_place_of_another_goes_on_counting(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    struct proxy_service *next;
    const struct proxy_counters *n, *before;
    char why[PROXY_WHY_BYTES];

    start();
    request_answered_with(200);
    request_answered_with(404);
    assert_int_equal(proxy_service_new(&next, shard, &c, &ops, NULL, why), 0);
    before = proxy_service_counters(service);
    n = proxy_service_counters(next);
    proxy_service_move_counters(next, service);
    assert_int_equal(n->requests[2], 1);
    assert_int_equal(n->requests[4], 1);
    assert_int_equal(n->timing->request.count, 2);
    assert_int_equal(before->requests[2] + before->requests[4] + before->connections, 0);
    assert_int_equal(before->timing->request.count, 0);
    assert_int_equal(before->open, 1);
    assert_int_equal(n->open, 0);
    request_answered_with(404); /* on the old one's connection */
    request_answered_with(204);
    proxy_service_move_counters(next, service);
    assert_int_equal(n->requests[2], 2);
    assert_int_equal(n->requests[4], 2);
    assert_int_equal(n->codes[0].code, 200);
    assert_int_equal(n->codes[1].code, 404);
    assert_int_equal(n->codes[1].count, 2);
    assert_int_equal(n->codes[2].code, 204);
    assert_int_equal(n->timing->request.count, 4);
    proxy_service_free(next);
}

/* Two clients: one between requests, one with a request under way. Neither notices. */
static void kept_connections_go_on_with_the_service_that_takes_the_place(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    struct proxy_service *next;
    char why[PROXY_WHY_BYTES];

    start();
    request_answered_with(200);
    assert_int_equal(proxy_service_new(&next, shard, &c, &ops, NULL, why), 0);
    says(CLIENT, GET);
    proxy_service_replace(service, next);
    says(UP(0), "HTTP/1.1 201 X\r\nContent-Length: 0\r\n\r\n"); /* with the old settings, and not the last */
    assert_null(strstr(heard(CLIENT), "Connection: close"));
    assert_int_equal(proxy_service_counters(service)->requests[2], 2);
    assert_int_equal(proxy_service_counters(service)->open, 0);
    assert_int_equal(proxy_service_counters(next)->open, 1);
    run();
    assert_true(drained); /* the old one has none left, and says so */
    says(CLIENT, GET);
    says(UP(1), "HTTP/1.1 202 X\r\nContent-Length: 0\r\n\r\n");
    assert_non_null(strstr(heard(CLIENT), "202 X"));
    assert_int_equal(proxy_service_counters(next)->requests[2], 1);
    proxy_service_drain(next);
    assert_int_equal(proxy_service_counters(next)->open, 0); /* the end is the end */
    proxy_service_free(service);
    service = next;
}

static void a_tls_handshake_that_fails_is_counted_by_reason(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    const struct proxy_arrival arrival = { .listen_port = 443, .tls = true, .protocol = PROXY_BY_ALPN };
    struct tls_server_config tls = { 0 };
    struct tls_server *server;
    const struct proxy_counters *n;
    char pin[TLS_PIN_BYTES];

    start_with(&c);
    n = proxy_service_counters(service);
    assert_int_equal(tls_identity_self_signed(&tls.identity, "web.test", pin), 0);
    assert_int_equal(tls_server_new(&server), 0);
    for (int i = 0; i < 2; i++) {
        struct stream *s;

        assert_int_equal(tls_server_stream(&s, server, peer_open(&clients[client_count++]), &tls), 0);
        proxy_accept(service, s, &arrival);
    }
    says(&clients[0], GET);
    peer_close(&clients[1]);
    run();
    assert_int_equal(n->tls_failed[PROXY_TLS_NO_TLS], 1);
    assert_int_equal(n->tls_failed[PROXY_TLS_LEFT], 1);
    assert_int_equal(n->connections, 2);
    assert_int_equal(n->open, 0);
    tls_identity_unref(tls.identity);
    tls_server_unref(server);
}

static void bounds_grow_and_the_last_bucket_has_none(void **state)
{
    (void)state;

    for (size_t i = 1; i + 1 < PROXY_DURATION_BUCKETS; i++) {
        double ratio = (double)proxy_duration_bound(i) / (double)proxy_duration_bound(i - 1);

        assert_true(ratio > 1.40 && ratio < 1.43);
    }
    assert_true(proxy_duration_bound(PROXY_DURATION_BUCKETS - 1) == TIME_NEVER);
    assert_in_range(proxy_duration_bound(PROXY_DURATION_BUCKETS - 2), 60 * SEC, 120 * SEC);
}

static void quantiles_lie_inside_the_bucket_that_holds_them(void **state)
{
    (void)state;
    struct proxy_durations d = { 0 };

    assert_int_equal(proxy_duration_quantile(&d, 0.5), 0);
    d.count = 100;
    d.buckets[4] = 90;
    d.buckets[20] = 10;
    assert_in_range(proxy_duration_quantile(&d, 0.5), proxy_duration_bound(3), proxy_duration_bound(4));
    assert_in_range(proxy_duration_quantile(&d, 0.9), proxy_duration_bound(3), proxy_duration_bound(4));
    assert_in_range(proxy_duration_quantile(&d, 0.99), proxy_duration_bound(19), proxy_duration_bound(20));
    d = (struct proxy_durations) { .count = 1 };
    d.buckets[PROXY_DURATION_BUCKETS - 1] = 1;
    assert_int_equal(proxy_duration_quantile(&d, 0.5), proxy_duration_bound(PROXY_DURATION_BUCKETS - 2));
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(statuses_are_counted_by_class_and_code),
        T(bytes_are_those_on_the_wire),
        T(answers_of_our_own_are_no_answers_of_the_upstream),
        T(more_codes_than_rows_still_count_in_their_class),
        T(a_service_that_takes_the_place_of_another_goes_on_counting),
        T(kept_connections_go_on_with_the_service_that_takes_the_place),
        T(what_an_upstream_did_wrong_is_kept_in_words_until_it_answers),
        T(trouble_follows_a_service_to_the_same_upstream_only),
        T(a_tls_handshake_that_fails_is_counted_by_reason),
        T(bounds_grow_and_the_last_bucket_has_none),
        T(quantiles_lie_inside_the_bucket_that_holds_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
