#include "check.h"

#include "crypto/crypto.h"
#include "tls/records.h"
#include "tls/tls.h"

/* RFC 8448, section 3: the application traffic of a simple 1-RTT handshake (TLS_AES_128_GCM_SHA256). */
static const char client_secret[] = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5";
static const char server_secret[] = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643";
static const char client_data[] =
    "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20"
    "441e2b62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4";
static const char client_alert[] = "1703030013c9872760655666b74d7ff1153efd6db6d0b0e3";

static void open_side(struct records *r, const char *in, const char *out)
{
    uint8_t in_secret[32], out_secret[32];

    from_hex(in, in_secret, sizeof(in_secret));
    from_hex(out, out_secret, sizeof(out_secret));
    assert_true(records_init(r, 0x1301, in_secret, out_secret, 0, 0));
}

static void the_records_of_rfc_8448_open(void **state)
{
    (void)state;
    uint8_t data[128], alert[64], want[50], key[16], type;
    size_t data_len = from_hex(client_data, data, sizeof(data)),
           alert_len = from_hex(client_alert, alert, sizeof(alert));
    size_t whole, plain;
    struct records r;

    open_side(&r, client_secret, server_secret);
    from_hex("17422dda596ed5d9acd890e3c63f5051", key, sizeof(key));
    assert_memory_equal(r.in.key, key, sizeof(key));
    for (size_t i = 0; i < sizeof(want); i++)
        want[i] = (uint8_t)i;
    assert_int_equal(records_measure(span_make(data, data_len), &whole), 0);
    assert_int_equal(whole, data_len);
    assert_int_equal(records_open(&r, span_make(data, whole), data + 5, &type, &plain), 0);
    assert_int_equal(type, RECORD_DATA);
    assert_span_equal(span_make(data + 5, plain), want, sizeof(want));
    assert_int_equal(records_open(&r, span_make(alert, alert_len), alert + 5, &type, &plain), 0);
    assert_int_equal(type, RECORD_ALERT);
    assert_int_equal(records_control(&r, type, span_make(alert + 5, plain)), RECORD_E_END);
}

static void sealing_makes_the_records_of_rfc_8448(void **state)
{
    (void)state;
    uint8_t want[128], plain[50], out[128];
    struct records r;

    open_side(&r, server_secret, client_secret);
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)i;
    size_t n = records_seal(&r, RECORD_DATA, SPAN_OF(plain), out);
    assert_int_equal(n, from_hex(client_data, want, sizeof(want)));
    assert_memory_equal(out, want, n);
    n = records_seal(&r, RECORD_ALERT, span_make("\x01\x00", 2), out);
    assert_int_equal(n, from_hex(client_alert, want, sizeof(want)));
    assert_memory_equal(out, want, n);
}

static void lengths_are_checked_before_they_are_waited_for(void **state)
{
    (void)state;
    static const struct {
        const char *hex;
        int want;
    } rows[] = {
        { "", RECORD_E_MORE },           { "17030300", RECORD_E_MORE },  { "1703030011", RECORD_E_MORE },
        { "1703034100", RECORD_E_MORE }, { "1703034101", RECORD_E_BAD }, { "1703030010", RECORD_E_BAD },
        { "1603030020", RECORD_E_BAD },  { "1503030002", RECORD_E_BAD },
    };
    uint8_t bytes[8];
    size_t len;

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(records_measure(span_make(bytes, from_hex(rows[i].hex, bytes, sizeof(bytes))), &len),
                         rows[i].want);
}

static void a_changed_bit_is_noticed(void **state)
{
    (void)state;
    uint8_t data[128], out[128], type;
    size_t n = from_hex(client_data, data, sizeof(data)), plain;

    for (size_t bit = 0; bit < n * 8; bit += 3) {
        struct records r;

        open_side(&r, client_secret, server_secret);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(records_open(&r, span_make(data, n), out, &type, &plain), RECORD_E_BAD);
        data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void both_sides_renew_their_keys_alike(void **state)
{
    (void)state;
    static const uint16_t suites[] = { 0x1301, 0x1302, 0x1303 };
    uint8_t a[RECORD_SECRET_BYTES_MAX] = { 1 }, b[RECORD_SECRET_BYTES_MAX] = { 2 }, out[64], type;
    size_t n, plain;

    for (size_t i = 0; i < COUNT_OF(suites); i++) {
        struct records one, two;

        assert_true(records_init(&one, suites[i], a, b, 7, 9));
        assert_true(records_init(&two, suites[i], b, a, 9, 7));
        n = records_update(&one, out);
        assert_int_equal(records_open(&two, span_make(out, n), out + 5, &type, &plain), 0);
        assert_int_equal(records_control(&two, type, span_make(out + 5, plain)), 0);
        assert_false(records_update_due(&two));
        n = records_seal(&one, RECORD_DATA, span_from_str("after"), out);
        assert_int_equal(records_open(&two, span_make(out, n), out + 5, &type, &plain), 0);
        assert_span_text(span_make(out + 5, plain), "after");

        assert_int_equal(records_control(&one, RECORD_HANDSHAKE, span_make("\x18\x00\x00\x01\x01", 5)), 0);
        assert_true(records_update_due(&one)); /* it was asked to */
    }
    assert_false(records_init(&(struct records) { 0 }, 0x1304, a, b, 0, 0));
    tls_thread_end();
    tls_thread_end();
}

/* Tickets are skipped, also over several records; what does not belong there ends the connection. */
static void what_is_no_data_is_judged(void **state)
{
    (void)state;
    static const struct {
        uint8_t type;
        const char *hex;
        int want;
    } rows[] = {
        { RECORD_HANDSHAKE, "04000003aabbcc", 0 },
        { RECORD_HANDSHAKE, "04000003aabbcc0400000211", 0 }, /* one byte is owed */
        { RECORD_DATA, "00", RECORD_E_BAD },
        { RECORD_HANDSHAKE, "220400000133", 0 },
        { RECORD_HANDSHAKE, "0400", RECORD_E_BAD },
        { RECORD_HANDSHAKE, "04010001", RECORD_E_BAD },           /* a ticket of 64 KB and one */
        { RECORD_HANDSHAKE, "180000010018000001", RECORD_E_BAD }, /* something behind a key update */
        { RECORD_HANDSHAKE, "1800000102", RECORD_E_BAD },
        { RECORD_HANDSHAKE, "1800000100", 0 },
        { RECORD_HANDSHAKE, "0d00000100", RECORD_E_BAD }, /* certificate request */
        { RECORD_HANDSHAKE, "", RECORD_E_BAD },
        { RECORD_ALERT, "0100", RECORD_E_END },
        { RECORD_ALERT, "015a", 0 },
        { RECORD_ALERT, "0228", RECORD_E_ALERT },
        { RECORD_ALERT, "01", RECORD_E_BAD },
        { 20, "01", RECORD_E_BAD },
        { 24, "01", RECORD_E_BAD },
    };
    struct records r;
    uint8_t bytes[32];

    open_side(&r, client_secret, server_secret);
    for (size_t i = 0; i < COUNT_OF(rows); i++)
        assert_int_equal(
            records_control(&r, rows[i].type, span_make(bytes, from_hex(rows[i].hex, bytes, sizeof(bytes)))),
            rows[i].want);
    assert_int_equal(r.alert, 0x28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_records_of_rfc_8448_open),
        cmocka_unit_test(sealing_makes_the_records_of_rfc_8448),
        cmocka_unit_test(lengths_are_checked_before_they_are_waited_for),
        cmocka_unit_test(a_changed_bit_is_noticed),
        cmocka_unit_test(both_sides_renew_their_keys_alike),
        cmocka_unit_test(what_is_no_data_is_judged),
    };

    assert_int_equal(crypto_init(), 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
