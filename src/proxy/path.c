#include "proxy/path.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool path_escapes_valid(struct span raw)
{
    for (size_t i = 0; i < raw.len; i++)
        if (raw.data[i] == '%' &&
            (raw.len - i < 3 || hex_digit(raw.data[i + 1]) < 0 || hex_digit(raw.data[i + 2]) < 0))
            return false;
    return true;
}

bool path_next(struct span raw, size_t *at, uint8_t *c)
{
    if (*at >= raw.len)
        return false;
    *c = raw.data[*at];
    if (*c != '%') {
        ++*at;
        return true;
    }
    must(raw.len - *at >= 3);
    *c = (uint8_t)(hex_digit(raw.data[*at + 1]) << 4 | hex_digit(raw.data[*at + 2]));
    *at += 3;
    return true;
}

static bool is_unreserved(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("-_.~", c));
}

/* What Go leaves unescaped when it writes a decoded path (net/url, encodePath). */
static bool is_plain(uint8_t c)
{
    return is_unreserved(c) || (c && strchr("$&+,/:;=@", c));
}

/* What may stand in a path as it is (RFC 3986 3.3), and brackets, which browsers leave alone. */
static bool may_stand(uint8_t c)
{
    return is_plain(c) || (c && strchr("!'()*[]%", c));
}

static int append_escaped(struct buf *out, uint8_t c)
{
    return buf_printf(out, "%%%02X", c);
}

/* ---- cleaning ------------------------------------------------------------------ */

bool path_is_clean(struct span raw)
{
    size_t at = 0, len = 0, dots = 0; /* of the segment so far */
    uint8_t c;

    if (!path_next(raw, &at, &c) || c != '/')
        return false;
    while (path_next(raw, &at, &c)) {
        if (c == '/') {
            if (len == 0 || (len == dots && dots <= 2))
                return false;
            len = dots = 0;
            continue;
        }
        len++;
        dots += c == '.';
    }
    return len == 0 || len != dots || dots > 2;
}

/* `path` is decoded; works in place like Go's path.Clean of "/" + path, slash at the end kept. Returns the
 * length. */
static size_t clean(uint8_t *path, size_t len)
{
    bool slash = len && path[len - 1] == '/';
    size_t out = 0, from, to;

    for (from = 0; from < len; from = to + 1) {
        for (to = from; to < len && path[to] != '/';)
            to++;
        if (to == from || (to - from == 1 && path[from] == '.'))
            continue;
        if (to - from == 2 && path[from] == '.' && path[from + 1] == '.') {
            while (out && path[--out] != '/')
                ;
            continue;
        }
        /* Segments only move to the front: one byte for "/" is there, because the first was one or is
         * skipped. */
        memmove(path + out + 1, path + from, to - from);
        path[out] = '/';
        out += 1 + to - from;
    }
    if (!out || (slash && path[out - 1] != '/'))
        path[out++] = '/';
    return out;
}

int path_append_cleaned(struct span raw, struct buf *out)
{
    uint8_t *decoded = malloc(raw.len + 2), c;
    size_t at = 0, len = 0;
    int r = 0;

    if (!decoded)
        return -ENOMEM;
    decoded[len++] = '/'; /* harmless if there is one already */
    while (path_next(raw, &at, &c))
        decoded[len++] = c;
    len = clean(decoded, len);
    for (size_t i = 0; i < len && !r; i++)
        r = is_plain(decoded[i]) ? buf_append(out, span_make(&decoded[i], 1))
                                 : append_escaped(out, decoded[i]);
    free(decoded);
    return r;
}

/* ---- prefixes ------------------------------------------------------------------- */

/* Is raw how Go would escape its own decoded form? If so Go forgets the raw form (URL.RawPath is empty). */
static bool escapes_are_canonical(struct span raw)
{
    for (size_t i = 0; i < raw.len; i++) {
        size_t at = i;
        uint8_t c;

        if (raw.data[i] != '%') {
            if (!is_plain(raw.data[i]))
                return false;
            continue;
        }
        (void)path_next(raw, &at, &c);
        if (is_plain(c) || raw.data[i + 1] >= 'a' || raw.data[i + 2] >= 'a')
            return false;
        i += 2;
    }
    return true;
}

enum prefix_match path_match_prefix(struct span raw, struct span prefix, size_t *matched)
{
    size_t at = 0, next;
    uint8_t c;

    *matched = 0;
    if (!prefix.len)
        return PREFIX_NO;
    for (size_t i = 0; i < prefix.len; i++)
        if (!path_next(raw, &at, &c) || c != prefix.data[i])
            return PREFIX_NO;
    /* Escapes that matter: the same text has to stand in the raw form too (10.2 of the rules, from Go). */
    if (!escapes_are_canonical(raw) && !span_equal(span_slice(raw, 0, prefix.len), prefix))
        return PREFIX_NO;
    *matched = next = at;
    if (prefix.data[prefix.len - 1] == '/' || !path_next(raw, &next, &c) || c == '/')
        return PREFIX_YES;
    return PREFIX_INSIDE_SEGMENT;
}

/* ---- joining --------------------------------------------------------------------- */

int path_append_joined(struct span base, struct span rest, struct buf *out)
{
    bool left = base.len && base.data[base.len - 1] == '/', right = rest.len && rest.data[0] == '/';
    int r;

    if (!base.len && !rest.len)
        return buf_append_str(out, "/");
    r = buf_append(out, base);
    if (!r && rest.len && !left && !right)
        r = buf_append_str(out, "/");
    for (size_t i = left && right; i < rest.len && !r;) {
        size_t n = i;

        while (n < rest.len && may_stand(rest.data[n]))
            n++;
        r = n > i ? buf_append(out, span_slice(rest, i, n - i)) : append_escaped(out, rest.data[n]);
        i = MAX(n, i + 1);
    }
    return r;
}

int path_append_query(struct span query, struct buf *out)
{
    int r = 0;

    for (size_t i = 0; i < query.len && !r;) {
        size_t n = i;

        while (n < query.len && query.data[n] <= '~')
            n++;
        r = n > i ? buf_append(out, span_slice(query, i, n - i)) : append_escaped(out, query.data[n]);
        i = MAX(n, i + 1);
    }
    return r;
}
