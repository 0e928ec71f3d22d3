#include <llhttp.h>

#include "http/internal.h"

/* Our own reading of a field line (RFC 9112 5.1): name ":" OWS value OWS, no space before the colon. */
static enum http1_fault index_line(struct http_head *h, size_t at, size_t len)
{
    const uint8_t *text = h->text.data + h->text.start;
    const uint8_t *colon = memchr(text + at, ':', len);
    struct http_field_entry *e = &h->fields[h->count];
    size_t name_len, from, to;

    if (!colon)
        return HTTP1_E_FIELD;
    name_len = (size_t)(colon - (text + at));
    if (!http_is_token(span_make(text + at, name_len)))
        return HTTP1_E_FIELD;
    for (from = at + name_len + 1; from < at + len && (text[from] == ' ' || text[from] == '\t');)
        from++;
    for (to = at + len; to > from && (text[to - 1] == ' ' || text[to - 1] == '\t');)
        to--;
    *e = (struct http_field_entry) { .name = { (uint16_t)at, (uint16_t)name_len },
                                     .value = { (uint16_t)from, (uint16_t)(to - from) } };
    e->id = (uint8_t)http_field_id(http_head_text(h, e->name));
    h->count++;
    return HTTP1_OK;
}

/* ---- the second opinion ---------------------------------------------------------
 *
 * llhttp reads the same lines. The head is accepted only if it finds the same names and values in the same
 * places, and the end where we found it. It is given a start line of its own, so that methods and statuses
 * that it does not know pass, and so that its framing rules for requests, the stricter ones, apply.
 */
struct opinion {
    const struct http_head *head;
    struct span name, value; /* of the field it is reading */
    int next;                /* field it must find now */
    bool complete, differs;
};

static int extend(struct span *s, const char *at, size_t len)
{
    if (!s->data)
        *s = span_make(at, len);
    else
        s->len = (size_t)((const uint8_t *)at + len - s->data);
    return 0;
}

static int on_name(llhttp_t *p, const char *at, size_t len)
{
    return extend(&((struct opinion *)p->data)->name, at, len);
}

static int on_value(llhttp_t *p, const char *at, size_t len)
{
    return extend(&((struct opinion *)p->data)->value, at, len);
}

static int on_field_complete(llhttp_t *p)
{
    struct opinion *o = p->data;
    const struct http_field_entry *e = &o->head->fields[o->next];
    struct span value = text_trim(o->value);

    if (o->next == o->head->count || !span_equal(o->name, http_head_text(o->head, e->name)) ||
        !span_equal(value, http_head_text(o->head, e->value)))
        o->differs = true;
    else
        o->next++;
    o->name = o->value = SPAN_NONE;
    return 0;
}

static int on_complete(llhttp_t *p)
{
    ((struct opinion *)p->data)->complete = true;
    return 0;
}

bool fields_confirmed(const struct http_head *h, size_t section)
{
    static const llhttp_settings_t settings = {
        .on_header_field = on_name,
        .on_header_value = on_value,
        .on_header_value_complete = on_field_complete,
        .on_headers_complete = on_complete,
    };
    static const char start[] = "POST / HTTP/1.1\r\n";
    struct span rest = span_slice(buf_span(&h->text), section, h->text.len);
    struct opinion o = { .head = h };
    llhttp_errno_t r;
    llhttp_t p;

    llhttp_init(&p, HTTP_REQUEST, &settings);
    p.data = &o;
    if (llhttp_execute(&p, start, sizeof(start) - 1) != HPE_OK)
        return false;
    r = llhttp_execute(&p, (const char *)rest.data, rest.len);
    if (r != HPE_OK && r != HPE_PAUSED_UPGRADE) /* the latter: Upgrade and no body, all read */
        return false;
    return o.complete && !o.differs && o.next == h->count;
}

enum http1_fault parse_fields(struct http_head *h, size_t section, size_t lines)
{
    const uint8_t *text = h->text.data + h->text.start;
    enum http1_fault f;

    for (size_t i = 0, at = section; i < lines; i++) {
        const uint8_t *lf = memchr(text + at, '\n', h->text.len - at);
        size_t len;

        must(lf && h->count < HTTP_FIELDS_MAX); /* the collector counted them */
        len = (size_t)(lf - (text + at)) - 1;
        f = index_line(h, at, len);
        if (f)
            return f;
        at += len + 2;
    }
    return HTTP1_OK;
}
