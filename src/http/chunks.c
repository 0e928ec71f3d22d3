#include <assert.h>
#include <llhttp.h>

#include "http/internal.h"

/* Chunk framing (RFC 9112 7.1). The guard lets through only what has one reading: hex digits, an optional
 * extension of visible bytes and blanks after ";", CR LF; then the data, and CR LF again. llhttp reads the
 * very same bytes and says how long the chunk is. */

static_assert(sizeof(llhttp_t) <= HTTP1_CHUNK_PARSER_BYTES, "HTTP1_CHUNK_PARSER_BYTES is too small");

#define CHUNK_LENGTH_NONE UINT64_MAX

static int on_chunk_header(llhttp_t *p)
{
    struct http1 *m = p->data;

    m->left = p->content_length;
    return 0;
}

static bool feed(struct http1 *m, struct span bytes)
{
    llhttp_t *p = (llhttp_t *)m->chunk_parser;
    llhttp_errno_t r;

    p->data = m; /* the machine may have moved since */
    r = llhttp_execute(p, (const char *)bytes.data, bytes.len);
    return r == HPE_OK;
}

void chunks_start(struct http1 *m)
{
    static const llhttp_settings_t settings = { .on_chunk_header = on_chunk_header };
    static const char start[] = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";

    llhttp_init((llhttp_t *)m->chunk_parser, HTTP_REQUEST, &settings);
    must(feed(m, span_make(start, sizeof(start) - 1)));
    m->state = HTTP1_CHUNK_SIZE;
    m->chunk_line = 0;
    m->left = CHUNK_LENGTH_NONE;
}

static bool is_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'f');
}

/* State after this framing byte; HTTP1_FAILED: not allowed here. */
static enum http1_state guard(enum http1_state state, uint8_t c)
{
    switch (state) {
    case HTTP1_CHUNK_SIZE:
        return is_hex(c) ? HTTP1_CHUNK_DIGITS : HTTP1_FAILED;
    case HTTP1_CHUNK_DIGITS:
        if (is_hex(c))
            return HTTP1_CHUNK_DIGITS;
        if (c == ';')
            return HTTP1_CHUNK_EXTENSION;
        return c == '\r' ? HTTP1_CHUNK_LINE_LF : HTTP1_FAILED;
    case HTTP1_CHUNK_EXTENSION:
        if (c == '\r')
            return HTTP1_CHUNK_LINE_LF;
        return c == '\t' || (c >= ' ' && c <= '~') ? HTTP1_CHUNK_EXTENSION : HTTP1_FAILED;
    case HTTP1_CHUNK_LINE_LF:
        return c == '\n' ? HTTP1_CHUNK_DATA : HTTP1_FAILED;
    case HTTP1_CHUNK_DATA_CR:
        return c == '\r' ? HTTP1_CHUNK_DATA_LF : HTTP1_FAILED;
    case HTTP1_CHUNK_DATA_LF:
        return c == '\n' ? HTTP1_CHUNK_SIZE : HTTP1_FAILED;
    default:
        return HTTP1_FAILED;
    }
}

/* A size line is complete: has llhttp understood the same? */
static enum http1_fault begin_chunk(struct http1 *m)
{
    if (m->left > HTTP1_BODY_BYTES_MAX) /* CHUNK_LENGTH_NONE included */
        return HTTP1_E_CHUNK;
    if (m->left == 0)
        m->state = HTTP1_LAST_CHUNK;
    return HTTP1_OK;
}

enum http1_fault chunks_framing(struct http1 *m, struct span *in)
{
    enum http1_state state = (enum http1_state)m->state;
    size_t n = 0;

    while (n < in->len && state != HTTP1_CHUNK_DATA) {
        uint8_t c = in->data[n];

        /* The CR LF after the data does not count as part of the next size line. */
        if (state != HTTP1_CHUNK_DATA_CR && state != HTTP1_CHUNK_DATA_LF &&
            ++m->chunk_line > HTTP1_CHUNK_LINE_MAX)
            return HTTP1_E_CHUNK;
        state = guard(state, c);
        if (state == HTTP1_FAILED)
            return HTTP1_E_CHUNK;
        n++;
    }
    if (!feed(m, span_slice(*in, 0, n)))
        return HTTP1_E_CHUNK;
    m->state = (uint8_t)state;
    *in = span_slice(*in, n, in->len);
    return state == HTTP1_CHUNK_DATA ? begin_chunk(m) : HTTP1_OK;
}

enum http1_fault chunks_data(struct http1 *m, struct span *in, struct span *bytes)
{
    size_t n = (size_t)MIN((uint64_t)in->len, m->left);

    if (!feed(m, span_slice(*in, 0, n)))
        return HTTP1_E_CHUNK;
    *bytes = span_slice(*in, 0, n);
    *in = span_slice(*in, n, in->len);
    m->left -= n;
    if (m->left == 0) {
        m->state = HTTP1_CHUNK_DATA_CR;
        m->chunk_line = 0;
        m->left = CHUNK_LENGTH_NONE;
    }
    return HTTP1_OK;
}
