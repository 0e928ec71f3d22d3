/* tls/internal.h - what the files of tls/ share */
#ifndef MANYTAILS_TLS_INTERNAL_H
#define MANYTAILS_TLS_INTERNAL_H

#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>

#include "tls/tls.h"

enum tls_stage {
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_BROKEN, /* `error` says why; OpenSSL is not called any more */
};

struct tls_stream {
    struct stream base;
    struct stream *below;
    SSL *ssl;
    struct buf out; /* records that the stream below did not take yet */
    char *name;     /* client: whom we verify, until connected; server: whom the client asked for */
    struct tls_client *client; /* one of the two */
    struct tls_server *server;
    struct tls_identity *(*choose)(void *ctx, const char *name, bool *later);
    void *choose_ctx;
    const char *const *alpn;
    unsigned long ssl_error; /* OpenSSL's, for the sentence */
    int error;
    uint32_t session_key; /* client: where a ticket goes (sessions.c) */
    uint8_t stage;
    bool connected;       /* STREAM_CONNECTED was reported */
    bool below_ended;     /* it read 0 */
    bool below_failed;    /* its words tell the reason */
    bool shutdown_wanted; /* stream_shutdown was called */
    bool shutdown_sent;   /* close_notify is in `out` or further */
    bool insecure;
    bool pinned;
    uint8_t pin[32];
};

struct tls_session_slot {
    char *key; /* server and how it is verified; NULL: unused */
    SSL_SESSION *session;
    uint64_t used; /* rising; the smallest makes room */
    uint32_t generation;
};

struct tls_client {
    atomic_uint refs;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    void *lock; /* CRYPTO_RWLOCK over what follows */
    uint64_t uses;
    struct tls_session_slot sessions[TLS_SESSIONS_MAX];
};

struct tls_identity {
    atomic_uint refs;
    X509 *leaf;
    EVP_PKEY *key;
    STACK_OF(X509) * chain; /* without the leaf */
};

struct tls_server {
    atomic_uint refs;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
};

/* A context with what both roles want. NULL: memory. */
SSL_CTX *tls_context_new(const SSL_METHOD *method);
BIO_METHOD *tls_bio_method_new(void);
static inline struct tls_stream *tls_stream_of(const SSL *ssl)
{
    return SSL_get_app_data(ssl);
}

/* Half-made: base.ops, ssl over `below`; not yet owner of below. -ENOMEM. */
NODISCARD int tls_stream_new(struct tls_stream **out, SSL_CTX *ctx, BIO_METHOD *bio, struct stream *below);
/* Takes below over and begins; on failure below is as it was and t is freed. */
NODISCARD int tls_stream_begin(struct stream **out, struct tls_stream *t);
void tls_stream_free(struct tls_stream *t); /* below stays */

/* verify.c: SSL_CTX_set_cert_verify_callback */
int tls_verify(X509_STORE_CTX *x, void *arg);
void tls_words(const struct tls_stream *t, char *out, size_t size);
/* `why` gets "what: OpenSSL's reason"; empties the queue. */
void tls_why(char why[TLS_WHY_BYTES], const char *what);

/* sessions.c */
void tls_sessions_find(struct tls_client *c, struct tls_stream *t, const char *key);
int tls_sessions_keep(SSL *ssl, SSL_SESSION *session); /* SSL_CTX_sess_set_new_cb */
void tls_sessions_free(struct tls_client *c);

#endif
