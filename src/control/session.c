#include "control/session.h"

#include "control/early.h"
#include "control/noise_stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PROTOCOL "tailscale-control-protocol"

struct session {
    struct ev_loop *loop;
    struct ev_timer timer; /* the Noise response is late; later: go on reading in the next turn */
    struct ev_task task;   /* write what the requests queued */
    const struct session_ops *ops;
    void *ctx;
    uint16_t version;
    uint8_t *scratch;
    struct fetch *upgrade;
    struct noise_handshake *handshake; /* until the response */
    struct stream *stream;             /* behind the 101: raw, then Noise */
    struct buf response;               /* of the handshake, as far as it came */
    struct early early;
    struct h2_client *h2; /* once Noise stands */
    unsigned depth;       /* calls to the owner under way */
    bool over;            /* no more calls to the owner */
    bool dead;            /* session_free was called: release at depth 0 */
    bool heard;           /* HTTP/2 bytes came */
};

/* ---- the end ----------------------------------------------------------------------------------- */

static void close_all(struct session *s)
{
    fetch_free(s->upgrade);
    s->upgrade = NULL;
    stream_close(s->stream);
    s->stream = NULL;
    h2_client_free(s->h2); /* requests end */
    s->h2 = NULL;
    if (s->handshake)
        noise_handshake_wipe(s->handshake);
    free(s->handshake);
    s->handshake = NULL;
    buf_deinit(&s->response);
    ev_timer_stop(&s->timer);
    ev_task_cancel(&s->task);
}

static void release(struct session *s)
{
    if (s->dead && !s->depth)
        free(s);
}

void session_free(struct session *s)
{
    if (!s)
        return;
    s->over = s->dead = true;
    close_all(s);
    release(s);
}

static void lose(struct session *s, enum session_loss loss, time_ns now, const char *why)
{
    char reason[FETCH_FAILURE_BYTES];

    if (s->over)
        return;
    snprintf(reason, sizeof(reason), "%s", why);
    s->over = true;
    s->depth++;
    close_all(s);
    s->ops->lost(s->ctx, loss, reason, now);
    s->depth--;
}

static void lose_stream(struct session *s, enum session_loss loss, ssize_t end, time_ns now)
{
    char text[FETCH_FAILURE_BYTES];

    if (end == 0 && loss == SESSION_KEY)
        snprintf(text, sizeof(text),
                 "closed the connection in the Noise handshake: its key has changed, or it does not accept "
                 "capability version %u",
                 s->version);
    else if (end == 0 && !s->heard)
        snprintf(text, sizeof(text),
                 "closed the connection right after the Noise handshake; maybe it does not accept capability "
                 "version %u",
                 s->version);
    else if (end == 0)
        snprintf(text, sizeof(text), "closed the connection");
    else
        stream_failure(s->stream, text);
    lose(s, loss, now, text);
}

/* ---- HTTP/2 inside Noise ------------------------------------------------------------------------ */

static int feed(struct session *s, struct span bytes)
{
    struct span held;
    int r = early_feed(&s->early, &bytes, &held);

    if (r == EARLY_E_MORE)
        return 0;
    if (r)
        return H2_E_PROTOCOL;
    if (held.len) {
        r = h2_client_feed(s->h2, held);
        if (r)
            return r;
    }
    if (!bytes.len)
        return 0;
    s->heard = true;
    return h2_client_feed(s->h2, bytes);
}

static void flush(struct session *s, time_ns now)
{
    while (!s->over) {
        struct span pending = h2_client_pending(s->h2);
        ssize_t n;

        if (!pending.len)
            return;
        n = stream_write(s->stream, pending);
        if (n == -EAGAIN)
            return;
        if (n < 0)
            lose_stream(s, SESSION_BROKEN, n, now);
        else
            h2_client_sent(s->h2, (size_t)n);
    }
}

/* What one read brought. */
static void take(struct session *s, struct span bytes, time_ns now)
{
    int r = feed(s, bytes);

    if (s->over)
        return;
    if (r) {
        flush(s, now); /* GOAWAY with the reason */
        lose(s, SESSION_BROKEN, now,
             r < 0 ? err_text(r) : "broke the rules of HTTP/2 or sent an endless early payload");
        return;
    }
    s->ops->fed(s->ctx, now);
    if (!s->over && h2_client_closing(s->h2))
        lose(s, SESSION_BROKEN, now, "ends its connections (GOAWAY)");
}

static void pump(struct session *s, time_ns now)
{
    uint8_t bytes[SESSION_READ_BYTES];
    int reads = 0;

    s->depth++;
    while (!s->over && reads++ < SESSION_TURN_READS) {
        ssize_t n = stream_read(s->stream, bytes, sizeof(bytes));

        if (n == -EAGAIN)
            break;
        if (n <= 0)
            lose_stream(s, SESSION_BROKEN, n, now);
        else
            take(s, span_make(bytes, (size_t)n), now);
    }
    if (!s->over && reads > SESSION_TURN_READS)
        ev_timer_set(&s->timer, now); /* there may be more */
    flush(s, now);
    s->depth--;
    release(s);
}

static void on_noise_event(struct stream *stream, unsigned events, time_ns now)
{
    struct session *s = stream->owner;

    if (events & STREAM_FAILED) {
        s->depth++;
        lose_stream(s, SESSION_BROKEN, -ECONNRESET, now);
        s->depth--;
        release(s);
        return;
    }
    pump(s, now);
}

static void on_task(struct ev_task *t, time_ns now)
{
    struct session *s = CONTAINER_OF(t, struct session, task);

    s->depth++;
    flush(s, now);
    s->depth--;
    release(s);
}

/* ---- the Noise handshake ---------------------------------------------------------------------------- */

static int start_http2(struct session *s, const struct noise_session *noise, struct span leftover)
{
    struct stream *stream;
    int r = h2_client_new(&s->h2, s->scratch);

    if (r)
        return err_trace(r);
    r = noise_stream_new(&stream, s->stream, noise, leftover);
    if (r)
        return err_trace(r);
    s->stream = stream;
    stream_set_owner(stream, s, on_noise_event);
    ev_timer_stop(&s->timer);
    return 0;
}

static void noise_refused(struct session *s, int r, struct span refusal, time_ns now)
{
    char text[FETCH_FAILURE_BYTES];
    size_t n;

    n = (size_t)snprintf(text, sizeof(text), "%s",
                         r == NOISE_E_REFUSED ? "refused the Noise handshake: "
                                              : "does not authenticate in the Noise handshake");
    for (size_t i = 0; i < refusal.len && n + 1 < sizeof(text); i++)
        text[n++] = (char)(refusal.data[i] < ' ' || refusal.data[i] > '~' ? '?' : refusal.data[i]);
    text[n] = 0;
    lose(s, SESSION_KEY, now, text);
}

/* Tries the handshake with what is in `response`. */
static void consume_response(struct session *s, time_ns now)
{
    struct noise_session noise;
    struct span bytes = buf_span(&s->response), refusal = SPAN_NONE;
    size_t used;
    int r = noise_response_consume(s->handshake, bytes, &used, &noise, &refusal);

    if (r == NOISE_E_MORE)
        return;
    if (r > 0) {
        noise_refused(s, r, refusal, now);
        return;
    }
    if (r == 0)
        r = start_http2(s, &noise, span_slice(bytes, used, bytes.len));
    noise_session_wipe(&noise);
    if (r) {
        lose(s, SESSION_UNREACHABLE, now, err_text(r));
        return;
    }
    free(s->handshake); /* it wiped itself */
    s->handshake = NULL;
    buf_deinit(&s->response);
    s->ops->ready(s->ctx, now);
    if (!s->over)
        pump(s, now);
}

static void read_response(struct session *s, time_ns now)
{
    s->depth++;
    while (!s->over && s->handshake) {
        struct mspan room;
        ssize_t n;
        int r = buf_reserve(&s->response, 1, &room);

        if (r) {
            lose(s, SESSION_KEY, now, "sent too long an answer to the Noise handshake");
            break;
        }
        n = stream_read(s->stream, room.data, MIN(room.len, (size_t)NOISE_FRAME_BYTES_MAX));
        if (n == -EAGAIN)
            break;
        if (n <= 0) {
            lose_stream(s, SESSION_KEY, n, now);
            break;
        }
        buf_commit(&s->response, (size_t)n);
        consume_response(s, now);
    }
    s->depth--;
    release(s);
}

static void on_raw_event(struct stream *stream, unsigned events, time_ns now)
{
    struct session *s = stream->owner;

    s->depth++;
    if (events & STREAM_FAILED)
        lose_stream(s, SESSION_KEY, -ECONNRESET, now);
    else if (events & STREAM_READABLE)
        read_response(s, now);
    s->depth--;
    release(s);
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct session *s = CONTAINER_OF(t, struct session, timer);

    s->depth++;
    if (s->h2)
        pump(s, now);
    else
        lose(s, SESSION_KEY, now, "no answer to the Noise handshake");
    s->depth--;
    release(s);
}

/* ---- the upgrade --------------------------------------------------------------------------------------- */

/* A sentence about an answer that is not the 101 we want. */
static void no_upgrade(struct session *s, const struct exchange *e, time_ns now)
{
    char text[FETCH_FAILURE_BYTES];
    struct span body = text_trim(span_slice(buf_span(&e->body), 0, 80));
    size_t n;

    if (e->status == 101)
        n = (size_t)snprintf(text, sizeof(text), "upgraded to something else");
    else
        n = (size_t)snprintf(text, sizeof(text), "/ts2021 answered with status %d: ", e->status);
    for (size_t i = 0; e->status != 101 && i < body.len && n + 1 < sizeof(text); i++)
        text[n++] = (char)(body.data[i] < ' ' || body.data[i] > '~' ? ' ' : body.data[i]);
    text[n] = 0;
    lose(s, SESSION_UNREACHABLE, now, text);
}

static void upgraded(struct session *s, time_ns now)
{
    const struct exchange *e = fetch_answer(s->upgrade);
    struct span leftover;
    int r;

    if (e->status != 101 || strcmp(e->upgrade, PROTOCOL) != 0) {
        no_upgrade(s, e, now);
        return;
    }
    s->stream = fetch_take_stream(s->upgrade, &leftover);
    r = buf_append(&s->response, leftover);
    fetch_free(s->upgrade);
    s->upgrade = NULL;
    if (r) {
        lose(s, SESSION_UNREACHABLE, now, err_text(r));
        return;
    }
    stream_set_owner(s->stream, s, on_raw_event);
    ev_timer_set(&s->timer, now + SESSION_NOISE_TIMEOUT);
    consume_response(s, now);
    if (!s->over && s->handshake)
        read_response(s, now);
}

static void on_upgrade(void *ctx, const char *failure, time_ns now)
{
    struct session *s = ctx;

    s->depth++;
    if (failure)
        lose(s, SESSION_UNREACHABLE, now, failure);
    else
        upgraded(s, now);
    s->depth--;
    release(s);
}

/* ---- life
 * -------------------------------------------------------------------------------------------------- */

static int start_upgrade(struct session *s, const struct session_config *config)
{
    uint8_t initiation[NOISE_INITIATION_BYTES];
    char text[BASE64_BYTES(NOISE_INITIATION_BYTES)], headers[400];
    struct fetch_config fetch = { .url = config->url,
                                  .tls = config->tls,
                                  .proxies = config->proxies,
                                  .method = "POST",
                                  .target = span_from_str("/ts2021"),
                                  .headers = headers };
    int r = noise_initiation_create(s->handshake, config->version, config->machine_key, &config->server_key,
                                    NULL, initiation);

    if (r)
        return r > 0 ? -EKEYREJECTED : err_trace(r);
    base64_encode(text, SPAN_OF(initiation));
    snprintf(headers, sizeof(headers),
             "Upgrade: " PROTOCOL "\r\nConnection: upgrade\r\nX-Tailscale-Handshake: %s\r\n"
             "Content-Length: 0\r\n",
             text);
    return fetch_start(&s->upgrade, s->loop, &fetch, on_upgrade, s);
}

int session_start(struct session **out, struct ev_loop *loop, const struct session_config *config,
                  const struct session_ops *ops, void *ctx)
{
    struct session *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return err_trace(-ENOMEM);
    s->loop = loop;
    s->ops = ops;
    s->ctx = ctx;
    s->version = config->version;
    s->scratch = config->scratch;
    ev_timer_init(&s->timer, loop, on_timer);
    ev_task_init(&s->task, loop, on_task);
    buf_init(&s->response, 2 * NOISE_FRAME_BYTES_MAX);
    s->handshake = calloc(1, sizeof(*s->handshake));
    r = s->handshake ? start_upgrade(s, config) : -ENOMEM;
    if (r) {
        session_free(s);
        return err_trace(r);
    }
    *out = s;
    return 0;
}

int session_request(struct session *s, const struct h2_request *request, const struct h2_request_ops *ops,
                    void *ctx, uint32_t *id)
{
    if (!s->h2)
        return H2_E_CLOSED;
    ev_task_post(&s->task);
    return h2_client_request(s->h2, request, ops, ctx, id);
}

void session_cancel(struct session *s, uint32_t id)
{
    if (!s->h2)
        return;
    h2_client_cancel(s->h2, id);
    ev_task_post(&s->task);
}

void session_consumed(struct session *s, uint32_t id, size_t n)
{
    if (!s->h2)
        return;
    h2_client_consumed(s->h2, id, n);
    ev_task_post(&s->task);
}

void session_memory(const struct session *s, struct account_memory *m)
{
    if (!s)
        return;
    account_hold_block(m, ACCOUNT_CONTROL, s);
    account_hold_block(m, ACCOUNT_CONTROL, s->handshake);
    account_hold_block(m, ACCOUNT_CONTROL, s->response.data);
    fetch_memory(s->upgrade, m);
    stream_memory(s->stream, ACCOUNT_CONTROL, m);
    if (s->h2)
        account_hold(m, ACCOUNT_CONTROL, h2_client_memory(s->h2));
}
