/* What a service says that it holds. */
#include "test_world.h"

#define GET "GET /x HTTP/1.1\r\nHost: web.test\r\n\r\n"

static uint64_t held_by(const struct proxy_service *s, enum account_part part)
{
    struct account_memory m = { 0 };

    proxy_service_memory(s, &m);
    return m.bytes[part];
}

static uint64_t held(void)
{
    return held_by(service, ACCOUNT_PROXY);
}

static void a_connection_and_a_request_cost_while_they_are_there(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    uint64_t alone, connected, asking;

    start_with(&c);
    alone = held();
    assert_true(alone > sizeof(struct proxy_service));
    client_connects();
    run();
    connected = held();
    assert_true(connected >= alone + sizeof(struct conn));
    says(CLIENT, GET);
    asking = held();
    assert_true(asking >= connected + sizeof(struct exchange) + sizeof(struct upstream));
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi");
    assert_non_null(strstr(heard(CLIENT), "hi"));
    peer_close(CLIENT);
    run();
    assert_true(held() - alone <= sizeof(struct proxy_timing) + 2 * sizeof(size_t) + 16);
}

/* The bytes that a client does not take wait with its service. */
static void what_a_slow_client_leaves_standing_is_held_by_its_service(void **state)
{
    (void)state;
    static char body[400001];
    uint64_t before;

    way.room = 1000;
    start();
    way.room = 0;
    says(CLIENT, GET);
    before = held();
    CLIENT->deaf = true;
    memset(body, 'x', sizeof(body) - 1);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n");
    says(UP(0), body);
    assert_in_range(held(), before + 16000, before + 400000);
    CLIENT->deaf = false;
    peer_step(CLIENT);
    run();
    assert_true(held() < before); /* only the connections are left, both idle */
}

static void what_one_service_holds_is_no_others(void **state)
{
    (void)state;
    struct proxy_service_config c = default_config();
    struct proxy_service *other;
    char why[PROXY_WHY_BYTES];
    uint64_t alone, beside;

    assert_int_equal(proxy_service_new(&other, shard, &c, &ops, NULL, why), 0);
    alone = held_by(other, ACCOUNT_PROXY);
    start();
    says(CLIENT, GET);
    beside = held_by(other, ACCOUNT_PROXY);
    proxy_service_free(other);
    assert_int_equal(beside, alone);
    assert_true(held() > alone);
}

/* What is kept for the next request is nobody's. */
static void spares_are_the_shards(void **state)
{
    (void)state;
    struct account_memory without = { 0 }, with = { 0 };

    start();
    proxy_shard_memory(shard, &without);
    says(CLIENT, GET);
    says(UP(0), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    proxy_shard_memory(shard, &with);
    assert_true(with.bytes[ACCOUNT_PROXY] >=
                without.bytes[ACCOUNT_PROXY] + sizeof(struct exchange) + 2 * sizeof(struct spare_head));
    assert_true(without.bytes[ACCOUNT_PROXY] >= READ_BYTES);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_connection_and_a_request_cost_while_they_are_there),
        T(what_a_slow_client_leaves_standing_is_held_by_its_service),
        T(what_one_service_holds_is_no_others),
        T(spares_are_the_shards),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
