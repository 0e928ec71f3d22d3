/* Requests: which ones run, what arrives on their streams, and how far ahead their clients may send */
#include <stdlib.h>

#include "http/h2_server_internal.h"

struct h2_stream *h2_stream_find(const struct h2_server *s, uint32_t id)
{
    return s->running ? nghttp2_session_get_stream_user_data(s->session, (int32_t)id) : NULL;
}

struct h2_stream *h2_stream_add(struct h2_server *s, int32_t id)
{
    struct h2_stream *q = calloc(1, sizeof(*q));

    if (!q)
        return NULL;
    q->id = s->last_id = (uint32_t)id;
    q->window = H2_SERVER_WINDOW_BYTES;
    if (nghttp2_session_set_stream_user_data(s->session, id, q)) {
        free(q);
        return NULL;
    }
    list_push_back(&s->requests, &q->link);
    s->running++;
    return q;
}

/* The only place where a request ends. What its owner never reported goes back to the connection's window. */
void h2_stream_forget(struct h2_server *s, struct h2_stream *q)
{
    list_remove(&q->link);
    list_remove(&q->wait_link);
    s->running--;
    s->extra -= q->window - H2_SERVER_WINDOW_BYTES;
    (void)nghttp2_session_set_stream_user_data(s->session, (int32_t)q->id, NULL);
    if (q->unconsumed && !h2_server_broken(s))
        (void)nghttp2_session_consume_connection(s->session, q->unconsumed);
    free(q->answer);
    free(q);
    if (!s->running)
        h2_server_drop_head(s);
}

static void end_and_tell(struct h2_server *s, struct h2_stream *q, enum h2_server_end why, uint32_t code)
{
    uint32_t id = q->id;
    bool tell = q->announced;

    h2_stream_forget(s, q);
    if (tell)
        s->ops->ended(s->ctx, id, why, code);
}

void h2_stream_end_all(struct h2_server *s)
{
    struct h2_stream *q;

    while ((q = LIST_FIRST(&s->requests, struct h2_stream, link)))
        end_and_tell(s, q, H2_SERVER_END_LOST, 0);
}

/* ---- what arrives ------------------------------------------------------------------ */

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = frame->hd.stream_id ? h2_stream_find(s, (uint32_t)frame->hd.stream_id) : NULL;

    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        return q && !q->finished ? h2_server_count_reset(s) : 0; /* on_stream_close follows */
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        h2_server_control_frame(s, q, frame);
        return 0;
    }
    if (!q)
        return 0;
    q->complete |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        h2_server_announce(s, q);
    else if (q->complete)
        h2_server_announce_end(s, q, frame->hd.type == NGHTTP2_HEADERS);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = h2_stream_find(s, (uint32_t)id);

    (void)flags;
    if (!q) {
        (void)nghttp2_session_consume(session, id, len);
        return 0;
    }
    q->unconsumed += (uint32_t)len;
    if (!q->unwanted)
        s->ops->body(s->ctx, q->id, span_make(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = h2_stream_find(s, (uint32_t)id);

    (void)session;
    if (q)
        end_and_tell(s, q, q->finished ? H2_SERVER_END_DONE : H2_SERVER_END_RESET, q->finished ? 0 : code);
    return 0;
}

void h2_server_watch_requests(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
}

/* ---- what the owner took ------------------------------------------------------------- */

/* The owner keeps up: the client may send more ahead, as far as all streams together allow. */
static void grow_window(struct h2_server *s, struct h2_stream *q)
{
    if (q->unconsumed || q->taken < q->window || 2 * q->window > H2_SERVER_WINDOW_BYTES_MAX ||
        s->extra + q->window > H2_SERVER_WINDOW_EXTRA_BYTES)
        return;
    if (nghttp2_session_set_local_window_size(s->session, NGHTTP2_FLAG_NONE, (int32_t)q->id,
                                              (int32_t)(2 * q->window)))
        return;
    s->extra += q->window;
    q->window *= 2;
    q->taken = 0;
}

void h2_server_consumed(struct h2_server *s, uint32_t id, size_t n)
{
    struct h2_stream *q = h2_stream_find(s, id);

    if (!q || h2_server_broken(s))
        return; /* its bytes were given back when it ended */
    must(n <= q->unconsumed);
    q->unconsumed -= (uint32_t)n;
    q->taken += (uint32_t)MIN(n, (size_t)H2_SERVER_WINDOW_BYTES_MAX);
    (void)nghttp2_session_consume(s->session, (int32_t)id, n);
    grow_window(s, q);
    h2_server_settle(s);
}
