#include "http/head.h"

#include <errno.h>
#include <stdio.h>

#include "http/internal.h"

static const struct {
    const char *name;
    size_t len;
} known[HTTP_FIELD_COUNT] = {
#define X(id, name) [HTTP_FIELD_##id] = { name, sizeof(name) - 1 },
    HTTP_KNOWN_FIELDS(X)
#undef X
};

/* RFC 9110 5.6.2: ! # $ % & ' * + - . ^ _ ` | ~ and letters and digits; one bit a byte value. */
static bool is_token_byte(uint8_t c)
{
    static const uint64_t bits[4] = { 0x03ff6cfa00000000, 0x57ffffffc7fffffe, 0, 0 };

    return bits[c >> 6] >> (c & 63) & 1;
}

bool http_is_token(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_token_byte(s.data[i]))
            return false;
    return s.len > 0;
}

bool http_is_field_value(struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((s.data[i] < 0x20 && s.data[i] != '\t') || s.data[i] == 0x7f)
            return false;
    return true;
}

enum http_field http_field_id(struct span name)
{
    for (int i = HTTP_FIELD_OTHER + 1; i < HTTP_FIELD_COUNT; i++)
        if (known[i].len == name.len && text_equal_fold(name, span_make(known[i].name, known[i].len)))
            return (enum http_field)i;
    return HTTP_FIELD_OTHER;
}

const char *http_field_name(enum http_field id)
{
    must(id > HTTP_FIELD_OTHER && id < HTTP_FIELD_COUNT);
    return known[id].name;
}

/* ---- life -------------------------------------------------------------------- */

static void forget(struct http_head *h)
{
    h->method = h->target = h->reason = (struct http_text) { 0 };
    h->status = 0;
    h->minor = 1;
    h->method_id = HTTP_METHOD_OTHER;
    h->body = HTTP_BODY_NONE;
    h->keep_alive = h->expect_continue = h->upgrade = false;
    h->count = 0;
    h->content_length = 0;
}

void http_head_init(struct http_head *h)
{
    buf_init(&h->text, HTTP_HEAD_TEXT_MAX);
    forget(h);
}

void http_head_deinit(struct http_head *h)
{
    buf_deinit(&h->text);
    forget(h);
}

void http_head_clear(struct http_head *h, size_t keep)
{
    buf_clear(&h->text);
    if (h->text.cap > keep)
        buf_deinit(&h->text);
    forget(h);
}

/* ---- looking ------------------------------------------------------------------ */

int http_head_find(const struct http_head *h, enum http_field id, int from)
{
    for (int i = from; i < h->count; i++)
        if (h->fields[i].id == id && !h->fields[i].removed)
            return i;
    return -1;
}

int http_head_find_name(const struct http_head *h, struct span name, int from)
{
    for (int i = from; i < h->count; i++)
        if (!h->fields[i].removed && h->fields[i].name.len == name.len &&
            text_equal_fold(http_head_text(h, h->fields[i].name), name))
            return i;
    return -1;
}

static bool value_at(const struct http_head *h, int i, struct span *value)
{
    *value = i < 0 ? SPAN_NONE : http_head_text(h, h->fields[i].value);
    return i >= 0;
}

bool http_head_get(const struct http_head *h, enum http_field id, struct span *value)
{
    return value_at(h, http_head_find(h, id, 0), value);
}

bool http_head_get_name(const struct http_head *h, const char *name, struct span *value)
{
    return value_at(h, http_head_find_name(h, span_from_str(name), 0), value);
}

bool http_head_next(const struct http_head *h, int *at, struct span *name, struct span *value)
{
    while (*at < h->count && h->fields[*at].removed)
        ++*at;
    if (*at >= h->count)
        return false;
    *name = http_head_text(h, h->fields[*at].name);
    *value = http_head_text(h, h->fields[*at].value);
    ++*at;
    return true;
}

bool http_list_next(struct span *list, struct span *member)
{
    while (list->len) {
        const uint8_t *comma = memchr(list->data, ',', list->len);
        size_t len = comma ? (size_t)(comma - list->data) : list->len;

        *member = text_trim(span_slice(*list, 0, len));
        *list = span_slice(*list, len + (comma ? 1 : 0), list->len);
        if (member->len)
            return true;
    }
    return false;
}

bool http_head_lists(const struct http_head *h, enum http_field id, const char *token)
{
    struct span want = span_from_str(token), list, member;

    for (int i = http_head_find(h, id, 0); i >= 0; i = http_head_find(h, id, i + 1)) {
        list = http_head_text(h, h->fields[i].value);
        while (http_list_next(&list, &member))
            if (text_equal_fold(member, want))
                return true;
    }
    return false;
}

/* ---- changing ----------------------------------------------------------------- */

void http_head_remove_at(struct http_head *h, int index)
{
    must(index >= 0 && index < h->count);
    h->fields[index].removed = true;
}

void http_head_remove(struct http_head *h, enum http_field id)
{
    for (int i = http_head_find(h, id, 0); i >= 0; i = http_head_find(h, id, i + 1))
        h->fields[i].removed = true;
}

void http_head_remove_name(struct http_head *h, struct span name)
{
    for (int i = http_head_find_name(h, name, 0); i >= 0; i = http_head_find_name(h, name, i + 1))
        h->fields[i].removed = true;
}

/* Appends both pieces or neither. They may stand in this very text, which moves while it grows. */
static int append_texts(struct http_head *h, const struct span pieces[2], struct http_text out[2])
{
    struct mspan room;
    size_t offset[2], at = h->text.len;
    bool inside[2];
    int r;

    for (int i = 0; i < 2; i++) {
        const uint8_t *p = pieces[i].data;

        inside[i] = p && h->text.data && p >= h->text.data && p < h->text.data + h->text.cap;
        offset[i] = inside[i] ? (size_t)(p - h->text.data) - h->text.start : 0;
    }
    r = buf_reserve(&h->text, pieces[0].len + pieces[1].len, &room);
    if (r)
        return r;
    for (int i = 0; i < 2; i++) {
        const uint8_t *from = inside[i] ? h->text.data + h->text.start + offset[i] : pieces[i].data;

        if (pieces[i].len)
            memcpy(h->text.data + h->text.start + at, from, pieces[i].len);
        out[i] = (struct http_text) { (uint16_t)at, (uint16_t)pieces[i].len };
        at += pieces[i].len;
    }
    buf_commit(&h->text, pieces[0].len + pieces[1].len);
    return 0;
}

static int append_text(struct http_head *h, struct span s, struct http_text *out)
{
    struct http_text both[2];
    int r = append_texts(h, (const struct span[2]) { s, SPAN_NONE }, both);

    if (!r)
        *out = both[0];
    return r;
}

int http_head_add(struct http_head *h, struct span name, struct span value)
{
    struct http_field_entry e = { .id = (uint8_t)http_field_id(name) };
    struct http_text both[2];
    int r;

    must(http_is_token(name) && http_is_field_value(value));
    if (h->count == HTTP_FIELDS_MAX)
        return -ENOBUFS;
    r = append_texts(h, (const struct span[2]) { name, value }, both);
    if (r)
        return r;
    e.name = both[0];
    e.value = both[1];
    h->fields[h->count++] = e;
    return 0;
}

int http_head_set(struct http_head *h, struct span name, struct span value)
{
    int r = http_head_add(h, name, value), last = h->count - 1;

    if (r)
        return r;
    name = http_head_text(h, h->fields[last].name);
    for (int i = http_head_find_name(h, name, 0); i >= 0 && i < last; i = http_head_find_name(h, name, i + 1))
        h->fields[i].removed = true;
    return 0;
}

int http_head_set_target(struct http_head *h, struct span target)
{
    return append_text(h, target, &h->target);
}

int http_head_make_request(struct http_head *h, struct span method, struct span target)
{
    int r;

    http_head_clear(h, HTTP_HEAD_TEXT_MAX);
    r = append_text(h, method, &h->method);
    if (!r)
        r = append_text(h, target, &h->target);
    h->method_id = (uint8_t)method_id(method);
    return r;
}

int http_head_make_response(struct http_head *h, int status, struct span reason)
{
    must(status >= 100 && status <= 999);
    http_head_clear(h, HTTP_HEAD_TEXT_MAX);
    h->status = (uint16_t)status;
    return append_text(h, reason, &h->reason);
}

enum http_method method_id(struct span method)
{
    static const char *const names[] = {
        [HTTP_METHOD_OTHER] = "",          [HTTP_METHOD_GET] = "GET",     [HTTP_METHOD_HEAD] = "HEAD",
        [HTTP_METHOD_POST] = "POST",       [HTTP_METHOD_PUT] = "PUT",     [HTTP_METHOD_DELETE] = "DELETE",
        [HTTP_METHOD_OPTIONS] = "OPTIONS", [HTTP_METHOD_TRACE] = "TRACE", [HTTP_METHOD_CONNECT] = "CONNECT",
    };

    for (size_t i = 1; i < COUNT_OF(names); i++)
        if (span_equal_str(method, names[i])) /* methods have case (RFC 9110 9.1) */
            return (enum http_method)i;
    return HTTP_METHOD_OTHER;
}

/* ---- writing ------------------------------------------------------------------ */

static size_t fields_bytes(const struct http_head *h)
{
    size_t sum = 2;

    for (int i = 0; i < h->count; i++)
        if (!h->fields[i].removed)
            sum += (size_t)h->fields[i].name.len + h->fields[i].value.len + 4;
    return sum;
}

static void put(struct writer *w, const char *text)
{
    writer_bytes(w, span_from_str(text));
}

static void put_fields(const struct http_head *h, struct writer *w)
{
    for (int i = 0; i < h->count; i++) {
        const struct http_field_entry *e = &h->fields[i];

        if (e->removed)
            continue;
        writer_bytes(w, http_head_text(h, e->name));
        put(w, ": ");
        writer_bytes(w, http_head_text(h, e->value));
        put(w, "\r\n");
    }
    put(w, "\r\n");
}

int http_head_write_fields(const struct http_head *h, struct buf *out)
{
    size_t len = fields_bytes(h);
    struct mspan room;
    struct writer w;
    int r = buf_reserve(out, len, &room);

    if (r)
        return r;
    w = writer_of(room.data, len);
    put_fields(h, &w);
    must(!w.failed && w.at == len);
    buf_commit(out, w.at);
    return 0;
}

int http_head_write(const struct http_head *h, struct buf *out)
{
    size_t most = fields_bytes(h) + h->method.len + h->target.len + h->reason.len + 32;
    char number[8];
    struct mspan room;
    struct writer w;
    int r = buf_reserve(out, most, &room);

    if (r)
        return r;
    w = writer_of(room.data, most);
    if (h->status) {
        snprintf(number, sizeof(number), "%u ", h->status);
        put(&w, "HTTP/1.1 ");
        put(&w, number);
        writer_bytes(&w, http_head_text(h, h->reason));
        put(&w, "\r\n");
    } else {
        writer_bytes(&w, http_head_method(h));
        put(&w, " ");
        writer_bytes(&w, http_head_target(h));
        put(&w, " HTTP/1.1\r\n");
    }
    put_fields(h, &w);
    must(!w.failed);
    buf_commit(out, w.at);
    return 0;
}

const char *http_status_text(int status)
{
    static const struct {
        int status;
        const char *text;
    } rows[] = {
        { 100, "Continue" },
        { 101, "Switching Protocols" },
        { 200, "OK" },
        { 204, "No Content" },
        { 301, "Moved Permanently" },
        { 302, "Found" },
        { 304, "Not Modified" },
        { 307, "Temporary Redirect" },
        { 308, "Permanent Redirect" },
        { 400, "Bad Request" },
        { 401, "Unauthorized" },
        { 403, "Forbidden" },
        { 404, "Not Found" },
        { 405, "Method Not Allowed" },
        { 408, "Request Timeout" },
        { 414, "URI Too Long" },
        { 417, "Expectation Failed" },
        { 431, "Request Header Fields Too Large" },
        { 500, "Internal Server Error" },
        { 501, "Not Implemented" },
        { 502, "Bad Gateway" },
        { 503, "Service Unavailable" },
        { 504, "Gateway Timeout" },
        { 505, "HTTP Version Not Supported" },
    };

    for (size_t i = 0; i < COUNT_OF(rows); i++)
        if (rows[i].status == status)
            return rows[i].text;
    return "";
}
