/* Responses, from the owner's side */
#include <errno.h>
#include <stdlib.h>

#include "http/h2_server_internal.h"

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
    h2_server_settle(s);
    return r == NGHTTP2_ERR_NOMEM ? -ENOMEM : 0;
}

int h2_server_head(struct h2_server *s, uint32_t id, int status, const struct h2_header *headers,
                   size_t count, bool end)
{
    nghttp2_data_provider body = { .read_callback = h2_server_read_data };
    nghttp2_nv nv[H2_SERVER_RESPONSE_HEADERS_MAX + 1];
    char text[] = { (char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10),
                    '\0' };
    struct h2_stream *q = h2_stream_find(s, id);
    ssize_t n;

    if (!q || h2_server_broken(s))
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
    struct h2_stream *q = h2_stream_find(s, id);
    size_t n;

    if (!q || h2_server_broken(s))
        return bytes.len;
    must(q->answered && !q->ending);
    n = s->depth ? 0 : MIN(bytes.len, MIN(h2_server_shared_room(s), h2_server_own_room(s, q)));
    if (n) {
        q->served = ++s->turn;
        s->offer = span_slice(bytes, 0, n);
        s->offer_id = id;
        (void)nghttp2_session_resume_data(s->session, (int32_t)id);
        h2_server_pump(s);
        n -= s->offer.len;
        s->offer = SPAN_NONE;
        s->offer_id = 0;
    }
    q = h2_stream_find(s, id);
    if (q && n < bytes.len)
        h2_server_wait_for_room(s, q);
    h2_server_settle(s);
    return n;
}

int h2_server_end(struct h2_server *s, uint32_t id, const struct h2_header *trailers, size_t count)
{
    nghttp2_nv nv[H2_SERVER_RESPONSE_HEADERS_MAX + 1];
    struct h2_stream *q = h2_stream_find(s, id);
    ssize_t n;

    if (!q || h2_server_broken(s))
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
    struct h2_stream *q = h2_stream_find(s, id);
    int r;

    if (!q || h2_server_broken(s))
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
    h2_server_settle(s);
    return 0;
}

void h2_server_stop(struct h2_server *s, uint32_t id)
{
    struct h2_stream *q = h2_stream_find(s, id);

    if (!q || h2_server_broken(s))
        return;
    q->unwanted = true;
    if (q->finished && !q->complete)
        (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, (int32_t)id, NGHTTP2_NO_ERROR);
    h2_server_settle(s);
}

void h2_server_reset(struct h2_server *s, uint32_t id, uint32_t code)
{
    struct h2_stream *q = h2_stream_find(s, id);

    if (!q)
        return;
    if (!h2_server_broken(s))
        (void)nghttp2_submit_rst_stream(s->session, NGHTTP2_FLAG_NONE, (int32_t)id, code);
    h2_stream_forget(s, q);
    if (!h2_server_broken(s))
        h2_server_settle(s);
}
