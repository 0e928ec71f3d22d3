/* control/control.h - the client of a control server: keys, registration, the map stream, updates
 *
 * One `control_client` per virtual node. It learns the server's key, dials it, upgrades to Noise, speaks
 * HTTP/2 inside, registers, keeps one map stream open and publishes what the node reports about itself.
 * It never gives up: every failure is said in words, waits its jittered time and is tried again; the netmap
 * that the node has stays in use meanwhile.
 *
 * What belongs to a thread (the decompressor, the queue for dialling) is in one `control_shard` per loop;
 * what belongs to the process (server keys, how many may dial at once, a server's "retry after") is in one
 * `control_gate`. Protocol: docs/protocol/control.md.
 *
 * Thread: a client and its shard belong to the loop's thread; a gate may be shared by all threads.
 * Memory: an idle, running client holds its structs, the HTTP/2 session and what TLS keeps: no buffers.
 */
#ifndef MANYTAILS_CONTROL_CONTROL_H
#define MANYTAILS_CONTROL_CONTROL_H

#include "base/base.h"
#include "control/noise_stream.h" /* the lab uses it from the other side */
#include "crypto/crypto.h"
#include "ev/ev.h"
#include "stream/stream.h"
#include "tailcfg/tailcfg.h"
#include "tls/tls.h"

#define CONTROL_CAPABILITY_VERSION 130  /* what we claim: satisfies headscale, obliges to nothing we lack */
#define CONTROL_SENTENCE_BYTES 512      /* of a status sentence, with the NUL */
#define CONTROL_AUTH_KEY_BYTES_MAX 1024 /* hosted keys with a tailnet-lock suffix have ~300 */
#define CONTROL_LOGOUT_NS (5 * SEC)     /* the server's chance to hear of a log-out */
#define CONTROL_HANDSHAKES_DEFAULT 64   /* nodes that dial and register, per server */
#define CONTROL_URL_BYTES 288           /* of a URL in its normal form, with the NUL */
#define CONTROL_OAUTH_HOSTED "https://api.tailscale.com"

/* One line per state: name in code, name in metrics and JSON, what may be assumed while in it. */
#define CONTROL_STATES(X)                                                                          \
    X(STOPPED, "stopped")                   /* not started, or control_client_stop */              \
    X(WAITING, "waiting")                   /* for its turn at the gate or for the next attempt */ \
    X(FETCHING_KEY, "fetching_key")         /* GET /key */                                         \
    X(CONNECTING, "connecting")             /* TCP, TLS, upgrade, Noise */                         \
    X(REGISTERING, "registering")           /* POST /machine/register is out */                    \
    X(MINTING, "minting")                   /* the OAuth service is asked for an auth key */       \
    X(NEEDS_LOGIN, "needs_login")           /* a person must open auth_url; we wait for it */      \
    X(FETCHING_MAP, "fetching_map")         /* registered; the first netmap is not here yet */     \
    X(WAITING_APPROVAL, "waiting_approval") /* an administrator must approve the node */           \
    X(RUNNING, "running")                   /* map stream open, netmap complete */                 \
    X(EXPIRED, "expired")                   /* the node key has expired; being renewed */          \
    X(LOGGED_OUT, "logged_out")             /* by us; nothing happens any more */                  \
    X(FAILED, "failed")                     /* last attempt failed; tried again at retry_at */

enum control_state {
#define X(id, text) CONTROL_##id,
    CONTROL_STATES(X)
#undef X
        CONTROL_STATE_COUNT
};

const char *control_state_name(enum control_state state); /* "needs_login"; static */

/* ---- what the process and each thread share ------------------------------------------------ */

struct control_gate;  /* any thread */
struct control_shard; /* one loop */

struct control_gate_config {
    unsigned handshakes_max;              /* 0: CONTROL_HANDSHAKES_DEFAULT */
    const struct stream_proxies *proxies; /* borrowed for the gate's life; NULL: none */
};

NODISCARD int control_gate_new(struct control_gate **out, const struct control_gate_config *config);
void control_gate_free(struct control_gate *g); /* every shard is gone; NULL is fine */

NODISCARD int control_shard_new(struct control_shard **out, struct control_gate *gate, struct ev_loop *loop);
void control_shard_free(struct control_shard *s); /* every client is gone; NULL is fine */

/* ---- one node --------------------------------------------------------------------------------- */

struct control_client;

/* Keys that must survive a restart. Whoever holds a copy wipes it. */
struct control_keys {
    struct secret_key node;     /* zero: none yet, one is made at registration */
    struct public_key old_node; /* the node key before this one; zero: none */
};

/* Everything is copied, of `tls` a reference is taken. Text may be NULL where it says so. */
struct control_config {
    const char *name;        /* of the node, for the log */
    const char *control_url; /* see control_url_check */
    const char *hostname;    /* asked for; the netmap says what it became */
    const char *auth_key;    /* NULL or "": interactive login. Or an OAuth client secret. Never logged */
    struct tls_client *tls;  /* the roots to trust; one for all nodes that trust the same. NULL: http only */
    bool ephemeral;
    const char *const *request_tags; /* "tag:x"; left out while an auth key is used that refuses them */
    size_t request_tag_count;
    struct secret_key machine_key; /* one per node: headscale merges nodes that share one */
    struct control_keys keys;
    uint32_t place;   /* in the configuration: when many want to connect at once they do it in this order */
    uint16_t version; /* capability version; 0: CONTROL_CAPABILITY_VERSION */
    /* The owner is asked before each attempt after one that failed: the auth key as it is now, if it is kept
     * where it may have changed. False: it is not. NULL: no keys are. */
    bool (*auth_key_now)(void *owner, char out[CONTROL_AUTH_KEY_BYTES_MAX + 1]);
};

/* What the node tells about itself. Filled by ops.report each time a request is built, so there is one
 * writer per fact and no copy here; whatever it points to lives until the callback's caller is done, which
 * is before the loop goes on. Hostname, tags, client version, OS and machine are filled in by the client. */
struct control_report {
    struct tailcfg_hostinfo hostinfo; /* services, routes, netinfo: all of them, always */
    struct public_key disco_key;
    const struct tailcfg_endpoint *endpoints;
    size_t endpoint_count;
};

/* All from the loop, never inside a call of the owner except where said. The owner may call anything on the
 * client from them, control_client_free too. */
struct control_ops {
    /* State or sentence changed; read control_client_status. */
    void (*state_changed)(void *owner, struct control_client *c);
    /* A person must open this URL; NULL: no longer. Told again only when it changes. */
    void (*auth_url)(void *owner, const char *url);
    /* Persist these before returning 0: they are used from now on. CONTROL_KEYS_LATER: they are being
     * persisted, control_client_keys_stored follows; nothing is asked in their name until then. -errno: they
     * are not used, the client says so and tries again later. All zero after a confirmed log-out: forget the
     * keys; then there is nothing to wait for. */
    int (*keys_changed)(void *owner, const struct control_keys *keys);
    /* A message of the map stream, keep-alives excluded. `first`: of a new stream: it defines the full state,
     * what it does not name is gone. Borrowed until it returns. -errno: the stream is dropped and begun anew.
     */
    int (*map)(void *owner, const struct tailcfg_map_response *response, bool first, time_ns now);
    /* Fill in what is known about the node. *out is zeroed. */
    void (*report)(void *owner, struct control_report *out);
    /* The end of control_client_logout; `done` false: the server did not confirm within CONTROL_LOGOUT_NS. */
    void (*logged_out)(void *owner, bool done);
    /* Registered; the map stream has not been opened yet, because other nodes of this server are about to
     * register, or because of the answer: true says that a home relay may be known soon: the request for
     * the stream waits for it, at most two seconds. Asked again meanwhile. NULL: false. */
    bool (*before_map)(void *owner, time_ns now);
};

#define CONTROL_KEYS_LATER 1

enum control_outcome {
    CONTROL_E_URL = 1, /* not a usable control URL */
    CONTROL_E_CONFIG,  /* hostname, tag or key out of bounds */
};

/* Question for the configuration's check: NULL, or what is wrong with the URL, in words. Static text. */
const char *control_url_check(struct span url);

/* An OAuth client secret stands where an auth key would: "tskey-client-..." or "hskey-client-...", and behind
 * a "?" maybe ephemeral=BOOL, preauthorized=BOOL, baseURL=URL with "&" between. When a registration needs a
 * key, one is minted with it at `base`, for the tags of the configuration (there has to be one). */
struct control_oauth {
    size_t secret_len; /* of the text before the "?" */
    bool ephemeral, ephemeral_said, preauthorized;
    char base[CONTROL_URL_BYTES]; /* "": not said */
};

bool control_oauth_is(const char *auth_key);
/* NULL, or what is wrong, in words without any of the secret (static); *parameter then is the number of the
 * name=value behind the "?", from 1; 0: the secret itself. */
const char *control_oauth_parse(const char *text, struct control_oauth *out, unsigned *parameter);
/* Where its keys are asked for: what it says; or the hosted service; or, for hskey-, the control server. */
void control_oauth_base(const char *text, const struct control_oauth *parts, const char *control_url,
                        char out[CONTROL_URL_BYTES]);

/* Life. `ops` is kept by pointer, the config is copied. 0, CONTROL_E_*, -ENOMEM. */
NODISCARD int control_client_new(struct control_client **out, struct control_shard *shard,
                                 const struct control_config *config, const struct control_ops *ops,
                                 void *owner);
/* At once and silently: no callback comes any more. NULL is fine. */
void control_client_free(struct control_client *c);

void control_client_start(struct control_client *c); /* when it runs already: nothing */
void control_client_stop(struct control_client *c);  /* closes the connection; may be started again */
/* What ops.report says has changed: published soon, once, and only if a request would differ. Cheap: call it
 * as often as you like. */
void control_client_report_changed(struct control_client *c);
/* The answer to CONTROL_KEYS_LATER: 0, or -errno as from ops.keys_changed. */
void control_client_keys_stored(struct control_client *c, int result);
/* A stored netmap is in use: the status says so while the server is away. */
void control_client_have_netmap(struct control_client *c);
/* Used from now on; a registration that waits (for a person, after a refusal) begins anew with it, unless it
 * is the key (or OAuth client secret) that we have. NULL: none. CONTROL_E_CONFIG, -ENOMEM: nothing changes.
 */
NODISCARD int control_client_set_auth_key(struct control_client *c, const char *auth_key);
/* A fresh node key and a registration now, because a person asks for it. A key that expires is renewed
 * without it. */
void control_client_login(struct control_client *c);
/* Tells the server that this node is gone; ephemeral nodes vanish at once. Ends with ops.logged_out. */
void control_client_logout(struct control_client *c);

struct control_status {
    enum control_state state;
    char sentence[CONTROL_SENTENCE_BYTES]; /* for people: where we are, what failed, when it is tried again */
    const char *auth_url;                  /* NULL: none; until the next callback */
    const char *reason;   /* of the last failure, until a netmap comes; NULL: none; likewise */
    bool connected;       /* to the server: what failed is what it answered */
    bool no_auth_key;     /* none could be minted: that is what failed */
    time_ns since;        /* of `state` */
    time_ns retry_at;     /* TIME_NEVER: nothing waits */
    time_ns last_message; /* of the map stream; 0: never */
    int64_t key_expiry;   /* of the node key, wall clock; 0: never or unknown */
    int64_t clock_error;  /* what the server's clock is ahead of ours; 0 when less than a minute */
    bool stream_open;     /* a netmap came on the stream that is open now */
    unsigned failures;    /* in a row */
    uint64_t connects, registrations, maps, keepalives, updates, pings, stream_bytes;
};

/* What it holds on the heap, its connections included. */
void control_client_memory(const struct control_client *c, struct account_memory *m);
void control_client_status(const struct control_client *c, time_ns now, struct control_status *out);
struct public_key control_client_node_key(const struct control_client *c); /* in use now; zero: none */

#endif
