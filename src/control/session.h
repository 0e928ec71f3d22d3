/* control/session.h - one connection to a control server, from dialling to HTTP/2 (inside control/)
 *
 * TCP, TLS, the upgrade, Noise, the early payload, HTTP/2; then requests run until it is lost. What arrives
 * is first given to the requests (they only record it), then `fed` is called: the place to act.
 */
#ifndef MANYTAILS_CONTROL_SESSION_H
#define MANYTAILS_CONTROL_SESSION_H

#include "control/fetch.h"
#include "crypto/crypto.h"
#include "http/http.h"

#define SESSION_NOISE_TIMEOUT (5 * SEC) /* from the 101 to the Noise response */
#define SESSION_READ_BYTES (16u << 10)  /* given to requests before `fed` is called */
#define SESSION_TURN_READS 32           /* then the other connections of this thread get their turn */

enum session_loss {
    SESSION_UNREACHABLE, /* never came to Noise */
    SESSION_KEY,         /* Noise failed: the server's key may have changed */
    SESSION_BROKEN,      /* it worked and ended */
};

struct session;

struct session_ops {
    void (*ready)(void *ctx, time_ns now); /* requests can be made */
    void (*fed)(void *ctx, time_ns now);   /* something arrived for the requests */
    /* The last call. Requests have ended with H2_END_LOST. `reason`: a sentence without end mark. */
    void (*lost)(void *ctx, enum session_loss loss, const char *reason, time_ns now);
};

struct session_config { /* read inside the call */
    const struct control_url *url;
    struct tls_client *tls;
    const struct stream_proxies *proxies; /* NULL: none */
    struct public_key server_key;
    const struct secret_key *machine_key;
    uint16_t version;
    uint8_t *scratch; /* H2_SCRATCH_BYTES of this thread; outlives the session */
};

/* 0, -errno. session_free is fine inside any of the ops; requests then end, no other call comes. */
NODISCARD int session_start(struct session **out, struct ev_loop *loop, const struct session_config *config,
                            const struct session_ops *ops, void *ctx);
void session_memory(const struct session *s, struct account_memory *m); /* NULL is fine */
void session_free(struct session *s);                                   /* NULL is fine */

/* As in http/h2_client.h; H2_E_CLOSED before `ready`. */
NODISCARD int session_request(struct session *s, const struct h2_request *request,
                              const struct h2_request_ops *ops, void *ctx, uint32_t *id);
void session_cancel(struct session *s, uint32_t id);
void session_consumed(struct session *s, uint32_t id, size_t n);

#endif
