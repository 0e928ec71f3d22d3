#include "check.h"

#include "control/noise_stream.h"

#include <errno.h>

/* Keys and records made by the reference implementation. */
static const char k1[] = "b5a6c358cd51a1fc717517315852e009148ee5480cf70a3caf4d4f9498c9ca8e";
static const char k2[] = "d8ebca0df9236e3c51fcc4e5d506d473b019dd191d7ac7112d1e046898a1e78d";
static const char sent_pings[] = "0400145e88b640eb451106035af1dce98a3759ae33222a"
                                 "04001497826fa20201ddc260825c89e0979809ccba6a58";
static const char received_magic[] = "040015fbc76f9652b1556926bdd46ee4c27ee7cf051d480f";

static struct noise_session session_of(bool client)
{
    struct noise_session s = { 0 };

    from_hex(client ? k1 : k2, s.send_key, 32);
    from_hex(client ? k2 : k1, s.receive_key, 32);
    return s;
}

struct side {
    struct stream *stream;
    uint8_t got[100000];
    size_t got_len;
    ssize_t end;    /* what read said last */
    size_t to_send; /* of the pattern */
    size_t sent;
    bool shut_after;
};

static uint8_t pattern[60000];

static void side_read(struct side *s)
{
    uint8_t bytes[1500];

    while ((s->end = stream_read(s->stream, bytes, sizeof(bytes))) > 0) {
        assert_true(s->got_len + (size_t)s->end <= sizeof(s->got));
        memcpy(s->got + s->got_len, bytes, (size_t)s->end);
        s->got_len += (size_t)s->end;
    }
}

static void side_write(struct side *s)
{
    while (s->sent < s->to_send) {
        ssize_t n = stream_write(s->stream, span_make(pattern + s->sent, s->to_send - s->sent));

        if (n == -EAGAIN)
            return;
        assert_true(n > 0);
        s->sent += (size_t)n;
    }
    if (s->shut_after)
        stream_shutdown(s->stream);
}

static void on_event(struct stream *stream, unsigned events, time_ns now)
{
    struct side *s = stream->owner;

    (void)now;
    if (events & STREAM_READABLE)
        side_read(s);
    if (events & STREAM_WRITABLE)
        side_write(s);
}

static void side_open(struct side *s, struct stream *below, bool client, struct span leftover)
{
    struct noise_session session = session_of(client);

    assert_int_equal(noise_stream_new(&s->stream, below, &session, leftover), 0);
    stream_set_owner(s->stream, s, on_event);
    side_read(s);
    side_write(s);
}

static void records_are_those_of_the_reference(void **state)
{
    (void)state;
    struct stream_pair *pair;
    static struct side client;
    uint8_t want[64], got[64], magic[64];
    size_t len = from_hex(sent_pings, want, sizeof(want)), magic_len = from_hex(received_magic, magic, 64);

    memset(&client, 0, sizeof(client));
    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    side_open(&client, stream_pair_end(pair, 0), true, span_make(magic, 10));
    assert_int_equal(client.end, -EAGAIN);
    for (int i = 0; i < 2; i++)
        assert_int_equal(stream_write(client.stream, span_from_str("ping")), 4);
    stream_pair_settle(pair, 0);
    assert_int_equal(stream_read(stream_pair_end(pair, 1), got, sizeof(got)), len);
    assert_memory_equal(got, want, len);
    assert_int_equal(stream_write(stream_pair_end(pair, 1), span_make(magic + 10, magic_len - 10)),
                     magic_len - 10);
    stream_pair_settle(pair, 0);
    assert_int_equal(client.got_len, 5);
    assert_memory_equal(client.got, "\xff\xff\xffTS", 5);
    stream_close(client.stream);
    stream_close(stream_pair_end(pair, 1));
    stream_pair_free(pair);
}

/* Both directions at once through a pair that cuts and blocks. */
static void transfer(const struct stream_pair_options *options, size_t bytes)
{
    struct stream_pair *pair;
    static struct side a, b;

    memset(&a, 0, sizeof(a));
    memset(&b, 0, sizeof(b));
    a.to_send = b.to_send = bytes;
    a.shut_after = b.shut_after = true;
    assert_int_equal(stream_pair_new(&pair, options), 0);
    side_open(&a, stream_pair_end(pair, 0), true, SPAN_NONE);
    side_open(&b, stream_pair_end(pair, 1), false, SPAN_NONE);
    stream_pair_settle(pair, 0);
    assert_int_equal(a.got_len, bytes);
    assert_int_equal(b.got_len, bytes);
    assert_memory_equal(a.got, pattern, bytes);
    assert_memory_equal(b.got, pattern, bytes);
    assert_int_equal(a.end, 0);
    assert_int_equal(b.end, 0);
    stream_close(a.stream);
    stream_close(b.stream);
    stream_pair_free(pair);
}

static void every_cut_and_every_blockade_delivers_the_same_bytes(void **state)
{
    (void)state;
    static const size_t chunks[] = { 1, 2, 3, 4, 19, 4095, 4096, 4097, 0 }, rooms[] = { 1, 7, 4096, 5000, 0 };

    for (size_t i = 0; i < sizeof(pattern); i++)
        pattern[i] = (uint8_t)(i * 7 + i / 256);
    for (size_t split = 0; split < 60; split++)
        transfer(&(struct stream_pair_options) { .split_at = split }, 20);
    for (size_t c = 0; c < COUNT_OF(chunks); c++)
        for (size_t r = 0; r < COUNT_OF(rooms); r++)
            transfer(&(struct stream_pair_options) { .chunk = chunks[c], .room = rooms[r] },
                     chunks[c] && chunks[c] < 10 ? 9000 : sizeof(pattern));
}

static ssize_t end_after(struct span bytes, char *why)
{
    struct stream_pair *pair;
    static struct side a;
    ssize_t end;

    memset(&a, 0, sizeof(a));
    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    side_open(&a, stream_pair_end(pair, 0), true, SPAN_NONE);
    assert_int_equal(stream_write(stream_pair_end(pair, 1), bytes), bytes.len);
    stream_shutdown(stream_pair_end(pair, 1));
    stream_pair_settle(pair, 0);
    end = a.end;
    stream_failure(a.stream, why);
    stream_close(a.stream);
    stream_close(stream_pair_end(pair, 1));
    stream_pair_free(pair);
    return end;
}

static void damage_and_cuts_are_errors_and_an_end_is_an_end(void **state)
{
    (void)state;
    uint8_t magic[64];
    size_t len = from_hex(received_magic, magic, sizeof(magic));
    char why[STREAM_FAILURE_BYTES];

    assert_int_equal(end_after(span_make(magic, len), why), 0);
    for (size_t n = 1; n < len; n++)
        assert_int_equal(end_after(span_make(magic, n), why), -ECONNRESET);
    magic[len - 1] ^= 1;
    assert_int_equal(end_after(span_make(magic, len), why), -EBADMSG);
    assert_string_equal(why, "a Noise record was forged or damaged");
    assert_int_equal(end_after(span_from_str("\x03\0\x02no"), why), -EPROTO);
    assert_int_equal(end_after(span_from_str("HTTP/1.1 400 Bad"), why), -EPROTO);
}

static void empty_records_are_skipped(void **state)
{
    (void)state;
    struct noise_session server = session_of(false);
    uint8_t records[3 * NOISE_OVERHEAD_BYTES + 2];
    struct stream_pair *pair;
    static struct side a;

    memset(&a, 0, sizeof(a));
    assert_int_equal(noise_seal(&server, SPAN_NONE, records), 0);
    assert_int_equal(noise_seal(&server, SPAN_NONE, records + NOISE_OVERHEAD_BYTES), 0);
    assert_int_equal(noise_seal(&server, span_from_str("hi"), records + 2 * NOISE_OVERHEAD_BYTES), 0);
    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    side_open(&a, stream_pair_end(pair, 0), true, SPAN_OF(records));
    assert_int_equal(a.got_len, 2);
    assert_int_equal(a.end, -EAGAIN);
    stream_close(a.stream);
    stream_close(stream_pair_end(pair, 1));
    stream_pair_free(pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_those_of_the_reference),
        cmocka_unit_test(every_cut_and_every_blockade_delivers_the_same_bytes),
        cmocka_unit_test(damage_and_cuts_are_errors_and_an_end_is_an_end),
        cmocka_unit_test(empty_records_are_skipped),
    };

    must(!crypto_init());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
