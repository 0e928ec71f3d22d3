/* Messages of a Linux 6.18 kernel, captured in a network namespace; link messages are cut to name and kind.
 */
#include "check.h"
#include "host/interfaces.h"

/* clang-format off */
#define ETH0_NEW \
    "38000000100000000000000000000000000001000200000002100000ffffffff0900030065746830000000000c00" \
    "12000800010074756e00"
#define ETH0_ADDRESS \
    "500000001400000033ce056b6a4c0000021880000200000008000100c000020208000200c0000202090003006574" \
    "683000000000080008008000000014000600ffffffffffffffff5f5a09005f5a0900"
#define ETH0_UP \
    "38000000100000000000000000000000000001000200000003100000010000000900030065746830000000000c00" \
    "12000800010074756e00"
#define ETH0_ADDRESS_V6 \
    "480000001400000000000000000000000a408200020000001400010020010db80000000000000000000000021400" \
    "0600ffffffffffffffff805a0900805a09000800080082000000"
#define ETH0_ADDRESS_GONE \
    "500000001500000037ce056be64c0000021880000200000008000100c000020208000200c0000202090003006574" \
    "683000000000080008008000000014000600ffffffffffffffff5f5a09005f5a0900"
#define DEFAULT_ROUTE \
    "340000001800000634ce056b734c000002000000fe0300011000000008000f00fe00000008000500c00002010800" \
    "040002000000"
#define VETH_NEW \
    "3c000000100000000000000000000000000001000400000002100000ffffffff0a00030076657468610000001000" \
    "1200090001007665746800000000"
#define VETH_UP \
    "3c000000100000000000000000000000000001000400000003100000010000000a00030076657468610000001000" \
    "1200090001007665746800000000"
#define VETH_LINK_LOCAL \
    "500000001400000000000000000000000a4080fd0300000014000100fe800000000000009037b0fffe96e42f1400" \
    "0600ffffffffffffffffc05a0900c05a0900080008008000000005000b0003000000"
#define VETH_GONE \
    "3c000000110000000000000000000000000001000400000002100000ffffffff0a00030076657468610000001000" \
    "1200090001007665746800000000"
#define DOCKER_NEW \
    "3c000000100000000000000000000000000001000500000002100000ffffffff0c000300646f636b657230001000" \
    "12000b0001006272696467650000"
#define DOCKER_ADDRESS \
    "500000001400000037ce056bcb4c0000021080000500000008000100ac11000108000200ac1100010c000300646f" \
    "636b65723000080008008000000014000600ffffffffffffffffcb5b0900cb5b0900"
#define DOCKER_UP \
    "3c000000100000000000000000000000000001000500000043100100010000000c000300646f636b657230001000" \
    "12000b0001006272696467650000"
#define DUMP_OF_ADDRESSES \
    "4c0000001400020001000000d98304e8020880fe01000000080001007f000001080002007f000001070003006c6f" \
    "0000080008008000000014000600ffffffffffffffff3f5a09003f5a0900500000001400020001000000d98304e8" \
    "021880000200000008000100c000020208000200c000020209000300657468300000000008000800800000001400" \
    "0600ffffffffffffffff0a5c09000a5c0900500000001400020001000000d98304e8021080000500000008000100" \
    "ac11000108000200ac1100010c000300646f636b65723000080008008000000014000600ffffffffffffffffcb5b" \
    "0900cb5b0900500000001400020001000000d98304e80a8080fe0100000014000100000000000000000000000000" \
    "0000000114000600ffffffffffffffff3f5a09003f5a0900080008008000000005000b0001000000480000001400" \
    "020001000000d98304e80a408200020000001400010020010db800000000000000000000000214000600ffffffff" \
    "ffffffff805a0900805a09000800080082000000500000001400020001000000d98304e80a40c0fd050000001400" \
    "0100fe8000000000000014ece8fffe2a564d14000600ffffffffffffffffcc5b0900cc5b090008000800c0000000" \
    "05000b0003000000"
#define ROUTE_ANSWER \
    "700000001800000001000000c891788e02200000fe0000010002000008000f00fe00000008000100010101010800" \
    "04000200000008000700c000020208000500c0000201080019000000000024000c00020000000000000000000000" \
    "0000000000000000000000000000000000000000"
#define ROUTE_ERROR \
    "4400000002000000010000008dc62ac99bffffff300000001a00010001000000000000000a800000000000000000" \
    "00001400010026060000000000000000000000000001"
/* clang-format on */

static unsigned apply(struct interfaces *t, const char *hex)
{
    alignas(4) uint8_t bytes[1024];
    size_t len = from_hex(hex, bytes, sizeof(bytes));

    return rtnl_apply(t, span_make(bytes, len));
}

static const char *first_address(const struct interfaces *t, char out[IP_TEXT_BYTES])
{
    struct host_view v;

    interfaces_view(t, &v);
    return v.count ? ip_text(&v.addresses[0], out) : "none";
}

#define assert_first(t, want)                                \
    do {                                                     \
        char text[IP_TEXT_BYTES];                            \
        assert_string_equal(first_address((t), text), want); \
    } while (0)

static void an_interface_comes_up_and_loses_its_address(void **state)
{
    (void)state;
    struct interfaces t;

    interfaces_init(&t);
    assert_int_equal(apply(&t, ETH0_NEW), 0);
    assert_int_equal(apply(&t, ETH0_ADDRESS), INTERFACES_VIEW);
    assert_first(&t, "none"); /* still down */
    assert_int_equal(apply(&t, ETH0_UP), INTERFACES_VIEW);
    assert_first(&t, "192.0.2.2");
    assert_int_equal(apply(&t, ETH0_ADDRESS), 0);
    assert_int_equal(apply(&t, ETH0_ADDRESS_V6), INTERFACES_VIEW);
    assert_int_equal(apply(&t, ETH0_ADDRESS_GONE), INTERFACES_VIEW);
    assert_first(&t, "2001:db8::2");
    assert_int_equal(t.counters.messages, 6);
    interfaces_deinit(&t);
}

static void a_pair_that_comes_and_goes_touches_nothing(void **state)
{
    (void)state;
    struct interfaces t;
    struct host_view before, after;

    interfaces_init(&t);
    apply(&t, ETH0_NEW ETH0_ADDRESS ETH0_UP);
    interfaces_view(&t, &before);
    assert_int_equal(apply(&t, VETH_NEW VETH_UP VETH_LINK_LOCAL VETH_GONE), 0);
    interfaces_view(&t, &after);
    assert_memory_equal(&before, &after, sizeof(before));
    assert_int_equal(t.count, 1);
    interfaces_deinit(&t);
}

static void a_container_bridge_changes_no_view(void **state)
{
    (void)state;
    struct interfaces t;

    interfaces_init(&t);
    apply(&t, ETH0_NEW ETH0_ADDRESS ETH0_UP DOCKER_NEW DOCKER_ADDRESS DOCKER_UP);
    assert_int_equal(t.list[1].class, INTERFACE_CONTAINER);
    assert_first(&t, "192.0.2.2");
    interfaces_deinit(&t);
}

static void a_dump_is_read_as_a_whole(void **state)
{
    (void)state;
    struct interfaces t;

    interfaces_init(&t);
    apply(&t, ETH0_UP);
    assert_int_equal(apply(&t, DUMP_OF_ADDRESSES), INTERFACES_VIEW);
    assert_int_equal(t.counters.messages, 7);
    assert_int_equal(t.address_count, 5); /* without the link-local one */
    assert_first(&t, "192.0.2.2");
    interfaces_deinit(&t);
}

static void a_default_route_asks_for_the_way_out(void **state)
{
    (void)state;
    struct interfaces t;

    interfaces_init(&t);
    assert_int_equal(apply(&t, DEFAULT_ROUTE), INTERFACES_ROUTE);
    interfaces_deinit(&t);
}

static void the_way_out_is_read(void **state)
{
    (void)state;
    alignas(4) uint8_t bytes[256];
    struct interface_route route;
    char text[IP_TEXT_BYTES];
    size_t len = from_hex(ROUTE_ANSWER, bytes, sizeof(bytes));

    rtnl_apply_route(span_make(bytes, len), &route);
    assert_int_equal(route.interface, 2);
    assert_string_equal(ip_text(&route.gateway, text), "192.0.2.1");
    len = from_hex(ROUTE_ERROR, bytes, sizeof(bytes)); /* unreachable */
    rtnl_apply_route(span_make(bytes, len), &route);
    assert_int_equal(route.interface, 0);
    rtnl_apply_route(SPAN_NONE, &route);
    assert_int_equal(route.interface, 0);
}

static void every_prefix_of_a_message_is_harmless(void **state)
{
    (void)state;
    alignas(4) uint8_t bytes[1024];
    size_t len = from_hex(DUMP_OF_ADDRESSES, bytes, sizeof(bytes));

    for (size_t n = 0; n < len; n++) {
        struct interfaces t;

        interfaces_init(&t);
        rtnl_apply(&t, span_make(bytes, n));
        assert_true(t.address_count <= 5);
        interfaces_deinit(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_interface_comes_up_and_loses_its_address),
        cmocka_unit_test(a_pair_that_comes_and_goes_touches_nothing),
        cmocka_unit_test(a_container_bridge_changes_no_view),
        cmocka_unit_test(a_dump_is_read_as_a_whole),
        cmocka_unit_test(a_default_route_asks_for_the_way_out),
        cmocka_unit_test(the_way_out_is_read),
        cmocka_unit_test(every_prefix_of_a_message_is_harmless),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
