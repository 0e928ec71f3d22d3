#include "base/base.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- text: what a cursor and the check before a tree have in common ---------------------------------- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static void skip_blanks(struct span *s)
{
    while (s->len && is_blank(*s->data)) {
        s->data++;
        s->len--;
    }
}

static void skip(struct span *s, size_t len)
{
    s->data += len;
    s->len -= len;
}

/* Is a quote, a backslash or a control character among these eight bytes? Bytes above 0x7f may pass for one.
 */
static bool holds_special(const uint8_t *at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101), high = ones << 7;
    uint64_t w, quote, backslash;

    memcpy(&w, at, sizeof(w));
    quote = w ^ ones * '"';
    backslash = w ^ ones * '\\';
    return ((quote - ones) | (backslash - ones) | (w - ones * 0x20)) & high;
}

/* Length of the string that s begins with, both quotes included; 0 if it does not end. */
static size_t string_len(struct span s)
{
    size_t i = 1;

    while (i + 8 <= s.len && !holds_special(s.data + i))
        i += 8;
    for (; i < s.len; i++) {
        if (s.data[i] == '"')
            return i + 1;
        if (s.data[i] == '\\')
            i++;
        else if (s.data[i] < 0x20)
            return 0;
    }
    return 0;
}

/* Length of the number, true, false or null that s begins with; 0 if there is none. */
static size_t word_len(struct span s)
{
    size_t i = 0;

    while (i < s.len && s.data[i] > 0x20 && s.data[i] != ',' && s.data[i] != ':' && s.data[i] != ']' &&
           s.data[i] != '}' && s.data[i] != '"' && s.data[i] != '[' && s.data[i] != '{')
        i++;
    return i;
}

/* Which of the brackets around us are curly. */
struct nesting {
    uint64_t curly[(JSON_DEPTH_MAX + 63) / 64];
    unsigned depth;
};

static bool nesting_enter(struct nesting *n, uint8_t bracket)
{
    uint64_t bit = UINT64_C(1) << (n->depth % 64);

    if (n->depth == JSON_DEPTH_MAX)
        return false;
    if (bracket == '{')
        n->curly[n->depth / 64] |= bit;
    else
        n->curly[n->depth / 64] &= ~bit;
    n->depth++;
    return true;
}

static bool nesting_leave(struct nesting *n, uint8_t bracket)
{
    if (!n->depth)
        return false;
    n->depth--;
    return (n->curly[n->depth / 64] >> (n->depth % 64) & 1) == (bracket == '}');
}

/* Walks one value at the front of s. *len is its length, *values how many values and keys are in it. */
static int measure(struct span s, size_t *len, size_t *values)
{
    struct nesting n = { .depth = 0 };
    struct span rest = s;
    size_t count = 0, part;

    do {
        skip_blanks(&rest);
        if (!rest.len)
            return JSON_E_SYNTAX;
        part = 1;
        switch (*rest.data) {
        case '{':
        case '[':
            count++;
            if (!nesting_enter(&n, *rest.data))
                return JSON_E_TOO_DEEP;
            break;
        case '}':
        case ']':
            if (!nesting_leave(&n, *rest.data))
                return JSON_E_SYNTAX;
            break;
        case ',':
        case ':':
            if (!n.depth)
                return JSON_E_SYNTAX;
            break;
        case '"':
            count++;
            part = string_len(rest);
            break;
        default:
            count++;
            part = word_len(rest);
        }
        if (!part)
            return JSON_E_SYNTAX;
        skip(&rest, part);
    } while (n.depth);
    *len = (size_t)(rest.data - s.data);
    *values = count;
    return 0;
}

/* ---- the cursor -----------------------------------------------------------------------------------------
 */

enum json_kind json_text_kind(struct span text)
{
    skip_blanks(&text);
    if (!text.len)
        return JSON_KIND_ABSENT;
    switch (*text.data) {
    case '{':
        return JSON_KIND_OBJECT;
    case '[':
        return JSON_KIND_ARRAY;
    case '"':
        return JSON_KIND_STRING;
    case 'n':
        return JSON_KIND_NULL;
    case 't':
    case 'f':
        return JSON_KIND_BOOL;
    default:
        return *text.data == '-' || (*text.data >= '0' && *text.data <= '9') ? JSON_KIND_REAL
                                                                             : JSON_KIND_ABSENT;
    }
}

struct json_cursor json_cursor_of(struct span text)
{
    struct json_cursor c = { .rest = text };
    enum json_kind kind = json_text_kind(text);

    c.close = kind == JSON_KIND_OBJECT ? '}' : ']';
    c.failed = kind != JSON_KIND_OBJECT && kind != JSON_KIND_ARRAY;
    return c;
}

static bool cursor_fail(struct json_cursor *c)
{
    c->failed = true;
    return false;
}

/* Eats the bracket or the comma before an element. False at the end. */
static bool cursor_step(struct json_cursor *c)
{
    bool first = !c->started;

    skip_blanks(&c->rest);
    if (first) {
        c->started = true;
        skip(&c->rest, 1);
        skip_blanks(&c->rest);
    }
    if (!c->rest.len)
        return cursor_fail(c);
    if (*c->rest.data == c->close) {
        skip(&c->rest, 1);
        skip_blanks(&c->rest);
        c->close = 0; /* done: every later call ends here */
        return c->rest.len ? cursor_fail(c) : false;
    }
    if (first)
        return true;
    if (*c->rest.data != ',')
        return cursor_fail(c);
    skip(&c->rest, 1);
    skip_blanks(&c->rest);
    return true;
}

static bool cursor_key(struct json_cursor *c, struct span *key)
{
    size_t len = c->rest.len && *c->rest.data == '"' ? string_len(c->rest) : 0;

    if (!len)
        return cursor_fail(c);
    if (key)
        *key = span_slice(c->rest, 1, len - 2);
    skip(&c->rest, len);
    skip_blanks(&c->rest);
    if (!c->rest.len || *c->rest.data != ':')
        return cursor_fail(c);
    skip(&c->rest, 1);
    skip_blanks(&c->rest);
    return true;
}

bool json_cursor_next(struct json_cursor *c, struct span *key, struct span *value)
{
    size_t len, values;

    if (c->failed || !c->close || !cursor_step(c))
        return false;
    if (c->close == '}') {
        if (!cursor_key(c, key))
            return false;
    } else if (key) {
        *key = SPAN_NONE;
    }
    if (measure(c->rest, &len, &values) || json_text_kind(c->rest) == JSON_KIND_ABSENT)
        return cursor_fail(c);
    *value = span_slice(c->rest, 0, len);
    skip(&c->rest, len);
    return true;
}

struct span json_text_member(struct span object_text, const char *key)
{
    struct json_cursor c = json_cursor_of(object_text);
    struct span name, value, found = SPAN_NONE;

    while (c.close == '}' && json_cursor_next(&c, &name, &value))
        if (span_equal_str(name, key))
            found = value;
    return found;
}

size_t json_text_count(struct span text)
{
    struct json_cursor c = json_cursor_of(text);
    struct span value;
    size_t n = 0;

    while (json_cursor_next(&c, NULL, &value))
        n++;
    return c.failed ? SIZE_MAX : n;
}

int json_unescape(struct span raw, struct arena *a, struct span *out)
{
    OWNED(json_freep) struct json *string = NULL;
    struct span text;
    char *quoted;
    int r;

    if (!raw.len || !memchr(raw.data, '\\', raw.len)) {
        *out = raw;
        return 0;
    }
    quoted = arena_alloc(a, raw.len + 2);
    if (!quoted)
        return -ENOMEM;
    quoted[0] = quoted[raw.len + 1] = '"';
    memcpy(quoted + 1, raw.data, raw.len);
    r = json_parse(span_make(quoted, raw.len + 2), SIZE_MAX, &string);
    if (r)
        return r < 0 ? r : JSON_E_SYNTAX;
    if (!json_as_string(string, &text))
        return JSON_E_SYNTAX;
    *out = arena_copy(a, text);
    return a->failed ? -ENOMEM : 0;
}

/* ---- the tree ---------------------------------------------------------------------------------------------
 */

static const json_t *tree(const struct json *v)
{
    return (const json_t *)(const void *)v;
}

static const struct json *value_of(const json_t *v)
{
    return (const struct json *)(const void *)v;
}

int json_parse(struct span text, size_t bytes_max, struct json **out)
{
    json_error_t error;
    size_t len, values;
    json_t *root;
    int r;

    *out = NULL;
    if (text.len > bytes_max)
        return JSON_E_TOO_BIG;
    r = measure(text, &len, &values);
    if (r)
        return r;
    if (values > JSON_VALUES_MAX)
        return JSON_E_TOO_BIG;
    root = json_loadb((const char *)text.data, text.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!root) /* jansson has no words for some failed allocations, and takes others for syntax */
        return !error.text[0] || json_error_code(&error) == json_error_out_of_memory ? -ENOMEM
                                                                                     : JSON_E_SYNTAX;
    *out = (struct json *)(void *)root;
    return 0;
}

void json_free(struct json *root)
{
    json_decref((json_t *)(void *)root);
}

void json_freep(struct json **root)
{
    json_free(*root);
}

enum json_kind json_kind(const struct json *v)
{
    if (!v)
        return JSON_KIND_ABSENT;
    switch (json_typeof(tree(v))) {
    case JSON_OBJECT:
        return JSON_KIND_OBJECT;
    case JSON_ARRAY:
        return JSON_KIND_ARRAY;
    case JSON_STRING:
        return JSON_KIND_STRING;
    case JSON_INTEGER:
        return JSON_KIND_INTEGER;
    case JSON_REAL:
        return JSON_KIND_REAL;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_KIND_BOOL;
    case JSON_NULL:
        return JSON_KIND_NULL;
    }
    return JSON_KIND_ABSENT;
}

const struct json *json_member(const struct json *v, const char *key)
{
    return value_of(json_object_get(tree(v), key)); /* NULL for anything but an object */
}

/* The member if it is there and not null; else *got says why not. */
static const struct json *look(const struct json *v, const char *key, enum json_got *got)
{
    const struct json *m = json_member(v, key);

    *got = m ? JSON_GOT : JSON_GOT_ABSENT;
    if (m && json_is_null(tree(m))) {
        *got = JSON_GOT_NULL;
        return NULL;
    }
    return m;
}

static enum json_got got_if(bool right)
{
    return right ? JSON_GOT : JSON_GOT_OTHER;
}

bool json_as_string(const struct json *v, struct span *out)
{
    if (!json_is_string(tree(v)))
        return false;
    *out = span_make(json_string_value(tree(v)), json_string_length(tree(v)));
    return true;
}

bool json_as_i64(const struct json *v, int64_t *out)
{
    if (!json_is_integer(tree(v)))
        return false;
    *out = json_integer_value(tree(v));
    return true;
}

bool json_as_bool(const struct json *v, bool *out)
{
    if (!json_is_boolean(tree(v)))
        return false;
    *out = json_is_true(tree(v));
    return true;
}

enum json_got json_get_string(const struct json *v, const char *key, struct span *out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);

    return m ? got_if(json_as_string(m, out)) : got;
}

enum json_got json_get_int(const struct json *v, const char *key, int64_t min, int64_t max, int64_t *out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);
    int64_t number;

    if (!m)
        return got;
    if (!json_as_i64(m, &number) || number < min || number > max)
        return JSON_GOT_OTHER;
    *out = number;
    return JSON_GOT;
}

enum json_got json_get_i64(const struct json *v, const char *key, int64_t *out)
{
    return json_get_int(v, key, INT64_MIN, INT64_MAX, out);
}

enum json_got json_get_real(const struct json *v, const char *key, double *out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);

    if (!m)
        return got;
    if (!json_is_number(tree(m)))
        return JSON_GOT_OTHER;
    *out = json_number_value(tree(m));
    return JSON_GOT;
}

enum json_got json_get_bool(const struct json *v, const char *key, bool *out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);

    return m ? got_if(json_as_bool(m, out)) : got;
}

enum json_got json_get_object(const struct json *v, const char *key, const struct json **out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);

    if (!m || !json_is_object(tree(m)))
        return m ? JSON_GOT_OTHER : got;
    *out = m;
    return JSON_GOT;
}

enum json_got json_get_array(const struct json *v, const char *key, const struct json **out)
{
    enum json_got got;
    const struct json *m = look(v, key, &got);

    if (!m || !json_is_array(tree(m)))
        return m ? JSON_GOT_OTHER : got;
    *out = m;
    return JSON_GOT;
}

size_t json_array_count(const struct json *v)
{
    return json_array_size(tree(v)); /* 0 for anything but an array */
}

const struct json *json_array_at(const struct json *v, size_t index)
{
    return value_of(json_array_get(tree(v), index));
}

bool json_object_next(const struct json *v, struct json_iter *it, struct span *key, const struct json **value)
{
    json_t *object = (json_t *)(uintptr_t)tree(v); /* jansson's iterators are not const; ours only reads */

    it->at = it->started ? json_object_iter_next(object, it->at) : json_object_iter(object);
    it->started = true;
    if (!it->at)
        return false;
    *key = span_make(json_object_iter_key(it->at), json_object_iter_key_len(it->at));
    *value = value_of(json_object_iter_value(it->at));
    return true;
}

/* ---- the writer
 * ----------------------------------------------------------------------------------------------- */

struct json_writer json_writer_of(struct buf *out)
{
    return (struct json_writer) { .out = out };
}

int json_writer_done(const struct json_writer *w)
{
    must(w->error || (!w->depth && !w->keyed));
    return w->error;
}

static void put(struct json_writer *w, const void *bytes, size_t len)
{
    if (!w->error)
        w->error = buf_append(w->out, span_make(bytes, len));
}

/* Bytes of the character that s begins with, as RFC 3629 has it; 0 if it is none. */
static size_t utf8_len(struct span s)
{
    static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
    uint8_t lead = s.data[0];
    size_t len = lead < 0x80             ? 1
                 : (lead & 0xe0) == 0xc0 ? 2
                 : (lead & 0xf0) == 0xe0 ? 3
                 : (lead & 0xf8) == 0xf0 ? 4
                                         : 0;
    uint32_t point = lead & (0xff >> (len + 1));

    if (len <= 1)
        return len;
    if (len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++) {
        if ((s.data[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s.data[i] & 0x3f);
    }
    return point < smallest[len] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000) ? 0 : len;
}

static void put_escape(struct json_writer *w, uint8_t c)
{
    static const char hex[] = "0123456789abcdef";
    const char *at = memchr("\"\\\b\f\n\r\t", c, 7);
    char text[6] = { '\\', 'u', '0', '0', hex[c >> 4], hex[c & 15] };

    if (!at) {
        put(w, text, 6);
        return;
    }
    text[1] = "\"\\bfnrt"[at - "\"\\\b\f\n\r\t"];
    put(w, text, 2);
}

static void put_quoted(struct json_writer *w, struct span s)
{
    size_t from = 0, at = 0;

    put(w, "\"", 1);
    while (at < s.len) {
        uint8_t c = s.data[at];
        size_t len = utf8_len(span_slice(s, at, s.len));

        if (len && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            at += len;
            continue;
        }
        put(w, s.data + from, at - from);
        if (!len)
            put(w, "\xef\xbf\xbd", 3);
        else
            put_escape(w, c);
        from = ++at;
    }
    if (at > from)
        put(w, s.data + from, at - from);
    put(w, "\"", 1);
}

static uint32_t level_bit(const struct json_writer *w)
{
    return w->depth ? BIT(w->depth - 1) : 0;
}

/* What stands before a value: comma and key. */
static void before(struct json_writer *w, const char *key)
{
    bool inside_object = w->object & level_bit(w);

    if (w->keyed) {
        must(!key);
        w->keyed = false;
        return;
    }
    must(inside_object == (key != NULL));
    if (w->used & level_bit(w))
        put(w, ",", 1);
    w->used |= level_bit(w);
    if (key) {
        put_quoted(w, span_from_str(key));
        put(w, ":", 1);
    }
}

static void enter(struct json_writer *w, const char *key, bool object)
{
    before(w, key);
    must(w->depth < JSON_WRITER_DEPTH_MAX);
    w->depth++;
    w->used &= ~level_bit(w);
    if (object)
        w->object |= level_bit(w);
    else
        w->object &= ~level_bit(w);
    put(w, object ? "{" : "[", 1);
}

static void leave(struct json_writer *w, bool object)
{
    must(w->depth && !w->keyed && !(w->object & level_bit(w)) == !object);
    w->depth--;
    put(w, object ? "}" : "]", 1);
}

void json_object_begin(struct json_writer *w, const char *key)
{
    enter(w, key, true);
}

void json_object_end(struct json_writer *w)
{
    leave(w, true);
}

void json_array_begin(struct json_writer *w, const char *key)
{
    enter(w, key, false);
}

void json_array_end(struct json_writer *w)
{
    leave(w, false);
}

void json_put_key(struct json_writer *w, struct span key)
{
    must((w->object & level_bit(w)) && !w->keyed);
    if (w->used & level_bit(w))
        put(w, ",", 1);
    w->used |= level_bit(w);
    put_quoted(w, key);
    put(w, ":", 1);
    w->keyed = true;
}

void json_put_raw(struct json_writer *w, const char *key, struct span json)
{
    before(w, key);
    put(w, json.data, json.len);
}

void json_put_null(struct json_writer *w, const char *key)
{
    json_put_raw(w, key, span_from_str("null"));
}

void json_put_bool(struct json_writer *w, const char *key, bool v)
{
    json_put_raw(w, key, span_from_str(v ? "true" : "false"));
}

void json_put_span(struct json_writer *w, const char *key, struct span s)
{
    before(w, key);
    put_quoted(w, s);
}

void json_put_str(struct json_writer *w, const char *key, const char *s)
{
    if (s)
        json_put_span(w, key, span_from_str(s));
    else
        json_put_null(w, key);
}

void json_put_i64(struct json_writer *w, const char *key, int64_t v)
{
    char text[24];

    json_put_raw(w, key, span_make(text, (size_t)snprintf(text, sizeof(text), "%lld", (long long)v)));
}

void json_put_u64(struct json_writer *w, const char *key, uint64_t v)
{
    char text[24];

    json_put_raw(w, key,
                 span_make(text, (size_t)snprintf(text, sizeof(text), "%llu", (unsigned long long)v)));
}

void json_put_real(struct json_writer *w, const char *key, double v)
{
    char text[40];

    if (!isfinite(v))
        v = 0;
    for (int digits = 6; digits <= 17; digits++) { /* the shortest that reads back as the same number */
        snprintf(text, sizeof(text), "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    json_put_raw(w, key, span_from_str(text));
}
