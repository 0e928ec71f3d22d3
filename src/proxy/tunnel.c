/* After 101: raw bytes both ways, until both sides have ended */
#include "proxy/steps.h"

#include <errno.h>

#include "proxy/client.h"

/* One read of one direction. FLOW_MORE: bytes were moved. */
static enum flow move_raw(struct exchange *x, bool to_client)
{
    struct conn *c = x->conn;
    struct way *w = to_client ? &x->out : &x->in;
    bool *readable = to_client ? &x->up->readable : &c->readable;
    struct span part = to_client ? SPAN_NONE : buf_span(&x->ahead);
    size_t ahead = part.len;
    enum flow f;
    ssize_t n;

    if (!ahead && !*readable)
        return FLOW_BLOCKED;
    if (!ahead) {
        n = to_client ? stream_read(x->up->stream, c->service->shard->in, w->read_bytes)
                      : conn_read(c, c->service->shard->in, w->read_bytes);
        if (n == -EAGAIN) {
            *readable = false;
            return FLOW_BLOCKED;
        }
        if (n < 0)
            return way_failure(x, !to_client);
        w->source_ended = n == 0;
        part = span_make(c->service->shard->in, (size_t)n);
    }
    *(to_client ? &x->bytes_out : &x->bytes_in) += part.len;
    f = way_write(x, to_client, &part, part.len ? 1 : 0);
    buf_consume(&x->ahead, ahead);
    return f == FLOW_DONE ? FLOW_MORE : f;
}

static enum flow pump_raw(struct exchange *x, bool to_client)
{
    struct way *w = to_client ? &x->out : &x->in;

    for (int reads = 0; reads < READS_PER_STEP; reads++) {
        enum flow f = way_flush(x, to_client);

        if (f != FLOW_DONE)
            return f;
        if (w->source_ended && !w->shut)
            stream_shutdown(to_client ? x->conn->stream : x->up->stream);
        w->shut |= w->source_ended;
        if (w->shut)
            return FLOW_DONE;
        f = move_raw(x, to_client);
        if (f != FLOW_MORE)
            return f;
    }
    return FLOW_MORE;
}

static enum flow pump_tunnel(struct exchange *x)
{
    enum flow a = pump_raw(x, true), b;

    if (a == FLOW_CLIENT_FAILED || a == FLOW_UPSTREAM_FAILED)
        return a;
    b = pump_raw(x, false);
    if (b == FLOW_CLIENT_FAILED || b == FLOW_UPSTREAM_FAILED)
        return b;
    if (a == FLOW_MORE || b == FLOW_MORE)
        return FLOW_MORE;
    return a == FLOW_DONE && b == FLOW_DONE ? FLOW_DONE : FLOW_BLOCKED;
}

enum step tunnel_begin(struct exchange *x)
{
    x->state = EXCHANGE_TUNNEL;
    x->conn->service->counters.upgrades++;
    x->in.read_bytes = x->out.read_bytes = READ_BYTES;
    conn_deadline(x->conn, TIME_NEVER);
    return STEP_AGAIN;
}

enum step tunnel_step(struct exchange *x, time_ns now)
{
    uint64_t moved = x->bytes_in + x->bytes_out;
    enum flow f = pump_tunnel(x);

    if (f == FLOW_CLIENT_FAILED || f == FLOW_UPSTREAM_FAILED) {
        log_end(x, now);
        return STEP_ABORT;
    }
    if (f == FLOW_DONE) {
        log_end(x, now);
        return STEP_CLOSE;
    }
    /* One side has ended: the other may finish, but not keep silent for ever. */
    if ((x->in.shut || x->out.shut) &&
        (x->conn->deadline == TIME_NEVER || moved != x->bytes_in + x->bytes_out))
        conn_deadline(x->conn, now + PROXY_HALF_CLOSED_TIMEOUT);
    return f == FLOW_MORE ? STEP_AGAIN : exchange_rest(x);
}
