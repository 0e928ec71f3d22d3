/* proxy/internal.h - between the files of proxy/
 *
 * Objects, and who owns whom:
 *
 *     shard - services - connections (struct conn) - exchange (while a request is in flight) - upstream
 *           - idle upstreams, oldest first; each also in its service's list
 *           - spare exchanges and heads, so that a request allocates nothing once traffic has begun
 *
 * Events only set flags and put the connection on shard->ready; conn_run steps through that list, so nothing
 * is freed inside a callback of its own stream. A step runs until nothing moves or its share is used up.
 *
 * Bytes: a side is read into shard->in only while the other side has taken everything; what the other side
 * does not take of one read is kept in the way's `pending`, at most PENDING_BYTES_MAX, which goes back to the
 * shard once it is empty. So a connection at rest holds no buffer, and a stalled one stops its source.
 */
#ifndef MANYTAILS_PROXY_INTERNAL_H
#define MANYTAILS_PROXY_INTERNAL_H

#include "http/http.h"
#include "proxy/proxy.h"
#include "proxy/url.h"
#include "tls/tls.h"

#define READ_BYTES (64u << 10)      /* of one read, while the other side keeps up */
#define READ_BYTES_SLOW (16u << 10) /* and when it did not the last time */
#define PENDING_BYTES_MAX (160u << 10)
#define AHEAD_BYTES_MAX                                                                                     \
    (128u << 10)                      /* client bytes read and not parsed: one read behind AHEAD_READ_BYTES \
                                       */
#define AHEAD_READ_BYTES (16u << 10)  /* read no further while a response is under way */
#define READS_PER_STEP 4              /* each direction; then the others get their turn */
#define LINGER_BYTES_MAX (256u << 10) /* thrown away after a refused request */
#define SPARES_MAX 32                 /* exchanges and heads kept for the next request, per shard */
#define SPARE_TEXT_BYTES (4u << 10)   /* text memory a spare may keep */
#define LOG_TEXT_MAX LOG_TOGETHER_BYTES  /* of one access-log line */
#define ACCESS_LOG_BYTES_MAX (64u << 10) /* lines that a slow reader may leave standing, per shard */
#define IDENTITY_TEXT_MAX (8u << 10)     /* of one joined list */
#define AUTH_BODY_BYTES_MAX (64u << 10)  /* read of a granting answer, so that its connection can be kept */
#define COOKIES_BYTES_MAX (16u << 10)    /* that one passes to the client */

/* ---- shard ------------------------------------------------------------------------ */

/* Lines that wait to be written (log.c). */
struct access_log {
    struct buf lines;
    struct ev_task task;
    struct ev_timer retry;
    uint64_t dropped; /* not told yet */
    int (*write)(struct span lines);
};

struct spare_head {
    struct list link;
    struct http_head head;
};

struct proxy_shard {
    struct ev_loop *loop;
    struct ev_task run;
    struct list ready;
    struct list services;
    struct list idle; /* upstreams of all backends, the longest idle first */
    struct list spare_exchanges, spare_heads;
    size_t spare_exchange_count, spare_head_count;
    size_t connections, idle_count;
    struct tls_client *tls; /* with the system's roots; made for the first https upstream */
    uint8_t *in;            /* READ_BYTES: the input of the step that runs */
    uint8_t *h2_scratch;    /* H2_SCRATCH_BYTES for all HTTP/2 connections, made for the first */
    struct buf out;         /* heads that the step writes */
    struct buf text;        /* paths and lists being put together */
    struct buf pending;     /* empty; for the next exchange that blocks */
    struct access_log access_log;
    int64_t date_second;
    char date[32];
};

struct http_head *head_take(struct proxy_shard *shard); /* NULL: out of memory */
void head_give_back(struct proxy_shard *shard, struct http_head **head);
/* "Tue, 24 Nov 2026 16:20:01 GMT" (RFC 9110 5.6.7) */
struct span shard_date(struct proxy_shard *shard);

/* Where connections go: the upstream of a service, or its auth server. */
struct backend {
    struct proxy_service *service;
    struct destination to;
    struct tls_client *tls;
    bool insecure_https, weak_ciphers;
    uint32_t idle_max, open_max, queue_max; /* open_max 0: no limit but that of clients */
    time_ns connect_timeout, idle_timeout, queue_timeout, keep_alive;
    time_ns burst_timeout; /* of idle ones above idle_max */
    struct list idle;      /* upstreams, the latest used last */
    size_t idle_count, open_count;
    struct list queue; /* exchanges that wait for a connection, the first of them first */
    size_t queued;
    size_t promised; /* connections for exchanges that were taken off the queue and have not had their turn */
    struct ev_timer idle_timer;
    struct proxy_trouble *trouble; /* NULL: it never failed */
};

/* ---- service ------------------------------------------------------------------------ */

enum origin { ORIGIN_ANY, ORIGIN_TAILNET, ORIGIN_FUNNEL };

struct prefix {
    char *path;
    enum origin only;
};

struct set_header {
    char *name, *value;
    bool again; /* a further value of the same name */
};

struct proxy_service {
    account_charge charge; /* of whoever made it */
    struct list link;      /* shard->services */
    struct proxy_shard *shard;
    const struct proxy_ops *ops;
    void *ctx;
    char *name;
    struct backend backend;
    struct auth *auth; /* NULL: nobody is asked */
    struct prefix prefixes[PROXY_PREFIXES_MAX];
    size_t prefix_count;
    struct set_header headers[PROXY_HEADERS_MAX];
    size_t header_count;
    bool strip_prefix, prefix_by_text, clean_paths, recommended_headers, suppress_whois;
    enum proxy_access_log access_log;
    uint32_t head_bytes_max;
    time_ns read_header_timeout, idle_timeout, response_timeout;
    struct list conns;
    struct proxy_counters counters;
    struct proxy_timing *timing;
    struct log_limit error_lines, tls_lines;
    bool draining, prefix_notice_given;
    struct proxy_service *successor; /* of a draining one: takes its connections between requests */
    struct ev_task drained;
};

/* Who serves the next request on a connection of this one; NULL: nobody, the connection ends. */
static inline struct proxy_service *service_for_next(struct proxy_service *s)
{
    if (!s->draining)
        return s;
    return s->successor && !s->successor->draining ? s->successor : NULL;
}

/* ---- upstream.c: connections to a backend, those that are kept, and who waits for one ------------ */

struct exchange;

struct upstream {
    struct list link;     /* backend->idle */
    struct list age_link; /* shard->idle */
    struct backend *backend;
    struct stream *stream;
    struct exchange *x; /* NULL: idle */
    time_ns idle_since;
    bool connected, reused;
    bool readable, writable; /* an edge came and was not used up */
    bool failed;
};

void backend_init(struct backend *b, struct proxy_service *service);
void backend_deinit(struct backend *b);
void backend_close_idle(struct backend *b);

enum upstream_outcome {
    UPSTREAM_E_WAIT = 1, /* all are busy: x stands in the queue and is made ready when it is its turn */
    UPSTREAM_E_FULL,     /* and so is the queue */
};

/* One for x: from the pool or dialled. 0, an outcome above, -errno (then x->up is NULL). */
NODISCARD int upstream_open(struct exchange *x, struct backend *b, bool fresh);
/* Back to the pool, or closed. x->up is NULL afterwards; x does not wait for one either. */
void upstream_release(struct exchange *x, bool reusable, time_ns now);

/* ---- conn.c: downstream connections ------------------------------------------------------ */

/* Name; what may be assumed. */
#define CONN_STATES(X)                                           \
    X(IDLE)    /* no exchange; the next byte begins a request */ \
    X(REQUEST) /* x is there */                                  \
    X(H2)      /* h2 is there, with a conn for each stream */    \
    X(LINGER)  /* answered and shut down; what still comes is thrown away */

enum conn_state {
#define X(name) CONN_##name,
    CONN_STATES(X)
#undef X
};

struct conn {
    struct list link; /* service->conns */
    struct list ready_link;
    struct proxy_service *service;
    struct stream *stream;
    struct exchange *x;
    const struct client_ops *client; /* how it speaks: client.h */
    struct h2_link *h2;              /* an HTTP/2 connection */
    struct h2_side *side;            /* one stream of such a connection, which `stream` is */
    struct ev_timer timer;
    time_ns deadline; /* TIME_NEVER: none. The timer may run out earlier and looks here */
    struct proxy_arrival arrival;
    uint32_t lingered; /* bytes thrown away */
    uint8_t state;
    bool readable, writable, failed; /* as with upstream */
    bool edge;                       /* something became readable since the last step */
    bool read_ended;                 /* the client has closed its side */
    bool shaking_hands;              /* a TLS handshake is under way */
};

/* Without stream, not counted. NULL: no memory. */
struct conn *conn_new(struct proxy_service *service, const struct proxy_arrival *arrival);
void conn_ready(struct conn *c);
/* What a write to a client said, counted; it returns that. Streams of HTTP/2 are counted as frames, once. */
static inline ssize_t conn_wrote(const struct conn *c, ssize_t n)
{
    return c->side ? n : account_moved(ACCOUNT_PROXY, ACCOUNT_OUT, n);
}
/* stream_read from the client, counted likewise. */
static inline ssize_t conn_read(struct conn *c, void *out, size_t len)
{
    ssize_t n = stream_read(c->stream, out, len);

    return c->side ? n : account_moved(ACCOUNT_PROXY, ACCOUNT_IN, n);
}
void conn_deadline(struct conn *c, time_ns at);
/* Frees it, its exchange and its upstream at once. abort: the client must not take this for a proper end. */
void conn_close(struct conn *c, bool abort, time_ns now);
void conn_run(struct ev_task *task, time_ns now);
/* Between two requests: it is another service's connection from now on. */
void conn_move(struct conn *c, struct proxy_service *to);

/* ---- exchange.c: one request and its response; its steps are in steps.h
 * ------------------------------------------------ */

/* Name; what may be assumed. */
#define EXCHANGE_STATES(X)                                               \
    X(HEAD)    /* the request's head is being collected */               \
    X(AUTH)    /* the auth server is being asked; x->up goes there */    \
    X(FORWARD) /* routed: an upstream is being opened, or bodies flow */ \
    X(TUNNEL)  /* 101 went through: raw bytes both ways */               \
    X(REPLY)   /* answered here; the rest of the answer is being written */

enum exchange_state {
#define X(name) EXCHANGE_##name,
    EXCHANGE_STATES(X)
#undef X
};

enum step {
    STEP_WAIT,   /* for an event or the deadline */
    STEP_AGAIN,  /* its share is used up, there is more to do */
    STEP_NEXT,   /* done; the connection stays */
    STEP_CLOSE,  /* done; the connection does not */
    STEP_LINGER, /* done; the client may still be sending */
    STEP_ABORT,  /* broken off: the client must not take it for complete */
};

/* Bytes on their way to one side. */
struct way {
    struct buf pending;
    uint32_t read_bytes; /* how much to read from the source at once */
    bool source_ended;   /* tunnel: no more from there */
    bool shut;           /* tunnel: the other side was told */
};

struct exchange {
    struct list link; /* spare */
    struct conn *conn;
    struct upstream *up;
    struct list queue_link; /* backend->queue */
    struct backend *queued_at, *promised_by;
    struct http_head *request, *response; /* given back once the response's head is through */
    struct http1 reader, up_reader;
    struct buf ahead;               /* from the client, not parsed yet */
    struct way in, out;             /* to the upstream, to the client */
    struct buf line;                /* of the access log, so far */
    struct buf cookies;             /* fields that the auth server's answer gives the client */
    uint32_t auth_bytes;            /* read and thrown away of its body */
    uint16_t stripped;              /* bytes of the target's path that a prefix takes off */
    time_ns began, asked, answered; /* asked: an upstream was chosen; answered: 0, or its head came */
    uint64_t bytes_in, bytes_out;
    uint16_t status; /* that went to the client; 0: none yet */
    uint8_t state;
    uint8_t method_id;
    uint8_t client_minor;
    uint8_t in_framing, out_framing; /* enum http_body of what the upstream and the client get */
    bool keep;                       /* the client's connection may live on */
    bool repeatable;                 /* may go out a second time (RFC 9110 9.2.2) and has no body */
    bool retried;
    bool connected;      /* the upstream was reached */
    bool head_sent;      /* to the upstream (or queued) */
    bool request_done;   /* wholly read from the client */
    bool response_begun; /* a byte of the response arrived */
    bool response_done;  /* wholly read from the upstream */
    bool up_reusable;    /* and its connection can serve another */
    bool asking;         /* the response that is being read is the auth server's */
    bool granted;        /* and it was a good one */
    bool bypassed;       /* nobody was asked, since a user of the tailnet asks */
    char why[96];        /* what went wrong, for the log; "" */
};

struct exchange *exchange_begin(struct conn *c, time_ns now); /* NULL: out of memory */
/* For the request that waits in x->ahead. 0 or -ENOMEM. */
NODISCARD int exchange_restart(struct exchange *x, time_ns now);
void exchange_end(struct exchange *x, time_ns now); /* gives everything back; x is a spare or gone */
void exchange_free(struct exchange *x);             /* a spare */
/* `in`: bytes that the connection has read while it was idle. */
enum step exchange_step(struct exchange *x, struct span in, time_ns now);
enum step exchange_timeout(struct exchange *x, time_ns now);
enum step exchange_client_left(struct exchange *x, time_ns now);

/* ---- route.c: from a request head to what the upstream gets ------------------------------------ */

/* 0: it may pass. Else the status of an answer made here; *location is filled for redirects and lives until
 * shard->text is used again. */
int route_check(struct exchange *x, struct span *location);
/* Makes the head what the upstream gets; `granted` is the auth server's answer (NULL: not asked). 0, or a
 * status. */
int route_rewrite(struct exchange *x, const struct http_head *granted);

/* ---- auth.c: asking another server first ---------------------------------------------------------- */

struct auth {
    struct backend backend;
    char *target; /* path and query of the question */
    bool own_query;
    bool bypass; /* authBypassForTailnet */
    time_ns timeout;
    char **copy; /* names of fields that only its answer may set */
    size_t copy_count;
};

/* False: `why` has the sentence. */
bool auth_new(struct proxy_service *s, const struct proxy_service_config *c, char why[PROXY_WHY_BYTES]);
void auth_free(struct auth *a); /* NULL is fine */
/* Does somebody have to be asked about this request? */
bool auth_is_needed(struct exchange *x);
/* The question into out: 0 or -errno. */
NODISCARD int auth_question(const struct exchange *x, struct buf *out);
/* The head of an answer is in x->response. True: access is granted; x->cookies is filled. */
bool auth_take_answer(struct exchange *x, time_ns now);
/* Removes what only the answer may set, and sets what it says (NULL: nothing). */
NODISCARD int auth_copy_headers(struct exchange *x, const struct http_head *granted);

/* ---- headers.c ----------------------------------------------------------------------------------- */

/* 0, -ENOBUFS (too many fields), -ENOMEM. */
NODISCARD int headers_for_upstream(struct exchange *x, const struct http_head *granted);
NODISCARD int headers_for_client(struct exchange *x);
/* Is it a field that only we may set (identity, forwarding), underscores taken for hyphens? */
bool header_is_ours(struct span name);
/* Equal without case, underscores taken for hyphens. */
bool header_equal(struct span a, struct span b);
/* Can a configuration not set it, since it belongs to the connection? */
bool header_is_reserved(struct span name);
/* The host of a valid Host field, and what stands behind its colon. */
struct span header_host_part(struct span host, struct span *port);
void trailers_filter(struct http_head *trailers);

/* ---- pump.c, way.c: moving bytes --------------------------------------------------------------------------
 */

enum flow {
    FLOW_BLOCKED, /* nothing to do before the next event */
    FLOW_MORE,    /* the share of this step is used up */
    FLOW_CLIENT_FAILED,
    FLOW_UPSTREAM_FAILED, /* see x->why */
    FLOW_FAULT,           /* http1 fault in *fault: the request's own, in the middle of its body */
    FLOW_TUNNEL,          /* 101 was passed on */
    FLOW_DONE,            /* this direction is complete and written */
};

enum flow pump_request(struct exchange *x, int *fault);
enum flow pump_response(struct exchange *x);
/* Which failure it is; the upstream's is told in x->why. */
enum flow way_failure(struct exchange *x, bool to_client);
/* Writes what is pending: FLOW_DONE, FLOW_BLOCKED or a failure. */
enum flow way_flush(struct exchange *x, bool to_client);
/* Writes the parts, keeps as pending what is not taken: FLOW_DONE, FLOW_BLOCKED or a failure. */
enum flow way_write(struct exchange *x, bool to_client, struct span *parts, size_t count);

/* ---- count.c: what a request leaves in the counters ------------------------------------------------------
 */

void count_answer(struct exchange *x, time_ns now);
void count_auth(struct proxy_service *s, enum proxy_auth_result result, time_ns took);
void count_end(struct exchange *x, time_ns now);
/* The TLS handshake came to nothing; c->stream knows why, unless the time is over. */
void count_tls_failed(const struct conn *c, bool timeout, time_ns now);
void count_h2_given_up(struct proxy_service *s, enum h2_server_fault fault);
/* The backend did not deliver: `why` is for people. */
void count_failure(struct backend *b, const char *why, time_ns now);

/* ---- answer.c: answers of our own ---------------------------------------------------- */

#define ANSWER_BYTES_MAX 256 /* of its body */

/* Queues it: the exchange is in EXCHANGE_REPLY afterwards. FLOW_CLIENT_FAILED: it could not be sent. */
enum flow answer(struct exchange *x, int status, struct span location, const char *sentence);

/* ---- log.c: the access log ---------------------------------------------------------------------------- */

void access_log_init(struct access_log *log, struct ev_loop *loop);
void access_log_deinit(struct access_log *log);
/* What is known when the request is routed. */
void log_begin(struct exchange *x, struct span original_target);
void log_rewritten(struct exchange *x);
void log_identity(struct exchange *x, const struct proxy_identity *who);
void log_end(struct exchange *x, time_ns now);

#endif
