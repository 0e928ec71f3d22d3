/* Which destinations are dialled by an HTTP proxy: the rules of the environment variables. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream/internal.h"

#define PROXY_PORT_DEFAULT 80
#define CREDENTIALS_BYTES_MAX 512

/* One entry of no_proxy. */
struct exception {
    enum { EVERYTHING, HOST, BELOW, NETWORK } kind;
    struct span host; /* HOST, BELOW: into the copy of the text */
    struct ip_prefix network;
    uint16_t port; /* 0: any */
};

struct stream_proxies {
    struct forward_proxy tls, plain; /* host "": none */
    char *no_proxy;                  /* what the exceptions point into */
    struct exception exceptions[STREAM_NO_PROXY_MAX];
    size_t exception_count;
};

/* Splits "host:port", "[v6]:port", "host". False: the port is no port. */
static bool split_port(struct span text, struct span *host, uint16_t *port)
{
    const uint8_t *colon = memrchr(text.data, ':', text.len);
    const uint8_t *bracket = memrchr(text.data, ']', text.len);
    bool several = colon && memchr(text.data, ':', (size_t)(colon - text.data));
    uint64_t number = 0;

    *host = text;
    if (colon && (!several || (bracket && bracket < colon))) {
        *host = span_make(text.data, (size_t)(colon - text.data));
        if (!text_parse_u64(span_make(colon + 1, text.len - host->len - 1), UINT16_MAX, &number) || !number)
            return false;
        *port = (uint16_t)number;
    }
    if (host->len >= 2 && host->data[0] == '[' && host->data[host->len - 1] == ']')
        *host = span_make(host->data + 1, host->len - 2);
    return true;
}

/* "user:password" with percent escapes, as the value of Proxy-Authorization. */
static int authorization_set(struct forward_proxy *p, struct span credentials)
{
    uint8_t plain[CREDENTIALS_BYTES_MAX];
    size_t len = 0, size = sizeof("Basic ") + BASE64_BYTES(sizeof(plain));

    for (size_t i = 0; i < credentials.len && len < sizeof(plain); i++) {
        uint8_t byte = credentials.data[i];

        if (byte == '%' && i + 2 < credentials.len &&
            hex_decode(span_make(credentials.data + i + 1, 2), &byte, 1))
            i += 2;
        plain[len++] = byte;
    }
    p->authorization = malloc(size);
    if (p->authorization) {
        memcpy(p->authorization, "Basic ", 6);
        base64_encode(p->authorization + 6, span_make(plain, len));
    }
    explicit_bzero(plain, sizeof(plain));
    return p->authorization ? 0 : -ENOMEM;
}

/* The sentence never quotes the setting: it may hold a password. */
static int parse_proxy(struct forward_proxy *p, const char *variable, const char *setting,
                       char why[STREAM_WHY_BYTES])
{
    struct span text = text_trim(span_from_str(setting ? setting : "")), host;
    const uint8_t *at;

    if (!text.len)
        return 0;
    if (text_starts_with(text, "http://"))
        text = span_make(text.data + 7, text.len - 7);
    if (text.len && text.data[text.len - 1] == '/')
        text.len--;
    at = memrchr(text.data, '@', text.len);
    p->port = PROXY_PORT_DEFAULT;
    host = at ? span_make(at + 1, text.len - (size_t)(at + 1 - text.data)) : text;
    if (memmem(text.data, text.len, "://", 3) || memchr(host.data, '/', host.len) ||
        !split_port(host, &host, &p->port) || !host.len || !text_copy(p->host, sizeof(p->host), host)) {
        snprintf(why, STREAM_WHY_BYTES,
                 "%s cannot be used: write http://host:port or http://user:password@host:port", variable);
        return 1;
    }
    if (!at)
        return 0;
    if ((size_t)(at - text.data) > CREDENTIALS_BYTES_MAX) {
        snprintf(why, STREAM_WHY_BYTES, "%s cannot be used: its user and password are too long", variable);
        return 1;
    }
    return authorization_set(p, span_make(text.data, (size_t)(at - text.data)));
}

static void add_exception(struct stream_proxies *p, struct span text)
{
    struct exception *e;

    text = text_trim(text);
    if (!text.len || p->exception_count == STREAM_NO_PROXY_MAX)
        return;
    e = &p->exceptions[p->exception_count];
    *e = (struct exception) { .kind = EVERYTHING };
    if (text.len == 1 && text.data[0] == '*') {
        p->exception_count++;
        return;
    }
    if (ip_prefix_parse(text, &e->network) ||
        (split_port(text, &e->host, &e->port) && ip_prefix_parse(e->host, &e->network))) {
        e->kind = NETWORK;
    } else {
        if (text_starts_with(e->host, "*."))
            e->host = span_make(e->host.data + 1, e->host.len - 1);
        e->kind = e->host.len && e->host.data[0] == '.' ? BELOW : HOST;
    }
    p->exception_count++;
}

static int parse_exceptions(struct stream_proxies *p, const char *setting)
{
    char *rest, *entry;

    p->no_proxy = strdup(setting ? setting : "");
    if (!p->no_proxy)
        return -ENOMEM;
    rest = p->no_proxy;
    while ((entry = strsep(&rest, ",")))
        add_exception(p, span_from_str(entry));
    return 0;
}

int stream_proxies_new(struct stream_proxies **out, const struct stream_proxy_settings *settings,
                       char why[STREAM_WHY_BYTES])
{
    struct stream_proxies *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    why[0] = '\0';
    r = parse_proxy(&p->tls, "HTTPS_PROXY", settings->for_tls, why);
    if (!r)
        r = parse_proxy(&p->plain, "HTTP_PROXY", settings->for_plain, why);
    if (!r)
        r = parse_exceptions(p, settings->no_proxy);
    if (r) {
        stream_proxies_free(p);
        return r;
    }
    *out = p;
    return 0;
}

static void wipe(struct forward_proxy *p)
{
    if (p->authorization)
        explicit_bzero(p->authorization, strlen(p->authorization));
    free(p->authorization);
}

void stream_proxies_free(struct stream_proxies *p)
{
    if (!p)
        return;
    wipe(&p->tls);
    wipe(&p->plain);
    free(p->no_proxy);
    free(p);
}

/* name is "example.com" or ends in ".example.com". */
static bool is_or_is_below(struct span name, struct span domain)
{
    if (name.len == domain.len)
        return text_equal_fold(name, domain);
    return name.len > domain.len && name.data[name.len - domain.len - 1] == '.' &&
           text_equal_fold(span_make(name.data + name.len - domain.len, domain.len), domain);
}

static bool excepted(const struct exception *e, struct span host, const struct ip *ip, uint16_t port)
{
    if (e->port && e->port != port)
        return false;
    switch (e->kind) {
    case EVERYTHING:
        return true;
    case NETWORK:
        return ip && ip_prefix_contains(&e->network, ip);
    case HOST:
        return !ip && is_or_is_below(host, e->host);
    case BELOW:
        return !ip && host.len > e->host.len &&
               text_equal_fold(span_make(host.data + host.len - e->host.len, e->host.len), e->host);
    }
    return false;
}

static bool on_this_machine(struct span host, const struct ip *ip)
{
    return ip ? ip_is_loopback(ip) : text_equal_fold(host, span_from_str("localhost"));
}

const struct forward_proxy *forward_proxy_pick(const struct stream_proxies *p, const char *host,
                                               uint16_t port, bool tls)
{
    const struct forward_proxy *by = p ? (tls ? &p->tls : &p->plain) : NULL;
    struct span name = span_from_str(host);
    struct ip ip;
    bool literal = ip_parse(name, &ip);

    if (!by || !by->host[0] || on_this_machine(name, literal ? &ip : NULL))
        return NULL;
    if (name.len && name.data[name.len - 1] == '.')
        name.len--;
    for (size_t i = 0; i < p->exception_count; i++)
        if (excepted(&p->exceptions[i], name, literal ? &ip : NULL, port))
            return NULL;
    return by;
}
