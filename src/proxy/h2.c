/* An HTTP/2 connection from a client: bytes between its stream and the machine, and which streams there are
 */
#include "proxy/h2.h"

#include <errno.h>
#include <stdlib.h>

#include "proxy/h2_internal.h"

static struct h2_side *find(const struct h2_link *link, uint32_t id)
{
    LIST_EACH (it, &link->sides, struct h2_side, node)
        if (it->id == id)
            return it;
    return NULL;
}

/* ---- what the machine tells ------------------------------------------------------- */

static void on_request(void *ctx, const struct h2_server_request *q)
{
    struct h2_link *link = ctx;
    struct proxy_service *s = link->conn->service;
    struct h2_side *side = h2_side_new(link, q, ev_now(s->shard->loop));

    if (!side) {
        h2_server_reset(link->server, q->id, H2_CODE_REFUSED_STREAM);
        return;
    }
    list_push_back(&link->sides, &side->node);
    conn_deadline(link->conn, TIME_NEVER);
    conn_ready(side->conn);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct h2_link *link = ctx;
    struct h2_side *side = find(link, id);

    if (!side)
        return;
    if (buf_append(&side->body, bytes)) { /* no memory: the window keeps it within the buffer's limit */
        side->conn->failed = true;
        h2_server_consumed(link->server, id, bytes.len);
    }
    side->conn->readable = true;
    conn_ready(side->conn);
}

static void on_body_end(void *ctx, uint32_t id, const struct h2_header *trailers, size_t count)
{
    struct h2_link *link = ctx;
    struct h2_side *side = find(link, id);

    if (!side)
        return;
    side->body_ended = true;
    if (count)
        side->trailers_in = head_take(link->conn->service->shard);
    for (size_t i = 0; side->trailers_in && i < count; i++)
        if (http_is_token(trailers[i].name) && http_is_field_value(trailers[i].value))
            (void)!http_head_add(side->trailers_in, trailers[i].name, trailers[i].value);
    side->conn->readable = true;
    conn_ready(side->conn);
}

static void on_writable(void *ctx, uint32_t id)
{
    struct h2_side *side = find(ctx, id);

    if (!side)
        return;
    side->conn->writable = true;
    conn_ready(side->conn);
}

static void on_ended(void *ctx, uint32_t id, enum h2_server_end why, uint32_t code)
{
    struct h2_link *link = ctx;
    struct h2_side *side = find(link, id);

    (void)code;
    if (!side)
        return;
    side->over = true;
    link->conn->service->counters.h2.resets += why == H2_SERVER_END_RESET;
    side->conn->failed |= why != H2_SERVER_END_DONE;
    conn_ready(side->conn);
}

static const struct h2_server_ops server_ops = { on_request, on_body, on_body_end, on_writable, on_ended };

/* No request runs. A connection that stays so lets the machine rest, and ends some time later. */
static void begin_idling(struct conn *c, time_ns now)
{
    c->h2->idle_until = now + (c->service->draining ? PROXY_LINGER_TIMEOUT : c->service->idle_timeout);
    conn_deadline(c, MIN(c->h2->idle_until, now + H2_REST_AFTER));
}

/* ---- life --------------------------------------------------------------------------- */

bool h2_begin(struct conn *c, time_ns now)
{
    struct proxy_shard *shard = c->service->shard;
    struct h2_server_config config = { .head_bytes_max = c->service->head_bytes_max,
                                       .extended_connect = true };
    struct h2_link *link;

    if (!shard->h2_scratch && !(shard->h2_scratch = malloc(H2_SCRATCH_BYTES)))
        return false;
    link = calloc(1, sizeof(*link));
    if (!link)
        return false;
    link->conn = c;
    list_init(&link->sides);
    if (h2_server_new(&link->server, &config, &server_ops, link, shard->h2_scratch)) {
        free(link);
        return false;
    }
    c->h2 = link;
    c->state = CONN_H2;
    c->service->counters.h2.connections++;
    c->service->counters.h2.open++;
    begin_idling(c, now);
    return true;
}

void h2_free(struct h2_link *link, time_ns now)
{
    struct h2_side *side;

    if (!link)
        return;
    while ((side = LIST_FIRST(&link->sides, struct h2_side, node)))
        conn_close(side->conn, true, now);
    h2_server_free(link->server);
    link->conn->service->counters.h2.open--;
    free(link);
}

void h2_side_gone(struct h2_side *side)
{
    struct conn *c = side->link->conn;

    if (list_empty(&side->link->sides))
        begin_idling(c, ev_now(c->service->shard->loop));
    conn_ready(c); /* to send what the end has left behind */
}

/* The client is gone: its requests are told so, and counted and logged as such. */
static void lost(struct conn *c, time_ns now)
{
    struct h2_side *side;

    while ((side = LIST_FIRST(&c->h2->sides, struct h2_side, node))) {
        if (side->conn->x)
            (void)exchange_client_left(side->conn->x, now);
        conn_close(side->conn, true, now);
    }
    conn_close(c, false, now);
}

/* ---- steps ---------------------------------------------------------------------------- */

/* 0, -EAGAIN (rest is pending), -errno. */
static int flush(struct conn *c)
{
    struct h2_server *server = c->h2->server;
    struct span pending;

    while (c->writable && (pending = h2_server_pending(server)).len) {
        ssize_t n = conn_wrote(c, stream_write(c->stream, pending));

        if (n == -EAGAIN)
            c->writable = false;
        else if (n < 0)
            return (int)n;
        else
            h2_server_sent(server, (size_t)n);
    }
    return h2_server_pending(server).len ? -EAGAIN : 0;
}

/* 0: read all there is or enough for now; > 0: the machine gave up; -errno: the stream ended. */
static int take_bytes(struct conn *c, time_ns now)
{
    struct proxy_shard *shard = c->service->shard;
    int r = 0;

    for (int reads = 0; reads < READS_PER_STEP && c->readable && !r; reads++) {
        ssize_t n;

        if (h2_server_pending(c->h2->server).len >= H2_SERVER_QUEUE_BYTES)
            return 0; /* it does not read our answers: its requests can wait */
        n = conn_read(c, shard->in, READ_BYTES);
        if (n == -EAGAIN)
            c->readable = false;
        else if (n <= 0)
            return n ? (int)n : -ECONNRESET;
        else
            r = h2_server_feed(c->h2->server, span_make(shard->in, (size_t)n), now);
    }
    return r;
}

void h2_step(struct conn *c, time_ns now)
{
    struct h2_server *server = c->h2->server;
    int in = c->failed ? -ECONNRESET : flush(c), out;

    if (in == 0 || in == -EAGAIN)
        in = take_bytes(c, now);
    if (in < 0) {
        lost(c, now);
        return;
    }
    out = flush(c);
    if (in > 0) {
        count_h2_given_up(c->service, (enum h2_server_fault)in);
        log_debug(c->service->name, "HTTP/2 connection given up: %s",
                  h2_server_fault_text((enum h2_server_fault)in));
    }
    if (in > 0 || (out < 0 && out != -EAGAIN)) {
        lost(c, now);
        return;
    }
    if (h2_server_finished(server) && list_empty(&c->h2->sides)) {
        conn_close(c, false, now);
        return;
    }
    if (c->readable && h2_server_pending(server).len < H2_SERVER_QUEUE_BYTES)
        conn_ready(c);
}

void h2_timeout(struct conn *c, time_ns now)
{
    if (!list_empty(&c->h2->sides))
        return;
    if (now < c->h2->idle_until) {
        (void)h2_server_rest(c->h2->server);
        conn_deadline(c, c->h2->idle_until);
        if (h2_server_pending(c->h2->server).len)
            conn_ready(c);
        return;
    }
    h2_server_shutdown(c->h2->server);
    (void)flush(c);
    conn_close(c, false, now);
}

void h2_drain(struct conn *c)
{
    h2_server_shutdown(c->h2->server);
    if (list_empty(&c->h2->sides))
        begin_idling(c, ev_now(c->service->shard->loop));
    conn_ready(c);
}
