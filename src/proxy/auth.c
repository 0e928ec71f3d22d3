/* Asking another server whether a request may pass: the question, and what is taken from the answer.
 *
 * The question is a GET with a fixed set of fields. The request's body waits with the client meanwhile. An
 * answer of 2xx lets the request go on; any other answer, redirects among them, is the client's response. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/internal.h"
#include "proxy/path.h"

#define DEFAULT_PATH "/api/authz/forward-auth"

/* ---- settings -------------------------------------------------------------------- */

static bool refuse(char why[PROXY_WHY_BYTES], const char *setting, const char *value, const char *sentence)
{
    snprintf(why, PROXY_WHY_BYTES, "%s %.80s: %s", setting, value, sentence);
    return false;
}

/* What the proxy says itself cannot come from elsewhere. */
static bool is_set_here(struct span name)
{
    static const char *const names[] = { "X-Forwarded-For",  "X-Forwarded-Host",   "X-Forwarded-Proto",
                                         "X-Forwarded-Port", "X-Forwarded-Server", "X-Real-Ip",
                                         "X-Scheme" };
    static const char identity[] = "X-Tailscale-";

    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (header_equal(name, span_from_str(names[i])))
            return true;
    return header_equal(span_slice(name, 0, strlen(identity)), span_from_str(identity));
}

static bool copy_name_ok(const char *text, char why[PROXY_WHY_BYTES])
{
    struct span name = span_from_str(text);

    if (!http_is_token(name))
        return refuse(why, "authCopyHeaders", text, "not the name of a header");
    if (header_is_reserved(name) || http_field_id(name) == HTTP_FIELD_HOST)
        return refuse(why, "authCopyHeaders", text, "belongs to the connection and cannot be copied");
    if (is_set_here(name))
        return refuse(why, "authCopyHeaders", text, "is set by the proxy itself and cannot be copied");
    return true;
}

static bool take_names(struct auth *a, const struct proxy_service_config *c, char why[PROXY_WHY_BYTES])
{
    if (c->auth_copy_count > PROXY_HEADERS_MAX)
        return refuse(why, "authCopyHeaders of", c->auth_url, "too many, 40 are allowed");
    a->copy = calloc(c->auth_copy_count + 1, sizeof(*a->copy));
    if (!a->copy)
        return false;
    for (size_t i = 0; i < c->auth_copy_count; i++) {
        if (!copy_name_ok(c->auth_copy_headers[i], why))
            return false;
        a->copy[i] = text_dup(span_from_str(c->auth_copy_headers[i]));
        if (!a->copy[i])
            return false;
        a->copy_count++;
    }
    return true;
}

/* authPath if it is given, else what authURL says, else tsnsrv's default. */
static bool take_target(struct auth *a, const char *path, char why[PROXY_WHY_BYTES])
{
    const struct destination *to = &a->backend.to;
    bool own = path && *path;
    const char *chosen = own ? path : strlen(to->path) > 1 || *to->query ? to->path : DEFAULT_PATH;
    const char *query = own ? "" : to->query;
    int n;

    if (own && *path != '/')
        return refuse(why, "authPath", path, "has to begin with a slash");
    for (const char *c = chosen; *c; c++)
        if (*c <= ' ' || *c >= 0x7f || *c == '#')
            return refuse(why, "authPath", chosen, "write other characters as escapes, %20 for a blank");
    if (own && !path_escapes_valid(span_from_str(path)))
        return refuse(why, "authPath", path, "has a broken escape");
    n = asprintf(&a->target, "%s%s%s", *chosen ? chosen : "/", *query ? "?" : "", query);
    if (n < 0)
        a->target = NULL;
    a->own_query = a->target && strchr(a->target, '?');
    return a->target;
}

static bool take_settings(struct auth *a, const struct proxy_service_config *c, char why[PROXY_WHY_BYTES])
{
    char reason[PROXY_WHY_BYTES - 100];

    if (!destination_parse(&a->backend.to, c->auth_url, NULL, NULL, reason, sizeof(reason)))
        return refuse(why, "authURL", c->auth_url, reason);
    return take_target(a, c->auth_path, why) && take_names(a, c, why);
}

static void settings_free(struct auth *a)
{
    for (size_t i = 0; i < a->copy_count; i++)
        free(a->copy[i]);
    free(a->copy);
    free(a->target);
}

bool proxy_auth_check(const struct proxy_service_config *c, char why[PROXY_WHY_BYTES])
{
    struct auth a = { 0 };
    bool good;

    snprintf(why, PROXY_WHY_BYTES, "out of memory");
    good = take_settings(&a, c, why);
    settings_free(&a);
    destination_free(&a.backend.to);
    return good;
}

bool auth_new(struct proxy_service *s, const struct proxy_service_config *c, char why[PROXY_WHY_BYTES])
{
    struct auth *a = calloc(1, sizeof(*a));

    if (!a)
        return false;
    s->auth = a;
    backend_init(&a->backend, s);
    a->backend.insecure_https = c->auth_insecure_https;
    a->backend.open_max = c->auth_connections_max ? c->auth_connections_max : PROXY_AUTH_CONNECTIONS;
    a->backend.queue_max = PROXY_CONNECTIONS_MAX; /* every client may wait; authTimeout ends it */
    a->backend.idle_max = PROXY_IDLE_PER_SERVICE_DEFAULT;
    a->backend.idle_timeout = PROXY_IDLE_UPSTREAM_TIMEOUT;
    a->backend.connect_timeout = PROXY_CONNECT_TIMEOUT;
    a->backend.keep_alive = PROXY_KEEP_ALIVE;
    a->bypass = c->auth_bypass_for_tailnet;
    a->timeout = c->auth_timeout;
    return take_settings(a, c, why);
}

void auth_free(struct auth *a)
{
    if (!a)
        return;
    backend_deinit(&a->backend);
    settings_free(a);
    free(a);
}

/* ---- the question ------------------------------------------------------------------- */

/* Users of the tailnet, as opposed to machines: those with a name that is theirs. */
static bool is_user(const struct proxy_identity *who)
{
    return who->user_id && who->login.len && !who->tag_count && !span_equal_str(who->login, "tagged-devices");
}

bool auth_is_needed(struct exchange *x)
{
    struct proxy_service *s = x->conn->service;
    struct proxy_identity who = { 0 };

    if (!s->auth)
        return false;
    if (!s->auth->bypass || s->suppress_whois || x->conn->arrival.funnel || !s->ops->whois ||
        !s->ops->whois(s->ctx, &x->conn->arrival.peer, &who) || !is_user(&who))
        return true;
    count_auth(s, PROXY_AUTH_BYPASS, 0);
    x->bypassed = true;
    return false;
}

static int put(struct buf *out, const char *name, struct span value)
{
    return buf_printf(out, "%s: %.*s\r\n", name, (int)value.len, value.len ? (const char *)value.data : "");
}

/* What the auth server may know of the client's own words. */
static int put_client_fields(const struct http_head *h, struct buf *out)
{
    static const char *const passed[] = { "Accept", "Accept-Language", "Authorization", "Cookie",
                                          "Origin", "Referer",         "User-Agent",    "X-Requested-With" };
    struct span name, value;
    int at = 0, r = 0;

    while (!r && http_head_next(h, &at, &name, &value))
        for (size_t i = 0; i < COUNT_OF(passed); i++)
            if (text_equal_fold(name, span_from_str(passed[i])))
                r = put(out, passed[i], value);
    return r;
}

int auth_question(const struct exchange *x, struct buf *out)
{
    const struct auth *a = x->conn->service->auth;
    const struct proxy_arrival *from = &x->conn->arrival;
    struct span target = http_head_target(x->request), host = SPAN_NONE;
    const uint8_t *mark = memchr(target.data, '?', target.len);
    struct span query = mark ? span_slice(target, (size_t)(mark - target.data) + 1, target.len) : SPAN_NONE;
    char client[IP_TEXT_BYTES];
    int r;

    (void)http_head_get(x->request, HTTP_FIELD_HOST, &host);
    ip_text(&from->peer.ip, client);
    buf_clear(out);
    r = buf_printf(out, "GET %s", a->target);
    if (!r && query.len && !a->own_query) /* a client must not add to a query that the operator wrote */
        r = buf_append_str(out, "?");
    if (!r && query.len && !a->own_query)
        r = path_append_query(query, out);
    if (!r)
        r = buf_printf(out, " HTTP/1.1\r\nHost: %s\r\n", a->backend.to.authority);
    if (!r)
        r = put_client_fields(x->request, out);
    if (!r)
        r = put(out, "X-Forwarded-Method", http_head_method(x->request));
    if (!r)
        r = put(out, "X-Forwarded-Proto", span_from_str(from->tls ? "https" : "http"));
    if (!r)
        r = put(out, "X-Forwarded-Host", host);
    if (!r)
        r = put(out, "X-Forwarded-Uri", target);
    if (!r)
        r = put(out, "X-Forwarded-For", span_from_str(client));
    return r ? r : buf_append_str(out, "\r\n");
}

/* ---- the answer ----------------------------------------------------------------------- */

static void keep_cookies(struct exchange *x)
{
    struct span name, value;
    int at = 0;

    while (http_head_next(x->response, &at, &name, &value))
        if (text_equal_fold(name, span_from_str("Set-Cookie")) &&
            x->cookies.len + value.len + 2 <= COOKIES_BYTES_MAX) {
            (void)!buf_append(&x->cookies, value);
            (void)!buf_append_str(&x->cookies, "\n"); /* no value has one */
        }
}

bool auth_take_answer(struct exchange *x, time_ns now)
{
    unsigned class = x->response->status / 100;

    x->granted = class == 2;
    count_auth(x->conn->service,
               class == 2   ? PROXY_AUTH_2XX
               : class == 3 ? PROXY_AUTH_3XX
               : class == 4 ? PROXY_AUTH_4XX
                            : PROXY_AUTH_5XX,
               now - x->asked);
    if (!x->granted)
        return false;
    x->up_reusable = x->response->keep_alive;
    keep_cookies(x);
    return true;
}

static bool is_configured(const struct proxy_service *s, struct span name)
{
    for (size_t i = 0; i < s->header_count; i++)
        if (text_equal_fold(span_from_str(s->headers[i].name), name))
            return true;
    return false;
}

static void remove_copies(struct http_head *h, struct span name)
{
    struct span field, value;

    for (int at = 0; http_head_next(h, &at, &field, &value);)
        if (header_equal(field, name))
            http_head_remove_at(h, at - 1);
}

int auth_copy_headers(struct exchange *x, const struct http_head *granted)
{
    const struct proxy_service *s = x->conn->service;
    struct span value;
    int r = 0;

    for (size_t i = 0; s->auth && i < s->auth->copy_count && !r; i++) {
        struct span name = span_from_str(s->auth->copy[i]);

        remove_copies(x->request, name);
        if (granted && !is_configured(s, name) && http_head_get_name(granted, s->auth->copy[i], &value) &&
            value.len)
            r = http_head_add(x->request, name, value);
    }
    return r;
}
