#include "control/exchange.h"

#include <errno.h>
#include <time.h>

void exchange_init(struct exchange *e, bool head_request)
{
    *e = (struct exchange) { .no_body = head_request };
    buf_init(&e->line, EXCHANGE_HEAD_BYTES_MAX);
    buf_init(&e->body, EXCHANGE_BODY_BYTES_MAX);
}

void exchange_deinit(struct exchange *e)
{
    buf_deinit(&e->line);
    buf_deinit(&e->body);
}

/* "HTTP/1.1 101 Switching Protocols" */
static int read_status(struct exchange *e, struct span line)
{
    uint64_t status;

    if (!text_starts_with(line, "HTTP/1.") || line.len < 12 || line.data[8] != ' ')
        return EXCHANGE_E_BROKEN;
    if (!text_parse_u64(span_slice(line, 9, 3), 999, &status) || status < 100)
        return EXCHANGE_E_BROKEN;
    if (line.len > 12 && line.data[12] != ' ')
        return EXCHANGE_E_BROKEN;
    e->status = (int)status;
    e->status_seen = true;
    return 0;
}

static int read_length(struct exchange *e, struct span value)
{
    uint64_t length;

    if (!text_parse_u64(value, UINT32_MAX, &length) || (e->has_length && length != e->body_left))
        return EXCHANGE_E_BROKEN;
    e->has_length = true;
    e->body_left = length;
    return 0;
}

static int read_header(struct exchange *e, struct span line)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    struct span name, value;

    if (!colon || colon == line.data)
        return EXCHANGE_E_BROKEN;
    name = span_make(line.data, (size_t)(colon - line.data));
    value = text_trim(span_slice(line, name.len + 1, line.len));
    if (text_equal_fold(name, span_from_str("content-length")))
        return read_length(e, value);
    if (text_equal_fold(name, span_from_str("transfer-encoding"))) {
        if (!text_equal_fold(value, span_from_str("chunked")))
            return EXCHANGE_E_BROKEN;
        e->chunked = true;
    }
    if (text_equal_fold(name, span_from_str("upgrade")))
        (void)text_copy(e->upgrade, sizeof(e->upgrade), value);
    if (text_equal_fold(name, span_from_str("retry-after")))
        (void)text_copy(e->retry_after, sizeof(e->retry_after), value);
    return 0;
}

/* The blank line: what comes now? */
static int end_head(struct exchange *e)
{
    if (!e->status_seen)
        return EXCHANGE_E_BROKEN;
    if (e->status < 200 && e->status != 101) { /* 100, 103: the real answer follows */
        if (++e->interim > EXCHANGE_INTERIM_MAX)
            return EXCHANGE_E_BROKEN;
        e->status_seen = e->has_length = e->chunked = false;
        return EXCHANGE_E_MORE;
    }
    if (e->status == 101 || e->no_body || e->status == 204 || e->status == 304)
        e->state = EXCHANGE_DONE;
    else if (e->chunked)
        e->state = EXCHANGE_CHUNK_SIZE;
    else if (e->has_length && !e->body_left)
        e->state = EXCHANGE_DONE;
    else
        e->state = EXCHANGE_BODY;
    if (e->has_length && e->state == EXCHANGE_BODY && e->body_left > EXCHANGE_BODY_BYTES_MAX)
        return EXCHANGE_E_TOO_BIG;
    return e->state == EXCHANGE_DONE ? 0 : EXCHANGE_E_MORE;
}

static bool hex_size(struct span text, uint64_t *out)
{
    uint64_t v = 0;

    if (!text.len || text.len > 8)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t pair[2] = { '0', text.data[i] }, digit;

        if (!hex_decode(SPAN_OF(pair), &digit, 1))
            return false;
        v = v << 4 | digit;
    }
    *out = v;
    return true;
}

static int read_chunk_size(struct exchange *e, struct span line)
{
    const uint8_t *extension = line.len ? memchr(line.data, ';', line.len) : NULL;
    size_t digits = extension ? (size_t)(extension - line.data) : line.len;

    if (!hex_size(text_trim(span_slice(line, 0, digits)), &e->body_left))
        return EXCHANGE_E_BROKEN;
    if (e->body_left > EXCHANGE_BODY_BYTES_MAX - e->body.len)
        return EXCHANGE_E_TOO_BIG;
    e->trailer = !e->body_left;
    e->state = e->trailer ? EXCHANGE_LINE : EXCHANGE_BODY;
    return EXCHANGE_E_MORE;
}

static int read_line(struct exchange *e, struct span line)
{
    if (line.len && line.data[line.len - 1] == '\r')
        line.len--;
    switch (e->state) {
    case EXCHANGE_CHUNK_SIZE:
        return read_chunk_size(e, line);
    case EXCHANGE_CHUNK_END:
        e->state = EXCHANGE_CHUNK_SIZE;
        return line.len ? EXCHANGE_E_BROKEN : EXCHANGE_E_MORE;
    case EXCHANGE_LINE:
        break;
    case EXCHANGE_BODY:
    case EXCHANGE_DONE:
        must(!"a line while in a body");
    }
    if (e->trailer) {
        e->state = line.len ? EXCHANGE_LINE : EXCHANGE_DONE;
        return line.len ? EXCHANGE_E_MORE : 0;
    }
    if (!line.len)
        return end_head(e);
    if (!e->status_seen)
        return read_status(e, line) ? EXCHANGE_E_BROKEN : EXCHANGE_E_MORE;
    return read_header(e, line) ? EXCHANGE_E_BROKEN : EXCHANGE_E_MORE;
}

/* One line, or what of it is there. */
static int feed_line(struct exchange *e, struct span in, size_t *used)
{
    const uint8_t *end = memchr(in.data, '\n', in.len);
    size_t n = end ? (size_t)(end - in.data) : in.len;
    int r;

    e->head_bytes += n + 1;
    if (e->head_bytes > EXCHANGE_HEAD_BYTES_MAX)
        return EXCHANGE_E_TOO_BIG;
    r = buf_append(&e->line, span_slice(in, 0, n));
    if (r)
        return err_trace(r);
    *used += n + (end != NULL);
    if (!end)
        return EXCHANGE_E_MORE;
    r = read_line(e, buf_span(&e->line));
    buf_clear(&e->line);
    return r;
}

static int feed_body(struct exchange *e, struct span in, size_t *used)
{
    bool bounded = e->chunked || e->has_length;
    size_t n = bounded ? MIN(in.len, e->body_left) : in.len;
    int r = buf_append(&e->body, span_slice(in, 0, n));

    if (r == -ENOBUFS)
        return EXCHANGE_E_TOO_BIG;
    if (r)
        return err_trace(r);
    *used += n;
    if (bounded)
        e->body_left -= n;
    if (!bounded || e->body_left)
        return EXCHANGE_E_MORE;
    e->state = e->chunked ? EXCHANGE_CHUNK_END : EXCHANGE_DONE;
    return e->chunked ? EXCHANGE_E_MORE : 0;
}

int exchange_feed(struct exchange *e, struct span in, size_t *used)
{
    int r = e->state == EXCHANGE_DONE ? 0 : EXCHANGE_E_MORE;

    *used = 0;
    while (r == EXCHANGE_E_MORE && *used < in.len) {
        struct span rest = span_slice(in, *used, in.len);

        r = e->state == EXCHANGE_BODY ? feed_body(e, rest, used) : feed_line(e, rest, used);
    }
    return r;
}

int exchange_finish(struct exchange *e)
{
    if (e->state == EXCHANGE_BODY && !e->chunked && !e->has_length)
        e->state = EXCHANGE_DONE;
    return e->state == EXCHANGE_DONE ? 0 : EXCHANGE_E_BROKEN;
}

time_ns retry_after_parse(struct span value, int64_t now_wall_ns)
{
    char text[48];
    struct tm tm = { 0 };
    uint64_t seconds;
    const char *end;

    value = text_trim(value);
    if (text_parse_u64(value, 365 * 86400, &seconds))
        return (time_ns)seconds * SEC;
    if (!text_copy(text, sizeof(text), value))
        return 0;
    end = strptime(text, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (!end || *end)
        return 0;
    return MAX((time_ns)timegm(&tm) * SEC - now_wall_ns, 0);
}
