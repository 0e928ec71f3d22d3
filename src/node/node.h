/* node/node.h - virtual nodes: each a name, an identity and a service on a tailnet
 *
 *     struct node_process   one per process: what all nodes share (registry, interned netmaps, the gate)
 *     struct node_shard     one per thread: a UDP socket, WireGuard, TCP/IP, relays, proxy; all its nodes use
 * them struct node           one service: keys, control client, netmap reference, filter, listener
 *
 * A node lives on one shard for life, and everything about it happens on that shard's thread. A node that
 * fails says why and retries; the others never notice. Nodes of one process reach each other in memory.
 *
 * ARCHITECTURE.md tells the lives of a packet, a request and a node.
 * Thread: process functions any; everything else the shard's.
 */
#ifndef MANYTAILS_NODE_NODE_H
#define MANYTAILS_NODE_NODE_H

#include "base/base.h"
#include "ev/ev.h"
#include "host/host.h"
#include "proxy/proxy.h"

#define NODE_SHARDS_MAX 64
#define NODE_NODES_MAX 4096  /* of one shard */
#define NODE_PEERS_MAX 65536 /* of one shard: pairs with traffic since the last quiet time */
#define NODE_NAME_BYTES 64
#define NODE_RETIRED_MAX 8 /* older settings that still have requests, per node; the oldest are cut then */
#define NODE_WHY_BYTES 512
#define NODE_AUTH_KEY_BYTES 1025 /* CONTROL_AUTH_KEY_BYTES_MAX and its end */

/* ---- process ------------------------------------------------------------------ */

struct node_process;

struct node_process_config {
    unsigned shard_count;                 /* 1..NODE_SHARDS_MAX */
    uint16_t udp_port;                    /* of the first shard, the others count up; 0: the kernel chooses */
    const char *ca_file;                  /* NULL: the system's roots. Borrowed for life */
    struct stream_proxy_settings proxies; /* on the way to control servers and relays */
    bool plain_relays;                    /* relays speak HTTP without TLS: test setups only */
};

/* 0; 1: the roots of trust cannot be read, `why` says it; -errno. */
NODISCARD int node_process_new(struct node_process **out, const struct node_process_config *config,
                               char why[NODE_WHY_BYTES]);
void node_process_free(struct node_process *p); /* after its shards; NULL is fine */
/* Bytes of the heap that netmaps take which nodes share. Any thread; NULL is fine. */
size_t node_process_memory(const struct node_process *p);
void node_process_metrics_write(const struct node_process *p, struct metrics_page *page);

/* ---- shard --------------------------------------------------------------------- */

struct node_shard;

NODISCARD int node_shard_new(struct node_shard **out, struct node_process *p, unsigned index,
                             struct ev_loop *loop);
void node_shard_free(struct node_shard *s); /* after its nodes; NULL is fine */
void node_shard_set_host(struct node_shard *s, const struct host_view *view);

/* ---- node ------------------------------------------------------------------------ */

struct node;
struct stream;

/* One line per state, in words for people. The control client's state decides most of them. */
#define NODE_STATES(X)                                                                             \
    X(STARTING, "starting")                             /* keys, first attempt to reach control */ \
    X(NEEDS_LOGIN, "needs login")                       /* a person must open the login URL */     \
    X(WAITING_APPROVAL, "waiting for approval")         /* an administrator must approve it */     \
    X(RUNNING, "running")                               /* netmap complete, control connected */   \
    X(SERVING_STORED, "serving from the stored netmap") /* control away, data path up */           \
    X(EXPIRED, "key expired")                           /* peers refuse us until it is renewed */  \
    X(STOPPING, "stopping")                             /* draining, logging out if ephemeral */   \
    X(STOPPED, "stopped")                                                                          \
    X(FAILED, "failed") /* cannot work as configured; says why */

enum node_state {
#define X(name, text) NODE_##name,
    NODE_STATES(X)
#undef X
};
const char *node_state_text(enum node_state state);

/* What a node says of itself, each once: " since 14:02" may follow. docs/operations.md has the same rows.
 *   X(id, sentence, what it means, what to do about it) */
#define NODE_SAYINGS(X)                                                                                      \
    X(JOINING, "joining the tailnet",                                                                        \
      "The node is new, or has no stored netmap, and is registering with the control server. Nobody can "    \
      "reach it yet.",                                                                                       \
      "Wait. If it takes more than a minute, look at the reason: it names the step that takes so long.")     \
    X(CONNECTING, "connecting to the control server",                                                        \
      "The node serves from its stored netmap: clients that know it are answered while it connects.",        \
      "Nothing.")                                                                                            \
    X(UNREACHABLE, "control server unreachable",                                                             \
      "The control server does not answer. A node with a stored netmap goes on serving the clients it "      \
      "knows; changes of the tailnet do not arrive.",                                                        \
      "Check the control URL, names, routes and the firewall from this host, for example with curl and the " \
      "URL. It is tried again by itself.")                                                                   \
    X(REFUSED, "turned away by the control server",                                                          \
      "The control server answers, and says no: the reason is its own.",                                     \
      "Read the reason. For a refused auth key make a new one, put it where the old one was and run "        \
      "`manytails reload`.")                                                                                 \
    X(NO_KEY, "no auth key from the OAuth service",                                                          \
      "The node has to register, and the OAuth client secret that it was given made no key: the reason is "  \
      "the service's own.",                                                                                  \
      "Read the reason. The client needs the scope auth_keys and the very tags of the service; for a new "   \
      "secret run `manytails reload`. It is tried again by itself.")                                         \
    X(LOGIN, "waiting for somebody to log this node in",                                                     \
      "There is no auth key, or it was used up, so a person has to vouch for the node.",                     \
      "Open the login URL in a browser. It stays the same until it is used.")                                \
    X(APPROVAL, "waiting for approval in the admin console",                                                 \
      "The node is registered, and the tailnet lets nobody reach it before an administrator agrees.",        \
      "Approve the machine in the admin console. It serves at once then, without a restart.")                \
    X(RUNNING, "connected to the tailnet", "The netmap is complete and the control server is connected.",    \
      "Nothing. A client that cannot connect lacks a rule: `blockedByPolicy` in the JSON counts what the "   \
      "rules refused.")                                                                                      \
    X(EXPIRED, "the node key has expired",                                                                   \
      "Peers refuse the node until its key is renewed. It asks for a new one by itself.",                    \
      "If it stays so: open the login URL, or give a new auth key and run `manytails reload`. Switch key "   \
      "expiry off for servers.")                                                                             \
    X(STOPPING, "stopping", "Requests under way may finish; an ephemeral node logs out.",                    \
      "Nothing. It takes at most 16 s; a second SIGTERM ends the program at once.")                          \
    X(STOPPED, "stopped", "The node has ended and takes no connection.",                                     \
      "Nothing, if it was meant to. Otherwise look at the log for why.")                                     \
    X(FAILED, "cannot work as configured",                                                                   \
      "The node could not be set up: a certificate, a state folder, a value. The other services are not "    \
      "affected.",                                                                                           \
      "Mend what the reason names and run `manytails reload`. It is tried again every 30 s.")

enum node_saying {
#define X(id, sentence, meaning, advice) NODE_SAYS_##id,
    NODE_SAYINGS(X)
#undef X
        NODE_SAYING_COUNT
};

/* What a status may say besides, and what to do about it. docs/operations.md has the same rows.
 *   X(id, member of the status, how it reads, what it means, what to do about it) */
#define NODE_REMARKS(X)                                                                                    \
    X(UPSTREAM, "upstream", "upstream URL: REASON (N times, last at TIME)",                                \
      "Requests could not be passed on, so many since the upstream answered the last time; their clients " \
      "got 502 or 504. The tailnet has no part in it.",                                                    \
      "Start the server behind the service, or mend its address and run `manytails reload`. \"connection " \
      "refused\": nothing listens there. The remark goes with the next answer; `status NAME` keeps it.")   \
    X(AUTH, "authServer", "auth server URL: REASON (N times, last at TIME)",                               \
      "The auth server (`authURL`) gave no answer, so nobody was let through: clients got 502.",           \
      "Start the auth server, or mend `authURL` and run `manytails reload`.")                              \
    X(CERTIFICATE, "certificate", "certificate: REASON",                                                   \
      "The files of the certificate cannot be used. What was read before, if anything, stays in use.",     \
      "Mend the files. They are read again as soon as they change.")

enum node_remark {
#define X(id, member, reads, meaning, advice) NODE_REMARK_##id,
    NODE_REMARKS(X)
#undef X
        NODE_REMARK_COUNT
};

struct node_remark_text {
    const char *member, *reads, *meaning, *advice;
};
extern const struct node_remark_text node_remarks[NODE_REMARK_COUNT];

struct node_saying_text {
    const char *sentence, *meaning, *advice;
};
extern const struct node_saying_text node_sayings[NODE_SAYING_COUNT];
/* What it says in this state, if there is nothing more to say about it. */
enum node_saying node_saying_of(enum node_state state);

/* Strings are copied. */
struct node_config {
    const char *name;
    const char *control_url;
    const char *auth_key; /* NULL: interactive; secret */
    bool ephemeral;
    const char *const *tags;
    size_t tag_count;
    uint32_t place; /* in the configuration: nodes come up in this order */
    const char *state_directory;
    struct ip_port listen;                   /* ip_is_none: every address of the node */
    const char *certificate_file, *key_file; /* NULL: plain HTTP */
    bool redirect_http;                      /* port 80 of the same address answers with redirects to HTTPS */
    bool own_udp;                            /* a UDP socket of its own, ... */
    uint16_t own_udp_port;                   /* ... on this port; 0: the kernel chooses */
    bool suppress_whois;
    bool host_network_only; /* upstreams are never looked for on the tailnet */
    time_ns join_timeout;   /* after this long without a netmap it is reported as late; it keeps trying */
    struct proxy_service_config proxy;
};

struct node_ops {
    void (*state_changed)(void *ctx, struct node *n, enum node_state state, const char *sentence);
    /* A person must open this URL; NULL: no longer. */
    void (*auth_url)(void *ctx, struct node *n, const char *url);
    /* node_stop has finished: the node may be freed, not inside this call. */
    void (*stopped)(void *ctx, struct node *n);
    /* A registration failed and is tried again: the auth key as it is now, if it stands in a file. False: it
     * does not, or cannot be read. May be NULL. */
    bool (*auth_key)(void *ctx, struct node *n, char out[NODE_AUTH_KEY_BYTES]);
};

/* 0, 1 (cannot work as configured: `why` has the sentence), -errno. Nothing is sent before node_start. */
NODISCARD int node_new(struct node **out, struct node_shard *s, const struct node_config *config,
                       const struct node_ops *ops, void *ctx, char why[NODE_WHY_BYTES]);
void node_free(struct node *n); /* at once; NULL is fine */
void node_start(struct node *n);
/* New settings for the service: connections that come from now on get them, requests under way finish with
 * the old ones, and then their connections end. The certificate is read again. What makes the identity (name,
 * control server, ephemeral, tags, state directory) must be as it was: another identity is another node. An
 * auth key is for the next registration. 0, 1 (`why` has the sentence), -errno: then nothing was changed. */
NODISCARD int node_reconfigure(struct node *n, const struct node_config *config, char why[NODE_WHY_BYTES]);
/* Requests under way may finish until `deadline`; an ephemeral node is logged out. Ends with ops.stopped. */
void node_stop(struct node *n, time_ns deadline);
/* The same without waiting for anybody, also for one that is stopping: requests under way are reset, an
 * ephemeral node tells its control server if it is connected, and does not stay for the answer. */
void node_end(struct node *n);

/* Opens a connection to a node of the tailnet (name or address) through this one. 1: nobody of that name;
 * -errno. */
NODISCARD int node_dial(struct node *n, const char *host, uint16_t port, struct stream **out);

const char *node_name(const struct node *n);
enum node_state node_state_get(const struct node *n);
/* One JSON object: what `manytails status --json` shows of this node. */
void node_status_write(const struct node *n, struct json_writer *w, time_ns now);
/* One JSON object: counters of the shard's machines. */
void node_shard_status_write(struct node_shard *s, struct json_writer *w, time_ns now);
/* The same for Prometheus. */
void node_metrics_write(const struct node *n, struct metrics_page *p, time_ns now);
void node_shard_metrics_write(struct node_shard *s, struct metrics_page *p, time_ns now);

#endif
