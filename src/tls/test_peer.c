#include "tls/test_peer.h"

#include <openssl/err.h>

#define PLAIN_BYTES_MAX (1u << 20)

/* ---- certificates ------------------------------------------------------------- */

static void add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509_EXTENSION *e;

    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    assert_int_equal(X509_add_ext(cert, e, -1), 1);
    X509_EXTENSION_free(e);
}

void test_cert_make(struct test_cert *out, const char *common_name, const char *alt,
                    const struct test_cert *issuer, long from, long to)
{
    char hex[65];
    unsigned len;
    X509_NAME *name;

    out->cert = X509_new();
    out->key = EVP_EC_gen("P-256");
    assert_non_null(out->cert);
    assert_non_null(out->key);
    X509_set_version(out->cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(out->cert), (long)(size_t)out & 0x7fffffff);
    X509_gmtime_adj(X509_getm_notBefore(out->cert), from);
    X509_gmtime_adj(X509_getm_notAfter(out->cert), to);
    X509_set_pubkey(out->cert, out->key);
    name = X509_get_subject_name(out->cert);
    /* Not MBSTRING: OpenSSL would refuse more than 64 characters, which the relay's extra certificate has. */
    assert_int_equal(X509_NAME_add_entry_by_NID(name, NID_commonName, V_ASN1_UTF8STRING,
                                                (const unsigned char *)common_name, -1, -1, 0),
                     1);
    X509_set_issuer_name(out->cert, issuer ? X509_get_subject_name(issuer->cert) : name);
    add_extension(out->cert, issuer ? issuer->cert : out->cert, NID_basic_constraints,
                  alt ? "critical,CA:FALSE" : "critical,CA:TRUE");
    if (alt)
        add_extension(out->cert, issuer ? issuer->cert : out->cert, NID_subject_alt_name, alt);
    assert_true(X509_sign(out->cert, issuer ? issuer->key : out->key, EVP_sha256()) > 0);
    assert_int_equal(X509_digest(out->cert, EVP_sha256(), out->sha256, &len), 1);
    hex_encode(hex, SPAN_OF(out->sha256));
    snprintf(out->sha256_pin, sizeof(out->sha256_pin), "sha256-raw:%s", hex);
}

void test_cert_free(struct test_cert *c)
{
    X509_free(c->cert);
    EVP_PKEY_free(c->key);
}

size_t test_cert_pem(const struct test_cert *c, const struct test_cert *issuer, bool with_key, char *text,
                     size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    int n;

    assert_int_equal(PEM_write_bio_X509(bio, c->cert), 1);
    if (issuer)
        assert_int_equal(PEM_write_bio_X509(bio, issuer->cert), 1);
    if (with_key)
        assert_int_equal(PEM_write_bio_PrivateKey(bio, c->key, NULL, NULL, 0, NULL, NULL), 1);
    n = BIO_read(bio, text, (int)size);
    BIO_free(bio);
    assert_true(n > 0 && (size_t)n < size);
    return (size_t)n;
}

/* ---- the peer ------------------------------------------------------------------- */

static void flush(struct test_peer *p)
{
    char chunk[4096];
    int n;

    while ((n = BIO_read(p->out, chunk, sizeof(chunk))) > 0)
        assert_int_equal(buf_append(&p->unsent, span_make(chunk, (size_t)n)), 0);
    while (p->unsent.len) {
        ssize_t w = stream_write(p->stream, buf_span(&p->unsent));

        if (w < 0)
            break;
        buf_consume(&p->unsent, (size_t)w);
    }
    if (p->ended && !p->unsent.len)
        stream_shutdown(p->stream);
}

static void take_in(struct test_peer *p)
{
    char chunk[4096];
    ssize_t n;

    while ((n = stream_read(p->stream, chunk, sizeof(chunk))) > 0)
        assert_int_equal(BIO_write(p->in, chunk, (int)n), n);
}

static void go_on(struct test_peer *p)
{
    char plain[4096];
    int n;

    take_in(p);
    ERR_clear_error();
    if (!p->connected && SSL_do_handshake(p->ssl) == 1)
        p->connected = true;
    while (p->connected && (n = SSL_read(p->ssl, plain, sizeof(plain))) > 0) {
        assert_int_equal(buf_append(&p->received, span_make(plain, (size_t)n)), 0);
        if (p->echo)
            test_peer_write(p, span_make(plain, (size_t)n));
    }
    if (p->connected && p->echo && !p->ended && (SSL_get_shutdown(p->ssl) & SSL_RECEIVED_SHUTDOWN))
        test_peer_end(p);
    p->failed |= ERR_peek_error() != 0;
    flush(p);
}

static void on_event(struct stream *s, unsigned events, time_ns now)
{
    (void)events;
    (void)now;
    go_on(s->owner);
}

static void peer_open(struct test_peer *p, struct stream *s, const SSL_METHOD *method)
{
    *p = (struct test_peer) { .stream = s };
    p->ctx = SSL_CTX_new(method);
    buf_init(&p->unsent, PLAIN_BYTES_MAX * 2);
    buf_init(&p->received, PLAIN_BYTES_MAX);
    stream_set_owner(s, p, on_event);
}

static void peer_begin(struct test_peer *p)
{
    p->ssl = SSL_new(p->ctx);
    p->in = BIO_new(BIO_s_mem());
    p->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(p->in, -1);
    SSL_set_bio(p->ssl, p->in, p->out);
}

void test_peer_server(struct test_peer *p, struct stream *s, const struct test_cert *cert,
                      const struct test_cert *extra)
{
    peer_open(p, s, TLS_server_method());
    p->echo = true;
    assert_int_equal(SSL_CTX_use_certificate(p->ctx, cert->cert), 1);
    assert_int_equal(SSL_CTX_use_PrivateKey(p->ctx, cert->key), 1);
    if (extra)
        assert_int_equal(SSL_CTX_add1_chain_cert(p->ctx, extra->cert), 1);
    peer_begin(p);
    SSL_set_accept_state(p->ssl);
}

void test_peer_client(struct test_peer *p, struct stream *s, const char *sni, const char *alpn)
{
    peer_open(p, s, TLS_client_method());
    peer_begin(p);
    if (sni)
        SSL_set_tlsext_host_name(p->ssl, sni);
    if (alpn)
        assert_int_equal(SSL_set_alpn_protos(p->ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
    SSL_set_connect_state(p->ssl);
}

void test_peer_write(struct test_peer *p, struct span bytes)
{
    assert_int_equal(SSL_write(p->ssl, bytes.data, (int)bytes.len), bytes.len);
    flush(p);
}

void test_peer_end(struct test_peer *p)
{
    SSL_shutdown(p->ssl);
    p->ended = true;
    flush(p);
}

void test_peer_close(struct test_peer *p)
{
    SSL_free(p->ssl);
    SSL_CTX_free(p->ctx);
    buf_deinit(&p->unsent);
    buf_deinit(&p->received);
    stream_close(p->stream);
}
