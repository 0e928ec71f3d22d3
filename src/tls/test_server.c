#include "check.h"

#include <errno.h>

#include "tls/test_peer.h"
#include "tls/tls.h"

#define DAY 86400L

static struct test_cert ca, one, two;
static struct tls_identity *identity_one, *identity_two;

static struct tls_identity *identity_of(const struct test_cert *c)
{
    char chain[8192], key[8192], why[TLS_WHY_BYTES];
    size_t chain_len = test_cert_pem(c, &ca, false, chain, sizeof(chain));
    size_t key_len = test_cert_pem(c, NULL, true, key, sizeof(key));
    struct tls_identity *i;

    assert_int_equal(tls_identity_new(&i, span_make(chain, chain_len), span_make(key, key_len), why), 0);
    return i;
}

static int make(void **state)
{
    (void)state;
    test_cert_make(&ca, "Test Root", NULL, NULL, -DAY, DAY);
    test_cert_make(&one, "one.example", "DNS:one.example,IP:192.0.2.1", &ca, -DAY, DAY);
    test_cert_make(&two, "two.example", "DNS:*.two.example", &ca, -DAY, DAY);
    identity_one = identity_of(&one);
    identity_two = identity_of(&two);
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    tls_identity_unref(identity_one);
    tls_identity_unref(identity_two);
    test_cert_free(&ca);
    test_cert_free(&one);
    test_cert_free(&two);
    return 0;
}

/* A listener that knows two names, and an echo over its streams. */
struct site {
    bool later;
    char asked[TLS_NAME_BYTES_MAX + 1];
    int questions;
};

static struct tls_identity *choose(void *ctx, const char *name, bool *later)
{
    struct site *site = ctx;

    site->questions++;
    snprintf(site->asked, sizeof(site->asked), "%s", name);
    *later = site->later;
    if (site->later)
        return NULL;
    if (!*name || strcmp(name, "one.example") == 0)
        return identity_one;
    return tls_identity_covers(identity_two, name) ? identity_two : NULL;
}

struct echo {
    struct tls_server *server;
    struct stream_pair *pair;
    struct stream *tls;
    struct test_peer peer; /* end 1, the client */
    struct site site;
    unsigned seen;
    struct buf back; /* to send back */
    bool ended;
};

static void echo_go_on(struct echo *e)
{
    uint8_t bytes[500];
    ssize_t n;

    while ((n = stream_read(e->tls, bytes, sizeof(bytes))) > 0)
        assert_int_equal(buf_append(&e->back, span_make(bytes, (size_t)n)), 0);
    e->ended |= n == 0;
    while (e->back.len && (n = stream_write(e->tls, buf_span(&e->back))) > 0)
        buf_consume(&e->back, (size_t)n);
    if (e->ended && !e->back.len)
        stream_shutdown(e->tls);
}

static void on_tls(struct stream *s, unsigned events, time_ns now)
{
    struct echo *e = s->owner;

    (void)now;
    e->seen |= events;
    if (!(events & STREAM_FAILED))
        echo_go_on(e);
}

static const char *const http[] = { "http/1.1", NULL };

static void echo_open(struct echo *e, const char *sni, const char *alpn,
                      const struct stream_pair_options *options)
{
    struct tls_server_config config = { .choose = choose, .ctx = &e->site, .alpn = http };

    *e = (struct echo) { 0 };
    buf_init(&e->back, 1 << 20);
    assert_int_equal(tls_server_new(&e->server), 0);
    assert_int_equal(stream_pair_new(&e->pair, options), 0);
    assert_int_equal(tls_server_stream(&e->tls, e->server, stream_pair_end(e->pair, 0), &config), 0);
    stream_set_owner(e->tls, e, on_tls);
    test_peer_client(&e->peer, stream_pair_end(e->pair, 1), sni, alpn);
}

static void echo_close(struct echo *e)
{
    stream_close(e->tls);
    test_peer_close(&e->peer);
    stream_pair_free(e->pair);
    buf_deinit(&e->back);
    tls_server_unref(e->server);
}

/* The common name of what the client was shown. */
static void assert_shown(const struct echo *e, const char *name)
{
    X509 *cert = SSL_get1_peer_certificate(e->peer.ssl);
    char got[100];

    assert_non_null(cert);
    assert_true(X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, got, sizeof(got)) > 0);
    assert_string_equal(got, name);
    X509_free(cert);
    assert_int_equal(sk_X509_num(SSL_get_peer_cert_chain(e->peer.ssl)), 2);
}

static void the_name_chooses_the_certificate(void **state)
{
    (void)state;
    static const struct {
        const char *sni, *shown;
    } rows[] = {
        { "one.example", "one.example" },
        { "ONE.example", "one.example" },
        { NULL, "one.example" },
        { "any.two.example", "two.example" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct echo e;

        echo_open(&e, rows[i].sni, NULL, NULL);
        stream_pair_settle(e.pair, 0);
        assert_true(e.seen & STREAM_CONNECTED);
        assert_shown(&e, rows[i].shown);
        assert_int_equal(e.site.questions, 1);
        test_peer_write(&e.peer, span_from_str("hello"));
        test_peer_end(&e.peer);
        stream_pair_settle(e.pair, 0);
        assert_span_text(buf_span(&e.peer.received), "hello");
        assert_true(e.ended);
        assert_true(SSL_get_shutdown(e.peer.ssl) & SSL_RECEIVED_SHUTDOWN);
        echo_close(&e);
    }
}

static void an_unknown_name_is_refused(void **state)
{
    (void)state;
    struct echo e;

    echo_open(&e, "three.example", NULL, NULL);
    stream_pair_settle(e.pair, 0);
    assert_int_equal(e.seen, STREAM_FAILED);
    assert_true(e.peer.failed);
    echo_close(&e);
}

static void the_answer_may_come_later(void **state)
{
    (void)state;
    struct echo e;

    echo_open(&e, "one.example", NULL, NULL);
    e.site.later = true;
    stream_pair_settle(e.pair, 0);
    assert_int_equal(e.seen, 0);
    assert_string_equal(e.site.asked, "one.example");
    e.site.later = false;
    tls_server_resume(e.tls, 0);
    stream_pair_settle(e.pair, 0);
    assert_true(e.seen & STREAM_CONNECTED);
    assert_shown(&e, "one.example");
    assert_string_equal(tls_stream_server_name(e.tls), "one.example");
    echo_close(&e);
}

static void the_protocol_is_agreed(void **state)
{
    (void)state;
    struct echo e;

    echo_open(&e, "one.example", "\x02h2\x08http/1.1", NULL);
    stream_pair_settle(e.pair, 0);
    assert_span_text(tls_stream_alpn(e.tls), "http/1.1");
    echo_close(&e);

    echo_open(&e, "one.example", "\x02h2", NULL);
    stream_pair_settle(e.pair, 0);
    assert_true(e.seen & STREAM_CONNECTED);
    assert_int_equal(tls_stream_alpn(e.tls).len, 0);
    echo_close(&e);
}

/* A stream whose other side has answered before a write returns: a client on another processor. */
struct eager {
    struct stream base;
    struct test_peer peer;
};

static ssize_t eager_read(struct stream *s, void *out, size_t len)
{
    int n = BIO_read(CONTAINER_OF(s, struct eager, base)->peer.out, out, (int)len);

    return n > 0 ? n : -EAGAIN;
}

static ssize_t eager_write(struct stream *s, struct span bytes)
{
    struct eager *e = CONTAINER_OF(s, struct eager, base);

    assert_int_equal(BIO_write(e->peer.in, bytes.data, (int)bytes.len), bytes.len);
    if (!e->peer.connected && SSL_do_handshake(e->peer.ssl) == 1) {
        e->peer.connected = true;
        assert_int_equal(SSL_write(e->peer.ssl, "hello", 5), 5);
    }
    return (ssize_t)bytes.len;
}

static void eager_close(struct stream *s, bool abort)
{
    (void)s;
    (void)abort;
}

static void note_events(struct stream *s, unsigned events, time_ns now)
{
    (void)now;
    *(unsigned *)s->owner |= events;
}

static void a_handshake_never_ends_before_its_owner_can_know(void **state)
{
    static const struct stream_ops ops = { .read = eager_read, .write = eager_write, .close = eager_close };
    struct tls_server_config config = { .identity = identity_one, .alpn = http };
    struct eager e = { .base.ops = &ops };
    struct tls_server *server;
    struct stream *tls;
    unsigned seen = 0;
    char text[10];

    (void)state;
    test_peer_client(&e.peer, &e.base, "one.example", "\x08http/1.1");
    assert_int_equal(SSL_do_handshake(e.peer.ssl), -1); /* its hello is there to be read */
    assert_int_equal(tls_server_new(&server), 0);
    assert_int_equal(tls_server_stream(&tls, server, &e.base, &config), 0);
    stream_set_owner(tls, &seen, note_events);
    assert_int_equal(stream_read(tls, text, sizeof(text)), -EAGAIN);
    e.base.on_event(&e.base, STREAM_READABLE, 0);
    assert_true(seen & STREAM_CONNECTED);
    assert_true(span_equal_str(tls_stream_alpn(tls), "http/1.1"));
    assert_int_equal(stream_read(tls, text, sizeof(text)), 5);
    stream_close(tls);
    test_peer_close(&e.peer);
    tls_server_unref(server);
}

static void versions_below_1_2_are_refused(void **state)
{
    (void)state;
    static const int versions[] = { TLS1_1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION };

    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        struct echo e;

        echo_open(&e, "one.example", NULL, NULL);
        SSL_set_security_level(e.peer.ssl, 0);
        SSL_set_min_proto_version(e.peer.ssl, versions[i]);
        SSL_set_max_proto_version(e.peer.ssl, versions[i]);
        stream_pair_settle(e.pair, 0);
        assert_int_equal(!!(e.seen & STREAM_CONNECTED), versions[i] >= TLS1_2_VERSION);
        if (e.seen & STREAM_FAILED)
            assert_int_equal(tls_stream_fault(e.tls), TLS_FAULT_VERSION);
        if (e.seen & STREAM_CONNECTED) {
            test_peer_write(&e.peer, span_from_str("hello"));
            stream_pair_settle(e.pair, 0);
            assert_span_text(buf_span(&e.peer.received), "hello");
        }
        echo_close(&e);
    }
}

static void talk_nothing_common(struct echo *e)
{
    SSL_set_max_proto_version(e->peer.ssl, TLS1_2_VERSION);
    assert_int_equal(SSL_set_cipher_list(e->peer.ssl, "AES128-SHA"), 1); /* the certificate is ECDSA's */
}

static int trust_nobody(int ok, X509_STORE_CTX *x)
{
    (void)ok;
    X509_STORE_CTX_set_error(x, X509_V_ERR_CERT_UNTRUSTED);
    return 0;
}

static void talk_distrust(struct echo *e)
{
    SSL_set_verify(e->peer.ssl, SSL_VERIFY_PEER, trust_nobody);
}

/* Whoever runs the service learns why a client did not come in. */
static void a_failed_handshake_has_a_reason(void **state)
{
    (void)state;
    static const struct {
        void (*talk)(struct echo *e);
        const char *says; /* instead of a handshake */
        enum tls_fault fault;
    } rows[] = {
        { talk_nothing_common, NULL, TLS_FAULT_NOTHING_COMMON },
        { talk_distrust, NULL, TLS_FAULT_REFUSED },
        { NULL, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", TLS_FAULT_NO_TLS },
        { NULL, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", TLS_FAULT_NO_TLS },
        { NULL, "\x16\x03\x01", TLS_FAULT_LEFT },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct echo e;
        struct stream *client;

        echo_open(&e, "one.example", NULL, NULL);
        client = stream_pair_end(e.pair, 1);
        if (rows[i].talk) {
            rows[i].talk(&e);
        } else {
            stream_set_owner(client, NULL, NULL); /* the peer does not get a word in */
            assert_true(stream_write(client, span_from_str(rows[i].says)) > 0);
            stream_shutdown(client);
        }
        stream_pair_settle(e.pair, 0);
        assert_true(e.seen & STREAM_FAILED);
        assert_int_equal(tls_stream_fault(e.tls), rows[i].fault);
        echo_close(&e);
    }
}

static void every_split_position(void **state)
{
    (void)state;
    size_t length = 1;

    for (size_t at = 1; at <= length; at++) {
        struct echo e;

        echo_open(&e, "one.example", NULL, &(struct stream_pair_options) { .split_at = at });
        stream_pair_settle(e.pair, 0);
        test_peer_write(&e.peer, span_from_str("hello"));
        test_peer_end(&e.peer);
        stream_pair_settle(e.pair, 0);
        assert_span_text(buf_span(&e.peer.received), "hello");
        assert_true(e.ended);
        length = MAX(length, MAX(stream_pair_written(e.pair, 0), stream_pair_written(e.pair, 1)));
        echo_close(&e);
    }
}

/* Over two connections the second goes on without OpenSSL, once the first bytes came. */
static void every_byte_on_the_wire_and_every_record_is_counted(void **state)
{
    (void)state;
    static char text[3 * 16384];
    struct account_traffic *t = account_cell_of(account_charge_of(0, ACCOUNT_TLS))->traffic;
    struct account_traffic before[ACCOUNT_DIRECTION_COUNT];
    struct echo e;

    memset(text, 'a', sizeof(text));
    memcpy(before, t, sizeof(before));
    echo_open(&e, "one.example", NULL, NULL);
    stream_pair_settle(e.pair, 0);
    test_peer_write(&e.peer, SPAN_OF(text));
    stream_pair_settle(e.pair, 0);
    test_peer_write(&e.peer, SPAN_OF(text));
    test_peer_end(&e.peer);
    stream_pair_settle(e.pair, 0);
    assert_int_equal(e.peer.received.len, 2 * sizeof(text));
    assert_int_equal(t[ACCOUNT_OUT].bytes - before[ACCOUNT_OUT].bytes, stream_pair_written(e.pair, 0));
    assert_int_equal(t[ACCOUNT_IN].bytes - before[ACCOUNT_IN].bytes, stream_pair_written(e.pair, 1));
    /* Six full records of the client, a hello, a change of cipher, a Finished, and its close_notify. */
    assert_int_equal(t[ACCOUNT_IN].packets - before[ACCOUNT_IN].packets, 10);
    assert_true(t[ACCOUNT_OUT].packets - before[ACCOUNT_OUT].packets > 6);
    echo_close(&e);
}

static void rubbish_is_a_fault_also_if_it_was_there_before(void **state)
{
    (void)state;
    struct tls_server_config config = { .identity = identity_one };
    struct tls_server *server;
    struct stream_pair *pair;
    struct stream *tls, *below;
    unsigned seen = 0;

    assert_int_equal(tls_server_new(&server), 0);
    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    assert_int_equal(stream_write(stream_pair_end(pair, 1), span_from_str("GET / HTTP/1.1\r\n\r\n")), 18);
    stream_pair_settle(pair, 0);
    below = stream_pair_end(pair, 0);
    assert_int_equal(tls_server_stream(&tls, server, below, &config), 0);
    stream_set_owner(tls, &seen, note_events);
    below->on_event(below, STREAM_CONNECTED | STREAM_WRITABLE, 0); /* what an accepted stream begins with */
    assert_int_equal(seen, STREAM_FAILED);
    assert_int_equal(tls_stream_fault(tls), TLS_FAULT_NO_TLS);
    stream_close(tls);
    stream_close(stream_pair_end(pair, 1));
    stream_pair_free(pair);
    tls_server_unref(server);
}

static void identities_tell_what_they_are(void **state)
{
    (void)state;
    char chain[8192], key[8192], why[TLS_WHY_BYTES], name[TLS_NAME_BYTES_MAX + 1];
    struct span chain_pem = span_make(chain, test_cert_pem(&one, NULL, false, chain, sizeof(chain)));
    struct span other_key = span_make(key, test_cert_pem(&two, NULL, true, key, sizeof(key)));
    struct tls_identity *i = NULL;
    int64_t valid = tls_identity_not_after(identity_one) - tls_identity_not_before(identity_one);

    assert_int_equal(valid / SEC, 2 * DAY);
    assert_true(tls_identity_covers(identity_one, "one.example"));
    assert_true(tls_identity_covers(identity_one, "192.0.2.1"));
    assert_false(tls_identity_covers(identity_one, "192.0.2.2"));
    assert_false(tls_identity_covers(identity_one, "a.one.example"));
    assert_true(tls_identity_covers(identity_two, "a.two.example"));
    assert_string_equal(tls_identity_name(identity_two, name), "*.two.example");

    assert_int_equal(tls_identity_new(&i, chain_pem, other_key, why), TLS_E_MISMATCH);
    assert_string_equal(why, "the key does not belong to the certificate");
    assert_int_equal(tls_identity_new(&i, chain_pem, span_from_str("no key"), why), TLS_E_KEY);
    assert_int_equal(tls_identity_new(&i, SPAN_NONE, other_key, why), TLS_E_FILE);
    assert_int_equal(tls_identity_new(&i, span_slice(chain_pem, 0, 200), other_key, why), TLS_E_FILE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_name_chooses_the_certificate),
        cmocka_unit_test(an_unknown_name_is_refused),
        cmocka_unit_test(the_answer_may_come_later),
        cmocka_unit_test(the_protocol_is_agreed),
        cmocka_unit_test(versions_below_1_2_are_refused),
        cmocka_unit_test(a_failed_handshake_has_a_reason),
        cmocka_unit_test(every_split_position),
        cmocka_unit_test(a_handshake_never_ends_before_its_owner_can_know),
        cmocka_unit_test(every_byte_on_the_wire_and_every_record_is_counted),
        cmocka_unit_test(rubbish_is_a_fault_also_if_it_was_there_before),
        cmocka_unit_test(identities_tell_what_they_are),
    };

    return cmocka_run_group_tests(tests, make, unmake);
}
