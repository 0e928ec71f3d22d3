#include "http/h2_client.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>

#include "http/h2_memory.h"
#include "metrics/metrics.h"

/* Body bytes wait in nghttp2 while this much is pending; only control frames go beyond it. */
#define PENDING_BODY_BYTES (64u << 10)

/* The response head while its frames arrive; freed once it was handed over. */
struct head {
    struct h2_header headers[H2_HEADERS_MAX]; /* data pointers into text */
    size_t count;
    size_t used;
    int status;
    uint8_t text[H2_HEAD_BYTES_MAX];
};

struct request {
    struct list link;
    uint32_t id;
    const struct h2_request_ops *ops;
    void *ctx;
    uint8_t *body;
    size_t body_len, body_sent;
    size_t unconsumed; /* handed to the owner, not yet reported as taken */
    struct head *head;
    bool head_done; /* the final head went out */
    bool complete;  /* END_STREAM came */
    bool deferred;  /* body waits until pending shrinks */
    bool unsent;    /* nghttp2 could not start it */
};

struct h2_client {
    nghttp2_session *session;
    struct list requests;
    size_t running;
    struct buf out;
    struct h2_lender memory;
    unsigned depth; /* inside an nghttp2 call: nothing may be sent now */
    bool goaway;    /* the peer takes no new requests */
    bool broken;    /* no further byte makes sense */
    bool out_of_memory;
};

/* ---- requests ---------------------------------------------------------------- */

static struct request *find(const struct h2_client *c, int32_t id)
{
    LIST_EACH (it, &c->requests, struct request, link)
        if (it->id == (uint32_t)id)
            return it;
    return NULL;
}

static void request_free(struct request *q)
{
    free(q->head);
    free(q->body);
    free(q);
}

/* The only place where a request ends. What its owner never reported goes back to the connection's window. */
static void end_request(struct h2_client *c, struct request *q, enum h2_end why, uint32_t code)
{
    const struct h2_request_ops *ops = q->ops;
    void *ctx = q->ctx;
    uint32_t id = q->id;

    list_remove(&q->link);
    c->running--;
    if (q->unconsumed && !c->broken)
        (void)nghttp2_session_consume_connection(c->session, q->unconsumed);
    request_free(q);
    if (ops->ended)
        ops->ended(ctx, id, why, code);
}

static void end_all(struct h2_client *c, enum h2_end why)
{
    struct request *q;

    while ((q = LIST_FIRST(&c->requests, struct request, link)))
        end_request(c, q, why, 0);
}

/* ---- what nghttp2 reports ---------------------------------------------------- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct request *q = find(user, frame->hd.stream_id);

    (void)session;
    if (!q || q->head_done) /* trailers are of no use to us */
        return 0;
    if (!q->head)
        q->head = malloc(sizeof(*q->head));
    if (!q->head) {
        ((struct h2_client *)user)->out_of_memory = true;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    q->head->count = q->head->used = 0;
    q->head->status = 0;
    return 0;
}

static struct span keep_text(struct head *h, const uint8_t *data, size_t len)
{
    uint8_t *at = h->text + h->used;

    if (len)
        memcpy(at, data, len);
    h->used += len;
    return span_make(at, len);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct h2_client *c = user;
    struct request *q = find(c, frame->hd.stream_id);
    struct head *h = q && !q->head_done ? q->head : NULL;
    uint64_t status;

    (void)flags;
    if (!h)
        return 0;
    if (name_len && name[0] == ':') {
        if (text_parse_u64(span_make(value, value_len), 999, &status))
            h->status = (int)status;
        return 0;
    }
    if (h->count == H2_HEADERS_MAX || name_len + value_len > sizeof(h->text) - h->used) {
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_ENHANCE_YOUR_CALM);
        end_request(c, q, H2_END_TOO_BIG, NGHTTP2_ENHANCE_YOUR_CALM);
        return 0;
    }
    h->headers[h->count].name = keep_text(h, name, name_len);
    h->headers[h->count].value = keep_text(h, value, value_len);
    h->count++;
    return 0;
}

static void hand_over_head(struct request *q)
{
    struct head *h = q->head;

    if (h->status >= 100 && h->status < 200)
        return; /* the final one follows and reuses the memory */
    q->head = NULL;
    q->head_done = true;
    /* The owner may cancel inside, which frees q: nothing of it is touched after the call. */
    if (q->ops->head)
        q->ops->head(q->ctx, q->id, h->status, h->headers, h->count);
    free(h);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_client *c = user;
    struct request *q;

    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY)
        c->goaway = true;
    if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
        return 0;
    q = find(c, frame->hd.stream_id);
    if (!q)
        return 0;
    if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
        q->complete = true;
    if (frame->hd.type == NGHTTP2_HEADERS && q->head)
        hand_over_head(q);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct request *q = find(user, id);

    (void)flags;
    if (!q || !q->ops->body) {
        (void)nghttp2_session_consume(session, id, len);
        return 0;
    }
    q->unconsumed += len;
    q->ops->body(q->ctx, q->id, span_make(data, len));
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
    struct h2_client *c = user;
    struct request *q = find(c, id);

    (void)session;
    if (!q)
        return 0;
    if (code == NGHTTP2_REFUSED_STREAM || q->unsent)
        end_request(c, q, H2_END_REFUSED, NGHTTP2_REFUSED_STREAM);
    else if (code == NGHTTP2_NO_ERROR && q->complete)
        end_request(c, q, H2_END_DONE, 0);
    else
        end_request(c, q, H2_END_RESET, code);
    return 0;
}

static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user)
{
    struct request *q = find(user, frame->hd.stream_id);

    (void)session;
    (void)error;
    if (q && frame->hd.type == NGHTTP2_HEADERS)
        q->unsent = true; /* on_stream_close follows */
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    if (frame->hd.type ==
        NGHTTP2_GOAWAY) /* we never say goodbye ourselves: nghttp2 found the peer at fault */
        ((struct h2_client *)user)->broken = true;
    return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *out, size_t room, uint32_t *flags,
                         nghttp2_data_source *source, void *user)
{
    struct h2_client *c = user;
    struct request *q = find(c, id);
    size_t n;

    (void)session;
    (void)source;
    if (!q) { /* cancelled: its RST_STREAM overtakes us */
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        return 0;
    }
    if (c->out.len >= PENDING_BODY_BYTES) {
        q->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    n = MIN(q->body_len - q->body_sent, room);
    memcpy(out, q->body + q->body_sent, n);
    q->body_sent += n;
    if (q->body_sent == q->body_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        free(q->body);
        q->body = NULL;
        q->body_len = q->body_sent = 0;
    }
    return (ssize_t)n;
}

/* ---- life -------------------------------------------------------------------- */

static int make_session(struct h2_client *c)
{
    nghttp2_session_callbacks *cb = NULL;
    nghttp2_mem mem = h2_lender_mem(&c->memory); /* copied by nghttp2 */
    nghttp2_option *option = NULL;
    int r = -1;

    if (nghttp2_session_callbacks_new(&cb) || nghttp2_option_new(&option))
        goto out;
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(cb, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, on_frame_not_send);
    nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    nghttp2_option_set_max_deflate_dynamic_table_size(option, 0);
    nghttp2_option_set_max_reserved_remote_streams(option, 0);
    c->memory.lending = c->memory.scratch;
    r = nghttp2_session_client_new3(&c->session, cb, c, option, &mem);
    c->memory.lending = false;
out:
    nghttp2_session_callbacks_del(cb);
    nghttp2_option_del(option);
    return r ? -ENOMEM : 0;
}

/* Moves what nghttp2 wants to send to c->out. */
static void pump(struct h2_client *c)
{
    const uint8_t *data;
    ssize_t n = 0;

    if (c->depth || !c->session)
        return;
    c->depth++;
    while (!c->out_of_memory && (n = nghttp2_session_mem_send(c->session, &data)) > 0) {
        int r = buf_append(&c->out, span_make(data, (size_t)n));

        if (r == -ENOMEM)
            c->out_of_memory = true;
        else if (r) /* it makes us answer and does not read the answers */
            c->broken = true;
        if (r)
            break;
    }
    if (n < 0) {
        c->broken = true;
        c->out_of_memory |= n == NGHTTP2_ERR_NOMEM;
    }
    c->depth--;
}

int h2_client_new(struct h2_client **out, uint8_t *scratch)
{
    static const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, 0 },
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, H2_WINDOW_BYTES },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, H2_HEAD_BYTES_MAX },
    };
    struct h2_client *c = calloc(1, sizeof(*c));

    if (!c)
        return -ENOMEM;
    c->memory.scratch = scratch;
    list_init(&c->requests);
    buf_init(&c->out, H2_PENDING_BYTES_MAX);
    if (make_session(c) ||
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, COUNT_OF(settings)) ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, H2_WINDOW_TOTAL_BYTES)) {
        h2_client_free(c);
        return -ENOMEM;
    }
    pump(c);
    if (c->out_of_memory) {
        h2_client_free(c);
        return -ENOMEM;
    }
    *out = c;
    return 0;
}

void h2_client_free(struct h2_client *c)
{
    if (!c)
        return;
    c->broken = true;
    c->depth++; /* callbacks cannot send any more */
    end_all(c, H2_END_LOST);
    nghttp2_session_del(c->session);
    buf_deinit(&c->out);
    free(c);
}

/* ---- in, out ----------------------------------------------------------------- */

int h2_client_feed(struct h2_client *c, struct span bytes)
{
    ssize_t n = 0;

    must(!c->depth);
    if (!c->broken && !c->out_of_memory) {
        c->depth++;
        n = nghttp2_session_mem_recv(c->session, bytes.data, bytes.len);
        c->depth--;
        if (n < 0)
            c->broken = true;
        if (n == NGHTTP2_ERR_NOMEM)
            c->out_of_memory = true;
        pump(c);
    }
    if (!c->broken && !c->out_of_memory)
        return 0;
    c->broken = true;
    end_all(c, H2_END_LOST);
    return c->out_of_memory ? -ENOMEM : H2_E_PROTOCOL;
}

struct span h2_client_pending(const struct h2_client *c)
{
    return buf_span(&c->out);
}

void h2_client_sent(struct h2_client *c, size_t n)
{
    buf_consume(&c->out, n);
    if (c->out.len < PENDING_BODY_BYTES && !c->broken)
        LIST_EACH (it, &c->requests, struct request, link)
            if (it->deferred) {
                it->deferred = false;
                (void)nghttp2_session_resume_data(c->session, (int32_t)it->id);
            }
    if (!c->broken)
        pump(c);
    buf_trim(&c->out);
}

/* ---- requests, from the owner's side ------------------------------------------ */

static nghttp2_nv pair(const char *name, struct span value)
{
    return (nghttp2_nv) { .name = (uint8_t *)name,
                          .namelen = strlen(name),
                          .value = (uint8_t *)value.data,
                          .valuelen = value.len };
}

static bool request_fits(const struct h2_request *q)
{
    size_t bytes = q->method.len + q->authority.len + q->path.len;

    if (q->header_count > H2_HEADERS_MAX || q->body.len > H2_REQUEST_BODY_BYTES_MAX)
        return false;
    for (size_t i = 0; i < q->header_count; i++)
        bytes += q->headers[i].name.len + q->headers[i].value.len;
    return bytes <= H2_HEAD_BYTES_MAX;
}

static int32_t submit(struct h2_client *c, const struct h2_request *request)
{
    nghttp2_data_provider body = { .read_callback = read_body };
    nghttp2_nv nv[H2_HEADERS_MAX + 5];
    char length[24];
    size_t n = 0;

    nv[n++] = pair(":method", request->method);
    nv[n++] = pair(":scheme", span_from_str("https"));
    nv[n++] = pair(":authority", request->authority);
    nv[n++] = pair(":path", request->path);
    for (size_t i = 0; i < request->header_count; i++) {
        const struct h2_header *h = &request->headers[i];

        nv[n++] = (nghttp2_nv) { .name = (uint8_t *)h->name.data,
                                 .namelen = h->name.len,
                                 .value = (uint8_t *)h->value.data,
                                 .valuelen = h->value.len };
    }
    if (request->body.len) {
        snprintf(length, sizeof(length), "%zu", request->body.len);
        nv[n++] = pair("content-length", span_from_str(length));
    }
    return nghttp2_submit_request(c->session, NULL, nv, n, request->body.len ? &body : NULL, NULL);
}

int h2_client_request(struct h2_client *c, const struct h2_request *request, const struct h2_request_ops *ops,
                      void *ctx, uint32_t *id)
{
    struct request *q;
    int32_t stream;

    if (h2_client_closing(c))
        return H2_E_CLOSED;
    if (c->running == H2_REQUESTS_MAX)
        return H2_E_FULL;
    if (!request_fits(request))
        return H2_E_TOO_BIG;
    q = calloc(1, sizeof(*q));
    if (q && request->body.len && (q->body = malloc(request->body.len)))
        memcpy(q->body, request->body.data, q->body_len = request->body.len);
    stream = q && q->body_len == request->body.len ? submit(c, request) : NGHTTP2_ERR_NOMEM;
    if (stream < 0) {
        if (q)
            request_free(q);
        return stream == NGHTTP2_ERR_NOMEM ? -ENOMEM : H2_E_CLOSED;
    }
    q->id = *id = (uint32_t)stream;
    q->ops = ops;
    q->ctx = ctx;
    list_push_back(&c->requests, &q->link);
    c->running++;
    pump(c);
    return 0;
}

void h2_client_cancel(struct h2_client *c, uint32_t id)
{
    struct request *q = find(c, (int32_t)id);

    if (!q)
        return;
    if (!c->broken)
        (void)nghttp2_submit_rst_stream(c->session, NGHTTP2_FLAG_NONE, (int32_t)id, NGHTTP2_CANCEL);
    end_request(c, q, H2_END_CANCELLED, NGHTTP2_CANCEL);
    if (!c->broken)
        pump(c);
}

void h2_client_consumed(struct h2_client *c, uint32_t id, size_t n)
{
    struct request *q = find(c, (int32_t)id);

    if (!q || c->broken)
        return; /* its bytes were given back when it ended */
    must(n <= q->unconsumed);
    q->unconsumed -= n;
    (void)nghttp2_session_consume(c->session, (int32_t)id, n);
    pump(c);
}

bool h2_client_closing(const struct h2_client *c)
{
    return c->goaway || c->broken || c->out_of_memory || !nghttp2_session_check_request_allowed(c->session);
}

size_t h2_client_memory(const struct h2_client *c)
{
    size_t bytes = account_block(c) + account_block(c->out.data) + c->memory.held;

    LIST_EACH (q, &c->requests, struct request, link)
        bytes += account_block(q) + account_block(q->body) + account_block(q->head);
    return bytes;
}

size_t h2_client_running(const struct h2_client *c)
{
    return c->running;
}

const char *h2_end_text(enum h2_end why)
{
    static const char *const texts[] = {
        [H2_END_DONE] = "complete",
        [H2_END_RESET] = "reset by the server",
        [H2_END_REFUSED] = "refused by the server before it was processed",
        [H2_END_TOO_BIG] = "response head too big",
        [H2_END_CANCELLED] = "cancelled",
        [H2_END_LOST] = "connection lost",
    };

    return (size_t)why < COUNT_OF(texts) ? texts[why] : "unknown";
}
