/* Header blocks: collected piece by piece, then told to the owner at once */
#include <stdlib.h>

#include "http/h2_server_internal.h"

enum { METHOD, SCHEME, AUTHORITY, PATH, PROTOCOL };

static int out_of_memory(struct h2_server *s)
{
    s->out_of_memory = true;
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    struct h2_server *s = user;

    (void)session;
    if (s->muted)
        return 0; /* the request of h2_server_wake(): nobody hears of it */
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST && !h2_stream_add(s, frame->hd.stream_id))
        return out_of_memory(s);
    if (!h2_stream_find(s, (uint32_t)frame->hd.stream_id))
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

static void keep_pseudo(struct h2_head_block *h, struct span name, uint32_t at, size_t len)
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
    struct h2_head_block *h = s->head;
    uint32_t at;

    (void)session;
    (void)flags;
    if (!h2_stream_find(s, (uint32_t)frame->hd.stream_id) || h->too_big)
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

static void list_headers(const struct h2_head_block *h, struct h2_header out[H2_SERVER_HEADERS_MAX])
{
    const uint8_t *text = buf_span(&h->text).data;

    for (size_t i = 0; i < h->count; i++) {
        const uint8_t *name = text + h->fields[i].at;

        out[i].name = span_make(name, h->fields[i].name_len);
        out[i].value = span_make(name + h->fields[i].name_len, h->fields[i].value_len);
    }
}

static struct span pseudo(const struct h2_head_block *h, int which)
{
    return h->pseudo[which].len
               ? span_make(buf_span(&h->text).data + h->pseudo[which].at, h->pseudo[which].len)
               : SPAN_NONE;
}

void h2_server_announce(struct h2_server *s, struct h2_stream *q)
{
    struct h2_header headers[H2_SERVER_HEADERS_MAX];
    const struct h2_head_block *h = s->head;
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
    s->ops->request(s->ctx, &r);
}

void h2_server_announce_end(struct h2_server *s, struct h2_stream *q, bool with_trailers)
{
    struct h2_header headers[H2_SERVER_HEADERS_MAX];

    if (!q->announced)
        return;
    if (with_trailers)
        list_headers(s->head, headers);
    s->ops->body_end(s->ctx, q->id, headers, with_trailers && !s->head->too_big ? s->head->count : 0);
}

void h2_server_drop_head(struct h2_server *s)
{
    if (!s->head)
        return;
    buf_deinit(&s->head->text);
    free(s->head);
    s->head = NULL;
}

void h2_server_watch_heads(nghttp2_session_callbacks *cb)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(cb, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
}
