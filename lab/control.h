/* lab/control.h - the control server of the lab: /key, ts2021, registration, map streams, faults on cue
 *
 * Speaks what nodes of this program and Tailscale's own clients use: Noise over an upgraded HTTP connection,
 * HTTP/2 inside, registration by auth key or login URL, approval, map streams with zstd, keep-alives and
 * deltas, lite updates. docs/protocol/control.md is what it follows; where hosted servers and headscale
 * differ, it is the stricter one: what a stream request says about endpoints is not looked at, only lite
 * updates are.
 *
 *   registry.c     who there is           session.c   a connection
 *   map.c          what a node is told    poll.c      its map stream
 *   control.c      HTTP around it, pages, faults
 *
 * Plain HTTP on loopback. Thread: the loop's. State: in memory; save.c writes it down for who wants to keep
 * it.
 */
#ifndef MANYTAILS_LAB_CONTROL_H
#define MANYTAILS_LAB_CONTROL_H

#include "ev/ev.h"
#include "lab/map.h"
#include "lab/registry.h"

#define LAB_SESSIONS_MAX 4096
#define LAB_REQUESTS_MAX 64              /* at once on one connection */
#define LAB_REQUEST_BYTES_MAX (1u << 20) /* of one body */
#define LAB_MAP_DELAY (10 * MSEC)        /* changes so close together are one message */
#define LAB_MAP_KEEP_ALIVE (50 * SEC)
#define LAB_URL_BYTES 64

struct lab_control;

struct lab_control_ops { /* any may be NULL; they may not free the server */
    /* A node registered, or a known one registered anew. */
    void (*registered)(void *ctx, const struct registry_node *n);
    /* It has told its home relay for the first time: from now on others reach it without waiting. */
    void (*reachable)(void *ctx, const struct registry_node *n);
    /* Its map stream began or ended, or it was approved. */
    void (*online)(void *ctx, const struct registry_node *n);
    void (*removed)(void *ctx, const struct registry_node *n);
    /* Something that lab_control_save keeps may have changed. */
    void (*changed)(void *ctx);
    /* A person has to open this URL before `name` can join. */
    void (*login)(void *ctx, const char *name, const char *url);
};

struct lab_control_config {
    struct ip_port at;          /* port 0: the kernel chooses */
    struct lab_network network; /* copied; its filter has to outlive the server or its change */
    struct span saved;          /* by lab_control_save; empty: a new tailnet */
    const struct lab_control_ops *ops;
    void *ctx;
};

/* 0; LAB_CONTROL_E_SAVED: `saved` is no such text; -errno. */
#define LAB_CONTROL_E_SAVED 1
NODISCARD int lab_control_new(struct lab_control **out, struct ev_loop *loop,
                              const struct lab_control_config *config);
void lab_control_free(struct lab_control *c); /* NULL is fine */
/* What makes the next one the same server: keys and nodes. Secrets. 0, -ENOBUFS, -ENOMEM. */
NODISCARD int lab_control_save(const struct lab_control *c, struct buf *out);
const char *lab_control_url(const struct lab_control *c);
/* To look at, and to change by registry_... ; then lab_control_changed. */
struct registry *lab_control_registry(struct lab_control *c);
void lab_control_changed(struct lab_control *c);                       /* those who wait are told, soon */
void lab_control_set_filter(struct lab_control *c, const char *rules); /* JSON array, kept; NULL: all open */
void lab_control_approve(struct lab_control *c, struct registry_node *n);
void lab_control_remove(struct lab_control *c, struct registry_node *n);
/* What the login page does. False: no such login. */
bool lab_control_login(struct lab_control *c, struct span token, int64_t user);

/* ---- faults on cue ------------------------------------------------------------------------------- */

#define LAB_FAULTS(X)                                                           \
    X(NONE, "none")                                                             \
    X(RATE_LIMIT, "rate-limit") /* 429, Retry-After: 1 */                       \
    X(BROKEN, "broken")         /* 500 */                                       \
    X(REFUSE, "refuse")         /* registration: 200 with an Error; map: 404 */ \
    X(SILENT, "silent")         /* no answer */                                 \
    X(NONSENSE, "nonsense")     /* 200 and a body that is not what it should be */

enum lab_fault {
#define X(name, text) LAB_FAULT_##name,
    LAB_FAULTS(X)
#undef X
        LAB_FAULT_COUNT
};
/* The next `times` requests of that kind get it. */
void lab_control_fault_register(struct lab_control *c, enum lab_fault fault, unsigned times);
void lab_control_fault_map(struct lab_control *c, enum lab_fault fault, unsigned times);
void lab_control_cut(struct lab_control *c);                           /* every connection ends now */
void lab_control_end_streams(struct lab_control *c);                   /* every map stream ends properly */
void lab_control_send_raw(struct lab_control *c, struct span message); /* on every map stream, framed */

struct lab_control_counters {
    uint64_t keys, upgrades, upgrades_refused, registrations, map_streams, lite_updates, messages,
        message_bytes;
    uint64_t faults; /* sessions that broke the protocol */
};
const struct lab_control_counters *lab_control_counters(const struct lab_control *c);

#endif
