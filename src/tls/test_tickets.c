/* Resuming sessions at our server with an OpenSSL client: at another stream of the same context (another
 * shard), after the keys were replaced, and not where the certificate is another one. */
#include "test_peer.h"

#include "tls/internal.h"

static struct test_cert ca, leaf, other_leaf;
static struct tls_identity *site, *other_site;
static struct tls_server *server;

static struct tls_identity *identity_of(const struct test_cert *c)
{
    struct tls_identity *i;
    char text[8000], why[TLS_WHY_BYTES];
    size_t len = test_cert_pem(c, &ca, true, text, sizeof(text));

    assert_int_equal(tls_identity_new(&i, span_make(text, len), span_make(text, len), why), 0);
    return i;
}

static int setup(void **state)
{
    (void)state;
    test_cert_make(&ca, "test CA", NULL, NULL, -60, 3600);
    test_cert_make(&leaf, "one.example", "DNS:one.example", &ca, -60, 3600);
    test_cert_make(&other_leaf, "one.example", "DNS:one.example", &ca, -60, 3600);
    site = identity_of(&leaf);
    other_site = identity_of(&other_leaf);
    assert_int_equal(tls_server_new(&server), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    tls_server_unref(server);
    tls_identity_unref(site);
    tls_identity_unref(other_site);
    test_cert_free(&leaf);
    test_cert_free(&other_leaf);
    test_cert_free(&ca);
    return 0;
}

struct side {
    unsigned seen;
};

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    struct side *side = s->owner;
    uint8_t room[100];
    ssize_t n;

    (void)now;
    side->seen |= events;
    while (!(events & STREAM_FAILED) && (n = stream_read(s, room, sizeof(room))) > 0)
        assert_int_equal(stream_write(s, span_make(room, (size_t)n)), n);
}

/* One connection, with a session to come back with or NULL. Was it resumed? *next: what to come back with. */
static bool visit(struct tls_identity *identity, int version, SSL_SESSION *with, SSL_SESSION **next)
{
    struct tls_server_config config = { .identity = identity };
    struct side side = { 0 };
    struct stream_pair *pair;
    struct stream *tls;
    struct test_peer peer;
    bool resumed;

    assert_int_equal(stream_pair_new(&pair, NULL), 0);
    assert_int_equal(tls_server_stream(&tls, server, stream_pair_end(pair, 0), &config), 0);
    stream_set_owner(tls, &side, on_event);
    test_peer_client(&peer, stream_pair_end(pair, 1), "one.example", NULL);
    SSL_set_max_proto_version(peer.ssl, version);
    if (with)
        assert_int_equal(SSL_set_session(peer.ssl, with), 1);
    stream_pair_settle(pair, 0);
    assert_true(side.seen & STREAM_CONNECTED);
    test_peer_write(&peer, span_from_str("hello")); /* a resumed connection carries data as well */
    stream_pair_settle(pair, 0);
    assert_span_text(buf_span(&peer.received), "hello");
    resumed = SSL_session_reused(peer.ssl) == 1;
    assert_int_equal(tls_stream_resumed(tls), resumed);
    *next = SSL_get1_session(peer.ssl);
    SSL_set_shutdown(peer.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    stream_close(tls);
    test_peer_close(&peer);
    stream_pair_free(pair);
    return resumed;
}

static void age_keys(int64_t by)
{
    for (size_t i = 0; i < COUNT_OF(server->tickets.keys); i++)
        if (server->tickets.keys[i].made)
            server->tickets.keys[i].made -= by;
}

static const int versions[] = { TLS1_2_VERSION, TLS1_3_VERSION };

static void a_client_comes_back_without_certificates(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        SSL_SESSION *first, *second;

        assert_false(visit(site, versions[i], NULL, &first));
        assert_true(visit(site, versions[i], first, &second));
        SSL_SESSION_free(first);
        SSL_SESSION_free(second);
    }
}

static void a_ticket_is_not_good_for_another_certificate(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        SSL_SESSION *first, *second;

        assert_false(visit(site, versions[i], NULL, &first));
        assert_false(visit(other_site, versions[i], first, &second));
        SSL_SESSION_free(first);
        SSL_SESSION_free(second);
    }
}

static void keys_are_replaced_and_the_old_ones_open_for_a_while(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(versions); i++) {
        struct tls_ticket_key key;
        SSL_SESSION *first, *second, *third;

        age_keys(3 * TLS_TICKET_KEY_LIFE); /* a fresh one for each version */
        assert_false(visit(site, versions[i], NULL, &first));
        key = server->tickets.keys[0];
        age_keys(TLS_TICKET_KEY_LIFE + SEC);
        assert_true(visit(site, versions[i], first, &second)); /* sealed with the key of before */
        assert_memory_not_equal(key.name, server->tickets.keys[0].name, sizeof(key.name));
        assert_true(visit(site, versions[i], first, &third)); /* and now that another one seals */
        SSL_SESSION_free(third);
        age_keys(TLS_TICKET_KEY_LIFE - SEC);
        assert_false(visit(site, versions[i], first, &third));
        SSL_SESSION_free(third);
        assert_true(visit(site, versions[i], second, &third)); /* what it was given instead */
        SSL_SESSION_free(first);
        SSL_SESSION_free(second);
        SSL_SESSION_free(third);
    }
}

static void a_clock_that_is_set_back_costs_a_handshake_and_no_more(void **state)
{
    SSL_SESSION *first, *second, *third;

    (void)state;
    assert_false(visit(site, TLS1_3_VERSION, NULL, &first));
    age_keys(-HOUR);
    assert_false(visit(site, TLS1_3_VERSION, first, &second));
    assert_true(visit(site, TLS1_3_VERSION, second, &third));
    SSL_SESSION_free(first);
    SSL_SESSION_free(second);
    SSL_SESSION_free(third);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_client_comes_back_without_certificates, setup, teardown),
        cmocka_unit_test_setup_teardown(a_ticket_is_not_good_for_another_certificate, setup, teardown),
        cmocka_unit_test_setup_teardown(keys_are_replaced_and_the_old_ones_open_for_a_while, setup, teardown),
        cmocka_unit_test_setup_teardown(a_clock_that_is_set_back_costs_a_handshake_and_no_more, setup,
                                        teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
