/* The client side: whom we trust and whom we expect */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "tls/internal.h"

#define PIN_PREFIX "sha256-raw:"

static int roots_load(SSL_CTX *ctx, const char *ca_file, char why[TLS_WHY_BYTES])
{
    char what[TLS_WHY_BYTES / 2];

    ERR_clear_error();
    if (ca_file ? SSL_CTX_load_verify_file(ctx, ca_file) : SSL_CTX_set_default_verify_paths(ctx))
        return 0;
    snprintf(what, sizeof(what), "the roots in %s cannot be read", ca_file ? ca_file : "the system's folder");
    tls_why(why, what);
    return TLS_E_FILE;
}

int tls_client_new(struct tls_client **out, const char *ca_file, char why[TLS_WHY_BYTES])
{
    struct tls_client *c = calloc(1, sizeof(*c));
    int r = -ENOMEM;

    why[0] = '\0';
    if (!c)
        return -ENOMEM;
    atomic_init(&c->refs, 1);
    c->ctx = tls_context_new(TLS_client_method());
    c->bio = tls_bio_method_new();
    c->lock = CRYPTO_THREAD_lock_new();
    if (c->ctx && c->bio && c->lock)
        r = roots_load(c->ctx, ca_file, why);
    if (r) {
        tls_client_unref(c);
        return r;
    }
    SSL_CTX_set_verify(c->ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_cert_verify_callback(c->ctx, tls_verify, NULL);
    SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(c->ctx, tls_sessions_keep);
    *out = c;
    return 0;
}

struct tls_client *tls_client_ref(struct tls_client *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_client_unref(struct tls_client *c)
{
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    tls_sessions_free(c);
    SSL_CTX_free(c->ctx);
    BIO_meth_free(c->bio);
    CRYPTO_THREAD_lock_free(c->lock);
    free(c);
}

static bool name_valid(const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (!len || len > TLS_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if (name[i] <= ' ' || name[i] == 0x7f || name[i] == '/' || name[i] == '*')
            return false;
    return true;
}

static bool pin_parse(const char *text, uint8_t pin[32])
{
    struct span s = span_from_str(text);

    return text_starts_with(s, PIN_PREFIX) && hex_decode(span_slice(s, strlen(PIN_PREFIX), s.len), pin, 32);
}

bool tls_verify_name_valid(const char *verify_name)
{
    uint8_t pin[32];

    return text_starts_with(span_from_str(verify_name), PIN_PREFIX) ? pin_parse(verify_name, pin)
                                                                    : name_valid(verify_name);
}

/* The name or address that the certificate must carry. */
static bool expect(SSL *ssl, const char *name)
{
    struct ip ip;

    if (ip_parse(span_from_str(name), &ip))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    X509_VERIFY_PARAM_set_hostflags(SSL_get0_param(ssl), X509_CHECK_FLAG_NEVER_CHECK_SUBJECT |
                                                             X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1;
}

static bool offer_alpn(SSL *ssl, const char *protocol)
{
    size_t len = protocol ? strlen(protocol) : 0;
    uint8_t list[256];

    if (!protocol)
        return true;
    if (!len || len > 255)
        return false;
    list[0] = (uint8_t)len;
    memcpy(list + 1, protocol, len);
    return SSL_set_alpn_protos(ssl, list, (unsigned)len + 1) == 0;
}

/* For servers that know nothing better. Still none without a certificate: those verify nobody. */
static bool allow_weak(SSL *ssl)
{
    SSL_set_security_level(ssl, 0);
    return SSL_set_cipher_list(ssl, "ALL:!aNULL:!eNULL") == 1;
}

/* -EINVAL: a name that cannot be one. */
static int configure(struct tls_stream *t, const struct tls_client_config *config)
{
    const char *verify =
        config->verify_name && config->verify_name[0] ? config->verify_name : config->server_name;
    char key[3 * TLS_NAME_BYTES_MAX];
    struct ip ip;

    if (!name_valid(config->server_name) || !tls_verify_name_valid(verify))
        return -EINVAL;
    t->insecure = config->insecure;
    t->pinned = pin_parse(verify, t->pin);
    if (!ip_parse(span_from_str(config->server_name), &ip) &&
        SSL_set_tlsext_host_name(t->ssl, config->server_name) != 1)
        return -EINVAL;
    if (!t->insecure && !t->pinned && !expect(t->ssl, verify))
        return -EINVAL;
    if (!offer_alpn(t->ssl, config->alpn) || (config->weak_ciphers && !allow_weak(t->ssl)))
        return -EINVAL;
    t->name = text_dup(span_from_str(t->pinned ? config->server_name : verify));
    if (!t->name)
        return -ENOMEM;
    snprintf(key, sizeof(key), "%s %s %d %s", config->server_name, verify, config->insecure,
             config->alpn ? config->alpn : "");
    tls_sessions_find(t->client, t, key);
    SSL_set_connect_state(t->ssl);
    return 0;
}

int tls_client_stream(struct stream **out, struct tls_client *c, struct stream *below,
                      const struct tls_client_config *config)
{
    struct tls_stream *t = NULL;
    int r = tls_stream_new(&t, c->ctx, c->bio, below);

    if (r)
        return r;
    t->client = tls_client_ref(c);
    r = configure(t, config);
    if (r) {
        tls_stream_free(t);
        ERR_clear_error();
        return r;
    }
    return tls_stream_begin(out, t);
}
