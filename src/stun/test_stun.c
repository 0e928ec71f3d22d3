#include "stun/stun.h"

#include "check.h"

/* RFC 5769, 2.2 and 2.3. */
#define RESPONSE_V4                                                                                      \
    "0101003c2112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 002000080001a147e112a643" \
    "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7 80280004c07d4c96"
#define RESPONSE_V6                                                                                          \
    "010100482112a442b7e7a701bc34d686fa87dfae 8022000b7465737420766563746f7220 002000140002a1470113a9faa5d3" \
    "f179bc25f4b5bed2b9d9 00080014a382954e4be67bf11784c97c8292c275bfe3ed41 80280004c8fb0b4c"
#define TXID_5769 "b7e7a701bc34d686fa87dfae"

struct parsed {
    int r;
    struct stun_txid txid;
    struct ip_port mapped;
};

static struct parsed parse(struct span s)
{
    struct parsed p = { .r = 0 };

    p.r = stun_response_parse(s, &p.txid, &p.mapped);
    return p;
}

static struct parsed parse_hex(const char *hex)
{
    uint8_t bytes[256];
    size_t len = from_hex(hex, bytes, sizeof(bytes));

    return parse(span_make(bytes, len));
}

static void assert_mapped(struct parsed p, const char *want)
{
    char text[IP_PORT_TEXT_BYTES];

    assert_int_equal(p.r, 0);
    assert_string_equal(ip_port_text(&p.mapped, text), want);
}

/* Vector of the protocol notes, made by an independent script. */
static void request_is_what_relay_servers_answer(void **state)
{
    (void)state;
    uint8_t want[STUN_REQUEST_BYTES], got[STUN_REQUEST_BYTES];
    struct stun_txid txid = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 } };

    from_hex("000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f", want,
             sizeof(want));
    stun_request_write(got, &txid);
    assert_memory_equal(got, want, sizeof(want));
    assert_true(stun_is(SPAN_OF(got)));
    assert_int_equal(parse(SPAN_OF(got)).r, STUN_E_NOT_RESPONSE);
}

static void published_answers_are_read(void **state)
{
    (void)state;
    struct parsed p = parse_hex(RESPONSE_V4);
    uint8_t txid[STUN_TXID_BYTES];

    assert_mapped(p, "192.0.2.1:32853");
    from_hex(TXID_5769, txid, sizeof(txid));
    assert_memory_equal(p.txid.bytes, txid, sizeof(txid));
    assert_mapped(parse_hex(RESPONSE_V6), "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
}

#define HEAD(len) "0101" len "2112a442b7e7a701bc34d686fa87dfae"

static void old_and_plain_attributes_are_read(void **state)
{
    (void)state;
    assert_mapped(parse_hex(HEAD("000c") "802000080001a147e112a643"), "192.0.2.1:32853");
    assert_mapped(parse_hex(HEAD("000c") "0001000800010d96c0000201"), "192.0.2.1:3478");
    /* The XOR form wins wherever it stands; of two equal ones the first. */
    assert_mapped(parse_hex(HEAD("0018") "0001000800010d96c0000299 002000080001a147e112a643"),
                  "192.0.2.1:32853");
    assert_mapped(parse_hex(HEAD("0018") "002000080001a147e112a643 002000080001a147e112a644"),
                  "192.0.2.1:32853");
    /* IPv4 in IPv6 is IPv4. */
    assert_mapped(parse_hex(HEAD("0018") "0001001400020d9600000000000000000000ffffc0000201"),
                  "192.0.2.1:3478");
}

static void what_follows_the_declared_length_is_ignored(void **state)
{
    (void)state;
    assert_mapped(parse_hex(RESPONSE_V4 "07"), "192.0.2.1:32853");
    assert_mapped(parse_hex(HEAD("000c") "002000080001a147e112a643 0001ffff"), "192.0.2.1:32853");
}

static void unreadable_answers_have_names(void **state)
{
    (void)state;
    assert_int_equal(parse_hex(HEAD("0000")).r, STUN_E_NO_ADDRESS);
    assert_int_equal(parse_hex(HEAD("000c") "002000080003a147e112a643").r, STUN_E_NO_ADDRESS); /* family 3 */
    assert_int_equal(parse_hex(HEAD("0008") "002000040001a147").r, STUN_E_NO_ADDRESS); /* short value */
    assert_int_equal(parse_hex(HEAD("000c") "0020000c0001a147e112a643").r, STUN_E_MALFORMED);
    assert_int_equal(parse_hex(HEAD("0003") "002000").r, STUN_E_MALFORMED);
    assert_int_equal(parse_hex("01110000 2112a442b7e7a701bc34d686fa87dfae").r,
                     STUN_E_NOT_RESPONSE); /* error */
    assert_int_equal(parse_hex("01010000 2112a443b7e7a701bc34d686fa87dfae").r, STUN_E_NOT_RESPONSE);
}

/* An unpadded last attribute is what some servers send. */
static void last_attribute_may_lack_its_padding(void **state)
{
    (void)state;
    assert_mapped(parse_hex(HEAD("0011") "002000080001a147e112a643 8022000161"), "192.0.2.1:32853");
}

static void every_prefix_of_an_answer_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[128];
    size_t len = from_hex(RESPONSE_V6, bytes, sizeof(bytes));

    for (size_t n = 0; n < len; n++)
        assert_true(parse(span_make(bytes, n)).r > 0);
}

/* WireGuard types and disco's magic never look like STUN. */
static void neighbours_on_the_socket_are_not_stun(void **state)
{
    (void)state;
    uint8_t wireguard[148] = { 1 }, disco[124] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac };

    for (uint8_t type = 1; type <= 4; type++) {
        wireguard[0] = type;
        from_hex("2112a442", wireguard + 4, 4); /* an index that equals the cookie */
        assert_false(stun_is(SPAN_OF(wireguard)));
    }
    assert_false(stun_is(SPAN_OF(disco)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_is_what_relay_servers_answer),
        cmocka_unit_test(published_answers_are_read),
        cmocka_unit_test(old_and_plain_attributes_are_read),
        cmocka_unit_test(what_follows_the_declared_length_is_ignored),
        cmocka_unit_test(unreadable_answers_have_names),
        cmocka_unit_test(last_attribute_may_lack_its_padding),
        cmocka_unit_test(every_prefix_of_an_answer_is_refused),
        cmocka_unit_test(neighbours_on_the_socket_are_not_stun),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
