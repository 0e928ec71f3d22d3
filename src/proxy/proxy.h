/* proxy/proxy.h - a reverse proxy: HTTP/1.1 and HTTP/2 in, HTTP/1.1 to the upstream out
 *
 * The owner accepts connections (inside the tailnet, TLS already around them or not) and hands the streams
 * in; everything after that happens here. A request goes down one list of steps: parse, limits, path
 * cleaning, prefixes, rewrite, headers, who-is, upstream, both bodies with back-pressure, one line in the
 * access log.
 *
 *     struct proxy_shard     one per loop: scratch buffers, idle upstream connections, the Date of this
 * second struct proxy_service   one per service and shard: compiled settings, counters (connection) a
 * downstream connection: about 250 bytes while idle, no buffer (exchange)             a request in flight
 *
 * Trouble ends the smallest thing: an upstream that fails costs its request (502, or the connection is cut
 * when the head has already gone out), a client that goes away cancels its upstream.
 *
 * Rules and their sources: docs/protocol/proxy.md.
 * Thread: the loop's.  Errors: of one connection or request never come out of here; they are logged and
 * counted.
 */
#ifndef MANYTAILS_PROXY_PROXY_H
#define MANYTAILS_PROXY_PROXY_H

#include "stream/stream.h"

/* ---- limits -------------------------------------------------------------------- */

#define PROXY_CONNECTIONS_MAX 16384       /* downstream, per shard */
#define PROXY_IDLE_UPSTREAMS_MAX 1024     /* idle upstream connections per shard, the oldest goes first */
#define PROXY_IDLE_PER_SERVICE_DEFAULT 64 /* of them for one service */
#define PROXY_IDLE_UPSTREAM_TIMEOUT (60 * SEC)
#define PROXY_IDLE_BURST_TIMEOUT (1 * SEC)         /* of those above the number of a service */
#define PROXY_IDLE_DOWNSTREAM_TIMEOUT (5 * MINUTE) /* kept-alive connection without a request */
#define PROXY_HEAD_TIMEOUT (60 * SEC)              /* a TLS handshake; first byte of a head to its last */
#define PROXY_CONNECT_TIMEOUT (10 * SEC)
#define PROXY_QUEUE_DEFAULT 128              /* requests that may wait for a connection to the upstream */
#define PROXY_QUEUE_TIMEOUT (10 * SEC)       /* and how long */
#define PROXY_AUTH_CONNECTIONS 256           /* to one auth server at once; further questions wait */
#define PROXY_KEEP_ALIVE (30 * SEC)          /* TCP probes on silent upstream connections */
#define PROXY_HALF_CLOSED_TIMEOUT (30 * SEC) /* client closed its side and the upstream says nothing */
#define PROXY_LINGER_TIMEOUT (2 * SEC)       /* after a refused request: let the client read the answer */
#define PROXY_PREFIXES_MAX 64
#define PROXY_HEADERS_MAX 40
#define PROXY_IDENTITY_LIST_MAX 64 /* tags, capabilities in one header */

/* ---- who is asking --------------------------------------------------------------- */

/* By value; the spans live until the proxy gives control back to the loop or asks again. */
struct proxy_identity {
    uint64_t user_id;
    uint64_t node_id;
    struct span login;        /* alice@example.com; tagged nodes: tagged-devices */
    struct span display_name; /* UTF-8 */
    struct span profile_pic;  /* URL or empty */
    struct span node_name;    /* short display name (ComputedName) */
    struct span node_fqdn;    /* full name with the trailing dot, for the log */
    struct span tags[PROXY_IDENTITY_LIST_MAX];
    struct span caps[PROXY_IDENTITY_LIST_MAX];      /* names of capabilities granted towards this node */
    struct span node_caps[PROXY_IDENTITY_LIST_MAX]; /* names of attributes of the client's node */
    uint8_t tag_count, cap_count, node_cap_count;
};

#define PROXY_HOST_BYTES 264

struct proxy_ops {
    /* A look-up in memory, no I/O. False: nobody we know; the request goes on without identity headers. */
    bool (*whois)(void *ctx, const struct ip_port *peer, struct proxy_identity *out);
    /* Dials inside the tailnet. NULL, or returns 1: not a tailnet destination, use the host's network.
     * 0: *out is on its way; -errno. */
    int (*dial)(void *ctx, const char *host, uint16_t port, struct stream **out);
    /* The last connection of a draining service has ended. May free the service. */
    void (*drained)(void *ctx);
    /* For arrivals with redirect: the host, with ":port" unless it is 443, at which somebody who asked for
     * `asked` (a host name, may be empty) finds this service over HTTPS. False: not known yet. */
    bool (*https_host)(void *ctx, struct span asked, char out[PROXY_HOST_BYTES]);
};

/* ---- settings -------------------------------------------------------------------- */

struct proxy_header {
    const char *name, *value; /* the same name several times: several values */
};

/* One line a request, when it ends, to where the log goes. */
enum proxy_access_log { PROXY_LOG_TEXT, PROXY_LOG_JSON, PROXY_LOG_OFF };

/* Zero means the default named beside it. Strings are copied. */
struct proxy_service_config {
    const char *name;     /* for log lines */
    const char *upstream; /* http://host[:port][/base][?query], https://..., unix:/path, host:port */
    const char
        *upstream_tcp_addr; /* dial this instead: host:port; the URL still decides about TLS and Host */
    const char *upstream_unix_addr; /* dial this path instead */
    bool insecure_https;            /* do not verify the upstream's certificate */
    const char *upstream_ca_file;   /* NULL: the system's */

    const char *const
        *prefixes; /* "[tailnet:|funnel:]/path"; none: everything is allowed, nothing is stripped */
    size_t prefix_count;
    bool keep_prefix;        /* stripPrefix=false */
    bool prefix_by_text;     /* tsnsrv's reading: /api also matches /apifoo */
    bool keep_unclean_paths; /* no redirect for //, /./ and /../ */

    bool plain_headers; /* recommendedProxyHeaders=false: Host is the upstream's, no X-Real-Ip and so on */
    const struct proxy_header *headers; /* upstreamHeader: replace what the client sent and what we set */
    size_t header_count;
    bool suppress_whois;

    uint32_t head_bytes_max;          /* HTTP_HEAD_BYTES_MAX (48 KiB) */
    time_ns read_header_timeout;      /* PROXY_HEAD_TIMEOUT */
    time_ns idle_timeout;             /* PROXY_IDLE_DOWNSTREAM_TIMEOUT */
    time_ns connect_timeout;          /* PROXY_CONNECT_TIMEOUT */
    time_ns response_timeout;         /* request sent to response head; none */
    uint32_t idle_upstreams_max;      /* PROXY_IDLE_PER_SERVICE_DEFAULT */
    time_ns idle_upstream_timeout;    /* PROXY_IDLE_UPSTREAM_TIMEOUT */
    time_ns keep_alive;               /* PROXY_KEEP_ALIVE */
    uint32_t upstreams_max;           /* connections to the upstream at once; as many as there are requests */
    uint32_t queue_max;               /* PROXY_QUEUE_DEFAULT; above it: 503 */
    time_ns queue_timeout;            /* PROXY_QUEUE_TIMEOUT; after it: 504 */
    bool weak_ciphers;                /* every suite of TLS 1.2 that OpenSSL has, at security level 0 */
    enum proxy_access_log access_log; /* PROXY_LOG_TEXT */

    const char *auth_url;                 /* ask this server about every request; NULL: nobody */
    const char *auth_path;                /* NULL: that of auth_url, or /api/authz/forward-auth */
    time_ns auth_timeout;                 /* for an answer; none */
    const char *const *auth_copy_headers; /* fields of its answer that the upstream gets */
    size_t auth_copy_count;
    uint32_t auth_connections_max; /* PROXY_AUTH_CONNECTIONS */
    bool auth_insecure_https;
    bool auth_bypass_for_tailnet; /* users of the tailnet pass; never those of the public ingress */
};

/* ---- shard ------------------------------------------------------------------------ */

struct proxy_shard;

NODISCARD int proxy_shard_new(struct proxy_shard **out, struct ev_loop *loop);
void proxy_shard_free(struct proxy_shard *shard); /* all services are freed already */
size_t proxy_shard_connections(const struct proxy_shard *shard);
size_t proxy_shard_idle_upstreams(const struct proxy_shard *shard);

/* ---- service ---------------------------------------------------------------------- */

struct proxy_service;

#define PROXY_WHY_BYTES 200

/* 0, -ENOMEM, or PROXY_E_CONFIG with a sentence in `why` (which setting, what is wrong, what to write
 * instead). */
enum proxy_outcome { PROXY_E_CONFIG = 1 };
/* The same judgement of the destination alone, for the configuration's check. Overrides may be NULL. */
bool proxy_upstream_check(const char *upstream, const char *upstream_tcp_addr, const char *upstream_unix_addr,
                          char why[PROXY_WHY_BYTES]);
/* And of the auth_ settings, auth_url being set. */
bool proxy_auth_check(const struct proxy_service_config *config, char why[PROXY_WHY_BYTES]);
NODISCARD int proxy_service_new(struct proxy_service **out, struct proxy_shard *shard,
                                const struct proxy_service_config *config, const struct proxy_ops *ops,
                                void *ctx, char why[PROXY_WHY_BYTES]);
/* Ends every connection of it at once: clients whose request is under way see a reset, not silence. */
void proxy_service_cut(struct proxy_service *service);
/* The same, and it is gone. NULL is fine. */
void proxy_service_free(struct proxy_service *service);
/* Idle connections close now, the others after their request; ops.drained follows (from the loop, also when
 * there is nothing to wait for). */
void proxy_service_drain(struct proxy_service *service);
/* For a reload: drains `old`, and HTTP/1 connections go on with `by` between two requests instead of ending.
 * Again with a still newer one while `old` drains; `by` lives as long as `old`, or until the next of these
 * calls. */
void proxy_service_replace(struct proxy_service *old, struct proxy_service *by);

enum proxy_protocol {
    PROXY_HTTP1,
    PROXY_HTTP2,   /* from the first byte */
    PROXY_BY_ALPN, /* a TLS stream: HTTP/2 if "h2" was agreed */
};

/* How the connection came in. */
struct proxy_arrival {
    struct ip_port peer;  /* the client, as the tunnel knows it */
    uint16_t listen_port; /* of ours */
    uint8_t protocol;     /* enum proxy_protocol */
    bool tls;
    bool redirect; /* plain HTTP, and every answer is a redirect to HTTPS */
    bool funnel;   /* through the public ingress: no identity, other prefixes */
};

/* The stream is taken over, also when the shard is full (then it is closed at once). */
void proxy_accept(struct proxy_service *service, struct stream *downstream,
                  const struct proxy_arrival *arrival);

/* ---- counters ---------------------------------------------------------------------- */

/* Durations, two buckets an octave: bucket i counts what is below proxy_duration_bound(i) and in no bucket
 * before it; the last one has no bound. Quantiles out of it are right to within a fifth. */
#define PROXY_DURATION_BUCKETS 42
struct proxy_durations {
    uint64_t count, sum_ns;
    uint64_t buckets[PROXY_DURATION_BUCKETS];
};

time_ns proxy_duration_bound(size_t bucket); /* 93 us, 131 us, ... 97 s; TIME_NEVER for the last */
/* The duration below which `share` (0 .. 1) of them lie, interpolated; 0 when there is none. */
time_ns proxy_duration_quantile(const struct proxy_durations *d, double share);

/* Kept once a request has ended; until then there is none (1 KB a service). */
struct proxy_timing {
    struct proxy_durations request;  /* from a request's first byte to the end of its response */
    struct proxy_durations upstream; /* from the choice of an upstream to the head of its response */
    struct proxy_durations auth;     /* of a question to the auth server */
};

/* How a question to the auth server ended. */
#define PROXY_AUTH_RESULTS(X)                                        \
    X(2XX, "2xx") /* granted */                                      \
    X(3XX, "3xx") /* denied, as the two below */                     \
    X(4XX, "4xx")                                                    \
    X(5XX, "5xx")                                                    \
    X(ERROR, "error")   /* no usable answer: the client got a 502 */ \
    X(BYPASS, "bypass") /* not asked: authBypassForTailnet */

enum proxy_auth_result {
#define X(id, name) PROXY_AUTH_##id,
    PROXY_AUTH_RESULTS(X)
#undef X
        PROXY_AUTH_COUNT
};
const char *proxy_auth_result_name(enum proxy_auth_result r);

/* How often a status went to clients; the first PROXY_CODES_MAX different ones have a row of their own. */
#define PROXY_CODES_MAX 24
struct proxy_code {
    uint16_t code; /* 0: this row and those behind it are free */
    uint64_t count;
};

/* Why an HTTP/2 connection was given up: the faults of http/h2_server.h, by the names they have in metrics.
 */
#define PROXY_H2_FAULTS(X)            \
    X(PROTOCOL, "protocol")           \
    X(RESETS, "resets")               \
    X(CONTINUATIONS, "continuations") \
    X(CONTROL, "control")             \
    X(NOT_READING, "not_reading")

enum proxy_h2_fault {
#define X(id, name) PROXY_H2_##id,
    PROXY_H2_FAULTS(X)
#undef X
        PROXY_H2_FAULT_COUNT
};
const char *proxy_h2_fault_name(enum proxy_h2_fault f);

/* Why a client of HTTPS got no connection: the faults of tls/tls.h and one of ours, by their names in
 * metrics. */
#define PROXY_TLS_FAULTS(X)             \
    X(VERSION, "version")               \
    X(NOTHING_COMMON, "nothing_common") \
    X(NO_TLS, "no_tls")                 \
    X(REFUSED, "refused")               \
    X(LEFT, "left")                     \
    X(OTHER, "other")                   \
    X(TIMEOUT, "timeout") /* readHeaderTimeout */

enum proxy_tls_fault {
#define X(id, name) PROXY_TLS_##id,
    PROXY_TLS_FAULTS(X)
#undef X
        PROXY_TLS_FAULT_COUNT
};
const char *proxy_tls_fault_name(enum proxy_tls_fault f);

/* Of the clients that speak HTTP/2. */
struct proxy_h2_counters {
    uint64_t connections;                    /* that turned out to be HTTP/2 */
    uint64_t requests;                       /* streams that ended, however they did */
    uint64_t resets;                         /* of these: the client took them back, or broke their rules */
    uint64_t given_up[PROXY_H2_FAULT_COUNT]; /* connections, by what their clients did */
    uint32_t open;                           /* connections now */
};

struct proxy_counters {
    uint64_t connections; /* accepted */
    uint64_t requests[6]; /* by class of the status sent: [2] = 2xx; [0]: ended without a status */
    uint64_t answers[6];  /* by class, of what the upstream answered: [1] = 101 */
    struct proxy_code codes[PROXY_CODES_MAX]; /* of the status sent */
    uint64_t bytes_in;                        /* request bodies and raw bytes, from clients */
    uint64_t bytes_out;                       /* response bodies and raw bytes, to clients */
    uint64_t upgrades;                        /* 101 */
    uint64_t upstream_connects;               /* new upstream connections */
    uint64_t upstream_retries;  /* a kept connection turned out dead, the request went out again */
    uint64_t upstream_waits;    /* requests that had to wait for a connection (upstreamMaxConnections) */
    uint64_t upstream_refusals; /* of these and others: the queue was full, or the wait too long */
    uint64_t proxy_errors;      /* the upstream's fault: not reachable, broke off, nonsense */
    uint64_t client_aborts;     /* the client went away in the middle */
    uint64_t refused;           /* answered here: malformed, limits, prefixes */
    uint64_t not_allowed;       /* of these: no prefix fits (404) */
    uint64_t auth[PROXY_AUTH_COUNT];
    uint64_t tls_failed[PROXY_TLS_FAULT_COUNT]; /* TLS handshakes that came to nothing */
    struct proxy_h2_counters h2;
    uint64_t log_lines_dropped;        /* of the access log: who reads it is too slow */
    uint32_t active;                   /* requests now */
    uint32_t open;                     /* downstream connections now */
    uint32_t waiting;                  /* requests that wait for an upstream connection now */
    const struct proxy_timing *timing; /* NULL: nothing yet */
};

const struct proxy_counters *proxy_service_counters(const struct proxy_service *service);

/* What they hold on the heap: a service with its connections and requests, a shard besides. */
void proxy_service_memory(const struct proxy_service *service, struct account_memory *m);
void proxy_shard_memory(const struct proxy_shard *shard, struct account_memory *m);

/* How a server that requests are sent to has failed, since it answered the last time. Kept once it did, also
 * when it answers again: until it fails anew. */
#define PROXY_TROUBLE_BYTES 96
struct proxy_trouble {
    const char *where;             /* as it is configured; lives as long as this */
    char why[PROXY_TROUBLE_BYTES]; /* the last time */
    uint64_t times;
    time_ns first, last;
    time_ns answers_since; /* 0: it has not answered since `last` */
};
/* Of the upstream, of the auth server. NULL: it never failed. */
const struct proxy_trouble *proxy_service_trouble(const struct proxy_service *service);
const struct proxy_trouble *proxy_service_auth_trouble(const struct proxy_service *service);
/* For a reload: what `from` has counted goes on in `to`, so that a total never falls. Once when `to` takes
 * its place, and once more before `from` is freed. What is there now (active, open, waiting) stays where it
 * is. Trouble goes along where both send their requests to the same place. */
void proxy_service_move_counters(struct proxy_service *to, struct proxy_service *from);

#endif
