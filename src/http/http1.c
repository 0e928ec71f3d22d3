#include "http/http1.h"

#include <errno.h>
#include <stdlib.h>

#include "http/internal.h"

#define HEAD_FIRST_BYTES 2048 /* most heads fit: one allocation */

int http1_fault_status(enum http1_fault f)
{
    static const uint16_t statuses[] = { [HTTP1_OK] = 200,
#define X(name, status, words) [HTTP1_E_##name] = status,
                                         HTTP1_FAULTS(X)
#undef X
    };

    must(f < HTTP1_FAULT_COUNT);
    return statuses[f];
}

const char *http1_fault_text(enum http1_fault f)
{
    static const char *const texts[] = { [HTTP1_OK] = "fine",
#define X(name, status, words) [HTTP1_E_##name] = words,
                                         HTTP1_FAULTS(X)
#undef X
    };

    must(f < HTTP1_FAULT_COUNT);
    return texts[f];
}

/* ---- life -------------------------------------------------------------------- */

void http1_init(struct http1 *m, enum http1_role role, struct http_head *head,
                const struct http1_limits *limits)
{
    uint32_t bytes = limits && limits->head_bytes ? limits->head_bytes : HTTP_HEAD_BYTES_MAX;
    uint16_t fields = limits && limits->fields ? limits->fields : HTTP_FIELDS_RECEIVED_MAX;

    *m = (struct http1) { .role = (uint8_t)role, .head = head };
    m->head_limit = MIN(bytes, HTTP_HEAD_BYTES_MAX);
    m->field_limit = (uint16_t)MIN(fields, HTTP_FIELDS_RECEIVED_MAX);
}

static void drop_trailers(struct http1 *m)
{
    if (m->trailers)
        http_head_deinit(m->trailers);
    free(m->trailers);
    m->trailers = NULL;
}

void http1_deinit(struct http1 *m)
{
    drop_trailers(m);
}

void http1_lend(struct http1 *m, struct http_head *head)
{
    must(m->state != HTTP1_IN_HEAD);
    m->head = head;
}

void http1_expect(struct http1 *m, bool answers_head, bool asked_upgrade)
{
    m->answers_head = answers_head;
    m->asked_upgrade = asked_upgrade;
}

void http1_tunnel(struct http1 *m)
{
    must(m->state == HTTP1_AT_END || m->state == HTTP1_IDLE);
    m->state = HTTP1_TUNNEL;
}

bool http1_between_messages(const struct http1 *m)
{
    return m->state == HTTP1_IDLE ||
           (m->state == HTTP1_IN_HEAD && m->head->text.len == 2u * m->blank_lines && !m->cr);
}

uint64_t http1_body_left(const struct http1 *m)
{
    return m->state == HTTP1_IN_LENGTH ? m->left : 0;
}

bool http1_in_head(const struct http1 *m)
{
    return m->state == HTTP1_IN_HEAD && !http1_between_messages(m);
}

/* ---- collecting a head or a trailer section ------------------------------------
 *
 * Lines are looked at in the order of their bytes, and a fault is found at the same byte however the input
 * was cut. `lines` counts what has ended, the start line included; a trailer section begins as if it had one.
 */

enum collect { COLLECT_MORE = -1 }; /* else: 0 the section is complete, > 0 a fault */

/* A line ended just before text position `end`. */
static int end_line(struct http1 *m, size_t end)
{
    size_t len = end - 2 - m->line_start;

    if (len == 0 && m->lines)
        return 0;
    if (len == 0 && (m->role == HTTP1_READS_RESPONSES || m->blank_lines == HTTP1_BLANK_LINES_MAX))
        return HTTP1_E_START;
    if (len == 0)
        m->blank_lines++;
    else if (m->lines++ == m->field_limit + 1u)
        return HTTP1_E_TOO_MANY;
    m->line_start = (uint32_t)end;
    return COLLECT_MORE;
}

/* Looks at the bytes that follow `have` bytes of text; *n: how many belong to the section. */
static int scan(struct http1 *m, size_t have, struct span in, size_t *n)
{
    for (*n = 0; *n < in.len;) {
        uint8_t c = in.data[*n];
        int r;

        if (m->cr) {
            if (c != '\n')
                return HTTP1_E_LINE;
            m->cr = false;
            ++*n;
            r = end_line(m, have + *n);
            if (r != COLLECT_MORE)
                return r;
            continue;
        }
        if (c < 0x20 || c == 0x7f) {
            if (c != '\r' && c != '\t')
                return HTTP1_E_LINE;
            m->cr = c == '\r';
        }
        if ((c == ' ' || c == '\t') && m->lines && have + *n == m->line_start)
            return HTTP1_E_FOLD;
        ++*n;
    }
    return COLLECT_MORE;
}

/* The first line, once, as soon as it is complete. */
static enum http1_fault parse_start(struct http1 *m)
{
    size_t from = 2u * m->blank_lines;
    const uint8_t *lf =
        memchr(m->head->text.data + m->head->text.start + from, '\n', m->head->text.len - from);
    struct http_text line = { (uint16_t)from, 0 };

    must(lf);
    m->section = (uint32_t)(lf + 1 - (m->head->text.data + m->head->text.start));
    line.len = (uint16_t)(m->section - 2 - from);
    m->started = true;
    return m->role == HTTP1_READS_REQUESTS ? parse_request_line(m->head, line)
                                           : parse_status_line(m->head, line);
}

/* Takes what belongs to the section. 0 complete, COLLECT_MORE, fault, or other -errno. */
static int collect(struct http1 *m, struct http_head *h, size_t limit, struct span *in)
{
    size_t room = limit - MIN(limit, h->text.len), n;
    struct mspan out;
    int r = scan(m, h->text.len, span_slice(*in, 0, room), &n), e;
    enum http1_fault start = HTTP1_OK;

    e = buf_reserve(&h->text, MAX(n, h->text.cap ? 0 : HEAD_FIRST_BYTES), &out);
    if (e)
        return e == -ENOBUFS ? HTTP1_E_TOO_BIG : e;
    if (n)
        memcpy(out.data, in->data, n);
    buf_commit(&h->text, n);
    *in = span_slice(*in, n, in->len);
    if (m->lines && !m->started)
        start = parse_start(m); /* its fault stands before any that was found behind it */
    if (start)
        return start;
    if (r == COLLECT_MORE && h->text.len >= limit)
        return m->lines || m->role == HTTP1_READS_RESPONSES ? HTTP1_E_TOO_BIG : HTTP1_E_LINE_TOO_LONG;
    return r;
}

static void begin_section(struct http1 *m, struct http_head *h, bool trailers)
{
    http_head_clear(h, HTTP_HEAD_TEXT_MAX);
    m->line_start = m->section = 0;
    m->lines = trailers ? 1 : 0;
    m->started = trailers;
    m->blank_lines = 0;
    m->cr = false;
}

/* ---- a message, step by step ----------------------------------------------------- */

static int judge_head(struct http1 *m)
{
    struct http_head *h = m->head;
    enum http1_fault f = parse_fields(h, m->section, m->lines - 1u);

    if (!f)
        f = m->role == HTTP1_READS_REQUESTS ? judge_request(h)
                                            : judge_response(h, m->answers_head, m->asked_upgrade);
    if (!f && !fields_confirmed(h, m->section))
        f = HTTP1_E_FIELD;
    if (f)
        return f;
    return m->role == HTTP1_READS_REQUESTS ? normalise_target(h) : 0;
}

static void begin_body(struct http1 *m)
{
    const struct http_head *h = m->head;

    if (h->status == 101) {
        m->state = HTTP1_TUNNEL;
    } else if (h->status && h->status < 200) {
        m->state = HTTP1_IDLE; /* the final response follows */
    } else if (h->body == HTTP_BODY_LENGTH) {
        m->state = HTTP1_IN_LENGTH;
        m->left = h->content_length;
    } else if (h->body == HTTP_BODY_CHUNKED) {
        chunks_start(m);
    } else {
        m->state = h->body == HTTP_BODY_UNTIL_CLOSE ? HTTP1_UNTIL_CLOSE : HTTP1_AT_END;
    }
}

static int step_head(struct http1 *m, struct span *in, struct http1_event *ev)
{
    int r = collect(m, m->head, m->head_limit, in);

    if (r == COLLECT_MORE)
        return 0;
    if (!r)
        r = judge_head(m);
    if (r)
        return r;
    ev->kind = HTTP1_HEAD;
    begin_body(m);
    return 0;
}

static int step_trailers(struct http1 *m, struct span *in, struct http1_event *ev)
{
    int r = collect(m, m->trailers, HTTP1_TRAILER_BYTES_MAX, in);

    if (r == COLLECT_MORE)
        return 0;
    if (!r)
        r = parse_fields(m->trailers, 0, m->lines - 1u);
    if (!r && !fields_confirmed(m->trailers, 0))
        r = HTTP1_E_FIELD;
    if (r)
        return r;
    ev->kind = HTTP1_TRAILERS;
    ev->trailers = m->trailers;
    m->state = HTTP1_TRAILERS_DONE;
    return 0;
}

/* After the last chunk: CR LF ends the message, anything else begins a trailer section. */
static int step_last_chunk(struct http1 *m, struct span *in)
{
    if (in->data[0] == '\r') {
        m->state = HTTP1_LAST_CHUNK_LF;
        *in = span_slice(*in, 1, in->len);
        return 0;
    }
    m->trailers = malloc(sizeof(*m->trailers));
    if (!m->trailers)
        return -ENOMEM;
    http_head_init(m->trailers);
    begin_section(m, m->trailers, true);
    m->state = HTTP1_IN_TRAILERS;
    return 0;
}

static int step_last_lf(struct http1 *m, struct span *in)
{
    if (in->data[0] != '\n')
        return HTTP1_E_LINE;
    *in = span_slice(*in, 1, in->len);
    m->state = HTTP1_AT_END;
    return 0;
}

static void take_body(struct http1 *m, struct span *in, struct http1_event *ev, uint64_t most)
{
    size_t n = (size_t)MIN((uint64_t)in->len, most);

    ev->kind = HTTP1_BODY;
    ev->bytes = span_slice(*in, 0, n);
    *in = span_slice(*in, n, in->len);
    if (m->state == HTTP1_IN_LENGTH) {
        m->left -= n;
        if (!m->left)
            m->state = HTTP1_AT_END;
    }
}

static void end_message(struct http1 *m, struct http1_event *ev)
{
    drop_trailers(m);
    m->state = HTTP1_IDLE;
    ev->kind = HTTP1_END;
}

/* One step that takes at least one byte. ev->kind stays HTTP1_MORE when it has nothing to tell yet. */
static int step(struct http1 *m, struct span *in, struct http1_event *ev)
{
    switch ((enum http1_state)m->state) {
    case HTTP1_IDLE:
        must(m->head);
        begin_section(m, m->head, false);
        m->state = HTTP1_IN_HEAD;
        return step_head(m, in, ev);
    case HTTP1_IN_HEAD:
        return step_head(m, in, ev);
    case HTTP1_IN_LENGTH:
        take_body(m, in, ev, m->left);
        return 0;
    case HTTP1_UNTIL_CLOSE:
    case HTTP1_TUNNEL:
        take_body(m, in, ev, UINT64_MAX);
        return 0;
    case HTTP1_CHUNK_DATA:
        ev->kind = HTTP1_BODY;
        return chunks_data(m, in, &ev->bytes);
    case HTTP1_LAST_CHUNK:
        return step_last_chunk(m, in);
    case HTTP1_LAST_CHUNK_LF:
        return step_last_lf(m, in);
    case HTTP1_IN_TRAILERS:
        return step_trailers(m, in, ev);
    case HTTP1_CHUNK_SIZE:
    case HTTP1_CHUNK_DIGITS:
    case HTTP1_CHUNK_EXTENSION:
    case HTTP1_CHUNK_LINE_LF:
    case HTTP1_CHUNK_DATA_CR:
    case HTTP1_CHUNK_DATA_LF:
        return chunks_framing(m, in);
    case HTTP1_TRAILERS_DONE:
    case HTTP1_AT_END:
    case HTTP1_FAILED:
        break; /* need no byte: http1_next has dealt with them */
    }
    must(!"a state that takes bytes");
    return 0;
}

int http1_next(struct http1 *m, struct span *in, struct http1_event *ev)
{
    int r;

    *ev = (struct http1_event) { .kind = HTTP1_MORE };
    do {
        if (m->state == HTTP1_FAILED)
            return m->fault;
        if (m->state == HTTP1_AT_END || m->state == HTTP1_TRAILERS_DONE) {
            end_message(m, ev);
            return 0;
        }
        if (!in->len)
            return 0;
        r = step(m, in, ev);
    } while (!r && ev->kind == HTTP1_MORE);
    if (r > 0) {
        m->state = HTTP1_FAILED;
        m->fault = (uint8_t)r;
    }
    return r;
}

int http1_finish(struct http1 *m, struct http1_event *ev)
{
    *ev = (struct http1_event) { .kind = HTTP1_MORE };
    if (m->state == HTTP1_FAILED)
        return m->fault;
    if (http1_between_messages(m))
        return 0;
    switch ((enum http1_state)m->state) {
    case HTTP1_UNTIL_CLOSE:
    case HTTP1_TUNNEL:
    case HTTP1_AT_END:
    case HTTP1_TRAILERS_DONE:
        end_message(m, ev);
        return 0;
    default:
        m->state = HTTP1_FAILED;
        m->fault = HTTP1_E_TRUNCATED;
        return HTTP1_E_TRUNCATED;
    }
}
