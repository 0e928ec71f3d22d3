#include <errno.h>

#include "http/internal.h"

/* ---- first lines ----------------------------------------------------------------- */

/* HTTP-version (RFC 9112 2.3). START: not of that shape at all. */
static enum http1_fault parse_version(struct http_head *h, struct span s)
{
    if (s.len != 8 || memcmp(s.data, "HTTP/", 5) != 0 || s.data[6] != '.' || s.data[5] < '0' ||
        s.data[5] > '9' || s.data[7] < '0' || s.data[7] > '9')
        return HTTP1_E_START;
    if (s.data[5] != '1' || s.data[7] > '1')
        return HTTP1_E_VERSION;
    h->minor = (uint8_t)(s.data[7] - '0');
    return HTTP1_OK;
}

static bool is_scheme(struct span target)
{
    return (target.len > 7 && text_equal_fold(span_slice(target, 0, 7), span_from_str("http://"))) ||
           (target.len > 8 && text_equal_fold(span_slice(target, 0, 8), span_from_str("https://")));
}

/* Bytes above 0x7f pass: clients send them raw, and whoever forwards the target escapes them. */
static enum http1_fault check_target(const struct http_head *h)
{
    struct span t = http_head_target(h);

    for (size_t i = 0; i < t.len; i++)
        if (t.data[i] <= ' ' || t.data[i] == 0x7f || t.data[i] == '#')
            return HTTP1_E_TARGET;
    if (t.data[0] == '/' || is_scheme(t))
        return HTTP1_OK;
    if (span_equal_str(t, "*") && h->method_id == HTTP_METHOD_OPTIONS)
        return HTTP1_OK;
    return HTTP1_E_TARGET;
}

enum http1_fault parse_request_line(struct http_head *h, struct http_text line)
{
    struct span s = http_head_text(h, line);
    const uint8_t *first = s.len ? memchr(s.data, ' ', s.len) : NULL, *second;
    enum http1_fault f;
    size_t at;

    if (!first)
        return HTTP1_E_START;
    h->method = (struct http_text) { line.at, (uint16_t)(first - s.data) };
    if (h->method.len > HTTP_METHOD_BYTES_MAX || !http_is_token(http_head_method(h)))
        return HTTP1_E_START;
    at = (size_t)(first - s.data) + 1;
    second = at < s.len ? memchr(s.data + at, ' ', s.len - at) : NULL;
    if (!second || second == s.data + at)
        return HTTP1_E_START;
    h->target = (struct http_text) { (uint16_t)(line.at + at), (uint16_t)(second - (s.data + at)) };
    at = (size_t)(second - s.data) + 1;
    f = parse_version(h, span_slice(s, at, s.len)); /* a third space is part of it, and fails */
    if (f)
        return f;
    h->method_id = (uint8_t)method_id(http_head_method(h));
    return h->method_id == HTTP_METHOD_CONNECT ? HTTP1_E_CONNECT : check_target(h);
}

enum http1_fault parse_status_line(struct http_head *h, struct http_text line)
{
    struct span s = http_head_text(h, line);
    enum http1_fault f = parse_version(h, span_slice(s, 0, 8));
    uint64_t status;

    if (f)
        return f;
    if (s.len < 12 || s.data[8] != ' ' || !text_parse_u64(span_slice(s, 9, 3), 999, &status) || status < 100)
        return HTTP1_E_START;
    if (s.len > 12 && s.data[12] != ' ')
        return HTTP1_E_START;
    h->status = (uint16_t)status;
    if (s.len > 13)
        h->reason = (struct http_text) { (uint16_t)(line.at + 13), (uint16_t)(line.len - 13) };
    return HTTP1_OK;
}

/* ---- host ------------------------------------------------------------------------- */

/* uri-host [ ":" port ] of RFC 3986 3.2.2, without percent escapes; empty is allowed (RFC 9112 3.2). */
static bool is_host(struct span s)
{
    size_t i = 0;

    if (s.len > HTTP_HOST_BYTES_MAX)
        return false;
    if (s.len && s.data[0] == '[') {
        for (i = 1; i < s.len && s.data[i] != ']'; i++)
            if (!memchr("0123456789abcdefABCDEF:.", s.data[i], 24))
                return false;
        if (i < 3 || i == s.len)
            return false;
        i++;
    } else {
        for (; i < s.len && s.data[i] != ':'; i++) {
            uint8_t c = s.data[i] | 0x20;

            if (!(c >= 'a' && c <= 'z') && !(s.data[i] >= '0' && s.data[i] <= '9') &&
                !memchr("-._~", s.data[i], 4))
                return false;
        }
        if (i == 0 && s.len)
            return false; /* a port of nothing */
    }
    if (i < s.len && s.data[i++] != ':')
        return false;
    if (s.len - i > 5)
        return false;
    for (; i < s.len; i++)
        if (s.data[i] < '0' || s.data[i] > '9')
            return false;
    return true;
}

static struct span absolute_authority(struct span target)
{
    size_t from = target.data[4] == ':' ? 7 : 8, to = from;

    while (to < target.len && target.data[to] != '/' && target.data[to] != '?')
        to++;
    return span_slice(target, from, to - from);
}

/* RFC 9112 3.2: exactly one Host in HTTP/1.1, and valid; at most one in HTTP/1.0. */
static enum http1_fault judge_host(const struct http_head *h)
{
    int first = http_head_find(h, HTTP_FIELD_HOST, 0);
    struct span target = http_head_target(h), authority;

    if (first < 0 && h->minor)
        return HTTP1_E_HOST;
    if (first >= 0 && (http_head_find(h, HTTP_FIELD_HOST, first + 1) >= 0 ||
                       !is_host(http_head_text(h, h->fields[first].value))))
        return HTTP1_E_HOST;
    if (is_scheme(target)) {
        authority = absolute_authority(target);
        return authority.len && is_host(authority) ? HTTP1_OK : HTTP1_E_TARGET;
    }
    return HTTP1_OK;
}

int normalise_target(struct http_head *h)
{
    struct span target = http_head_target(h), authority;
    size_t skip;
    uint8_t *before;
    int r;

    if (!is_scheme(target))
        return 0;
    authority = absolute_authority(target);
    skip = (size_t)(authority.data + authority.len - target.data);
    r = http_head_set(h, span_from_str("Host"), authority);
    if (r)
        return r == -ENOBUFS ? HTTP1_E_TOO_MANY : r;
    h->target.at = (uint16_t)(h->target.at + skip);
    h->target.len = (uint16_t)(h->target.len - skip);
    target = http_head_target(h);
    if (target.len && target.data[0] == '/')
        return 0;
    /* No path: it gets one in place of the authority's last byte, which has been copied. RFC 9112 3.2.4 for
     * "*". */
    before = h->text.data + h->text.start + h->target.at - 1;
    *before = !target.len && h->method_id == HTTP_METHOD_OPTIONS ? '*' : '/';
    h->target.at--;
    h->target.len++;
    return 0;
}

/* ---- what the fields say ------------------------------------------------------------ */

/* RFC 9112 6.1 to 6.3, the strict reading: *length and *chunked are set only on HTTP1_OK. */
static enum http1_fault judge_framing(struct http_head *h, bool *has_length, bool *chunked)
{
    int length = http_head_find(h, HTTP_FIELD_CONTENT_LENGTH, 0);
    int coding = http_head_find(h, HTTP_FIELD_TRANSFER_ENCODING, 0);

    *has_length = length >= 0;
    *chunked = coding >= 0;
    if (*has_length && *chunked)
        return HTTP1_E_BOTH;
    if (*has_length) {
        struct span v = http_head_text(h, h->fields[length].value);

        if (http_head_find(h, HTTP_FIELD_CONTENT_LENGTH, length + 1) >= 0 ||
            (v.len > 1 && v.data[0] == '0') || !text_parse_u64(v, HTTP1_BODY_BYTES_MAX, &h->content_length))
            return HTTP1_E_LENGTH;
    }
    if (*chunked)
        if (!h->minor || http_head_find(h, HTTP_FIELD_TRANSFER_ENCODING, coding + 1) >= 0 ||
            !text_equal_fold(http_head_text(h, h->fields[coding].value), span_from_str("chunked")))
            return HTTP1_E_CODING;
    return HTTP1_OK;
}

static void judge_connection(struct http_head *h)
{
    bool close = http_head_lists(h, HTTP_FIELD_CONNECTION, "close");

    h->keep_alive = !close && (h->minor || http_head_lists(h, HTTP_FIELD_CONNECTION, "keep-alive"));
    h->upgrade = h->minor && http_head_find(h, HTTP_FIELD_UPGRADE, 0) >= 0 &&
                 http_head_lists(h, HTTP_FIELD_CONNECTION, "upgrade");
}

enum http1_fault judge_request(struct http_head *h)
{
    bool has_length, chunked;
    enum http1_fault f = judge_framing(h, &has_length, &chunked);
    struct span expect;

    if (!f)
        f = judge_host(h);
    if (f)
        return f;
    judge_connection(h);
    h->body = chunked ? HTTP_BODY_CHUNKED : h->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    if (http_head_get(h, HTTP_FIELD_EXPECT, &expect)) {
        if (!text_equal_fold(expect, span_from_str("100-continue")))
            return HTTP1_E_EXPECT;
        h->expect_continue = h->minor && h->body != HTTP_BODY_NONE; /* RFC 9110 10.1.1 */
    }
    return HTTP1_OK;
}

enum http1_fault judge_response(struct http_head *h, bool answers_head, bool asked_upgrade)
{
    bool has_length, chunked;
    bool bodiless = h->status < 200 || h->status == 204;
    enum http1_fault f = judge_framing(h, &has_length, &chunked);

    if (f)
        return f;
    judge_connection(h);
    if (h->status == 101 && (!asked_upgrade || !h->upgrade))
        return HTTP1_E_UPGRADE;
    if (bodiless || h->status == 304 || answers_head)
        h->body = HTTP_BODY_NONE;
    else if (chunked)
        h->body = HTTP_BODY_CHUNKED;
    else if (has_length)
        h->body = h->content_length ? HTTP_BODY_LENGTH : HTTP_BODY_NONE;
    else
        h->body = HTTP_BODY_UNTIL_CLOSE;
    /* Bytes may follow that another reader takes for a body: nothing after it can be trusted. */
    if (h->body == HTTP_BODY_UNTIL_CLOSE || (bodiless && (chunked || h->content_length)))
        h->keep_alive = false;
    return HTTP1_OK;
}

int http1_judge_request(struct http_head *h)
{
    enum http1_fault f;

    if (h->method.len > HTTP_METHOD_BYTES_MAX || !http_is_token(http_head_method(h)))
        return HTTP1_E_START;
    if (h->method_id == HTTP_METHOD_CONNECT)
        return HTTP1_E_CONNECT;
    if (!h->target.len)
        return HTTP1_E_TARGET;
    f = check_target(h);
    return f ? f : judge_request(h);
}
