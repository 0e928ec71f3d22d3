/* tls/internal.h - what the files of tls/ share */
#ifndef MANYTAILS_TLS_INTERNAL_H
#define MANYTAILS_TLS_INTERNAL_H

#include <assert.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>

#include "tls/records.h"
#include "tls/tls.h"

/* What OpenSSL holds for a connection at rest, which it does not tell: measured, in records.h as well. */
#define TLS_OPENSSL_BYTES (15u << 10)

enum tls_stage {
    TLS_HANDSHAKE,
    TLS_OPEN,
    TLS_BROKEN, /* `error` says why; OpenSSL is not called any more */
};

/* One direction while OpenSSL has the connection (handed.c). */
struct tls_watched {
    uint8_t secret[RECORD_SECRET_BYTES_MAX];
    size_t secret_len;
    uint64_t records; /* begun since the secret is in use */
    size_t body_left; /* of the record that goes by */
    uint8_t header[RECORD_HEADER_BYTES], header_len;
};

struct tls_capture {
    struct tls_watched in, out;
    bool spoiled; /* this connection stays with OpenSSL */
};

/* The connection afterwards. */
struct tls_handed {
    struct records records;
    struct buf in;                            /* what was read and not handed out; empty at rest */
    size_t plain_at, plain_len, plain_record; /* front of `in`: an opened record of which this is left */
    bool ended;                               /* close_notify came */
    char alpn[16];
};

struct tls_stream {
    struct stream base;
    struct stream *below;
    SSL *ssl;                    /* until handed over */
    struct tls_handed *handed;   /* afterwards */
    struct tls_capture *capture; /* NULL: it will not be handed over */
    struct buf out;              /* records that the stream below did not take yet */
    char *name; /* client: whom we verify, until connected; server: whom the client asked for */
    struct tls_client *client; /* one of the two */
    struct tls_server *server;
    struct tls_identity *(*choose)(void *ctx, const char *name, bool *later);
    void *choose_ctx;
    const char *const *alpn;
    unsigned long ssl_error; /* OpenSSL's, for the sentence */
    int error;
    uint32_t session_key; /* client: where a ticket goes (sessions.c) */
    uint8_t stage;
    bool beginning;    /* inside tls_stream_begin */
    bool spoke;        /* the stream below was given bytes */
    bool connected;    /* STREAM_CONNECTED was reported */
    bool below_ended;  /* it read 0 */
    bool below_failed; /* its words tell the reason */
    bool ticket_seen;  /* client: resuming is prepared */
    bool data_seen;
    bool resumed;         /* known once handed over */
    bool damaged;         /* a record could not be opened */
    uint8_t alert;        /* that the other side sent, once handed over */
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

struct tls_ticket_key {
    uint8_t name[16], cipher[32], mac[32];
    int64_t made; /* wall clock; 0: not there */
};

struct tls_tickets {
    pthread_mutex_t lock;
    struct tls_ticket_key keys[2]; /* the newest first */
};

struct tls_server {
    atomic_uint refs;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    struct tls_tickets tickets;
};

/* tickets.c */
bool tls_tickets_init(struct tls_tickets *t, SSL_CTX *ctx);
void tls_tickets_deinit(struct tls_tickets *t);
/* The key to seal with: a new one if the newest has served its time. */
void tls_tickets_seal_with(struct tls_tickets *t, int64_t now, struct tls_ticket_key *out);
/* The key of that name, if it may still open tickets; *old: the client should get a new ticket. */
bool tls_tickets_find(struct tls_tickets *t, const uint8_t name[16], int64_t now, struct tls_ticket_key *out,
                      bool *old);

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
void tls_stream_listen(struct stream **out, struct tls_stream *t);
void tls_stream_free(struct tls_stream *t); /* below stays */

/* To the stream below, or into `out`. False: broken, `error` is set. */
NODISCARD bool tls_put(struct tls_stream *t, struct span bytes);
void tls_ssl_free(struct tls_stream *t); /* the session stays good for resuming */

/* handed.c */
void tls_on_key_log(const SSL *ssl, const char *line);
void tls_on_message(int write, int version, int type, const void *data, size_t len, SSL *ssl, void *arg);
void tls_watch(struct tls_watched *way, struct span bytes);
void tls_capture_free(struct tls_stream *t);
/* Does it if it can be done now; gives up for good if it cannot be done at all. */
void tls_hand_over(struct tls_stream *t);
void tls_handed_free(struct tls_stream *t);
ssize_t tls_handed_read(struct tls_stream *t, void *out, size_t len);
ssize_t tls_handed_write(struct tls_stream *t, const struct span *parts, size_t count);
void tls_handed_goodbye(struct tls_stream *t);

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
