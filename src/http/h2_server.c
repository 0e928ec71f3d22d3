#include "http/h2_server.h"

#include <errno.h>
#include <stdlib.h>

#include "http/h2_memory.h"

/* Twice what all streams together may hold: nghttp2 gives a window back only when half of it was taken, and
 * that half must not be held by streams whose owners take nothing. */
#define WINDOW_TOTAL_BYTES \
    ((int32_t)(2 * (H2_SERVER_STREAMS_MAX * H2_SERVER_WINDOW_BYTES + H2_SERVER_WINDOW_EXTRA_BYTES)))

struct request {
    struct list link;
    struct list wait_link; /* s->waiting */
    uint32_t id;
    uint32_t unconsumed; /* handed to the owner, not yet reported as taken */
    uint32_t window;     /* what the client may send ahead */
    uint32_t taken;      /* since the window has that size */
    uint32_t served;     /* s->turn when it last sent something */
    uint32_t answer_len, answer_at;
    uint8_t *answer;
    bool announced; /* the owner knows it */
    bool complete;  /* END_STREAM came */
    bool answered;  /* the final head was submitted */
    bool ending;    /* no more bytes will come from the owner */
    bool finished;  /* our END_STREAM went to the queue */
    bool connect;   /* extended CONNECT: both directions end by themselves */
    bool blocked;   /* waits for its own window */
    bool deferred;  /* its answer waits until the queue shrinks */
};

/* So many at once, and so many a second (both in the header). */
struct bucket {
    uint32_t left;
    time_ns at;
};

/* Where in a frame the client's bytes have come to (RFC 9113 4.1). */
struct boundary {
    uint32_t left; /* of the payload; at first of the preface */
    uint8_t head[9], head_len;
    bool in_block; /* CONTINUATION has to follow */
};

/* The client's side of a session that rests. */
struct resting {
    uint32_t table_bytes, window_bytes, frame_bytes, list_bytes; /* its SETTINGS */
    int32_t room;                                                /* what it still takes on the connection */
};

/* A header block while it arrives. There is one at a time on a connection. */
struct head {
    struct buf text;
    struct {
        uint32_t at, name_len, value_len;
    } fields[H2_SERVER_HEADERS_MAX];
    struct {
        uint32_t at, len;
    } pseudo[5];
    size_t count;
    bool too_big;
};

enum { METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL };

struct h2_server {
    nghttp2_session *session;
    const struct h2_server_ops *ops;
    void *ctx;
    struct list requests;
    struct list waiting; /* for the queue or the connection's window; least recently served first */
    struct buf out;
    struct head *head; /* NULL while no request runs */
    struct h2_lender memory;
    struct span offer; /* inside h2_server_write: what is left of it */
    uint32_t offer_id;
    uint32_t running;
    uint32_t turn;
    uint32_t extra; /* bytes by which windows have grown */
    uint32_t head_bytes_max;
    struct bucket resets, control;
    struct boundary boundary;
    struct resting resting; /* valid while session is NULL */
    uint32_t last_id;       /* the latest request's */
    uint32_t streams_max;
    bool extended_connect;
    bool greeted; /* the client has acknowledged our SETTINGS */
    bool muted;   /* what nghttp2 says now is known to the client already */
    time_ns now;
    uint16_t continuations; /* of the current header block */
    uint16_t depth;         /* inside an nghttp2 call: nothing may be sent now */
    uint8_t fault;          /* enum h2_server_fault */
    bool out_of_memory, serving, notice_sent, closing;
};

/* ---- requests ---------------------------------------------------------------- */

static bool broken(const struct h2_server *s)
{
    return s->fault || s->out_of_memory;
}

static struct request *find(const struct h2_server *s, uint32_t id)
{
    return s->running ? nghttp2_session_get_stream_user_data(s->session, (int32_t)id) : NULL;
}

/* The only place where a request ends. What its owner never reported goes back to the connection's window. */
static void forget(struct h2_server *s, struct request *q)
{
    list_remove(&q->link);
    list_remove(&q->wait_link);
    s->running--;
    s->extra -= q->window - H2_SERVER_WINDOW_BYTES;
    (void)nghttp2_session_set_stream_user_data(s->session, (int32_t)q->id, NULL);
    if (q->unconsumed && !broken(s))
        (void)nghttp2_session_consume_connection(s->session, q->unconsumed);
    free(q->answer);
    free(q);
    if (!s->running && s->head) {
        buf_deinit(&s->head->text);
        free(s->head);
        s->head = NULL;
    }
}

static void end_request(struct h2_server *s, struct request *q, enum h2_server_end why, uint32_t code)
{
    uint32_t id = q->id;
    bool tell = q->announced;

    forget(s, q);
    if (tell)
        s->ops->ended(s->ctx, id, why, code);
}

static void end_all(struct h2_server *s)
{
    struct request *q;

    while ((q = LIST_FIRST(&s->requests, struct request, link)))
        end_request(s, q, H2_SERVER_END_LOST, 0);
}

/* ---- limits -------------------------------------------------------------------- */

/* Our own verdict: say goodbye, take nothing more. */
static int give_up(struct h2_server *s, enum h2_server_fault why)
{
    if (!s->fault) {
        s->fault = (uint8_t)why;
        (void)nghttp2_session_terminate_session(s->session, NGHTTP2_ENHANCE_YOUR_CALM);
    }
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static bool spend(struct bucket *b, uint32_t burst, uint32_t per_second, time_ns now)
{
    time_ns earned = (now - b->at) / (SEC / per_second);

    if (earned > 0) {
        b->left = (uint32_t)MIN((time_ns)burst, b->left + earned);
        b->at = b->left == burst ? now : b->at + earned * (SEC / per_second);
    }
    if (!b->left)
        return false;
    b->left--;
    return true;
}

static int count_reset(struct h2_server *s)
{
    if (spend(&s->resets, H2_SERVER_RESETS_BURST, H2_SERVER_RESETS_PER_SECOND, s->now))
        return 0;
    return give_up(s, H2_SERVER_E_RESETS);
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user)
{
    struct h2_server *s = user;

    (void)session;
    if (s->muted)
        return 0; /* these frames are our own */
    switch (hd->type) {
    case NGHTTP2_HEADERS:
        s->continuations = 0;
        return 0;
    case NGHTTP2_CONTINUATION:
        return ++s->continuations > H2_SERVER_CONTINUATIONS_MAX ? give_up(s, H2_SERVER_E_CONTINUATIONS) : 0;
    case NGHTTP2_DATA:
        if (hd->length || (hd->flags & NGHTTP2_FLAG_END_STREAM))
            return 0;
        break;
    case NGHTTP2_RST_STREAM:
        return 0; /* counted as what it does */
    default:
        break;
    }
    if (spend(&s->control, H2_SERVER_CONTROL_BURST, H2_SERVER_CONTROL_PER_SECOND, s->now))
        return 0;
    return give_up(s, H2_SERVER_E_CONTROL);
}

/* A stream error that nghttp2 found, or a stream above the limit: it is reset, and costs as much as a reset.
 */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    (void)session;
    (void)frame;
    (void)error;
    return count_reset(user);
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user)
{
    (void)session;
    (void)frame;
    (void)name;
    (void)value;
    (void)flags;
    (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* malformed (RFC 9113 8.2.1): reset, not overlooked */
}

/* ---- what arrives: heads --------------------------------------------------------- */

static int out_of_memory(struct h2_server *s)
{
    s->out_of_memory = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct request *add_request(struct h2_server *s, int32_t id)
{
    struct request *q = calloc(1, sizeof(*q));

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

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;

    (void)session;
    if (s->muted)
        return 0; /* the request of wake(): nobody hears of it */
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !add_request(s, frame->hd.stream_id))
        return out_of_memory(s);
    if (!find(s, (uint32_t)frame->hd.stream_id))
        return 0; /* trailers of a request that its owner gave up */
    if (!s->head) {
        s->head = calloc(1, sizeof(*s->head));
        if (!s->head)
            return out_of_memory(s);
        buf_init(&s->head->text, H2_SERVER_HEAD_BYTES_MAX);
    }
    buf_clear(&s->head->text);
    memset(s->head->pseudo, 0, sizeof(s->head->pseudo));
    s->head->count = 0;
    s->head->too_big = false;
    return 0;
}

static void keep_pseudo(struct head *h, struct span name, uint32_t at, size_t len)
{
    static const char *const names[] = { [METHOD] = ":method",
                                         [SCHEME] = ":scheme",
                                         [AUTHORITY] = ":authority",
                                         [PATH] = ":path",
                                         [PROTOCOL] = ":protocol" };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (span_equal_str(name, names[i])) {
            h->pseudo[i].at = at;
            h->pseudo[i].len = (uint32_t)len;
        }
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_server *s = user;
    struct head *h = s->head;
    uint32_t at;

    (void)session;
    (void)flags;
    if (!find(s, (uint32_t)frame->hd.stream_id) || h->too_big)
        return 0;
    at = (uint32_t)h->text.len;
    if (h->count == H2_SERVER_HEADERS_MAX ||
        name_len + value_len > s->head_bytes_max - MIN(at, s->head_bytes_max)) {
        h->too_big = true;
        return 0;
    }
    if (buf_append(&h->text, span_make(name, name_len)) || buf_append(&h->text, span_make(value, value_len)))
        return out_of_memory(s);
    if (name_len && name[0] == ':') {
        keep_pseudo(h, span_make(name, name_len), at + (uint32_t)name_len, value_len);
        return 0;
    }
    h->fields[h->count].at = at;
    h->fields[h->count].name_len = (uint32_t)name_len;
    h->fields[h->count].value_len = (uint32_t)value_len;
    h->count++;
    return 0;
}

static void list_headers(const struct head *h, struct h2_header out[H2_SERVER_HEADERS_MAX])
{
    const uint8_t *text = buf_span(&h->text).data;

    for (size_t i = 0; i < h->count; i++) {
        const uint8_t *name = text + h->fields[i].at;

        out[i].name = span_make(name, h->fields[i].name_len);
        out[i].value = span_make(name + h->fields[i].name_len, h->fields[i].value_len);
    }
}

static struct span pseudo(const struct head *h, int which)
{
    return h->pseudo[which].len
               ? span_make(buf_span(&h->text).data + h->pseudo[which].at, h->pseudo[which].len)
               : SPAN_NONE;
}

static void announce(struct h2_server *s, struct request *q)
{
    struct h2_header headers[H2_SERVER_HEADERS_MAX];
    const struct head *h = s->head;
    struct h2_server_request r = {
        .id = q->id,
        .method = pseudo(h, METHOD),
        .scheme = pseudo(h, SCHEME),
        .authority = pseudo(h, AUTHORITY),
        .path = pseudo(h, PATH),
        .protocol = pseudo(h, PROTOCOL),
        .headers = headers,
        .header_count = h->count,
        .bodiless = q->complete,
        .too_big = h->too_big,
    };

    list_headers(h, headers);
    q->announced = true;
    q->connect = r.protocol.len > 0;
    s->ops->request(s->ctx, &r);
}

static void body_ended(struct h2_server *s, struct request *q, bool with_trailers)
{
    struct h2_header headers[H2_SERVER_HEADERS_MAX];

    if (!q->announced)
        return;
    if (with_trailers)
        list_headers(s->head, headers);
    s->ops->body_end(s->ctx, q->id, headers, with_trailers && !s->head->too_big ? s->head->count : 0);
}

/* ---- what arrives: the rest -------------------------------------------------------- */

static void wait_for_room(struct h2_server *s, struct request *q);

static void unblock(struct h2_server *s, struct request *q)
{
    if (q && q->blocked) {
        q->blocked = false;
        wait_for_room(s, q);
    }
}

/* The client has answered the ping that followed the notice: what it sent before it has arrived. */
static void say_goodbye(struct h2_server *s)
{
    s->closing = true;
    (void)nghttp2_submit_goaway(s->session, NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(s->session), NGHTTP2_NO_ERROR, NULL,
                                0);
}

static void on_control(struct h2_server *s, struct request *q, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_WINDOW_UPDATE:
        unblock(s, q);
        break;
    case NGHTTP2_SETTINGS:
        s->greeted |= (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
        LIST_EACH (it, &s->requests, struct request, link)
            unblock(s, it);
        break;
    case NGHTTP2_GOAWAY:
        s->closing = true;
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && s->notice_sent && !s->closing)
            say_goodbye(s);
        break;
    default:
        break;
    }
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;
    struct request *q = frame->hd.stream_id ? find(s, (uint32_t)frame->hd.stream_id) : NULL;

    (void)session;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        return q && !q->finished ? count_reset(s) : 0; /* on_stream_close follows */
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA) {
        on_control(s, q, frame);
        return 0;
    }
    if (!q)
        return 0;
    q->complete |= (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        announce(s, q);
    else if (q->complete)
        body_ended(s, q, frame->hd.type == NGHTTP2_HEADERS);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct h2_server *s = user;
    struct request *q = find(s, (uint32_t)id);

    (void)flags;
    if (!q) {
        (void)nghttp2_session_consume(session, id, len);
        return 0;
    }
    q->unconsumed += (uint32_t)len;
    s->ops->body(s->ctx, q->id, span_make(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_server *s = user;
    struct request *q = find(s, (uint32_t)id);

    (void)session;
    if (q)
        end_request(s, q, q->finished ? H2_SERVER_END_DONE : H2_SERVER_END_RESET, q->finished ? 0 : code);
    return 0;
}

/* ---- what leaves ------------------------------------------------------------------- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;
    struct request *q = frame->hd.stream_id ? find(s, (uint32_t)frame->hd.stream_id) : NULL;

    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR && !s->fault)
        s->fault = H2_SERVER_E_PROTOCOL; /* nghttp2's verdict */
    if (frame->hd.type == NGHTTP2_DATA)
        s->control.left = MIN(s->control.left + H2_SERVER_CONTROL_PER_DATA, H2_SERVER_CONTROL_BURST);
    if (q && (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        q->finished = true;
        if (!q->complete && !q->connect)
            (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                            NGHTTP2_NO_ERROR);
    }
    return 0;
}

/* How much there is to send of a body, and whether that is all. The bytes are fetched by send_data. */
static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct h2_server *s = user;
    struct request *q = find(s, (uint32_t)id);
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
    struct request *q = find(s, (uint32_t)frame->hd.stream_id);
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

/* Moves what nghttp2 wants to send to s->out. */
static void pump(struct h2_server *s)
{
    int r;

    if (s->depth || s->out_of_memory || !s->session)
        return;
    s->depth++;
    r = nghttp2_session_send(s->session);
    s->depth--;
    if (r == NGHTTP2_ERR_NOMEM)
        s->out_of_memory = true;
    else if (r && !broken(s))
        s->fault = H2_SERVER_E_PROTOCOL;
}

/* ---- who may send ------------------------------------------------------------------- */

static size_t shared_room(const struct h2_server *s)
{
    int32_t window = nghttp2_session_get_remote_window_size(s->session);
    size_t queue_room = H2_SERVER_QUEUE_BYTES - MIN(s->out.len, (size_t)H2_SERVER_QUEUE_BYTES);

    return window <= 0 ? 0 : MIN(queue_room, (size_t)window);
}

static size_t own_room(const struct h2_server *s, const struct request *q)
{
    int32_t window = nghttp2_session_get_stream_remote_window_size(s->session, (int32_t)q->id);

    return window <= 0 ? 0 : (size_t)window;
}

/* Behind all that were served less recently. */
static void wait_for_room(struct h2_server *s, struct request *q)
{
    struct list *at = &s->waiting;

    if (list_linked(&q->wait_link))
        return;
    if (!own_room(s, q)) {
        q->blocked = true;
        return;
    }
    LIST_EACH (it, &s->waiting, struct request, wait_link)
        if ((int32_t)(it->served - q->served) > 0) {
            at = &it->wait_link;
            break;
        }
    list_insert(at, &q->wait_link);
}

static void serve(struct h2_server *s)
{
    struct list batch, *node;

    if (s->serving || list_empty(&s->waiting))
        return;
    s->serving = true;
    list_init(&batch);
    list_splice_back(&batch, &s->waiting);
    while (!broken(s) && shared_room(s) && (node = list_pop_front(&batch)))
        s->ops->writable(s->ctx, LIST_ENTRY(node, struct request, wait_link)->id);
    while ((node = list_pop_front(&batch))) /* they keep their turn */
        wait_for_room(s, LIST_ENTRY(node, struct request, wait_link));
    s->serving = false;
}

/* At the end of every call from outside. */
static void settle(struct h2_server *s)
{
    pump(s);
    if (s->depth)
        return;
    if (!broken(s))
        serve(s);
    if (broken(s))
        end_all(s);
}

/* ---- life -------------------------------------------------------------------- */

static void set_callbacks(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_frame_callback(cb, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cb, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_session_callbacks_set_send_callback(cb, send_bytes);
    nghttp2_session_callbacks_set_send_data_callback(cb, send_data);
}

static int make_session(struct h2_server *s)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_mem mem = h2_lender_mem(&s->memory); /* copied by nghttp2 */
    nghttp2_option *option = NULL;
    int r = -1;

    if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&option))
        goto out;
    set_callbacks(cb);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
    s->memory.lending = s->memory.scratch;
    r = nghttp2_session_server_new3(&s->session, cb, s, option, &mem);
    s->memory.lending = false;
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return r ? -ENOMEM : 0;
}

static int greet(struct h2_server *s)
{
    nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0 },
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, s->streams_max },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, s->head_bytes_max + 32 * H2_SERVER_HEADERS_MAX },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        { NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
    };

    if (nghttp2_submit_settings(s->session, NGHTTP2_FLAG_NONE, settings,
                                COUNT_OF(settings) - (s->extended_connect ? 0 : 1)) ||
        nghttp2_session_set_local_window_size(s->session, NGHTTP2_FLAG_NONE, 0, WINDOW_TOTAL_BYTES))
        return -ENOMEM;
    pump(s);
    return broken(s) ? -ENOMEM : 0;
}

int h2_server_new(struct h2_server **out, const struct h2_server_config *config,
                  const struct h2_server_ops *ops, void *ctx, uint8_t *scratch)
{
    static const struct h2_server_config defaults = { 0 };
    struct h2_server *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    if (!config)
        config = &defaults;
    s->ops = ops;
    s->ctx = ctx;
    s->memory.scratch = scratch;
    s->resets.left = H2_SERVER_RESETS_BURST;
    s->control.left = H2_SERVER_CONTROL_BURST;
    s->head_bytes_max = config->head_bytes_max && config->head_bytes_max < H2_SERVER_HEAD_BYTES_MAX
                            ? config->head_bytes_max
                            : H2_SERVER_HEAD_BYTES_MAX;
    s->streams_max = config->streams_max && config->streams_max < H2_SERVER_STREAMS_MAX
                         ? config->streams_max
                         : H2_SERVER_STREAMS_MAX;
    s->extended_connect = config->extended_connect;
    s->boundary.left = NGHTTP2_CLIENT_MAGIC_LEN;
    list_init(&s->requests);
    list_init(&s->waiting);
    buf_init(&s->out, H2_SERVER_PENDING_BYTES_MAX);
    if (make_session(s) || greet(s)) {
        h2_server_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void h2_server_free(struct h2_server *s)
{
    if (!s)
        return;
    s->out_of_memory = true; /* callbacks cannot send any more */
    s->depth++;
    end_all(s);
    nghttp2_session_del(s->session);
    buf_deinit(&s->out);
    free(s);
}

/* ---- rest ---------------------------------------------------------------------
 *
 * A session without streams and without HPACK tables is little more than the client's SETTINGS, two windows
 * and the last stream's number. To make it anew, a session is fed what the client would have said to get
 * there, and its own words are dropped: the client heard them long ago.
 */

#define DEFAULT_ROOM 65535 /* RFC 9113 6.9.2 */

static void count_frames(struct boundary *b, struct span bytes)
{
    while (bytes.len) {
        size_t n = MIN(bytes.len, (size_t)b->left);

        b->left -= (uint32_t)n;
        bytes = span_slice(bytes, n, bytes.len);
        if (!bytes.len)
            return;
        b->head[b->head_len++] = bytes.data[0];
        bytes = span_slice(bytes, 1, bytes.len);
        if (b->head_len < sizeof(b->head))
            continue;
        b->head_len = 0;
        b->left = load_be32(b->head) >> 8;
        b->in_block = (b->head[3] == NGHTTP2_HEADERS || b->head[3] == NGHTTP2_CONTINUATION) &&
                      !(b->head[4] & NGHTTP2_FLAG_END_HEADERS);
    }
}

static bool may_rest(const struct h2_server *s)
{
    return s->session && !broken(s) && !s->depth && !s->running && s->greeted && s->last_id && !s->closing &&
           !s->notice_sent && !s->boundary.left && !s->boundary.head_len && !s->boundary.in_block;
}

bool h2_server_rest(struct h2_server *s)
{
    int32_t room, owed;

    if (!may_rest(s))
        return false;
    room = nghttp2_session_get_remote_window_size(s->session);
    if (room < DEFAULT_ROOM) /* nothing that a client can say leads there */
        return false;
    owed = nghttp2_session_get_effective_recv_data_length(s->session);
    if (owed > 0)
        (void)nghttp2_submit_window_update(s->session, NGHTTP2_FLAG_NONE, 0, owed);
    pump(s);
    if (broken(s))
        return false;
    s->resting = (struct resting) {
        .table_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE),
        .window_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE),
        .frame_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_MAX_FRAME_SIZE),
        .list_bytes = nghttp2_session_get_remote_settings(s->session, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE),
        .room = room,
    };
    nghttp2_session_del(s->session);
    s->session = NULL;
    return true;
}

static void put_frame(struct writer *w, uint32_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
    writer_u8(w, (uint8_t)(len >> 16));
    writer_be16(w, (uint16_t)len);
    writer_u8(w, type);
    writer_u8(w, flags);
    writer_be32(w, stream);
}

static void put_setting(struct writer *w, uint16_t id, uint32_t value)
{
    writer_be16(w, id);
    writer_be32(w, value);
}

/* What the client said, in short. Its last request, which was over long ago, stands for all: it gives the
 * session its number, and says that the HPACK table is empty. */
static size_t tell_story(const struct h2_server *s, uint8_t *out, size_t size)
{
    /* size update to 0; GET, https, /, :authority x (RFC 7541, appendix A) */
    static const uint8_t request[] = { 0x20, 0x82, 0x87, 0x84, 0x01, 0x01, 'x' };
    const struct resting *r = &s->resting;
    struct writer w = writer_of(out, size);

    writer_bytes(&w, span_from_str(NGHTTP2_CLIENT_MAGIC));
    put_frame(&w, 24, NGHTTP2_SETTINGS, 0, 0);
    put_setting(&w, NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, r->table_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, r->window_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_MAX_FRAME_SIZE, r->frame_bytes);
    put_setting(&w, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, r->list_bytes);
    put_frame(&w, 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
    if (r->room > DEFAULT_ROOM) {
        put_frame(&w, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
        writer_be32(&w, (uint32_t)(r->room - DEFAULT_ROOM));
    }
    put_frame(&w, sizeof(request), NGHTTP2_HEADERS, NGHTTP2_FLAG_END_STREAM | NGHTTP2_FLAG_END_HEADERS,
              s->last_id);
    writer_bytes(&w, SPAN_OF(request));
    must(!w.failed);
    return w.at;
}

/* False: no memory. */
static bool wake(struct h2_server *s)
{
    uint8_t story[128];
    size_t len;
    ssize_t n = -1;

    if (s->session)
        return true;
    len = tell_story(s, story, sizeof(story));
    s->muted = true;
    if (!make_session(s) && !greet(s)) {
        s->depth++;
        n = nghttp2_session_mem_recv(s->session, story, len);
        s->depth--;
        (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, (int32_t)s->last_id, NGHTTP2_NO_ERROR);
        pump(s);
    }
    s->muted = false;
    s->out_of_memory |= n < 0;
    return !broken(s);
}

/* ---- in, out ----------------------------------------------------------------- */

int h2_server_feed(struct h2_server *s, struct span bytes, time_ns now)
{
    ssize_t n;

    must(!s->depth);
    s->now = now;
    if (!broken(s) && wake(s)) {
        count_frames(&s->boundary, bytes);
        s->depth++;
        n = nghttp2_session_mem_recv(s->session, bytes.data, bytes.len);
        s->depth--;
        if (n == NGHTTP2_ERR_NOMEM)
            s->out_of_memory = true;
        else if (n < 0 && !broken(s))
            s->fault = n == NGHTTP2_ERR_FLOODED ? H2_SERVER_E_CONTROL : H2_SERVER_E_PROTOCOL;
        settle(s);
    }
    return s->out_of_memory ? -ENOMEM : s->fault;
}

struct span h2_server_pending(const struct h2_server *s)
{
    return buf_span(&s->out);
}

void h2_server_sent(struct h2_server *s, size_t n)
{
    buf_consume(&s->out, n);
    if (s->out.len < H2_SERVER_QUEUE_BYTES && !broken(s))
        LIST_EACH (it, &s->requests, struct request, link)
            if (it->deferred) {
                it->deferred = false;
                (void)nghttp2_session_resume_data(s->session, (int32_t)it->id);
            }
    if (!broken(s))
        settle(s);
    buf_trim(&s->out);
}

/* ---- responses, from the owner's side ------------------------------------------ */

/* Both fit into `nv`: status and headers. -ENOBUFS if they are too many or too long. */
static ssize_t to_pairs(nghttp2_nv *nv, const char *status, const struct h2_header *headers, size_t count)
{
    size_t n = 0, bytes = 0;

    if (count > H2_SERVER_RESPONSE_HEADERS_MAX)
        return -ENOBUFS;
    if (status)
        nv[n++] = (nghttp2_nv) {
            .name = (uint8_t *)":status", .namelen = 7, .value = (uint8_t *)status, .valuelen = 3
        };
    for (size_t i = 0; i < count; i++) {
        bytes += headers[i].name.len + headers[i].value.len;
        nv[n++] = (nghttp2_nv) { .name = (uint8_t *)headers[i].name.data,
                                 .namelen = headers[i].name.len,
                                 .value = (uint8_t *)headers[i].value.data,
                                 .valuelen = headers[i].value.len };
    }
    return bytes > H2_SERVER_RESPONSE_HEAD_BYTES_MAX ? -ENOBUFS : (ssize_t)n;
}

static int submitted(struct h2_server *s, int r)
{
    if (r == NGHTTP2_ERR_NOMEM)
        s->out_of_memory = true;
    settle(s);
    return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : 0;
}

int h2_server_head(struct h2_server *s, uint32_t id, int status, const struct h2_header *headers,
                   size_t count, bool end)
{
    nghttp2_data_provider body = { .read_callback = read_data };
    nghttp2_nv nv[H2_SERVER_RESPONSE_HEADERS_MAX + 1];
    char text[] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10),
                    '\0' };
    struct request *q = find(s, id);
    ssize_t n;

    if (!q || broken(s))
        return 0;
    must(status >= 100 && status <= 999 && status != 101 && !q->answered);
    n = to_pairs(nv, text, headers, count);
    if (n < 0)
        return (int)n;
    if (status < 200)
        return submitted(
            s, nghttp2_submit_headers(s->session, NGHTTP2_FLAG_NONE, (int32_t)id, NULL, nv, (size_t)n, NULL));
    q->answered = true;
    q->ending = end;
    return submitted(s, nghttp2_submit_response(s->session, (int32_t)id, nv, (size_t)n, end ? NULL : &body));
}

size_t h2_server_write(struct h2_server *s, uint32_t id, struct span bytes)
{
    struct request *q = find(s, id);
    size_t n;

    if (!q || broken(s))
        return bytes.len;
    must(q->answered && !q->ending);
    n = s->depth ? 0 : MIN(bytes.len, MIN(shared_room(s), own_room(s, q)));
    if (n) {
        q->served = ++s->turn;
        s->offer = span_slice(bytes, 0, n);
        s->offer_id = id;
        (void)nghttp2_session_resume_data(s->session, (int32_t)id);
        pump(s);
        n -= s->offer.len;
        s->offer = SPAN_NONE;
        s->offer_id = 0;
    }
    q = find(s, id);
    if (q && n < bytes.len)
        wait_for_room(s, q);
    settle(s);
    return n;
}

int h2_server_end(struct h2_server *s, uint32_t id, const struct h2_header *trailers, size_t count)
{
    nghttp2_nv nv[H2_SERVER_RESPONSE_HEADERS_MAX + 1];
    struct request *q = find(s, id);
    ssize_t n;

    if (!q || broken(s))
        return 0;
    must(q->answered && !q->ending);
    n = to_pairs(nv, NULL, trailers, count);
    if (n < 0)
        return (int)n;
    q->ending = true;
    if (n) /* all bytes are queued already, so the trailers cannot overtake any */
        return submitted(s, nghttp2_submit_trailer(s->session, (int32_t)id, nv, (size_t)n));
    return submitted(s, nghttp2_session_resume_data(s->session, (int32_t)id));
}

int h2_server_answer(struct h2_server *s, uint32_t id, int status, const struct h2_header *headers,
                     size_t count, struct span body)
{
    struct request *q = find(s, id);
    int r;

    if (!q || broken(s))
        return 0;
    if (body.len > H2_SERVER_ANSWER_BYTES_MAX)
        return -ENOBUFS;
    if (!body.len)
        return h2_server_head(s, id, status, headers, count, true);
    q->answer = malloc(body.len);
    if (!q->answer)
        return -ENOMEM;
    memcpy(q->answer, body.data, body.len);
    q->answer_len = (uint32_t)body.len;
    s->depth++; /* not before it is known that nothing follows */
    r = h2_server_head(s, id, status, headers, count, false);
    s->depth--;
    if (r) {
        free(q->answer);
        q->answer = NULL;
        return r;
    }
    q->ending = true;
    settle(s);
    return 0;
}

void h2_server_reset(struct h2_server *s, uint32_t id, uint32_t code)
{
    struct request *q = find(s, id);

    if (!q)
        return;
    if (!broken(s))
        (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, (int32_t)id, code);
    forget(s, q);
    if (!broken(s))
        settle(s);
}

/* The owner keeps up: the client may send more ahead, as far as all streams together allow. */
static void grow_window(struct h2_server *s, struct request *q)
{
    if (q->unconsumed || q->taken < q->window || q->window >= H2_SERVER_WINDOW_BYTES_MAX ||
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
    struct request *q = find(s, id);

    if (!q || broken(s))
        return; /* its bytes were given back when it ended */
    must(n <= q->unconsumed);
    q->unconsumed -= (uint32_t)n;
    q->taken += (uint32_t)MIN(n, (size_t)H2_SERVER_WINDOW_BYTES_MAX);
    (void)nghttp2_session_consume(s->session, (int32_t)id, n);
    grow_window(s, q);
    settle(s);
}

/* ---- the end ------------------------------------------------------------------- */

void h2_server_shutdown(struct h2_server *s)
{
    static const uint8_t opaque[8] = "goodbye";

    if (broken(s) || s->closing || s->notice_sent || !wake(s))
        return;
    s->notice_sent = true;
    (void)nghttp2_submit_shutdown_notice(s->session);
    (void)nghttp2_submit_ping(s->session, NGHTTP2_FLAG_NONE, opaque);
    settle(s);
}

bool h2_server_finished(const struct h2_server *s)
{
    return (s->closing || broken(s)) && !s->running && !s->out.len;
}

size_t h2_server_running(const struct h2_server *s)
{
    return s->running;
}

const char *h2_server_fault_text(enum h2_server_fault f)
{
    static const char *const texts[] = { [H2_SERVER_OK] = "",
#define X(name, words) [H2_SERVER_E_##name] = words,
                                         H2_SERVER_FAULTS(X)
#undef X
    };

    return (size_t)f < COUNT_OF(texts) ? texts[f] : "unknown";
}
