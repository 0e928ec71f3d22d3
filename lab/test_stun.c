#include "check.h"
#include "lab/stun.h"

static const struct stun_txid txid = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } };

static void the_programs_own_request_is_understood(void **state)
{
    (void)state;
    uint8_t request[STUN_REQUEST_BYTES];
    struct stun_txid got;

    stun_request_write(request, &txid);
    assert_true(lab_stun_request_parse(SPAN_OF(request), &got));
    assert_memory_equal(&got, &txid, sizeof(got));
}

/* From the reference's documentation of the wire, not made by our own writer. */
static void a_request_of_the_reference_is_understood(void **state)
{
    (void)state;
    uint8_t request[64];
    size_t len = from_hex("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f",
                          request, sizeof(request));
    struct stun_txid got;

    assert_true(lab_stun_request_parse(span_make(request, len), &got));
    assert_memory_equal(&got, &txid, sizeof(got));
}

static void every_changed_byte_and_every_prefix_is_refused(void **state)
{
    (void)state;
    uint8_t request[STUN_REQUEST_BYTES];
    struct stun_txid got;

    stun_request_write(request, &txid);
    for (size_t i = 0; i < sizeof(request); i++) {
        request[i] ^= 1;
        assert_false(lab_stun_request_parse(SPAN_OF(request), &got));
        request[i] ^= 1;
        assert_false(lab_stun_request_parse(span_make(request, i), &got));
    }
}

static void the_answer_tells_the_address_in_both_families(void **state)
{
    (void)state;
    static const char *const addresses[] = { "192.0.2.7:41641", "[2001:db8::7]:65535" };

    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        uint8_t response[LAB_STUN_RESPONSE_BYTES_MAX];
        struct ip_port from, got;
        struct stun_txid id;
        size_t len;

        assert_true(ip_port_parse(span_from_str(addresses[i]), &from));
        len = lab_stun_response_write(response, &txid, &from);
        assert_int_equal(stun_response_parse(span_make(response, len), &id, &got), 0);
        assert_true(ip_port_equal(&got, &from));
        assert_memory_equal(&id, &txid, sizeof(id));
    }
}

static void a_socket_learns_its_address_and_rubbish_gets_no_answer(void **state)
{
    (void)state;
    static const uint8_t loopback[4] = { 127, 0, 0, 1 };
    struct ip_port at = { .ip = ip_from_v4(loopback) }, own = at, from, mapped;
    uint8_t request[STUN_REQUEST_BYTES], response[64];
    struct ev_loop *loop;
    struct lab_stun *s;
    struct stun_txid id;
    ssize_t n = -1;
    int fd = -1;

    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(lab_stun_new(&s, loop, &at), 0);
    at.port = lab_stun_port(s);
    assert_int_equal(ev_udp_listen(&own, &fd, &own.port), 0);
    assert_int_equal(ev_send_to(fd, &at, span_from_str("what is my address?")), 0);
    stun_request_write(request, &txid);
    assert_int_equal(ev_send_to(fd, &at, SPAN_OF(request)), 0);
    while (!lab_stun_counters(s)->answered)
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
    while (n < 0)
        n = ev_receive_from(fd, response, sizeof(response), &from);
    assert_int_equal(stun_response_parse(span_make(response, (size_t)n), &id, &mapped), 0);
    assert_true(ip_port_equal(&mapped, &own));
    assert_int_equal(lab_stun_counters(s)->ignored, 1);
    ev_close(&fd);
    lab_stun_free(s);
    ev_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_programs_own_request_is_understood),
        cmocka_unit_test(a_request_of_the_reference_is_understood),
        cmocka_unit_test(every_changed_byte_and_every_prefix_is_refused),
        cmocka_unit_test(the_answer_tells_the_address_in_both_families),
        cmocka_unit_test(a_socket_learns_its_address_and_rubbish_gets_no_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
