#include "check.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "tls/internal.h"
#include "tls/test_peer.h"

#define DAY 86400L

static struct test_cert ca, leaf, expired, future, stranger, self_signed, meta;
static char ca_path[] = "/tmp/manytails-test-ca-XXXXXX";

static int make_certs(void **state)
{
    char pem[4096];
    int fd = mkstemp(ca_path);
    size_t len;

    (void)state;
    test_cert_make(&ca, "Test Root", NULL, NULL, -DAY, DAY);
    test_cert_make(&leaf, "relay.example", "DNS:relay.example,DNS:*.wild.example,IP:192.0.2.1", &ca, -DAY,
                   DAY);
    test_cert_make(&expired, "relay.example", "DNS:relay.example", &ca, -2 * DAY, -DAY);
    test_cert_make(&future, "relay.example", "DNS:relay.example", &ca, DAY, 2 * DAY);
    test_cert_make(&stranger, "relay.example", "DNS:relay.example", NULL, -DAY, DAY);
    test_cert_make(&self_signed, "192.0.2.1", "IP:192.0.2.1", NULL, -DAY, DAY);
    test_cert_make(&meta, "derpkey736845d54e87de09d6bb114aa7042c50a4a015bd9901d1a0026f5956533a1519", "DNS:x",
                   NULL, -DAY, DAY);
    len = test_cert_pem(&ca, NULL, false, pem, sizeof(pem));
    assert_int_equal(write(fd, pem, len), len);
    close(fd);
    return 0;
}

static int free_certs(void **state)
{
    struct test_cert *all[] = { &ca, &leaf, &expired, &future, &stranger, &self_signed, &meta };

    (void)state;
    for (size_t i = 0; i < COUNT_OF(all); i++)
        test_cert_free(all[i]);
    unlink(ca_path);
    return 0;
}

/* Our client at one end, plain OpenSSL at the other. */
struct talk {
    struct tls_client *client;
    struct stream_pair *pair;
    struct stream *tls;
    struct test_peer peer;
    unsigned seen;
    struct span to_send;
    struct buf received;
    bool end_seen, shutdown_after, key_found;
    uint8_t key[32];
    int error;
};

static void on_tls(struct stream *s, unsigned events, time_ns now)
{
    struct talk *t = s->owner;
    uint8_t bytes[999];
    ssize_t n;

    (void)now;
    t->seen |= events;
    if (events & STREAM_FAILED)
        return;
    if (events & STREAM_CONNECTED)
        t->key_found = tls_stream_key_in_chain(s, "derpkey", t->key);
    while (t->to_send.len && (n = stream_write(s, t->to_send)) > 0) {
        t->to_send = span_slice(t->to_send, (size_t)n, t->to_send.len);
        if (!t->to_send.len && t->shutdown_after)
            stream_shutdown(s);
    }
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        assert_int_equal(buf_append(&t->received, span_make(bytes, (size_t)n)), 0);
    t->end_seen = n == 0;
    if (n < 0 && n != -EAGAIN)
        t->error = (int)n;
}

static void talk_open(struct talk *t, struct tls_client *client, const struct tls_client_config *config,
                      const struct test_cert *cert, const struct test_cert *extra,
                      const struct stream_pair_options *options)
{
    char why[TLS_WHY_BYTES];

    *t = (struct talk) { .client = client };
    buf_init(&t->received, 1 << 20);
    if (!client)
        assert_int_equal(tls_client_new(&t->client, ca_path, why), 0);
    assert_int_equal(stream_pair_new(&t->pair, options), 0);
    assert_int_equal(tls_client_stream(&t->tls, t->client, stream_pair_end(t->pair, 0), config), 0);
    stream_set_owner(t->tls, t, on_tls);
    test_peer_server(&t->peer, stream_pair_end(t->pair, 1), cert, extra);
}

static void talk_close(struct talk *t, bool client_too)
{
    stream_close(t->tls);
    test_peer_close(&t->peer);
    stream_pair_free(t->pair);
    buf_deinit(&t->received);
    if (client_too)
        tls_client_unref(t->client);
}

static const struct tls_client_config relay = { .server_name = "relay.example" };

static void bytes_go_both_ways_and_ends_too(void **state)
{
    (void)state;
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    assert_int_equal(stream_write(t.tls, span_from_str("early")), -EAGAIN);
    t.to_send = span_from_str("hello");
    t.shutdown_after = true;
    stream_pair_settle(t.pair, 0);
    assert_true(t.seen & STREAM_CONNECTED);
    assert_string_equal(tls_stream_version(t.tls), "TLSv1.3");
    assert_int_equal(tls_stream_alpn(t.tls).len, 0);
    assert_span_text(buf_span(&t.peer.received), "hello");
    assert_span_text(buf_span(&t.received), "hello");
    assert_true(t.end_seen);
    assert_int_equal(stream_write(t.tls, span_from_str("late")), -EPIPE);
    talk_close(&t, true);
}

/* Wherever the bytes stop, the same happens. */
static void every_split_position(void **state)
{
    (void)state;
    struct tls_client *client;
    char why[TLS_WHY_BYTES];
    size_t length = 1;

    assert_int_equal(tls_client_new(&client, ca_path, why), 0);
    for (size_t at = 1; at <= length; at++) {
        struct talk t;

        talk_open(&t, client, &relay, &leaf, NULL, &(struct stream_pair_options) { .split_at = at });
        t.to_send = span_from_str("hello");
        t.shutdown_after = true;
        stream_pair_settle(t.pair, 0);
        assert_span_text(buf_span(&t.received), "hello");
        assert_true(t.end_seen);
        assert_int_equal(t.error, 0);
        length = MAX(length, MAX(stream_pair_written(t.pair, 0), stream_pair_written(t.pair, 1)));
        talk_close(&t, false);
    }
    tls_client_unref(client);
}

static void every_chunk_size(void **state)
{
    (void)state;
    struct tls_client *client;
    char why[TLS_WHY_BYTES];
    static uint8_t much[50000];

    for (size_t i = 0; i < sizeof(much); i++)
        much[i] = (uint8_t)(i * 31 >> 3);
    assert_int_equal(tls_client_new(&client, ca_path, why), 0);
    for (size_t chunk = 1; chunk < 100000; chunk = chunk * 3 + 1) {
        struct talk t;

        talk_open(&t, client, &relay, &leaf, NULL,
                  &(struct stream_pair_options) { .chunk = chunk, .room = MAX(chunk, 500) });
        t.to_send = SPAN_OF(much);
        t.shutdown_after = true;
        stream_pair_settle(t.pair, 0);
        assert_span_equal(buf_span(&t.received), much, sizeof(much));
        assert_true(t.end_seen);
        talk_close(&t, false);
    }
    tls_client_unref(client);
}

/* What a handshake that must not succeed says. */
static void refusal(const struct tls_client_config *config, const struct test_cert *cert,
                    const struct test_cert *extra, const char *words)
{
    char said[STREAM_FAILURE_BYTES], byte;
    struct talk t;

    talk_open(&t, NULL, config, cert, extra, NULL);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.seen, STREAM_FAILED);
    assert_string_equal(stream_failure(t.tls, said), words);
    assert_true(stream_read(t.tls, &byte, 1) < 0);
    assert_true(stream_write(t.tls, span_from_str("x")) < 0);
    assert_true(t.peer.failed || !t.peer.connected); /* it got an alert */
    talk_close(&t, true);
}

static void acceptance(const struct tls_client_config *config, const struct test_cert *cert,
                       const struct test_cert *extra)
{
    struct talk t;

    talk_open(&t, NULL, config, cert, extra, NULL);
    stream_pair_settle(t.pair, 0);
    assert_true(t.seen & STREAM_CONNECTED);
    talk_close(&t, true);
}

static void faults_of_certificates_are_named(void **state)
{
    (void)state;
    refusal(&relay, &expired, NULL, "the certificate of relay.example has expired");
    refusal(&relay, &future, NULL,
            "the certificate of relay.example is not valid yet: is this host's clock right?");
    refusal(&relay, &stranger, NULL,
            "the certificate of relay.example is from an unknown authority: name its file in SSL_CERT_FILE");
    refusal(&(struct tls_client_config) { .server_name = "other.example" }, &leaf, NULL,
            "the certificate is not for other.example");
    refusal(&(struct tls_client_config) { .server_name = "192.0.2.2" }, &leaf, NULL,
            "the certificate is not for 192.0.2.2");
    refusal(&(struct tls_client_config) { .server_name = "a.b.wild.example" }, &leaf, NULL,
            "the certificate is not for a.b.wild.example");
    /* the name in SNI is good, the one to verify is not */
    refusal(&(struct tls_client_config) { .server_name = "relay.example", .verify_name = "other.example" },
            &leaf, NULL, "the certificate is not for other.example");
}

static void names_that_fit_are_accepted(void **state)
{
    (void)state;
    acceptance(&relay, &leaf, NULL);
    acceptance(&(struct tls_client_config) { .server_name = "192.0.2.1" }, &leaf, NULL);
    acceptance(&(struct tls_client_config) { .server_name = "any.wild.example" }, &leaf, NULL);
    acceptance(&(struct tls_client_config) { .server_name = "front.example", .verify_name = "relay.example" },
               &leaf, NULL);
    acceptance(&(struct tls_client_config) { .server_name = "nobody.example", .insecure = true }, &expired,
               NULL);
    acceptance(&relay, &leaf, &meta); /* the relay's extra certificate disturbs no chain */
}

/* sha256-raw: needs no root; it wants exactly that certificate, in its time, for the name that was sent. */
static void a_pin_is_exact(void **state)
{
    (void)state;
    struct tls_client_config pin_relay = { .server_name = "relay.example",
                                           .verify_name = stranger.sha256_pin };
    struct tls_client_config pin_ip = { .server_name = "192.0.2.9", .verify_name = self_signed.sha256_pin };
    struct tls_client_config pin_expired = { .server_name = "relay.example",
                                             .verify_name = expired.sha256_pin };
    struct tls_client_config pin_other = { .server_name = "other.example", .verify_name = leaf.sha256_pin };

    acceptance(&pin_relay, &stranger, NULL);
    acceptance(&pin_relay, &stranger, &meta);
    acceptance(&pin_ip, &self_signed, &meta);
    refusal(&pin_relay, &leaf, NULL, "the certificate of relay.example is not the one that is pinned");
    refusal(&pin_relay, &stranger, &ca, "the certificate of relay.example is not the one that is pinned");
    refusal(&pin_expired, &expired, NULL, "the certificate of relay.example has expired");
    refusal(&pin_other, &leaf, NULL, "the certificate is not for other.example");
}

static void names_that_cannot_be(void **state)
{
    (void)state;
    static const char *const bad[] = { "", "a b", "*.example", "a/b", "sha256-raw:12", "sha256-raw:" };
    struct tls_client *client;
    struct stream_pair *pair;
    struct stream *out, *below;
    char why[TLS_WHY_BYTES];

    assert_int_equal(tls_client_new(&client, ca_path, why), 0);
    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    below = stream_pair_end(pair, 0);
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct tls_client_config config = { .server_name = "relay.example", .verify_name = bad[i] };

        assert_false(tls_verify_name_valid(bad[i]));
        if (bad[i][0])
            assert_int_equal(tls_client_stream(&out, client, below, &config), -EINVAL);
    }
    assert_int_equal(tls_client_new(&client, "/nonexistent", why), TLS_E_FILE);
    assert_non_null(strstr(why, "/nonexistent"));
    tls_client_unref(client);
    stream_close(below);
    stream_close(stream_pair_end(pair, 1));
    stream_pair_free(pair);
}

static void the_second_connection_resumes(void **state)
{
    (void)state;
    struct tls_client_config pin = { .server_name = "relay.example", .verify_name = leaf.sha256_pin };
    struct tls_client *client;
    char why[TLS_WHY_BYTES];
    SSL_CTX *server;
    struct talk t;

    assert_int_equal(tls_client_new(&client, ca_path, why), 0);
    talk_open(&t, client, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    assert_false(tls_stream_resumed(t.tls));
    server = t.peer.ctx;
    SSL_CTX_up_ref(server);
    stream_pair_break(t.pair, -ECONNRESET); /* no clean end: the session is good nevertheless */
    stream_pair_settle(t.pair, 0);
    talk_close(&t, false);

    for (int i = 0; i < 2; i++) {
        talk_open(&t, client, i ? &pin : &relay, &leaf, NULL, NULL);
        SSL_set_SSL_CTX(t.peer.ssl, server); /* has the ticket keys, if it is asked in time */
        SSL_CTX_free(t.peer.ctx);
        SSL_free(t.peer.ssl);
        t.peer.ctx = server;
        SSL_CTX_up_ref(server);
        t.peer.ssl = SSL_new(server);
        t.peer.in = BIO_new(BIO_s_mem());
        t.peer.out = BIO_new(BIO_s_mem());
        BIO_set_mem_eof_return(t.peer.in, -1);
        SSL_set_bio(t.peer.ssl, t.peer.in, t.peer.out);
        SSL_set_accept_state(t.peer.ssl);
        t.to_send = span_from_str("again");
        stream_pair_settle(t.pair, 0);
        assert_span_text(buf_span(&t.received), "again");
        /* Another way of verifying does not inherit the session. */
        assert_int_equal(tls_stream_resumed(t.tls), i == 0);
        talk_close(&t, false);
    }
    SSL_CTX_free(server);
    tls_client_unref(client);
}

/* A connection that stops without close_notify is not an end. */
static void truncation_is_an_error(void **state)
{
    (void)state;
    char said[STREAM_FAILURE_BYTES];
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    stream_shutdown(t.peer.stream); /* below TLS */
    stream_pair_settle(t.pair, 0);
    assert_false(t.end_seen);
    assert_int_equal(t.error, -ECONNRESET);
    assert_string_equal(stream_failure(t.tls, said), "the connection was cut off");
    talk_close(&t, true);
}

static void what_is_not_tls_is_said_so(void **state)
{
    (void)state;
    char said[STREAM_FAILURE_BYTES];
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_set_owner(t.peer.stream, NULL, NULL);
    assert_true(stream_write(t.peer.stream, span_from_str("HTTP/1.1 400 Bad Request\r\n\r\n")) > 0);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.seen, STREAM_FAILED);
    assert_string_equal(stream_failure(t.tls, said), "the other side does not speak TLS 1.2 or 1.3 here");
    talk_close(&t, true);

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_set_owner(t.peer.stream, NULL, NULL);
    stream_shutdown(t.peer.stream);
    stream_pair_settle(t.pair, 0);
    assert_string_equal(stream_failure(t.tls, said), "the connection was closed during the TLS handshake");
    talk_close(&t, true);

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_break(t.pair, -ECONNREFUSED); /* as a dial does that did not get through */
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.seen, STREAM_FAILED);
    assert_string_equal(stream_failure(t.tls, said), "Connection refused");
    talk_close(&t, true);
}

/* A write that said -EAGAIN may come back with other bytes, or not at all. */
static void no_write_is_owed(void **state)
{
    (void)state;
    static uint8_t first[9000], second[100];
    struct talk t;

    memset(first, 'a', sizeof(first));
    memset(second, 'b', sizeof(second));
    talk_open(&t, NULL, &relay, &leaf, NULL, &(struct stream_pair_options) { .room = 4000 });
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_write(t.tls, SPAN_OF(first)), sizeof(first));
    assert_int_equal(stream_write(t.tls, SPAN_OF(first)), -EAGAIN);
    for (ssize_t n = -EAGAIN; n < 0; n = stream_write(t.tls, SPAN_OF(second))) {
        assert_int_equal(n, -EAGAIN);
        assert_true(stream_pair_turn(t.pair, 0));
    }
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.peer.received.len, sizeof(first) + sizeof(second));
    assert_memory_equal(buf_span(&t.peer.received).data + sizeof(first), second, sizeof(second));
    talk_close(&t, true);
}

static void parts_share_a_record(void **state)
{
    (void)state;
    const struct span parts[] = { SPAN_NONE, span_from_str("one "), span_from_str("two "),
                                  span_from_str("three") };
    size_t before;
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    before = stream_pair_written(t.pair, 0);
    assert_int_equal(stream_writev(t.tls, parts, COUNT_OF(parts)), 13);
    assert_int_equal(stream_pair_written(t.pair, 0) - before, 5 + 13 + 1 + 16); /* head, type, tag */
    stream_pair_settle(t.pair, 0);
    assert_span_text(buf_span(&t.peer.received), "one two three");
    talk_close(&t, true);
}

static struct tls_stream *inside(const struct talk *t)
{
    return CONTAINER_OF(t->tls, struct tls_stream, base);
}

/* After the ticket OpenSSL is let go; every suite goes on without it, in records of any size and padding. */
static void a_connection_is_handed_over(void **state)
{
    (void)state;
    static const char *const suites[] = { "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                          "TLS_CHACHA20_POLY1305_SHA256" };
    static uint8_t much[200000];

    for (size_t i = 0; i < sizeof(much); i++)
        much[i] = (uint8_t)(i * 31 >> 3);
    for (size_t i = 0; i < COUNT_OF(suites); i++) {
        struct talk t;

        talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
        assert_int_equal(SSL_set_ciphersuites(t.peer.ssl, suites[i]), 1);
        SSL_set_block_padding(t.peer.ssl, i ? 100 : 1);
        stream_pair_settle(t.pair, 0);
        assert_non_null(inside(&t)->handed);
        assert_null(inside(&t)->ssl);
        assert_string_equal(tls_stream_version(t.tls), "TLSv1.3");
        assert_false(tls_stream_resumed(t.tls));
        t.to_send = SPAN_OF(much);
        t.shutdown_after = true;
        on_tls(t.tls, STREAM_WRITABLE, 0);
        stream_pair_settle(t.pair, 0);
        assert_span_equal(buf_span(&t.received), much, sizeof(much));
        assert_true(t.end_seen);
        assert_int_equal(inside(&t)->handed->in.cap, 0);
        assert_int_equal(inside(&t)->out.cap, 0);
        talk_close(&t, true);
    }
    tls_thread_end();
}

/* The owner may take a byte at a time, or none for a while. */
static void small_reads_lose_nothing(void **state)
{
    (void)state;
    static uint8_t much[40000];
    struct talk t;

    for (size_t i = 0; i < sizeof(much); i++)
        much[i] = (uint8_t)(i * 7 >> 2);
    for (size_t room = 1; room < 40000; room = room * 5 + 3) {
        size_t got = 0;
        ssize_t n = -EAGAIN;

        talk_open(&t, NULL, &relay, &leaf, NULL, &(struct stream_pair_options) { .room = 30000 });
        stream_pair_settle(t.pair, 0);
        stream_set_owner(t.tls, NULL, NULL);
        test_peer_write(&t.peer, SPAN_OF(much));
        while (got < sizeof(much)) {
            uint8_t bytes[40000];

            n = stream_read(t.tls, bytes, room);
            if (n == -EAGAIN) {
                assert_true(stream_pair_turn(t.pair, 0));
                continue;
            }
            assert_true(n > 0 && (size_t)n <= room);
            assert_memory_equal(bytes, much + got, (size_t)n);
            got += (size_t)n;
        }
        assert_int_equal(stream_read(t.tls, &n, 1), -EAGAIN);
        assert_int_equal(inside(&t)->handed->in.cap, 0);
        talk_close(&t, true);
    }
}

static void keys_are_renewed_when_asked(void **state)
{
    (void)state;
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(SSL_key_update(t.peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        test_peer_write(&t.peer, span_from_str("theirs "));
        stream_pair_settle(t.pair, 0);
        assert_int_equal(stream_write(t.tls, span_from_str("ours ")), 5);
        stream_pair_settle(t.pair, 0);
    }
    assert_span_text(buf_span(&t.peer.received), "ours ours ours ");
    assert_span_text(buf_span(&t.received), "theirs ours theirs ours theirs ours ");
    talk_close(&t, true);
}

static void what_breaks_it_afterwards_is_named(void **state)
{
    (void)state;
    char said[STREAM_FAILURE_BYTES];
    uint8_t record[5 + 40] = { 0x17, 3, 3, 0, 40 };
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_write(t.peer.stream, SPAN_OF(record)), sizeof(record));
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.error, -EBADMSG);
    assert_string_equal(stream_failure(t.tls, said), "a TLS record was damaged on the way");
    assert_int_equal(stream_write(t.tls, span_from_str("x")), -EBADMSG);
    talk_close(&t, true);

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_pair_settle(t.pair, 0);
    assert_int_equal(stream_write(t.tls, span_from_str("data")), 4);
    record[0] = 0x16; /* makes the peer send an alert */
    assert_int_equal(stream_write(inside(&t)->below, SPAN_OF(record)), sizeof(record));
    stream_pair_settle(t.pair, 0);
    assert_int_equal(t.error, -ECONNRESET);
    assert_string_equal(stream_failure(t.tls, said), "the other side ended it: unexpected_message");
    talk_close(&t, true);
}

/* TLS 1.2 stays where it is. */
static void an_old_version_is_not_handed_over(void **state)
{
    (void)state;
    static uint8_t much[50000];
    struct talk t;

    memset(much, 'm', sizeof(much));
    talk_open(&t, NULL, &relay, &leaf, NULL, &(struct stream_pair_options) { .chunk = 700 });
    SSL_set_max_proto_version(t.peer.ssl, TLS1_2_VERSION);
    t.to_send = SPAN_OF(much);
    t.shutdown_after = true;
    stream_pair_settle(t.pair, 0);
    assert_null(inside(&t)->handed);
    assert_null(inside(&t)->capture);
    assert_string_equal(tls_stream_version(t.tls), "TLSv1.2");
    assert_span_equal(buf_span(&t.received), much, sizeof(much));
    assert_true(t.end_seen);
    talk_close(&t, true);
}

/* A suite with a short tag, which OpenSSL calls too weak by itself: only for a server that needs it. */
static void weak_ciphers_are_only_offered_where_allowed(void **state)
{
    (void)state;
    struct tls_client_config config = relay;

    for (int allowed = 0; allowed < 2; allowed++) {
        struct talk t;

        config.weak_ciphers = allowed;
        talk_open(&t, NULL, &config, &leaf, NULL, NULL);
        SSL_set_max_proto_version(t.peer.ssl, TLS1_2_VERSION);
        SSL_set_security_level(t.peer.ssl, 0);
        assert_int_equal(SSL_set_cipher_list(t.peer.ssl, "ECDHE-ECDSA-AES128-CCM8"), 1);
        stream_pair_settle(t.pair, 0);
        assert_int_equal((t.seen & STREAM_CONNECTED) != 0, allowed);
        talk_close(&t, true);
    }
}

static void the_chain_may_name_a_key(void **state)
{
    (void)state;
    uint8_t want[32];
    struct talk t;

    from_hex("736845d54e87de09d6bb114aa7042c50a4a015bd9901d1a0026f5956533a1519", want, sizeof(want));
    for (int i = 0; i < 3; i++) { /* with it; without; in TLS 1.2, where it is sent in clear */
        talk_open(&t, NULL, &relay, &leaf, i == 1 ? NULL : &meta, NULL);
        if (i == 2)
            SSL_set_max_proto_version(t.peer.ssl, TLS1_2_VERSION);
        stream_pair_settle(t.pair, 0);
        assert_true(t.seen & STREAM_CONNECTED);
        assert_int_equal(t.key_found, i == 0);
        if (t.key_found)
            assert_memory_equal(t.key, want, sizeof(want));
        talk_close(&t, true);
    }
}

static void close_in_an_event(struct stream *s, unsigned events, time_ns now)
{
    (void)events;
    (void)now;
    stream_close(s);
}

static void it_may_be_closed_in_its_event(void **state)
{
    (void)state;
    struct talk t;

    talk_open(&t, NULL, &relay, &leaf, NULL, NULL);
    stream_set_owner(t.tls, NULL, close_in_an_event);
    stream_pair_settle(t.pair, 0);
    t.tls = NULL;
    talk_close(&t, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_and_ends_too),
        cmocka_unit_test(every_split_position),
        cmocka_unit_test(every_chunk_size),
        cmocka_unit_test(faults_of_certificates_are_named),
        cmocka_unit_test(names_that_fit_are_accepted),
        cmocka_unit_test(a_pin_is_exact),
        cmocka_unit_test(names_that_cannot_be),
        cmocka_unit_test(the_second_connection_resumes),
        cmocka_unit_test(truncation_is_an_error),
        cmocka_unit_test(what_is_not_tls_is_said_so),
        cmocka_unit_test(no_write_is_owed),
        cmocka_unit_test(parts_share_a_record),
        cmocka_unit_test(it_may_be_closed_in_its_event),
        cmocka_unit_test(the_chain_may_name_a_key),
        cmocka_unit_test(a_connection_is_handed_over),
        cmocka_unit_test(small_reads_lose_nothing),
        cmocka_unit_test(keys_are_renewed_when_asked),
        cmocka_unit_test(what_breaks_it_afterwards_is_named),
        cmocka_unit_test(an_old_version_is_not_handed_over),
        cmocka_unit_test(weak_ciphers_are_only_offered_where_allowed),
    };

    return cmocka_run_group_tests(tests, make_certs, free_certs);
}
