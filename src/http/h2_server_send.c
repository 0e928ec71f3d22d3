/* What leaves: frames into the queue, and whose bytes are next */
#include <errno.h>

#include "http/h2_server_internal.h"

/* ---- into the queue ----------------------------------------------------------------- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = frame->hd.stream_id ? h2_stream_find(s, (uint32_t)frame->hd.stream_id) : NULL;

    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !s->fault)
        s->fault = H2_SERVER_E_PROTOCOL; /* nghttp2's verdict */
    if (frame->hd.type == NGHTTP2_DATA)
        h2_server_count_data(s);
    if (q && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        q->finished = true;
        if (!q->complete && q->unwanted)
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                            NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* How much there is to send of a body, and whether that is all. The bytes are fetched by send_data. */
ssize_t h2_server_read_data(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                            nghttp2_data_source *source, void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = h2_stream_find(s, (uint32_t)id);
    size_t there;

    (void)session;
    (void)source;
    (void)out;
    if (!q) { /* given up: its RST_STREAM overtakes us */
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    if (q->answer && s->out.len >= H2_SERVER_QUEUE_BYTES) {
        q->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    there = q->answer ? q->answer_len - q->answer_at : s->offer_id == q->id ? s->offer.len : 0;
    if (!there && !q->ending)
        return NGHTTP2_ERR_DEFERRED;
    if (there > room)
        there = room;
    else if (q->ending)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return (ssize_t)there;
}

static int queue(struct h2_server *s, struct span bytes)
{
    int r = s->muted ? 0 : buf_append(&s->out, bytes);

    if (r == -ENOMEM)
        s->out_of_memory = true;
    else if (r && !s->fault)
        s->fault = H2_SERVER_E_NOT_READING;
    return r ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t len,
                     nghttp2_data_source *source, void *user)
{
    struct h2_server *s = user;
    struct h2_stream *q = h2_stream_find(s, (uint32_t)frame->hd.stream_id);
    struct span body;

    (void)session;
    (void)source;
    if (queue(s, span_make(head, 9)))
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (!len)
        return 0;
    must(q && frame->data.padlen == 0);
    body = q->answer ? span_make(q->answer + q->answer_at, len) : span_slice(s->offer, 0, len);
    if (q->answer)
        q->answer_at += (uint32_t)len;
    else
        s->offer = span_slice(s->offer, len, s->offer.len);
    return queue(s, body);
}

static ssize_t send_bytes(nghttp2_session *session, const uint8_t *data, size_t len, int flags, void *user)
{
    (void)session;
    (void)flags;
    return queue(user, span_make(data, len)) ? NGHTTP2_ERR_CALLBACK_FAILURE : (ssize_t)len;
}

void h2_server_watch_output(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

void h2_server_pump(struct h2_server *s)
{
    int r;

    if (s->depth || s->out_of_memory || !s->session)
        return;
    s->depth++;
    r = nghttp2_session_send(s->session);
    s->depth--;
    if (r == NGHTTP2_ERR_NOMEM)
        s->out_of_memory = true;
    else if (r && !h2_server_broken(s))
        s->fault = H2_SERVER_E_PROTOCOL;
}

/* ---- who may send ------------------------------------------------------------------- */

size_t h2_server_shared_room(const struct h2_server *s)
{
    int32_t window = nghttp2_session_get_remote_window_size(s->session);
    size_t queue_room = H2_SERVER_QUEUE_BYTES - MIN(s->out.len, (size_t)H2_SERVER_QUEUE_BYTES);

    return window <= 0 ? 0 : MIN(queue_room, (size_t)window);
}

size_t h2_server_own_room(const struct h2_server *s, const struct h2_stream *q)
{
    int32_t window = nghttp2_session_get_stream_remote_window_size(s->session, (int32_t)q->id);

    return window <= 0 ? 0 : (size_t)window;
}

void h2_server_wait_for_room(struct h2_server *s, struct h2_stream *q)
{
    struct list *at = &s->waiting;

    if (list_linked(&q->wait_link))
        return;
    if (!h2_server_own_room(s, q)) {
        q->blocked = true;
        return;
    }
    LIST_EACH (it, &s->waiting, struct h2_stream, wait_link)
        if ((int32_t)(it->served - q->served) > 0) {
            at = &it->wait_link;
            break;
        }
    list_insert(at, &q->wait_link);
}

void h2_server_unblock(struct h2_server *s, struct h2_stream *q)
{
    if (q && q->blocked) {
        q->blocked = false;
        h2_server_wait_for_room(s, q);
    }
}

static void serve(struct h2_server *s)
{
    struct list batch, *node;

    if (s->serving || list_empty(&s->waiting))
        return;
    s->serving = true;
    list_init(&batch);
    list_splice_back(&batch, &s->waiting);
    while (!h2_server_broken(s) && h2_server_shared_room(s) && (node = list_pop_front(&batch)))
        s->ops->writable(s->ctx, LIST_ENTRY(node, struct h2_stream, wait_link)->id);
    while ((node = list_pop_front(&batch))) /* they keep their turn */
        h2_server_wait_for_room(s, LIST_ENTRY(node, struct h2_stream, wait_link));
    s->serving = false;
}

void h2_server_settle(struct h2_server *s)
{
    h2_server_pump(s);
    if (s->depth)
        return;
    if (!h2_server_broken(s))
        serve(s);
    if (h2_server_broken(s))
        h2_stream_end_all(s);
}
