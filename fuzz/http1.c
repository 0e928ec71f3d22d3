/* Bytes against the HTTP/1 reading machine, both roles: read whole and read in small pieces, the story is the
 * same; every step takes bytes or tells something; a head that is written and read again is the same head. */
#include <stdlib.h>

#include "http/http.h"

struct story {
    uint64_t hash, body_bytes;
    int fault, heads;
};

static void note(struct story *s, const void *data, size_t len)
{
    const uint8_t *b = data;

    for (size_t i = 0; i < len; i++)
        s->hash = (s->hash ^ b[i]) * 0x100000001b3u;
}

static void note_head(struct story *s, const struct http_head *h)
{
    struct span name, value;
    int at = 0;

    note(s, &h->status, sizeof(h->status));
    note(s, &h->body, sizeof(h->body));
    note(s, &h->keep_alive, sizeof(h->keep_alive));
    note(s, http_head_method(h).data, h->method.len);
    note(s, http_head_target(h).data, h->target.len);
    while (http_head_next(h, &at, &name, &value)) {
        must(http_is_token(name) && http_is_field_value(value));
        note(s, name.data, name.len);
        note(s, value.data, value.len);
    }
    s->heads++;
}

/* What we would send on must be read as the same message, with one reading only. */
static void check_round_trip(const struct http_head *h, enum http1_role role, const struct http1 *m)
{
    struct http_head again;
    struct http1_event ev;
    struct http1 reader;
    struct story a = { .hash = 1 }, b = { .hash = 1 };
    struct buf text;
    struct span in;

    buf_init(&text, 1 << 20);
    http_head_init(&again);
    http1_init(&reader, role, &again, NULL);
    http1_expect(&reader, m->answers_head, m->asked_upgrade);
    if (http_head_write(h, &text))
        abort();
    in = buf_span(&text);
    if (h->minor && in.len <= HTTP_HEAD_BYTES_MAX) { /* an HTTP/1.0 head may lack what 1.1 asks for */
        must(http1_next(&reader, &in, &ev) == 0 && ev.kind == HTTP1_HEAD && in.len == 0);
        note_head(&a, h);
        note_head(&b, &again);
        must(a.hash == b.hash && h->content_length == again.content_length);
    }
    http1_deinit(&reader);
    http_head_deinit(&again);
    buf_deinit(&text);
}

static struct story tell(struct span bytes, enum http1_role role, uint8_t flags, size_t piece)
{
    struct http1_limits limits = { .head_bytes = flags & 4 ? 300 : 0, .fields = flags & 8 ? 5 : 0 };
    struct story s = { .hash = 1 };
    struct http1_event ev = { 0 };
    struct http_head head;
    struct http1 m;

    http_head_init(&head);
    http1_init(&m, role, &head, &limits);
    http1_expect(&m, flags & 1, flags & 2);
    for (size_t at = 0; at < bytes.len && !s.fault; at += piece) {
        struct span in = span_slice(bytes, at, piece);

        do {
            size_t before = in.len;

            s.fault = http1_next(&m, &in, &ev);
            must(s.fault >= 0 && s.fault < HTTP1_FAULT_COUNT && in.len <= before);
            if (s.fault || ev.kind == HTTP1_MORE)
                break;
            must(in.len < before || ev.kind == HTTP1_END); /* progress */
            must(head.text.len <= HTTP_HEAD_TEXT_MAX && head.count <= HTTP_FIELDS_MAX);
            if (ev.kind == HTTP1_HEAD) {
                note_head(&s, &head);
                check_round_trip(&head, role, &m);
            }
            if (ev.kind == HTTP1_TRAILERS)
                note_head(&s, ev.trailers);
            if (ev.kind == HTTP1_BODY) {
                must(ev.bytes.len);
                note(&s, ev.bytes.data, ev.bytes.len);
                s.body_bytes += ev.bytes.len;
            }
        } while (1);
        must(s.fault || !in.len);
    }
    if (!s.fault)
        s.fault = http1_finish(&m, &ev);
    http1_deinit(&m);
    http_head_deinit(&head);
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    if (len < 2)
        return 0;
    for (int role = HTTP1_READS_REQUESTS; role <= HTTP1_READS_RESPONSES; role++) {
        struct span bytes = span_make(data + 1, len - 1);
        struct story whole = tell(bytes, (enum http1_role)role, data[0], bytes.len);
        struct story pieces = tell(bytes, (enum http1_role)role, data[0], 1 + (data[0] >> 4));

        must(whole.fault == pieces.fault && whole.hash == pieces.hash && whole.heads == pieces.heads);
        must(whole.body_bytes == pieces.body_bytes && whole.body_bytes <= len);
    }
    return 0;
}
