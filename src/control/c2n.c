#include "control/c2n.h"

#include <errno.h>

struct c2n_request {
    struct span method, path; /* path without query */
    struct span rest;         /* behind the head */
    bool chunked;
    uint64_t length;
};

/* Cuts the next line off, without CR and LF; false if there is no whole one. */
static bool take_line(struct span *in, struct span *line)
{
    const uint8_t *end = in->len ? memchr(in->data, '\n', in->len) : NULL;
    size_t n = end ? (size_t)(end - in->data) : 0;

    if (!end)
        return false;
    *line = span_slice(*in, 0, n);
    if (line->len && line->data[line->len - 1] == '\r')
        line->len--;
    *in = span_slice(*in, n + 1, in->len);
    return true;
}

static struct span take_word(struct span *line)
{
    const uint8_t *space = line->len ? memchr(line->data, ' ', line->len) : NULL;
    size_t n = space ? (size_t)(space - line->data) : line->len;
    struct span word = span_slice(*line, 0, n);

    *line = span_slice(*line, space ? n + 1 : n, line->len);
    return word;
}

static bool parse_header(struct span line, struct c2n_request *out)
{
    const uint8_t *colon = memchr(line.data, ':', line.len);
    size_t n = colon ? (size_t)(colon - line.data) : 0;
    struct span name = span_slice(line, 0, n), value = text_trim(span_slice(line, n + 1, line.len));

    if (!n)
        return false;
    if (text_equal_fold(name, span_from_str("content-length")))
        return text_parse_u64(value, C2N_REQUEST_BYTES_MAX, &out->length);
    if (text_equal_fold(name, span_from_str("transfer-encoding"))) {
        out->chunked = true;
        return text_equal_fold(value, span_from_str("chunked"));
    }
    return true;
}

static bool parse(struct span in, struct c2n_request *out)
{
    struct span line, target;
    const uint8_t *query;

    *out = (struct c2n_request) { 0 };
    if (in.len > C2N_REQUEST_BYTES_MAX || !take_line(&in, &line))
        return false;
    out->method = take_word(&line);
    target = take_word(&line);
    if (!out->method.len || !target.len || target.data[0] != '/' || !text_starts_with(line, "HTTP/1."))
        return false;
    query = memchr(target.data, '?', target.len);
    out->path = span_slice(target, 0, query ? (size_t)(query - target.data) : target.len);
    while (take_line(&in, &line)) {
        if (!line.len) {
            out->rest = in;
            return true;
        }
        if (!parse_header(line, out))
            return false;
    }
    return false;
}

/* Go writes a body of unknown length in chunks. */
static int append_chunks(struct span in, struct buf *body)
{
    struct span line;

    while (take_line(&in, &line)) {
        size_t size = 0;
        int r;

        if (!line.len || line.len > 6)
            return C2N_E_BROKEN;
        for (size_t i = 0; i < line.len; i++) {
            uint8_t pair[2] = { '0', line.data[i] }, digit;

            if (!hex_decode(SPAN_OF(pair), &digit, 1))
                return C2N_E_BROKEN;
            size = size << 4 | digit;
        }
        if (!size)
            return 0;
        if (size > in.len)
            return C2N_E_BROKEN;
        r = buf_append(body, span_slice(in, 0, size));
        if (r)
            return err_trace(r);
        in = span_slice(in, size, in.len);
        if (!take_line(&in, &line) || line.len)
            return C2N_E_BROKEN;
    }
    return C2N_E_BROKEN;
}

static int respond(struct buf *out, const char *status, struct span body)
{
    int r = buf_printf(out, "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n", status,
                       body.len);

    return r ? err_trace(r) : buf_append(out, body);
}

static int echo(const struct c2n_request *request, struct buf *response)
{
    OWNED(buf_deinit) struct buf body;
    int r = 0;

    buf_init(&body, C2N_REQUEST_BYTES_MAX);
    if (request->chunked)
        r = append_chunks(request->rest, &body);
    else if (request->length > request->rest.len)
        r = C2N_E_BROKEN;
    else
        r = buf_append(&body, span_slice(request->rest, 0, request->length));
    return r ? r : respond(response, "200 OK", buf_span(&body));
}

int c2n_answer(struct span in, struct buf *response)
{
    struct c2n_request request;

    if (!parse(in, &request))
        return C2N_E_BROKEN;
    if (span_equal_str(request.path, "/echo"))
        return echo(&request, response);
    return respond(response, "400 Bad Request", span_from_str("unknown c2n path\n"));
}
