#include "proxy/url.h"

#include "proxy/proxy.h"

#include <stdio.h>
#include <stdlib.h>

#include "proxy/path.h"

static bool starts_with_fold(struct span s, const char *prefix)
{
    return text_equal_fold(span_slice(s, 0, strlen(prefix)), span_from_str(prefix));
}

static bool only_digits(struct span s)
{
    size_t n = 0;

    while (n < s.len && s.data[n] >= '0' && s.data[n] <= '9')
        n++;
    return s.len && n == s.len;
}

/* Digits alone are a port without its host, whatever a resolver would make of them. */
static bool valid_host(struct span s)
{
    struct ip ip;

    if (only_digits(s) || span_equal_str(s, "-"))
        return false;

    if (memchr(s.data, ':', s.len))
        return ip_parse(s, &ip);
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.data[i] | 0x20;

        if (!(c >= 'a' && c <= 'z') && !(s.data[i] >= '0' && s.data[i] <= '9') &&
            !memchr("-._", s.data[i], 3))
            return false;
    }
    return s.len > 0 && s.len < 254;
}

/* host[:port] or [v6][:port]; port stays as it was when there is none. */
static bool split_authority(struct span s, struct span *host, uint16_t *port)
{
    const uint8_t *colon;
    struct span digits = SPAN_NONE;
    uint64_t n;

    if (s.len && s.data[0] == '[') {
        const uint8_t *close = memchr(s.data, ']', s.len);

        if (!close)
            return false;
        *host = span_slice(s, 1, (size_t)(close - s.data) - 1);
        s = span_slice(s, (size_t)(close - s.data) + 1, s.len);
        if (s.len && s.data[0] != ':')
            return false;
        digits = span_slice(s, 1, s.len);
        if (!memchr(host->data ? host->data : (const uint8_t *)"", ':', host->len))
            return false;
    } else {
        colon = s.len ? memchr(s.data, ':', s.len) : NULL;
        *host = span_slice(s, 0, colon ? (size_t)(colon - s.data) : s.len);
        if (colon)
            digits = span_slice(s, host->len + 1, s.len);
        if (memchr(digits.data ? digits.data : (const uint8_t *)"", ':', digits.len))
            return false;
    }
    if (digits.len) {
        if (!text_parse_u64(digits, UINT16_MAX, &n) || n == 0)
            return false;
        *port = (uint16_t)n;
    }
    return host->len && valid_host(*host);
}

static bool fail(char *why, size_t size, const char *sentence)
{
    snprintf(why, size, "%s", sentence);
    return false;
}

static bool looks_like_ip6(struct span s)
{
    size_t colons = 0;

    for (size_t i = 0; i < s.len; i++) {
        if (!strchr("0123456789abcdefABCDEF:", s.data[i]))
            return false;
        colons += s.data[i] == ':';
    }
    return colons > 1;
}

/* What is wrong with an authority that is none. */
static const char *authority_fault(struct span s)
{
    const uint8_t *colon = s.len ? memrchr(s.data, ':', s.len) : NULL;
    struct span host = span_slice(s, 0, colon ? (size_t)(colon - s.data) : s.len), kept;
    struct span port = span_slice(s, host.len + (colon != NULL), s.len);
    uint16_t number;

    if (only_digits(s) || (!host.len && only_digits(port)))
        return "no host: write http://127.0.0.1 before the port";
    if (looks_like_ip6(s))
        return "no valid host: an IPv6 address stands in brackets, as in http://[::1]:8080";
    if (colon && split_authority(host, &kept, &number))
        return "no valid port: write a number from 1 to 65535";
    return "no valid host: write http://host:port";
}

/* A path or query of the configuration: escapes right, no blanks, other bytes escaped as for requests. */
static bool keep_part(char **out, struct span s, int (*append)(struct span, struct buf *))
{
    struct buf b;
    bool ok = path_escapes_valid(s);

    for (size_t i = 0; i < s.len; i++)
        ok = ok && s.data[i] > ' ' && s.data[i] != 0x7f;
    buf_init(&b, 3 * URL_BYTES_MAX + 1);
    ok = ok && append(s, &b) == 0;
    if (ok)
        *out = text_dup(buf_span(&b));
    buf_deinit(&b);
    return ok && *out;
}

static int append_path(struct span s, struct buf *out)
{
    return s.len ? path_append_joined(SPAN_NONE, s, out) : 0;
}

static bool parse_unix(struct destination *d, struct span rest, char *why, size_t size)
{
    while (rest.len > 1 && rest.data[0] == '/' && rest.data[1] == '/')
        rest = span_slice(rest, 1, rest.len);
    if (!rest.len || rest.data[0] != '/')
        return fail(why, size, "a socket needs an absolute path, as in unix:/run/app.sock");
    d->unix_path = text_dup(rest);
    d->host = text_dup(span_from_str("localhost"));
    d->authority = text_dup(span_from_str("localhost"));
    d->path = text_dup(SPAN_NONE);
    d->query = text_dup(SPAN_NONE);
    d->port = 80;
    return d->unix_path && d->host && d->authority && d->path && d->query;
}

static bool lacks_slashes(struct span s)
{
    return (starts_with_fold(s, "http:") && !starts_with_fold(s, "http://")) ||
           (starts_with_fold(s, "https:") && !starts_with_fold(s, "https://"));
}

/* Scheme off; "localhost:8080" has none. */
static bool take_scheme(struct destination *d, struct span *s)
{
    d->tls = starts_with_fold(*s, "https://");
    d->port = d->tls ? 443 : 80;
    if (d->tls || starts_with_fold(*s, "http://")) {
        *s = span_slice(*s, d->tls ? 8 : 7, s->len);
        return true;
    }
    for (size_t i = 0; i + 2 < s->len; i++)
        if (memcmp(s->data + i, "://", 3) == 0)
            return false;
    return true;
}

static bool parse_url(struct destination *d, struct span s, char *why, size_t size)
{
    struct span authority, path, query = SPAN_NONE, host;
    size_t n = 0;

    if (starts_with_fold(s, "unix:"))
        return parse_unix(d, span_slice(s, 5, s.len), why, size);
    if (lacks_slashes(s))
        return fail(why, size, "two slashes belong behind the scheme: write http://host:port");
    if (s.len && (s.data[0] <= ' ' || s.data[s.len - 1] <= ' '))
        return fail(why, size, "a blank at one end: remove it");
    if (!take_scheme(d, &s))
        return fail(why, size, "the scheme has to be http, https or unix");
    while (n < s.len && s.data[n] != '/' && s.data[n] != '?' && s.data[n] != '#')
        n++;
    authority = span_slice(s, 0, n);
    path = span_slice(s, n, s.len);
    if (memchr(path.data ? path.data : (const uint8_t *)"", '#', path.len))
        path.len = (size_t)((const uint8_t *)memchr(path.data, '#', path.len) - path.data); /* never sent */
    if (memchr(path.data ? path.data : (const uint8_t *)"", '?', path.len)) {
        n = (size_t)((const uint8_t *)memchr(path.data, '?', path.len) - path.data);
        query = span_slice(path, n + 1, path.len);
        path.len = n;
    }
    if (memchr(authority.data ? authority.data : (const uint8_t *)"", '@', authority.len))
        return fail(why, size,
                    "a user name in the URL is not supported: set an Authorization header instead");
    if (!split_authority(authority, &host, &d->port))
        return fail(why, size, authority_fault(authority));
    d->host = text_dup(host);
    d->authority = text_dup(authority);
    if (!keep_part(&d->path, path, append_path) || !keep_part(&d->query, query, path_append_query))
        return fail(why, size, "path or query have a blank, a control character or a broken escape");
    return d->host && d->authority;
}

bool destination_parse(struct destination *out, const char *url, const char *tcp_addr, const char *unix_addr,
                       char *why, size_t size)
{
    struct span host;

    *out = (struct destination) { 0 };
    snprintf(why, size, "out of memory");
    if (!url || !*url)
        return fail(why, size, "an upstream URL is needed, as in http://localhost:8080");
    if (strlen(url) > URL_BYTES_MAX)
        return fail(why, size, "longer than 2048 bytes");
    if (tcp_addr && *tcp_addr && unix_addr && *unix_addr)
        return fail(why, size,
                    "can only proxy to one address at a time, give either a Unix or a TCP address");
    out->text = text_dup(span_from_str(url));
    if (!out->text || !parse_url(out, span_from_str(url), why, size))
        return false;
    out->dial_port = out->port;
    host = span_from_str(out->host);
    if (tcp_addr && *tcp_addr) {
        out->dial_port = 0;
        if (out->unix_path || !split_authority(span_from_str(tcp_addr), &host, &out->dial_port) ||
            !out->dial_port)
            return fail(why, size, "not of the form host:port");
    }
    if (unix_addr && *unix_addr) {
        free(out->unix_path);
        out->unix_path = text_dup(span_from_str(unix_addr));
        if (!out->unix_path)
            return false;
    }
    if (out->unix_path && strlen(out->unix_path) > 107)
        return fail(why, size, "the path of a socket has at most 107 bytes");
    out->dial_host = text_dup(host);
    return out->dial_host;
}

void destination_free(struct destination *d)
{
    free(d->host);
    free(d->authority);
    free(d->path);
    free(d->query);
    free(d->unix_path);
    free(d->dial_host);
    free(d->text);
    *d = (struct destination) { 0 };
}

bool proxy_upstream_check(const char *upstream, const char *upstream_tcp_addr, const char *upstream_unix_addr,
                          char why[PROXY_WHY_BYTES])
{
    struct destination d;
    bool good = destination_parse(&d, upstream, upstream_tcp_addr, upstream_unix_addr, why, PROXY_WHY_BYTES);

    destination_free(&d);
    return good;
}
