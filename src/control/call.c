#include "control/call.h"

#include <stdio.h>

static void on_head(void *ctx, uint32_t id, int status, const struct h2_header *headers, size_t count)
{
    struct call *c = ctx;

    (void)id;
    c->status = status;
    if (status != 200)
        c->body.max = CALL_ERROR_BYTES_MAX;
    for (size_t i = 0; i < count; i++)
        if (span_equal_str(headers[i].name, "retry-after"))
            (void)text_copy(c->retry_after, sizeof(c->retry_after), headers[i].value);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct call *c = ctx;
    bool failed_answer = c->status != 200;

    if (!c->streaming || failed_answer)
        session_consumed(c->session, id, bytes.len);
    if (failed_answer) /* enough to show */
        bytes.len = MIN(bytes.len, c->body.max - MIN(c->body.max, c->body.len));
    if (!c->too_big && buf_append(&c->body, bytes) != 0) {
        c->too_big = true;
        session_cancel(c->session, id);
    }
}

static void on_ended(void *ctx, uint32_t id, enum h2_end why, uint32_t code)
{
    struct call *c = ctx;

    (void)id;
    c->running = false;
    c->ended = true;
    c->why = why;
    c->code = code;
}

static const struct h2_request_ops call_ops = { .head = on_head, .body = on_body, .ended = on_ended };

int call_start(struct call *c, struct session *session, const struct call_config *config)
{
    char keys[2][KEY_TEXT_BYTES];
    struct h2_header headers[2];
    struct h2_request request = { .method = span_from_str(config->method),
                                  .authority = span_from_str(config->authority),
                                  .path = config->path,
                                  .headers = headers,
                                  .body = config->body };
    const struct public_key *hints[2] = { config->old_node_key, config->node_key };
    int r;

    must(!c->running);
    call_reset(c);
    for (size_t i = 0; i < COUNT_OF(hints); i++) {
        if (!hints[i] || public_key_is_zero(hints[i]))
            continue;
        key_text(keys[i], "nodekey:", hints[i]->bytes);
        headers[request.header_count++] =
            (struct h2_header) { span_from_str("ts-lb"), span_from_str(keys[i]) };
    }
    buf_init(&c->body, config->streaming ? CALL_STREAM_BYTES_MAX : CALL_BODY_BYTES_MAX);
    c->session = session;
    c->streaming = config->streaming;
    c->running = true;
    r = session_request(session, &request, &call_ops, c, &c->id);
    if (r)
        *c = (struct call) { 0 };
    return r;
}

void call_reset(struct call *c)
{
    if (c->running)
        session_cancel(c->session, c->id);
    buf_deinit(&c->body);
    *c = (struct call) { 0 };
}

void call_taken(struct call *c, size_t n)
{
    buf_consume(&c->body, n);
    if (!c->body.len)
        buf_trim(&c->body);
    if (c->running)
        session_consumed(c->session, c->id, n);
}

bool call_succeeded(const struct call *c)
{
    return c->ended && c->why == H2_END_DONE && c->status == 200;
}

const char *call_failure(const struct call *c, const char *what, char out[FETCH_FAILURE_BYTES])
{
    struct span text = text_trim(span_slice(buf_span(&c->body), 0, 120));
    size_t n;

    if (c->too_big) {
        snprintf(out, FETCH_FAILURE_BYTES, "%s: the answer is too long", what);
        return out;
    }
    if (c->status && c->status != 200) {
        n = (size_t)snprintf(out, FETCH_FAILURE_BYTES, "%s: answered with status %d: ", what, c->status);
        for (size_t i = 0; i < text.len && n + 1 < FETCH_FAILURE_BYTES; i++)
            out[n++] = (char)(text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : text.data[i]);
        out[n] = 0;
        return out;
    }
    if (c->why == H2_END_RESET)
        snprintf(out, FETCH_FAILURE_BYTES, "%s: the server reset the request (%s)", what,
                 h2_code_text(c->code));
    else
        snprintf(out, FETCH_FAILURE_BYTES, "%s: %s", what, h2_end_text(c->why));
    return out;
}
