/* node/internal.h - what the files of node/ share; nobody else includes it
 *
 *   process.c   registry of local nodes, shared stores
 *   shard.c     the machines of a thread and their callbacks
 *   node.c      life of a node: its state, control, start and end
 *   keys.c      its keys on disk, and the data path that has them in it
 *   map.c       what a netmap changes, and the netmap on disk
 *   report.c    what control is told about it
 *   peer.c      one peer of one node, made when there is traffic
 *   socket.c    the node's UDP socket: the shard's, or its own
 *   tunnel.c    inner packets: in from WireGuard to the stack, out from the stack to WireGuard
 *   masquerade.c  peers that know us by another address
 *   tsmp.c      IP protocol 99: ping, pong, disco key announcements, rejects
 *   service.c   what listens: SYN policy, TLS, the proxy, who-is
 *   inner.c     a connection inside the tunnel as a stream
 *   status.c    JSON for people and tests
 *   memory.c    what a node holds, by part of the program
 *   words.c     where a node stands, in a sentence
 *   notices.c   what the control server wants people to know
 */
#ifndef MANYTAILS_NODE_INTERNAL_H
#define MANYTAILS_NODE_INTERNAL_H

#include <pthread.h>

#include "cert/cert.h"
#include "control/control.h"
#include "filter/filter.h"
#include "netmap/netmap.h"
#include "netstack/netstack.h"
#include "node/node.h"
#include "relay/relay.h"
#include "state/state.h"
#include "stream/stream.h"
#include "tls/tls.h"
#include "underlay/underlay.h"
#include "wireguard/wireguard.h"

/* ---- process ------------------------------------------------------------------------ */

/* A node of this process, found by its public key from any thread. */
struct local_node {
    struct table_node by_key;
    struct public_key key;
    struct node_shard *shard;
    handle node; /* in that shard */
};

struct node_process {
    struct node_process_config config;
    struct control_gate *gate;
    struct netmap_store *store;
    struct relay_pacer *pacer;
    struct state_disk *disk; /* what writes the folders of all nodes */
    struct stream_proxies *proxies;
    struct underlay_survey *survey; /* which relay regions are near */
    struct tls_client *tls;         /* the roots that control servers and relays are checked against */
    struct tls_server *tls_server;  /* tickets of all services */
    uint8_t hash_key[16];
    uint8_t wireguard_secret[32]; /* cookies of one shard are good on another */
    unsigned shard_bits;
    pthread_mutex_t lock; /* guards local_nodes and shards */
    struct table local_nodes;
    struct list derp_maps; /* process.c */
    struct node_shard *shards[NODE_SHARDS_MAX];
};

NODISCARD int process_register(struct node_process *p, struct local_node *l); /* -ENOMEM */
void process_unregister(struct node_process *p, struct local_node *l);
/* The DERP map that a node of this control server got last: for those that have none yet. The caller of _get
 * has a reference, netmap_derp_map_unref; NULL: none. */
void process_derp_map_set(struct node_process *p, const char *control_url,
                          const struct tailcfg_derp_map *map);
const struct tailcfg_derp_map *process_derp_map_get(struct node_process *p, const char *control_url);
/* The shard and handle of a local node with this key; false: none. */
bool process_find(struct node_process *p, const struct public_key *key, struct node_shard **shard,
                  handle *node);

/* ---- shard ---------------------------------------------------------------------------- */

#define UNKNOWN_INITIATORS_MAX 256       /* remembered per shard */
#define UNKNOWN_INITIATOR_TTL (10 * SEC) /* a netmap that is late by more than this is not coming */
#define CALLER_BEGINS (300 * MSEC) /* a peer that looks for a way to us has so long to begin a handshake */
#define LETTERS_MAX 4096           /* packets under way from other shards, per receiving shard */
#define SEND_SLAB_BYTES 65536
#define RELAY_CHECK_EACH \
    (10 * MSEC) /* relay connections are checked at random times within so much per node, */
#define RELAY_CHECK_SPREAD (2 * SEC) /* and all of them within this */

#define SHARD_COUNTERS(X)                                                            \
    X(inner_in, "inner packets received and accepted")                               \
    X(inner_out, "inner packets sent")                                               \
    X(inner_source_refused, "inner packets whose source is not the sender's")        \
    X(inner_filtered, "inner packets that the packet filter refused")                \
    X(inner_local, "inner packets between nodes of this process")                    \
    X(datagrams_forwarded, "datagrams handed to the shard that they were meant for") \
    X(letters_dropped, "packets for another shard dropped: its queue is full")       \
    X(tsmp_in, "TSMP messages received")                                             \
    X(tsmp_malformed, "TSMP messages that made no sense")                            \
    X(handshakes_foreign, "handshakes of keys that no netmap of the node names")     \
    X(handshakes_remembered, "of these, kept until a netmap names the key")          \
    X(handshakes_resumed, "of these, answered when it did")                          \
    X(send_failed, "datagrams that neither path took")                               \
    X(peers_refused, "peers not set up for want of memory")

struct shard_counters {
#define X(name, text) uint64_t name;
    SHARD_COUNTERS(X)
#undef X
};

/* Where a report for control is put together; valid until the loop goes on. */
struct report_scratch {
    struct tailcfg_netinfo netinfo;
    struct tailcfg_derp_latency latencies[2 * UNDERLAY_REGIONS_MAX];
    struct tailcfg_endpoint endpoints[UNDERLAY_ENDPOINTS_MAX];
};

struct node_shard {
    struct node_process *process;
    unsigned index;
    struct ev_loop *loop;
    struct underlay *underlay;
    struct host_view host; /* for sockets that are made later */
    bool host_known;
    struct wireguard *wireguard;
    struct netstack *netstack;
    struct relay_shard *relays;
    struct control_shard *control;
    struct state_desk *desk;
    struct proxy_shard *proxy;
    struct cert_store *certificates; /* NULL until a service has some */
    struct slab nodes, peers;
    struct list output;   /* peers with something to send */
    struct ev_task flush; /* sends it, after the batch that caused it */
    struct ev_timer stack_timer;
    struct ev_timer quiet_timer; /* quiet.c */
    uint64_t quiet_mark;
    bool quiet_armed;
    struct ev_mailbox *mailbox; /* packets that came to other shards */
    struct list unknown;        /* struct unknown_initiator, oldest first */
    uint32_t unknown_count;
    _Atomic uint32_t letters_queued;
    /* What wireguard_receive is looking at; source NULL: nothing. */
    struct {
        const struct underlay_source *source;
        struct underlay *underlay; /* by which it came; NULL: it was kept, or came to another shard */
        struct underlay_node *hint;
        struct span datagram;
        unsigned hops; /* shards that have looked at it before */
    } arriving;
    struct account_reading reading; /* of reading_at: one for all nodes of an answer */
    time_ns reading_at;
    uint8_t *send_slab; /* one super-segment, sealed */
    struct shard_counters counters;
    struct report_scratch scratch;
};

/* ---- what a node serves ------------------------------------------------------------------ */

/* One set of settings. New settings make a new one; the old one lives until its last request has ended. */
struct front {
    struct list link; /* node->retired; in no list: it takes new connections */
    struct node *node;
    struct proxy_service *proxy;
    bool drained;
};

/* ---- notices.c ----------------------------------------------------------------------------- */

#define NOTICES_MAX 32 /* of one node; later ones are left out */
#define NOTICE_TEXT_BYTES 512

/* Something that control wants people to know: a line of Health, or a display message. */
struct notice {
    char *id; /* NULL: a line of Health */
    char *severity, *title, *text;
    bool impacts_connectivity;
};
struct notices {
    struct notice *items; /* NULL: none, as nearly always */
    unsigned count;
};
/* `first`: of a new stream: what it does not say is over. New ones are told to `name`'s log. */
void notices_apply(struct notices *n, const char *name, const struct tailcfg_map_response *r, bool first);
void notices_write(const struct notices *n, struct json_writer *w);
void notices_deinit(struct notices *n);

/* ---- words.c ------------------------------------------------------------------------------- */

struct node_words {
    char sentence[128];                       /* no full stop: " since 14:02" may follow */
    char detail[CONTROL_SENTENCE_BYTES + 64]; /* why, and what happens next; empty: nothing to add */
};
/* Its last attempt failed, and it tries again. */
static inline bool control_in_trouble(const struct control_status *c)
{
    return c->state == CONTROL_FAILED || c->failures > 0;
}
/* `said`: what node_enter was told last. `stored`: there is a netmap to serve from. */
void node_words(enum node_state state, const char *said, const struct control_status *c, bool stored,
                time_ns now, struct node_words *out);

/* ---- node ------------------------------------------------------------------------------- */

struct node {
    struct node_shard *shard;
    uint32_t account; /* of the thread; 0: none to be had */
    char *name, *control_url, *state_directory;
    bool ephemeral, suppress_whois, host_network_only, name_checked, registered, started, stopping;
    struct ip_port listen;
    bool redirect_http;
    time_ns join_timeout;
    const struct node_ops *ops;
    void *ctx;

    enum node_state state;
    char sentence[CONTROL_SENTENCE_BYTES];
    char *auth_url;
    int64_t state_since,
        trouble_since; /* wall; trouble: attempts to reach control fail since; 0: they do not */
    struct notices notices;

    struct state_folder *folder;
    struct state_keys keys;
    struct state_keys fresh; /* being written; then they become `keys` */
    bool first_keys;         /* `keys` were made now and are not on disk yet: control does not start before */
    struct ev_timer keys_timer;   /* tried again then */
    struct public_key public_key; /* of keys.node; zero until registered */
    struct ip own_v4, own_v6;     /* our first address of each family; ip_is_none: we have none */
    struct local_node local;

    struct control_client *control;
    struct netmap *netmap;
    bool saved; /* a netmap of this run is on disk, or on its way there */
    struct ev_timer save_timer, expiry_timer, join_timer;
    struct filter_local filter;
    struct wireguard_node *wireguard; /* NULL until there is a node key */
    struct underlay_node *underlay;
    struct underlay *own_underlay; /* NULL: it shares the shard's sockets */
    struct relay_node *relay;
    uint16_t home_region;    /* where our relay connection is, or is being made */
    uint16_t home_announced; /* what control may tell peers: it has answered there */
    struct list peers;       /* struct node_peer */
    struct table peers_by_key;

    struct front *front;
    struct proxy_service *proxy; /* of front */
    struct list retired;         /* fronts with older settings, oldest first, at most NODE_RETIRED_MAX */
    unsigned retired_count;
    struct cert_entry *cert;
    struct list inner_streams; /* connections under way */
    struct ev_timer stop_timer;
    struct ev_task stopped_task;
    bool drained, logging_out, logged_out;
    bool ending; /* node_end: what it said last leaves with this turn of the loop */
    uint64_t packets_in, packets_out, bytes_in, bytes_out, filtered;
};

/* peer.c */
struct node_peer {
    struct list link;         /* in the node */
    struct table_node by_key; /* in the node */
    struct list output;       /* in the shard */
    struct node *node;
    struct public_key key;
    const struct netmap_peer *info; /* referenced */
    struct wireguard_peer *wireguard;
    struct underlay_peer *underlay;
    struct ev_timer timer;          /* WireGuard's deadline */
    struct node_shard *local_shard; /* the peer is a node of this process; NULL: it is not */
    handle local_node;
    uint64_t bytes_in, bytes_out;
    struct public_key disco_key; /* in use: the netmap's, or what the peer told since */
    uint8_t disco_keys_told;
    time_ns last_seen;    /* an authenticated packet */
    bool stalled;         /* a stream waits for an answer: look at the path before sending again */
    bool waits_for_relay; /* has output, and the relay's queue is full */
    bool asked_nowhere;   /* our last handshake message had no way: neither a direct path nor a home region */
};

/* The peer object for a key of the node's netmap, made if need be; NULL: not in the netmap, expired, or no
 * memory. */
struct node_peer *peer_get(struct node *n, const struct public_key *key);
struct node_peer *peer_find(struct node *n, const struct public_key *key); /* only if it exists */
struct node_peer *peer_for(struct node *n, const struct netmap_peer *info);
void peer_update(struct node_peer *p, const struct netmap_peer *info, time_ns now);
/* The same peer with another key: connections and paths stay, its sessions end. -EEXIST, -ENOMEM: unchanged.
 */
NODISCARD int peer_rekey(struct node_peer *p, const struct public_key *key, time_ns now);
void peer_free(struct node_peer *p);
/* A direct path, or a relay region that the peer is connected to? */
bool peer_has_way(const struct node_peer *p, time_ns now);
/* There may be a way now: a handshake that was begun without one is begun again. */
void peer_way_appeared(struct node_peer *p, time_ns now);
/* Is it a node of this process? Then packets go there in memory, never on the wire. */
bool peer_is_local(struct node_peer *p);
uint64_t peer_token(const struct node_peer *p);
struct node_peer *peer_of_token(struct node_shard *s, uint64_t token); /* NULL: gone */

/* What is done for this node is charged to its account (metrics/metrics.h). */
static inline account_charge node_charge(const struct node *n, enum account_part part)
{
    return account_charge_of(n->account, part);
}

/* node.c */
uint32_t node_index(const struct node *n);
struct node *node_of_index(struct node_shard *s, uint32_t index);          /* NULL: gone */
void node_enter(struct node *n, enum node_state to, const char *sentence); /* alone writes n->state */

/* keys.c */
bool node_has_key(const struct state_keys *keys);
/* Everything that has the node key in it, for the key in n->keys. -errno: there is nothing of it. */
NODISCARD int data_path_up(struct node *n);
void data_path_down(struct node *n);
/* Of the node's folder, or made anew: then control waits until they are on disk. 0; 1: `why` says what is
 * wrong with the folder; -errno. */
NODISCARD int keys_open(struct node *n, char why[NODE_WHY_BYTES]);
void keys_on_retry(struct ev_timer *t, time_ns now);
/* Operation of its control client; tests call it in control's place. */
NODISCARD int keys_changed(void *owner, const struct control_keys *keys);

/* map.c */
/* Operation of its control client; tests call it in control's place. */
NODISCARD int map_received(void *owner, const struct tailcfg_map_response *response, bool first, time_ns now);
/* Of the netmap's relay map; until it has come, of that of another node with the same control server. False:
 * there is neither. */
bool map_use_relays(struct node *n, time_ns now);
bool map_before(void *owner, time_ns now); /* operation of its control client */
void map_tell_senders(struct node *n);     /* all senders of the netmap, to a fresh underlay node */
void map_arm_save(struct node *n, time_ns now);
void map_save(struct node *n);
void map_load(struct node *n);
void map_on_save(struct ev_timer *t, time_ns now);
void map_on_expiry(struct ev_timer *t, time_ns now);

/* report.c */
void report_fill(void *owner, struct control_report *out); /* operation of its control client */
void report_adopt_home(struct node *n);
void node_report_changed(struct node *n, unsigned what);
/* A frame came from this region. Peers hear of a home only now: told earlier, one that is quick sends its
 * first handshake to a relay that does not know us yet, and waits five seconds for its retry. */
void node_relay_heard(struct node *n, uint16_t region);

/* socket.c: the node's UDP socket */
struct underlay *node_underlay(const struct node *n); /* its own, or the shard's */
/* 0; 1: the port cannot be had, `why` says so; -errno. */
NODISCARD int socket_open(struct node *n, const struct node_config *c, char why[NODE_WHY_BYTES]);
void socket_close(struct node *n); /* after its underlay node */
/* For every UDP socket of the shard. */
void sockets_each(struct node_shard *s, void (*fn)(struct underlay *u, const void *arg, time_ns now),
                  const void *arg);
/* shard.c. port 0: the kernel chooses. */
NODISCARD int shard_underlay_new(struct node_shard *s, uint16_t port, struct underlay **out);

/* relays.c: the node's relay connections */
NODISCARD int relay_open(struct node *n);
/* The same connections with the node's new key. -ENOMEM: there are none. */
NODISCARD int relay_reopen(struct node *n, time_ns now);
NODISCARD int relay_apply_map(struct node *n, const struct tailcfg_derp_map *map, time_ns now);
NODISCARD int relay_shard_open(struct node_shard *s);
void relay_send_packet(struct node *n, uint16_t region, const struct public_key *to, struct span packet);
/* Packets that the way to this peer takes now; 0: tunnel_output follows when there is room. */
size_t relay_room(struct node_peer *p);
void relay_status_write(const struct node *n, struct json_writer *w, time_ns now);

/* tunnel.c */
void tunnel_receive(struct node_shard *s, struct underlay_node *hint, const struct mspan *datagrams,
                    size_t count, const struct underlay_source *source, time_ns now);
/* Plaintext packets that are known to come from this peer. Packets must not be too many for one batch. */
void tunnel_deliver(struct node_peer *from, const struct mspan *packets, size_t count, time_ns now);
void tunnel_output(struct node_peer *p);                     /* there is something to send to it: soon */
void tunnel_flush(struct node_shard *s, time_ns now);        /* now */
void tunnel_session_ready(struct node_peer *p, time_ns now); /* what waits for a key goes out */
/* One packet of our own making (TSMP); dropped if there is no key for it. */
void tunnel_send_packet(struct node_peer *p, struct span packet, time_ns now);
void tunnel_letter(void *owner, struct ev_letter *letter, time_ns now);

/* ---- quiet.c: the heap after a burst ---- */

void quiet_init(struct node_shard *s);
void quiet_note(struct node_shard *s, time_ns now); /* packets went */

/* masquerade.c: in place, before anything else looks at it, and after. Nothing for nearly all peers. */
void masquerade_in(const struct node_peer *from, struct mspan packet);
void masquerade_out(const struct node_peer *to, struct mspan packet);
/* For tests: replaces the source or destination if it is `old`. */
void masquerade_rewrite(struct mspan packet, bool source, const struct ip *old, const struct ip *new);

/* shard.c: handshakes of keys that the netmap does not name yet */
void unknown_remember(struct node_shard *s, struct node *n, const struct public_key *initiator,
                      struct span datagram, const struct underlay_source *source, time_ns now);
void unknown_resume(struct node *n, const struct public_key *key, time_ns now);
void unknown_forget(struct node *n);

/* status.c: what the thread's accounts say now; one reading for all nodes of an answer */
const struct account_reading *node_shard_reading(struct node_shard *s, time_ns now);

/* memory.c: what they hold on the heap, by part; a shard's: besides its nodes. */
void node_memory(const struct node *n, struct account_memory *m);
void node_shard_memory(const struct node_shard *s, struct account_memory *m);

/* tsmp.c */
/* True: it was TSMP and is done with. */
bool tsmp_handle(struct node_peer *from, struct span packet, const struct packet_info *info, time_ns now);
void tsmp_send_reject(struct node_peer *to, const struct packet_info *refused, char reason, time_ns now);

/* service.c */
NODISCARD int service_open(struct node *n, const struct node_config *config, char why[NODE_WHY_BYTES]);
void service_close(struct node *n);
/* Requests under way may finish, then n->drained is set and n->stopped_task posted. */
void service_drain(struct node *n);
void service_cut(struct node *n); /* what the drain did not end in time */
enum netstack_verdict service_on_syn(struct node *n, const struct netstack_flow *flow, void **user);
void service_accept(struct node_shard *s, handle conn, const struct netstack_flow *flow);

/* inner.c: the netstack's events on their way to the streams. `user` of a connection is its stream, or NULL.
 */
NODISCARD int inner_stream_new(struct stream **out, struct node *n, handle conn);
/* Opens a connection to a tailnet address through this node. -errno */
NODISCARD int inner_stream_connect(struct stream **out, struct node *n, const struct ip_port *to,
                                   time_ns now);
void inner_stream_events(void *user, unsigned events, int error, time_ns now);
void inner_streams_abort(struct node *n);

#endif
