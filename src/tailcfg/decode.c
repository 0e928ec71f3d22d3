#include "tailcfg/decode.h"

#include <errno.h>

int decode_parse(struct span text, size_t bytes_max, enum json_kind kind, struct json **out)
{
    int r = json_parse(text, bytes_max, out);

    if (r < 0)
        return err_trace(r);
    if (r == JSON_E_TOO_BIG || r == JSON_E_TOO_DEEP)
        return TAILCFG_E_TOO_BIG;
    if (r)
        return TAILCFG_E_JSON;
    if (json_kind(*out) != kind) {
        json_free(*out);
        *out = NULL;
        return TAILCFG_E_SHAPE;
    }
    return 0;
}

int decode_result(const struct decode *d)
{
    if (d->bad)
        return TAILCFG_E_SHAPE;
    return d->arena->failed ? -ENOMEM : 0;
}

static void set_present(bool *present, enum json_got got)
{
    if (present)
        *present = got == JSON_GOT || got == JSON_GOT_OTHER;
}

struct span decode_text(struct decode *d, const char *key)
{
    struct span s;

    return json_get_string(d->object, key, &s) == JSON_GOT && s.len ? arena_copy(d->arena, s) : SPAN_NONE;
}

bool decode_loose_flag(struct decode *d, const char *key)
{
    bool v = false;

    (void)json_get_bool(d->object, key, &v);
    return v;
}

enum tailcfg_bool decode_bool(struct decode *d, const char *key)
{
    bool v;

    if (json_get_bool(d->object, key, &v) != JSON_GOT)
        return TAILCFG_UNSET;
    return v ? TAILCFG_TRUE : TAILCFG_FALSE;
}

int32_t decode_number(struct decode *d, const char *key)
{
    int64_t v = 0;

    (void)json_get_int(d->object, key, 0, INT32_MAX, &v);
    return (int32_t)v;
}

struct tailcfg_addresses decode_endpoints(struct decode *d, const char *key, bool *present)
{
    struct tailcfg_addresses out = { 0 };
    const struct json *list = NULL;
    struct ip_port *items;
    struct span text;
    size_t count;

    if (present)
        *present = false;
    if (json_get_array(d->object, key, &list) != JSON_GOT)
        return out;
    count = MIN(json_array_count(list), (size_t)TAILCFG_ENDPOINTS_MAX);
    items = ARENA_ARRAY(d->arena, count, struct ip_port);
    for (size_t i = 0; items && i < count; i++)
        if (json_as_string(json_array_at(list, i), &text) && ip_port_parse(text, &items[out.count]))
            out.count++;
    out.items = items;
    if (present)
        *present = true;
    return out;
}

bool decode_flag(struct decode *d, const char *key)
{
    bool v = false;

    d->bad |= json_get_bool(d->object, key, &v) == JSON_GOT_OTHER;
    return v;
}

int64_t decode_id(struct decode *d, const char *key)
{
    int64_t v = 0;

    d->bad |= json_get_i64(d->object, key, &v) == JSON_GOT_OTHER;
    return v;
}

/* Zero is "none" to us, so the first moment of 1970 becomes the one after; what lies beyond 2262 is the end
 * of our count. */
static bool parse_time(struct span text, int64_t *out)
{
    uint64_t year;

    if (time_parse_rfc3339(text, out)) {
        if (!*out && !text_starts_with(text, "0001"))
            *out = 1;
        return true;
    }
    if (text_parse_u64(span_slice(text, 0, 4), 9999, &year) && year > 2261 && text.len >= 20) {
        *out = INT64_MAX;
        return true;
    }
    return false;
}

int64_t decode_time(struct decode *d, const char *key, bool *present)
{
    struct span text;
    enum json_got got = json_get_string(d->object, key, &text);
    int64_t t = 0;

    set_present(present, got);
    if (got == JSON_GOT_OTHER || (got == JSON_GOT && !parse_time(text, &t)))
        d->bad = true;
    return t;
}

struct ip decode_ip(struct decode *d, const char *key)
{
    struct ip a = IP_NONE;
    struct span text;
    enum json_got got = json_get_string(d->object, key, &text);

    if (got == JSON_GOT_OTHER || (got == JSON_GOT && text.len && !ip_parse(text, &a)))
        d->bad = true;
    return a;
}

struct span decode_base64(struct decode *d, const char *key, bool *present)
{
    struct span text;
    enum json_got got = json_get_string(d->object, key, &text);
    size_t len = 0, room;
    uint8_t *bytes;

    set_present(present, got);
    d->bad |= got == JSON_GOT_OTHER;
    if (got != JSON_GOT || !text.len)
        return SPAN_NONE;
    room = text.len / 4 * 3 + 3;
    bytes = arena_alloc(d->arena, room);
    if (!bytes)
        return SPAN_NONE;
    if (!base64_decode(text, bytes, room, &len)) {
        d->bad = true;
        return SPAN_NONE;
    }
    return span_make(bytes, len);
}

void decode_key(struct decode *d, const char *key, const char *prefix, uint8_t out[KEY_BYTES], bool *present)
{
    struct span text;
    enum json_got got = json_get_string(d->object, key, &text);

    set_present(present, got);
    memset(out, 0, KEY_BYTES);
    if (got == JSON_GOT_OTHER || (got == JSON_GOT && !key_parse(text, prefix, out)))
        d->bad = true;
}

struct tailcfg_prefixes decode_prefixes(struct decode *d, const char *key, bool *present)
{
    struct tailcfg_prefixes out = { 0 };
    const struct json *list = NULL;
    enum json_got got = json_get_array(d->object, key, &list);
    struct ip_prefix *items;
    struct span text;

    set_present(present, got);
    d->bad |= got == JSON_GOT_OTHER || json_array_count(list) > TAILCFG_PREFIXES_MAX;
    if (got != JSON_GOT || d->bad)
        return out;
    items = ARENA_ARRAY(d->arena, json_array_count(list), struct ip_prefix);
    for (size_t i = 0; items && i < json_array_count(list); i++)
        if (json_as_string(json_array_at(list, i), &text) && ip_prefix_parse(text, &items[out.count]))
            out.count++;
    out.items = items;
    return out;
}

struct tailcfg_texts decode_texts(struct decode *d, const char *key, bool *present)
{
    struct tailcfg_texts out = { 0 };
    const struct json *list = NULL;
    enum json_got got = json_get_array(d->object, key, &list);
    struct span *items, text;

    set_present(present, got);
    d->bad |= got == JSON_GOT_OTHER;
    if (got != JSON_GOT)
        return out;
    items = ARENA_ARRAY(d->arena, json_array_count(list), struct span);
    for (size_t i = 0; items && i < json_array_count(list); i++)
        if (json_as_string(json_array_at(list, i), &text))
            items[out.count++] = arena_copy(d->arena, text);
    out.items = items;
    return out;
}

struct tailcfg_caps decode_caps(struct decode *d, struct span text)
{
    struct json_cursor c = json_cursor_of(text);
    struct tailcfg_caps out = { 0 };
    struct tailcfg_cap *items;
    struct span name, value;
    size_t count;

    if (!text.len || json_text_kind(text) == JSON_KIND_NULL)
        return out;
    count = json_text_kind(text) == JSON_KIND_OBJECT ? json_text_count(text) : SIZE_MAX;
    if (count == SIZE_MAX) {
        d->bad = true;
        return out;
    }
    items = ARENA_ARRAY(d->arena, count, struct tailcfg_cap);
    while (items && json_cursor_next(&c, &name, &value)) {
        int r = json_unescape(name, d->arena, &items[out.count].name);
        size_t values = json_text_kind(value) == JSON_KIND_ARRAY ? json_text_count(value) : 0;

        if (r)
            continue; /* -ENOMEM sticks in the arena */
        items[out.count].values = values && values != SIZE_MAX ? value : SPAN_NONE;
        out.count++;
    }
    out.items = items;
    return out;
}
