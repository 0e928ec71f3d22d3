/* control/client.h - the inside of a control client, for the files that share it (inside control/)
 *
 * How it works: everything that happens (an answer, a timer, a call of the owner) only changes facts and then
 * runs client_run, which looks at the facts and does what is due: link (connection), login, poll, update,
 * pings, in this order. Calls of the owner's callbacks come from there and nowhere else. Public functions
 * post the client's task; so a callback may call anything, and control_client_free only marks while one runs.
 */
#ifndef MANYTAILS_CONTROL_CLIENT_H
#define MANYTAILS_CONTROL_CLIENT_H

#include "control/backoff.h"
#include "control/call.h"
#include "control/control.h"
#include "control/frames.h"
#include "control/gate.h"
#include "control/minter.h"
#include "control/registration.h"

/* Timers of the protocol. All share one ev_timer at the nearest of them. */
#define CLIENT_LOGIN_TIMEOUT (60 * SEC) /* of a register call that does not wait for a person */
#define CLIENT_WATCHDOG (120 * SEC)     /* no message on the map stream: it is dead */
#define CLIENT_UPDATE_TIMEOUT (60 * SEC)
#define CLIENT_UPDATE_SETTLE (100 * MSEC)         /* changes of one moment become one update */
#define CLIENT_UPDATE_SPREAD_PER_NODE (10 * MSEC) /* N nodes change at once when an address does */
#define CLIENT_UPDATE_SPREAD_MAX (10 * SEC)
#define CLIENT_UPDATE_HURRIES 8           /* reports of a node without a home relay that are not spread */
#define CLIENT_UPDATE_HOME_WAIT (2 * SEC) /* after the first netmap: for the home relay to be known */
#define CLIENT_STREAM_HOLD (2 * SEC)      /* after registering: the others first, and the home relay */
#define CLIENT_SLEEP_MAX (300 * SEC)      /* Debug.SleepSeconds */
#define CLIENT_RENEW_BEFORE HOUR          /* a node key is renewed this long before it expires ... */
#define CLIENT_RENEW_LEAST (30 * SEC)     /* ... but never sooner than this after it was given */
#define CLIENT_PING_TIMEOUT (15 * SEC)
#define CLIENT_PINGS_MAX 4                    /* being answered at once; more are dropped and counted */
#define CLIENT_REQUEST_BYTES_MAX (256u << 10) /* headscale takes 1 MiB */

enum link_state {
    LINK_DOWN,     /* until retry_at, or for a slot */
    LINK_KEY_WAIT, /* another node fetches the key */
    LINK_KEY_FETCH,
    LINK_CONNECTING,
    LINK_UP,
};

struct ping; /* being answered */

/* What a map request said about this node. */
struct told {
    uint64_t hash; /* of all of it, latencies aside; never 0 */
    struct public_key disco_key;
    bool home_known; /* without a home relay nobody can reach us */
};

struct control_client {
    account_charge charge; /* of whoever made it */
    struct control_shard *shard;
    struct shard_server *server;
    const struct control_ops *ops;
    bool (*auth_key_now)(void *owner, char out[CONTROL_AUTH_KEY_BYTES_MAX + 1]);
    void *owner;
    struct ev_task task;
    struct ev_timer timer;
    struct gate_waiter waiter;
    unsigned depth; /* client_run under way */
    bool dead;      /* control_client_free was called: released at depth 0 */

    /* configuration */
    char *name, *hostname;
    char *auth_key;        /* NULL: none; with a minter: not yet, or used up */
    struct minter *minter; /* NULL: auth_key was given as it is */
    char **tags;
    size_t tag_count;
    struct tls_client *tls;
    struct secret_key machine_key;
    uint16_t version;
    bool ephemeral, have_netmap; /* a netmap, old or new, is in use */

    /* what the owner wants */
    bool wanted;        /* started and not stopped */
    bool restart_login; /* begin the login anew ... */
    bool renew_login;   /* ... with a fresh node key */
    bool logging_out, logout_sent, logged_out;
    time_ns logout_deadline;

    /* link */
    enum link_state link;
    struct fetch *key_fetch;
    struct session *session;
    struct public_key server_key;
    unsigned key_failures_seen;
    unsigned failures; /* in a row, until a netmap comes */
    time_ns retry_at;
    char *reason; /* of the last failure, shown until a netmap comes; NULL: none */
    bool lost;    /* session_ops.lost was called, to be handled; it set `reason` and: */
    enum session_loss loss;

    /* login */
    struct registration registration;
    struct call login;
    struct registration_call login_call;
    bool login_active;   /* there is something to register: at first, deleted, expired, asked for */
    bool registered;     /* keys.node is known to this server; polls may run */
    bool renewing_early; /* login_active, and the key in use is still good */
    bool no_key;         /* the last attempt to mint one failed */
    bool approval_needed;
    bool keys_pending; /* registered, but the owner is still writing the key down; with these to come: */
    bool pending_url_over, pending_approval;
    time_ns login_at, login_deadline;

    /* map stream */
    struct call poll;
    struct frames frames;
    bool poll_has_map; /* the first message, with the self node, came on this stream */
    bool held;         /* just registered, the stream may have to wait until then at most: poll.c */
    time_ns held_until;
    time_ns poll_at, watchdog;
    int64_t key_expiry, clock_offset;
    time_ns expires_at, renew_at; /* on the loop's clock; TIME_NEVER */
    bool told_to_exit;

    /* updates */
    struct call update;
    uint64_t update_sent;                 /* hash of what the server has; 0: nothing yet */
    struct told update_told, stream_told; /* by the last update and the last stream request */
    bool update_due;
    bool stream_applies;     /* this server took what the stream request said: no update is needed for it */
    bool disco_was_updated;  /* an update with the disco key in use went out: the self node proves nothing */
    bool home_told;          /* the server knows our home relay: others can reach us */
    unsigned update_hurries; /* changes reported before that */
    unsigned update_failures;
    time_ns update_at, update_deadline;

    /* pings */
    struct list pings;
    unsigned ping_count;
    uint64_t ping_last_url, shown_url; /* hashes */

    /* status */
    enum control_state state;
    time_ns since, last_message;
    bool status_changed;
    uint64_t connects, registrations, maps, keepalives, updates, ping_total, stream_bytes;
};

/* client.c */
void client_run(struct control_client *c, time_ns now);
void client_again(struct control_client *c); /* client_run before the loop sleeps */
void client_link_failed(struct control_client *c, const char *reason, time_ns now);
/* What stands between the server and a reason: "x unreachable: ...", "x: sent nonsense". */
const char *reason_glue(const char *reason);
void client_set_reason(struct control_client *c, const char *reason); /* NULL: none */
void client_drop_auth_key(struct control_client *c);
static inline uint64_t client_random(void)
{
    uint64_t random;

    random_bytes(&random, sizeof(random));
    return random;
}
/* Of texts that are only compared with earlier ones; never 0. Nobody gains by a collision. */
static inline uint64_t client_hash(struct span text)
{
    static const uint8_t key[16];

    return siphash(key, text.data, text.len) | 1;
}
static inline void client_random_bytes(void *ctx, void *out, size_t len)
{
    (void)ctx;
    random_bytes(out, len);
}

/* login.c */
void login_begin(struct control_client *c, bool renew, time_ns now);
void login_cancel(struct control_client *c); /* a renewal that is no longer needed */
void login_step(struct control_client *c, time_ns now);
void logout_step(struct control_client *c, time_ns now);
time_ns login_deadline(const struct control_client *c);

/* poll.c */
void poll_hold(struct control_client *c, time_ns now); /* registered */
void poll_step(struct control_client *c, time_ns now);
void poll_stop(struct control_client *c);
time_ns poll_deadline(const struct control_client *c);

/* update.c */
void update_step(struct control_client *c, time_ns now);
void update_reset(struct control_client *c);      /* the connection is gone */
void update_registered(struct control_client *c); /* the server knows nothing about us yet */
/* The self node as the server has it, in the first message of a stream. */
void update_saw_self(struct control_client *c, const struct tailcfg_node *self, time_ns now);
time_ns update_deadline(const struct control_client *c);

/* ping.c */
void ping_received(struct control_client *c, const struct tailcfg_ping_request *request, time_ns now);
void ping_step(struct control_client *c, time_ns now);
void ping_reset(struct control_client *c);
time_ns ping_deadline(const struct control_client *c);

/* request.c: bodies. -ENOMEM, -ENOBUFS. The buffer may hold secrets: request_deinit. */
NODISCARD int request_register(struct control_client *c, const struct registration_call *call,
                               struct buf *out);
NODISCARD int request_logout(struct control_client *c, struct buf *out);
NODISCARD int request_map(struct control_client *c, bool stream, struct buf *out, struct told *told);
void request_deinit(struct buf *b);

/* status.c */
void status_refresh(struct control_client *c, time_ns now);

#endif
