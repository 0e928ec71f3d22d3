#include "check.h"

#include "noise/noise.h"

/* The session of the handshake vectors, from both ends. */
static void sessions(struct noise_session *client, struct noise_session *server)
{
    *client = *server = (struct noise_session) { 0 };
    from_hex("b5a6c358cd51a1fc717517315852e009148ee5480cf70a3caf4d4f9498c9ca8e", client->send_key, 32);
    from_hex("d8ebca0df9236e3c51fcc4e5d506d473b019dd191d7ac7112d1e046898a1e78d", client->receive_key, 32);
    memcpy(server->send_key, client->receive_key, 32);
    memcpy(server->receive_key, client->send_key, 32);
}

/* Made by the reference implementation. Counter 1 is the one that shows a little-endian nonce. */
static void records_are_the_known_ones(void **state)
{
    (void)state;
    struct noise_session client, server;
    uint8_t want[64], got[64];
    uint8_t early[] = { 0xff, 0xff, 0xff, 0x54, 0x53 };
    size_t len;

    sessions(&client, &server);
    len = from_hex("0400145e88b640eb451106035af1dce98a3759ae33222a", want, sizeof(want));
    assert_int_equal(noise_seal(&client, span_from_str("ping"), got), 0);
    assert_memory_equal(got, want, len);
    len = from_hex("04001497826fa20201ddc260825c89e0979809ccba6a58", want, sizeof(want));
    assert_int_equal(noise_seal(&client, span_from_str("ping"), got), 0);
    assert_memory_equal(got, want, len);
    len = from_hex("040015fbc76f9652b1556926bdd46ee4c27ee7cf051d480f", want, sizeof(want));
    assert_int_equal(noise_seal(&server, SPAN_OF(early), got), 0);
    assert_memory_equal(got, want, len);
}

/* A stream of records of every interesting size, fed one byte at a time. */
static void a_split_stream_comes_back_whole(void **state)
{
    (void)state;
    static const size_t sizes[] = { 0, 1, 4077, 0, 16, 4076, 100 };
    static uint8_t stream[8 * 4096], plain[4077];
    struct noise_session client, server;
    struct mspan got;
    size_t end = 0, at = 0, used;

    sessions(&client, &server);
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 31);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        assert_int_equal(noise_seal(&client, span_make(plain, sizes[i]), stream + end), 0);
        end += sizes[i] + NOISE_OVERHEAD_BYTES;
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        size_t have = 0;

        while (noise_open(&server, (struct mspan) { stream + at, have }, &used, &got) == NOISE_E_MORE)
            have++;
        assert_int_equal(have, sizes[i] + NOISE_OVERHEAD_BYTES);
        assert_int_equal(used, have);
        assert_span_equal(span_make(got.data, got.len), plain, sizes[i]);
        at += used;
    }
    assert_int_equal(at, end);
}

static void sealing_in_place_is_the_same(void **state)
{
    (void)state;
    struct noise_session a, b;
    uint8_t apart[64], in_place[64];

    sessions(&a, &b);
    b = a;
    memcpy(in_place + NOISE_HEADER_BYTES, "forty bytes or less", 19);
    assert_int_equal(noise_seal(&a, span_from_str("forty bytes or less"), apart), 0);
    assert_int_equal(noise_seal(&b, span_make(in_place + NOISE_HEADER_BYTES, 19), in_place), 0);
    assert_memory_equal(apart, in_place, 19 + NOISE_OVERHEAD_BYTES);
}

/* Decided on the header alone: nobody waits for a frame that would be refused. */
static void impossible_headers_are_refused_at_once(void **state)
{
    (void)state;
    struct noise_session client, server;
    struct mspan plain;
    size_t used;
    uint8_t type[] = { 5 }, error[] = { 3, 0, 20 }, small[] = { 4, 0, 15 }, big[] = { 4, 0x0f, 0xfe };
    uint8_t limit[] = { 4, 0x0f, 0xfd };

    sessions(&client, &server);
    assert_int_equal(noise_open(&client, (struct mspan) { type, 1 }, &used, &plain), NOISE_E_FORMAT);
    assert_int_equal(noise_open(&client, (struct mspan) { error, 3 }, &used, &plain), NOISE_E_FORMAT);
    assert_int_equal(noise_open(&client, (struct mspan) { small, 3 }, &used, &plain), NOISE_E_FORMAT);
    assert_int_equal(noise_open(&client, (struct mspan) { big, 3 }, &used, &plain), NOISE_E_FORMAT);
    assert_int_equal(noise_open(&client, (struct mspan) { limit, 3 }, &used, &plain), NOISE_E_MORE);
}

/* Replayed, reordered or changed: the stream is over. */
static void records_count(void **state)
{
    (void)state;
    struct noise_session client, server;
    struct mspan plain;
    size_t used;
    uint8_t first[32], again[32];

    sessions(&client, &server);
    assert_int_equal(noise_seal(&client, span_from_str("one"), first), 0);
    memcpy(again, first, sizeof(again));
    assert_int_equal(noise_open(&server, (struct mspan) { first, 22 }, &used, &plain), 0);
    assert_int_equal(noise_open(&server, (struct mspan) { again, 22 }, &used, &plain), NOISE_E_FORGED);
}

/* The last counter is never used, in neither direction. */
static void counters_end_instead_of_wrapping(void **state)
{
    (void)state;
    struct noise_session client, server;
    struct mspan plain;
    size_t used;
    uint8_t frame[32];

    sessions(&client, &server);
    client.send_counter = server.receive_counter = UINT64_MAX - 1;
    assert_int_equal(noise_seal(&client, span_from_str("x"), frame), 0);
    assert_int_equal(noise_open(&server, (struct mspan) { frame, 20 }, &used, &plain), 0);
    assert_int_equal(noise_seal(&client, span_from_str("x"), frame), NOISE_E_EXHAUSTED);
    frame[0] = 4;
    assert_int_equal(noise_open(&server, (struct mspan) { frame, 20 }, &used, &plain), NOISE_E_EXHAUSTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_the_known_ones),
        cmocka_unit_test(a_split_stream_comes_back_whole),
        cmocka_unit_test(sealing_in_place_is_the_same),
        cmocka_unit_test(impossible_headers_are_refused_at_once),
        cmocka_unit_test(records_count),
        cmocka_unit_test(counters_end_instead_of_wrapping),
    };

    if (crypto_init())
        return 1;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
