/* The server side: which certificate for which name, and the protocol on top */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "tls/internal.h"

/* The host name in a server_name extension (RFC 6066 3), lower case; false if it is malformed. */
static bool name_of_extension(struct span extension, char out[TLS_NAME_BYTES_MAX + 1])
{
    struct reader r = reader_of(extension);
    size_t list = reader_be16(&r);
    uint8_t type = reader_u8(&r);
    struct span name = reader_bytes(&r, reader_be16(&r));

    if (r.failed || list != extension.len - 2 || type != TLSEXT_NAMETYPE_host_name)
        return false;
    if (!name.len || !text_copy(out, TLS_NAME_BYTES_MAX + 1, name))
        return false;
    for (char *c = out; *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return true;
}

/* A ticket is good for the certificate under which it was given: the services of the process share the keys.
 */
static int bind_sessions(SSL *ssl, const struct tls_identity *i)
{
    uint8_t hash[32];
    unsigned len = sizeof(hash);

    return X509_digest(i->leaf, EVP_sha256(), hash, &len) == 1 &&
           SSL_set_session_id_context(ssl, hash, len) == 1;
}

static int use_identity(SSL *ssl, const struct tls_identity *i)
{
    return bind_sessions(ssl, i) && SSL_use_certificate(ssl, i->leaf) == 1 &&
           SSL_use_PrivateKey(ssl, i->key) == 1 && SSL_set1_chain(ssl, i->chain) == 1;
}

static int on_client_hello(SSL *ssl, int *alert, void *arg)
{
    struct tls_stream *t = tls_stream_of(ssl);
    char name[TLS_NAME_BYTES_MAX + 1] = "";
    const unsigned char *extension;
    struct tls_identity *identity;
    bool later = false;
    size_t len;

    (void)arg;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &extension, &len) &&
        !name_of_extension(span_make(extension, len), name)) {
        *alert = SSL_AD_DECODE_ERROR;
        return SSL_CLIENT_HELLO_ERROR;
    }
    if (!t->name && name[0])
        t->name = text_dup(span_from_str(name));
    if (!t->choose)
        return SSL_CLIENT_HELLO_SUCCESS; /* the only identity is set already */
    identity = t->choose(t->choose_ctx, name, &later);
    if (!identity && later)
        return SSL_CLIENT_HELLO_RETRY;
    if (identity && use_identity(ssl, identity))
        return SSL_CLIENT_HELLO_SUCCESS;
    *alert = identity ? SSL_AD_INTERNAL_ERROR : SSL_AD_UNRECOGNIZED_NAME;
    return SSL_CLIENT_HELLO_ERROR;
}

/* The first of ours that the client offers. None in common: go on without (RFC 7301 would end it,
 * but a client that also speaks HTTP/1.1 then gets it). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered,
                   unsigned offered_len, void *arg)
{
    const struct tls_stream *t = tls_stream_of(ssl);

    (void)arg;
    for (const char *const *ours = t->alpn; ours && *ours; ours++) {
        struct reader r = reader_of(span_make(offered, offered_len));

        while (r.rest.len && !r.failed) {
            struct span theirs = reader_bytes(&r, reader_u8(&r));

            if (!r.failed && span_equal_str(theirs, *ours)) {
                *out = theirs.data;
                *out_len = (unsigned char)theirs.len;
                return SSL_TLSEXT_ERR_OK;
            }
        }
    }
    return SSL_TLSEXT_ERR_NOACK;
}

int tls_server_new(struct tls_server **out)
{
    struct tls_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    atomic_init(&s->refs, 1);
    s->ctx = tls_context_new(TLS_server_method());
    s->bio = tls_bio_method_new();
    if (!s->ctx || !s->bio) {
        tls_server_unref(s);
        return -ENOMEM;
    }
    SSL_CTX_set_options(s->ctx, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(s->ctx, SSL_SESS_CACHE_OFF); /* tickets only: no state here */
    SSL_CTX_set_num_tickets(s->ctx, 1);
    if (!tls_tickets_init(&s->tickets, s->ctx)) {
        tls_server_unref(s);
        return -ENOMEM;
    }
    SSL_CTX_set_client_hello_cb(s->ctx, on_client_hello, NULL);
    SSL_CTX_set_alpn_select_cb(s->ctx, on_alpn, NULL);
    *out = s;
    return 0;
}

struct tls_server *tls_server_ref(struct tls_server *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void tls_server_unref(struct tls_server *s)
{
    if (!s || atomic_fetch_sub_explicit(&s->refs, 1, memory_order_acq_rel) != 1)
        return;
    SSL_CTX_free(s->ctx);
    BIO_meth_free(s->bio);
    tls_tickets_deinit(&s->tickets);
    free(s);
}

int tls_server_stream(struct stream **out, struct tls_server *server, struct stream *below,
                      const struct tls_server_config *config)
{
    struct tls_stream *t = NULL;
    int r = tls_stream_new(&t, server->ctx, server->bio, below);

    if (r)
        return r;
    t->server = tls_server_ref(server);
    t->choose = config->choose;
    t->choose_ctx = config->ctx;
    t->alpn = config->alpn;
    if (!config->choose && (!config->identity || !use_identity(t->ssl, config->identity))) {
        ERR_clear_error();
        tls_stream_free(t);
        return -EINVAL;
    }
    SSL_set_accept_state(t->ssl);
    tls_stream_listen(out, t);
    return 0;
}
