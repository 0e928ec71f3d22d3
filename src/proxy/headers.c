#include "proxy/internal.h"

#include <errno.h>
#include <stdio.h>

/* ---- names that only we may set ---------------------------------------------------------
 *
 * Removed from every request and from trailers, whatever the configuration sends, and also when spelled with
 * underscores or another sign: many upstreams take X_Real_Ip for X-Real-Ip (CGI's HTTP_X_REAL_IP), some do
 * so with everything that is neither letter nor digit (lighttpd: X.Real.Ip).
 */
#define FAMILY 1

static const struct {
    const char *name;
    int family; /* everything that begins so */
} ours[] = {
    { "forwarded", 0 },
    { "remote-email", 0 },
    { "remote-groups", 0 },
    { "remote-name", 0 },
    { "remote-user", 0 },
    { "tailscale-app-", FAMILY },
    { "tailscale-funnel-", FAMILY },
    { "tailscale-headers-info", 0 },
    { "tailscale-user-", FAMILY },
    { "x-forwarded-", FAMILY },
    { "x-real-ip", 0 },
    { "x-scheme", 0 },
    { "x-tailscale-", FAMILY },
    { "x-webauth-", FAMILY },
};

static uint8_t folded(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c | 0x20;
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ? c : '-';
}

static bool begins(struct span name, const char *with, size_t len)
{
    if (name.len < len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (folded(name.data[i]) != (uint8_t)with[i])
            return false;
    return true;
}

bool header_equal(struct span a, struct span b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (folded(a.data[i]) != folded(b.data[i]))
            return false;
    return true;
}

bool header_is_ours(struct span name)
{
    if (!name.len || !memchr("fFrRtTxX", name.data[0], 8))
        return false;
    for (size_t i = 0; i < COUNT_OF(ours); i++) {
        size_t len = strlen(ours[i].name);

        if (begins(name, ours[i].name, len) && (ours[i].family || name.len == len))
            return true;
    }
    return false;
}

/* ---- hop by hop (RFC 9110 7.6.1) ------------------------------------------------------------ */

static bool is_framing(enum http_field id)
{
    return id == HTTP_FIELD_CONTENT_LENGTH || id == HTTP_FIELD_TRANSFER_ENCODING || id == HTTP_FIELD_HOST;
}

bool header_is_reserved(struct span name)
{
    static const enum http_field ids[] = {
        HTTP_FIELD_CONTENT_LENGTH,
        HTTP_FIELD_TRANSFER_ENCODING,
        HTTP_FIELD_CONNECTION,
        HTTP_FIELD_UPGRADE,
        HTTP_FIELD_TE,
        HTTP_FIELD_TRAILER,
        HTTP_FIELD_EXPECT,
    };
    enum http_field id = http_field_id(name);

    for (size_t i = 0; i < COUNT_OF(ids); i++)
        if (ids[i] == id)
            return true;
    return false;
}

/* What Connection names. Not what frames the message: naming that is an attack. */
static void remove_named(struct http_head *h)
{
    struct span list, member;

    for (int i = http_head_find(h, HTTP_FIELD_CONNECTION, 0); i >= 0;
         i = http_head_find(h, HTTP_FIELD_CONNECTION, i + 1)) {
        list = http_head_text(h, h->fields[i].value);
        while (http_list_next(&list, &member))
            if (!is_framing(http_field_id(member)))
                http_head_remove_name(h, member);
    }
}

static void remove_hop_by_hop(struct http_head *h)
{
    static const enum http_field always[] = {
        HTTP_FIELD_CONNECTION,          HTTP_FIELD_KEEP_ALIVE, HTTP_FIELD_PROXY_AUTHENTICATE,
        HTTP_FIELD_PROXY_AUTHORIZATION, HTTP_FIELD_TE,         HTTP_FIELD_PROXY_CONNECTION,
        HTTP_FIELD_HTTP2_SETTINGS,      HTTP_FIELD_UPGRADE,
    };

    if (http_head_find(h, HTTP_FIELD_CONNECTION, 0) >= 0)
        remove_named(h);
    for (size_t i = 0; i < COUNT_OF(always); i++)
        http_head_remove(h, always[i]);
    if (h->body != HTTP_BODY_CHUNKED)
        http_head_remove(h, HTTP_FIELD_TRAILER);
}

void trailers_filter(struct http_head *t)
{
    for (int i = 0; i < t->count; i++)
        if (t->fields[i].id != HTTP_FIELD_OTHER || header_is_ours(http_head_text(t, t->fields[i].name)))
            t->fields[i].removed =
                true; /* framing, routing, connection, identity: not in trailers (RFC 9110 6.5.1) */
}

/* ---- building -------------------------------------------------------------------------------- */

struct builder {
    struct http_head *head;
    int r; /* first failure */
};

static void add(struct builder *b, const char *name, struct span value)
{
    if (!b->r)
        b->r = http_head_add(b->head, span_from_str(name), value);
}

/* Control characters would make two lines of one; UTF-8 stays as it is. */
static struct span cleaned(struct buf *scratch, struct span s)
{
    buf_clear(scratch);
    for (size_t i = 0; i < s.len; i++)
        if (s.data[i] >= ' ' && s.data[i] != 0x7f)
            (void)!buf_append(scratch, span_make(&s.data[i], 1)); /* cut at its limit */
    return text_trim(buf_span(scratch));
}

static void add_text(struct builder *b, struct buf *scratch, const char *name, struct span value)
{
    add(b, name, http_is_field_value(value) ? text_trim(value) : cleaned(scratch, value));
}

static bool before(struct span a, struct span b)
{
    int r = memcmp(a.data ? a.data : (const uint8_t *)"", b.data ? b.data : (const uint8_t *)"",
                   MIN(a.len, b.len));

    return r < 0 || (r == 0 && a.len < b.len);
}

static void sort(struct span *list, size_t count)
{
    for (size_t i = 1; i < count; i++)
        for (size_t k = i; k > 0 && before(list[k], list[k - 1]); k--) {
            struct span t = list[k];

            list[k] = list[k - 1];
            list[k - 1] = t;
        }
}

/* "a, b": whole members only, up to IDENTITY_TEXT_MAX. */
static void add_list(struct builder *b, struct buf *scratch, const char *name, const struct span *list,
                     size_t count)
{
    buf_clear(scratch);
    for (size_t i = 0; i < count; i++) {
        if (!http_is_field_value(list[i]) || scratch->len + list[i].len + 2 > IDENTITY_TEXT_MAX)
            continue;
        if ((scratch->len && buf_append_str(scratch, ", ")) || buf_append(scratch, list[i]))
            b->r = b->r ? b->r : -ENOMEM;
    }
    if (scratch->len)
        add(b, name, buf_span(scratch));
}

static void add_number(struct builder *b, const char *name, const char *prefix, uint64_t n)
{
    char text[40];

    snprintf(text, sizeof(text), "%s%llu", prefix, (unsigned long long)n);
    add(b, name, span_from_str(text));
}

static void add_identity(struct builder *b, struct buf *scratch, struct proxy_identity *who)
{
    const uint8_t *at = who->login.len ? memchr(who->login.data, '@', who->login.len) : NULL;
    size_t local = at ? (size_t)(at - who->login.data) : 0;

    sort(who->caps, who->cap_count);
    sort(who->node_caps, who->node_cap_count);
    add_number(b, "X-Tailscale-User", "userid:", who->user_id);
    add_text(b, scratch, "X-Tailscale-User-LoginName", who->login);
    if (at) {
        add_text(b, scratch, "X-Tailscale-User-LoginName-Localpart", span_slice(who->login, 0, local));
        add_text(b, scratch, "X-Tailscale-User-LoginName-Domain",
                 span_slice(who->login, local + 1, who->login.len));
    }
    add_text(b, scratch, "X-Tailscale-User-DisplayName", who->display_name);
    if (who->profile_pic.len)
        add_text(b, scratch, "X-Tailscale-User-ProfilePicURL", who->profile_pic);
    add_list(b, scratch, "X-Tailscale-Caps", who->caps, who->cap_count);
    add_number(b, "X-Tailscale-Node", "nodeid:", who->node_id);
    add_text(b, scratch, "X-Tailscale-Node-Name", who->node_name);
    add_list(b, scratch, "X-Tailscale-Node-Caps", who->node_caps, who->node_cap_count);
    add_list(b, scratch, "X-Tailscale-Node-Tags", who->tags, who->tag_count);
}

struct span header_host_part(struct span host, struct span *port)
{
    const uint8_t *bracket = host.len ? memchr(host.data, ']', host.len) : NULL;
    size_t from = bracket ? (size_t)(bracket - host.data) : 0;

    for (size_t i = from; i < host.len; i++)
        if (host.data[i] == ':') {
            *port = span_slice(host, i + 1, host.len);
            return span_slice(host, 0, i);
        }
    *port = SPAN_NONE;
    return host;
}

/* ---- the request ------------------------------------------------------------------------------- */

static void add_forwarding(struct builder *b, const struct exchange *x, struct span host)
{
    const struct proxy_arrival *from = &x->conn->arrival;
    const struct proxy_service *s = x->conn->service;
    const char *scheme = from->tls ? "https" : "http";
    char client[IP_TEXT_BYTES], port_text[8];
    struct span port, name = header_host_part(host, &port);

    ip_text(&from->peer.ip, client);
    add(b, "X-Forwarded-For", span_from_str(client));
    if (host.len)
        add(b, "X-Forwarded-Host", host);
    add(b, "X-Forwarded-Proto", span_from_str(scheme));
    if (!s->recommended_headers)
        return;
    add(b, "X-Scheme", span_from_str(scheme));
    add(b, "X-Real-Ip", span_from_str(client));
    if (name.len)
        add(b, "X-Forwarded-Server", name);
    snprintf(port_text, sizeof(port_text), "%u", from->listen_port);
    add(b, "X-Forwarded-Port", port.len ? port : span_from_str(port_text));
}

/* Settings of the service replace whatever stands there, who-is included. */
static void apply_settings(struct builder *b, const struct proxy_service *s)
{
    for (size_t i = 0; i < s->header_count; i++)
        if (!s->headers[i].again)
            http_head_remove_name(b->head, span_from_str(s->headers[i].name));
    for (size_t i = 0; i < s->header_count; i++)
        add(b, s->headers[i].name, span_from_str(s->headers[i].value));
}

#define UPGRADE_BYTES_MAX 100

/* A value that is read from a head while fields are added to it: the head's text moves, the copy does not. */
static struct span keep_value(const struct http_head *h, enum http_field id, char *room, size_t size)
{
    struct span v;

    if (!http_head_get(h, id, &v) || !text_copy(room, size, v))
        return SPAN_NONE;
    return span_from_str(room);
}

/* Protocols that would let a client speak to the upstream past us: its requests would carry what it likes. */
static bool upgrade_is_allowed(const struct http_head *h)
{
    static const char *const never[] = { "h2c", "h2", "http", "tls" };
    struct span list, member;

    if (!h->upgrade || h->body != HTTP_BODY_NONE ||
        http_head_find(h, HTTP_FIELD_UPGRADE, http_head_find(h, HTTP_FIELD_UPGRADE, 0) + 1) >= 0)
        return false;
    (void)http_head_get(h, HTTP_FIELD_UPGRADE, &list);
    if (!list.len || list.len > UPGRADE_BYTES_MAX)
        return false;
    while (http_list_next(&list, &member)) {
        const uint8_t *slash = memchr(member.data, '/', member.len);

        member.len = slash ? (size_t)(slash - member.data) : member.len;
        for (size_t k = 0; k < COUNT_OF(never); k++)
            if (text_equal_fold(member, span_from_str(never[k])))
                return false;
    }
    return true;
}

static void remove_ours(struct http_head *h)
{
    for (int i = 0; i < h->count; i++)
        if (h->fields[i].id == HTTP_FIELD_FORWARDED ||
            (h->fields[i].id == HTTP_FIELD_OTHER && header_is_ours(http_head_text(h, h->fields[i].name))))
            h->fields[i].removed = true;
}

static void ask_for_upgrade(struct builder *b, const char *protocol)
{
    add(b, "Connection", span_from_str("Upgrade"));
    add(b, "Upgrade", span_from_str(protocol));
}

static void set_host(struct builder *b, const struct proxy_service *s, struct span received)
{
    if (!b->r && (!s->recommended_headers || !received.len))
        b->r = http_head_set(b->head, span_from_str("Host"), span_from_str(s->backend.to.authority));
}

static void identify(struct builder *b, struct exchange *x)
{
    const struct proxy_service *s = x->conn->service;
    struct proxy_identity who = { 0 };

    if (s->suppress_whois || x->conn->arrival.funnel || !s->ops->whois)
        return;
    if (!s->ops->whois(s->ctx, &x->conn->arrival.peer, &who))
        return;
    log_identity(x, &who);
    add_identity(b, &s->shard->text, &who);
}

int headers_for_upstream(struct exchange *x, const struct http_head *granted)
{
    struct http_head *h = x->request;
    struct builder b = { .head = h };
    char upgrade_text[UPGRADE_BYTES_MAX + 1], host_text[HTTP_HOST_BYTES_MAX + 1];
    bool trailers = http_head_lists(h, HTTP_FIELD_TE, "trailers");
    struct span host = keep_value(h, HTTP_FIELD_HOST, host_text, sizeof(host_text));

    h->upgrade = upgrade_is_allowed(h);
    (void)keep_value(h, HTTP_FIELD_UPGRADE, upgrade_text, sizeof(upgrade_text));
    remove_hop_by_hop(h);
    remove_ours(h);
    b.r = auth_copy_headers(x, granted);
    if (!h->minor) /* HTTP/1.0 does not wait for it, and may not be sent it */
        http_head_remove(h, HTTP_FIELD_EXPECT);
    if (h->upgrade)
        ask_for_upgrade(&b, upgrade_text);
    if (trailers)
        add(&b, "TE", span_from_str("trailers"));
    add_forwarding(&b, x, host);
    set_host(&b, x->conn->service, host);
    identify(&b, x);
    apply_settings(&b, x->conn->service);
    return b.r;
}

/* ---- the response -------------------------------------------------------------------------------- */

/* What the auth server wants the client to keep; one a line. */
static void add_cookies(struct builder *b, const struct buf *cookies)
{
    struct span rest = buf_span(cookies);

    while (rest.len) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;

        add(b, "Set-Cookie", span_slice(rest, 0, len));
        rest = span_slice(rest, len + 1, rest.len);
    }
}

int headers_for_client(struct exchange *x)
{
    struct http_head *h = x->response;
    struct builder b = { .head = h };
    char upgrade[UPGRADE_BYTES_MAX + 1];
    bool interim = h->status < 200;

    (void)keep_value(h, HTTP_FIELD_UPGRADE, upgrade, sizeof(upgrade));
    remove_hop_by_hop(h);
    if (interim || h->status == 204) /* RFC 9110 8.6: none of these may name a length */
        http_head_remove(h, HTTP_FIELD_CONTENT_LENGTH);
    if (x->out_framing != HTTP_BODY_CHUNKED || interim)
        http_head_remove(h, HTTP_FIELD_TRANSFER_ENCODING);
    else if (http_head_find(h, HTTP_FIELD_TRANSFER_ENCODING, 0) < 0)
        add(&b, "Transfer-Encoding", span_from_str("chunked"));
    if (h->status == 101) {
        ask_for_upgrade(&b, upgrade);
        add_cookies(&b, &x->cookies);
    }
    if (interim)
        return b.r;
    add_cookies(&b, &x->cookies);
    if (http_head_find(h, HTTP_FIELD_DATE, 0) < 0) /* RFC 9110 6.6.1 */
        add(&b, "Date", shard_date(x->conn->service->shard));
    if (!x->keep)
        add(&b, "Connection", span_from_str("close"));
    else if (!x->client_minor)
        add(&b, "Connection", span_from_str("keep-alive"));
    return b.r;
}
