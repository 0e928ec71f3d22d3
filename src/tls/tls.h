/* tls/tls.h - TLS over any stream, both sides, with OpenSSL behind this door
 *
 * A TLS stream takes the stream below over: it writes records straight into it, and closes it. It sends
 * STREAM_CONNECTED when the handshake is done, STREAM_FAILED when it failed; stream_failure then names the
 * certificate's fault in words. TLS 1.2 and 1.3 only, no renegotiation, no compression. A clean end is the
 * other side's close_notify; a connection that stops without it reads as -ECONNRESET. stream_shutdown sends
 * close_notify and half-closes below. How long a handshake may take is the owner's business.
 *
 * OpenSSL makes the handshake. A TLS 1.3 connection is then taken from it (tls/handed.c says how and why) and
 * costs 800 bytes instead of 15 KB; a TLS 1.2 connection stays with OpenSSL.
 *
 * Thread: contexts and identities may be shared by all threads, a stream belongs to its loop's.
 * Memory: a stream at rest has no record buffers; what the stream below
 * does not take is kept, at most TLS_OUT_BYTES_MAX, and released when it went.
 */
#ifndef MANYTAILS_TLS_TLS_H
#define MANYTAILS_TLS_TLS_H

#include "stream/stream.h"

#define TLS_OUT_BYTES_MAX (128u << 10) /* a handshake flight and a record need less */
#define TLS_NAME_BYTES_MAX 254
#define TLS_WHY_BYTES 200

/* The last call of a thread that had TLS streams: frees what it shares among them (3 KB). */
void tls_thread_end(void);

/* ---- client ------------------------------------------------------------------------
 * A context holds the roots and remembers a session per server, so that reconnecting skips the
 * certificates (RFC 8446 2.2). Reference counted: every stream keeps its own.
 */
struct tls_client;

#define TLS_SESSIONS_MAX 32 /* servers remembered */

enum tls_outcome {
    TLS_E_FILE = 1, /* certificates that cannot be read; `why` has the sentence */
    TLS_E_KEY,      /* no usable private key */
    TLS_E_MISMATCH, /* the key does not belong to the certificate */
    TLS_E_ORDER,    /* it belongs to a later one of the chain */
};

/* ca_file: PEM with the only roots to trust; NULL: SSL_CERT_FILE and SSL_CERT_DIR, or the system's.
 * 0, TLS_E_FILE, -ENOMEM. */
NODISCARD int tls_client_new(struct tls_client **out, const char *ca_file, char why[TLS_WHY_BYTES]);
struct tls_client *tls_client_ref(struct tls_client *c);
void tls_client_unref(struct tls_client *c); /* NULL is fine */

struct tls_client_config {   /* read inside the call */
    const char *server_name; /* host name for SNI and verification, or an IP address (no SNI then) */
    const char *verify_name; /* NULL: server_name. Else the certificate has to be for this name, or, as
                              * "sha256-raw:" and 64 hex digits, has to be exactly that one certificate
                              * (certificates named derpkey... do not count) */
    const char *alpn;        /* one protocol; NULL: none is offered */
    bool insecure;           /* for tests: any certificate will do */
    bool weak_ciphers;       /* every suite of TLS 1.2 that has a certificate, short keys and old hashes */
};

/* 0; -EINVAL: a name that cannot be one; -ENOMEM; -errno: the handshake failed at once. `below` is only
 * taken over when this returns 0. */
NODISCARD int tls_client_stream(struct stream **out, struct tls_client *c, struct stream *below,
                                const struct tls_client_config *config);
/* Does verify_name have one of the forms above? For those who check a configuration. */
bool tls_verify_name_valid(const char *verify_name);

/* ---- identities: a certificate chain and its key ----------------------------------------- */

struct tls_identity; /* immutable, reference counted */

/* PEM both; the chain begins with the leaf. 0, TLS_E_*, -ENOMEM; `why` gets the sentence. */
NODISCARD int tls_identity_new(struct tls_identity **out, struct span chain_pem, struct span key_pem,
                               char why[TLS_WHY_BYTES]);
/* A fresh key with a certificate for `name` (host name or address, at most 64 bytes) that nobody vouches for;
 * `pin` is the verify_name by which a client knows it. -EINVAL, -ENOMEM. */
#define TLS_PIN_BYTES 80
NODISCARD int tls_identity_self_signed(struct tls_identity **out, const char *name, char pin[TLS_PIN_BYTES]);
struct tls_identity *tls_identity_ref(struct tls_identity *i);
void tls_identity_unref(struct tls_identity *i);               /* NULL is fine */
int64_t tls_identity_not_before(const struct tls_identity *i); /* wall clock, nanoseconds */
int64_t tls_identity_not_after(const struct tls_identity *i);
/* Is it for this host name or address (subjectAltName, wildcards of RFC 6125 6.4.3)? */
bool tls_identity_covers(const struct tls_identity *i, const char *name);
/* The name to show: first DNS name, else the common name. */
const char *tls_identity_name(const struct tls_identity *i, char out[TLS_NAME_BYTES_MAX + 1]);

/* ---- server ------------------------------------------------------------------------- */

/* Reference counted; one for the process is enough, and lets a client resume its session (by a ticket, no
 * state is kept here) at any shard, and at any service with the same certificate. The keys of tickets are
 * replaced as they are used: each seals for TLS_TICKET_KEY_LIFE and opens for as long again. */
struct tls_server;

#define TLS_TICKET_KEY_LIFE (12 * HOUR)

NODISCARD int tls_server_new(struct tls_server **out);
struct tls_server *tls_server_ref(struct tls_server *s);
void tls_server_unref(struct tls_server *s); /* NULL is fine */

struct tls_server_config {
    /* Picks the identity (borrowed: the stream takes its own reference) once the client has said whom it
     * wants; `name` is lower case, "" if it did not say. Returning NULL refuses with unrecognized_name, or,
     * if it set *later, suspends the handshake until tls_server_resume. */
    struct tls_identity *(*choose)(void *ctx, const char *name, bool *later);
    void *ctx;                     /* has to outlive the handshake; NULL choose: */
    struct tls_identity *identity; /* the only one, whatever the client asks for */
    const char *const *alpn; /* ours, best first, NULL at the end; NULL: none. Has to outlive the stream */
};

/* Errors and taking over as with tls_client_stream; the handshake begins with the first event of `below`. */
NODISCARD int tls_server_stream(struct stream **out, struct tls_server *server, struct stream *below,
                                const struct tls_server_config *config);
/* `choose` has an answer now. Events may come from inside this call. */
void tls_server_resume(struct stream *s, time_ns now);

/* Why a handshake with a client did not come to its end. Name; how; */
#define TLS_FAULTS(X)                                                                               \
    X(VERSION)        /* the client offers neither TLS 1.2 nor 1.3 */                               \
    X(NOTHING_COMMON) /* no cipher suite, group or signature that both sides know */                \
    X(NO_TLS)         /* its bytes are no TLS: plain HTTP, for one */                               \
    X(REFUSED)        /* it ended it with an alert: most often it does not trust the certificate */ \
    X(LEFT)           /* it went away */                                                            \
    X(OTHER)

enum tls_fault {
#define X(id) TLS_FAULT_##id,
    TLS_FAULTS(X)
#undef X
};
/* After STREAM_FAILED instead of STREAM_CONNECTED, before stream_close. */
enum tls_fault tls_stream_fault(const struct stream *s);

/* ---- what a connected stream knows ------------------------------------------------------ */

/* "" when none was agreed; the other side's choice of ours. Until the stream closes. */
struct span tls_stream_alpn(const struct stream *s);
const char *tls_stream_version(const struct stream *s);     /* "TLSv1.3" */
const char *tls_stream_server_name(const struct stream *s); /* server: what the client asked for; "" */
bool tls_stream_resumed(const struct stream *s);
/* Client, inside STREAM_CONNECTED, TLS 1.3: the 32 bytes of a certificate in the chain that is named PREFIX
 * and 64 hex digits. That is how a relay tells its key beforehand ("derpkey"). Of a verified connection only.
 */
bool tls_stream_key_in_chain(const struct stream *s, const char *prefix, uint8_t out[32]);

#endif
