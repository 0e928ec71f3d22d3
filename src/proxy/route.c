#include "proxy/internal.h"

#include <errno.h>

#include "proxy/path.h"

/* ---- steps ------------------------------------------------------------------------
 *
 * Each looks at the request and either lets it pass (0) or names the status of an answer made here. `path`
 * and `query` are parts of the target; the prefix step moves the beginning of `path`.
 */
struct routing {
    struct exchange *x;
    struct proxy_service *service;
    struct span path, query;
    bool has_query;
    struct span location; /* of a redirect, in shard->text */
};

static int split_target(struct routing *r)
{
    struct span target = http_head_target(r->x->request);
    const uint8_t *mark = memchr(target.data, '?', target.len);
    size_t len = mark ? (size_t)(mark - target.data) : target.len;

    r->path = span_slice(target, 0, len);
    r->has_query = mark;
    r->query = span_slice(target, len + 1, target.len);
    return path_escapes_valid(r->path) ? 0 : 400;
}

/* "OPTIONS *" is about this server, not about the upstream. */
static int answer_asterisk(struct routing *r)
{
    return span_equal_str(r->path, "*") ? 200 : 0;
}

/* To what shard->text says, and the query; `e`: whether that could be written. */
static int redirect(struct routing *r, int e)
{
    struct buf *out = &r->service->shard->text;

    if (!e && r->has_query)
        e = buf_append_str(out, "?");
    if (!e)
        e = path_append_query(r->query, out);
    if (e)
        return 400;
    if (out->len > HTTP_HEAD_BYTES_MAX) /* no client would send it back */
        return 414;
    r->location = buf_span(out);
    /* 301 would turn a POST into a GET. */
    return r->x->method_id == HTTP_METHOD_GET || r->x->method_id == HTTP_METHOD_HEAD ? 301 : 308;
}

/* The same target over HTTPS; whatever else may be wrong with it is judged there. */
static int redirect_to_https(struct routing *r)
{
    struct buf *out = &r->service->shard->text;
    char host[PROXY_HOST_BYTES];
    struct span asked = SPAN_NONE, port;
    int e;

    if (!r->x->conn->arrival.redirect)
        return 0;
    if (http_head_get(r->x->request, HTTP_FIELD_HOST, &asked))
        asked = header_host_part(asked, &port);
    if (!r->service->ops->https_host || !r->service->ops->https_host(r->service->ctx, asked, host))
        return 503;
    buf_clear(out);
    e = buf_printf(out, "https://%s", host);
    return redirect(r, e ? e : path_append_joined(SPAN_NONE, r->path, out));
}

static int redirect_unclean(struct routing *r)
{
    struct buf *out = &r->service->shard->text;

    if (!r->service->clean_paths || path_is_clean(r->path))
        return 0;
    buf_clear(out);
    return redirect(r, path_append_cleaned(r->path, out));
}

static void notice_segment(struct routing *r, const char *prefix)
{
    if (r->service->prefix_notice_given)
        return;
    r->service->prefix_notice_given = true;
    log_warn(r->service->name,
             "prefix %s does not match a path that only begins with the same letters: prefixes end at a "
             "slash here. "
             "tsnsrv compared text; if that is wanted, set prefixMatch: text (this is said once)",
             prefix);
}

static int match_prefix(struct routing *r)
{
    struct proxy_service *s = r->service;
    bool funnel = r->x->conn->arrival.funnel;

    for (size_t i = 0; i < s->prefix_count; i++) {
        const struct prefix *p = &s->prefixes[i];
        enum prefix_match m;
        size_t matched;

        if (p->only == (funnel ? ORIGIN_TAILNET : ORIGIN_FUNNEL))
            continue;
        m = path_match_prefix(r->path, span_from_str(p->path), &matched);
        if (m == PREFIX_INSIDE_SEGMENT && !s->prefix_by_text)
            notice_segment(r, p->path);
        if (m == PREFIX_YES || (m == PREFIX_INSIDE_SEGMENT && s->prefix_by_text)) {
            r->x->stripped = s->strip_prefix ? (uint16_t)matched : 0;
            return 0;
        }
    }
    if (!s->prefix_count)
        return 0;
    s->counters.not_allowed++;
    return 404;
}

static int rewrite_target(struct routing *r)
{
    struct buf *out = &r->service->shard->text;
    const struct destination *to = &r->service->backend.to;
    struct span base = span_from_str(to->path), query = span_from_str(to->query);
    int e;

    buf_clear(out);
    e = path_append_joined(base, span_slice(r->path, r->x->stripped, r->path.len), out);
    if (!e && (query.len || r->has_query))
        e = buf_append_str(out, "?");
    if (!e)
        e = buf_append(out, query);
    if (!e && query.len && r->query.len)
        e = buf_append_str(out, "&");
    if (!e)
        e = path_append_query(r->query, out);
    if (!e)
        e = http_head_set_target(r->x->request, buf_span(out));
    if (!e)
        log_rewritten(r->x);
    return e ? 431 : 0;
}

static int (*const checks[])(struct routing *r) = {
    split_target, answer_asterisk, redirect_to_https, redirect_unclean, match_prefix,
};

int route_check(struct exchange *x, struct span *location)
{
    struct routing r = { .x = x, .service = x->conn->service };
    int status = 0;

    log_begin(x, http_head_target(x->request));
    for (size_t i = 0; i < COUNT_OF(checks) && !status; i++)
        status = checks[i](&r);
    *location = r.location;
    return status;
}

int route_rewrite(struct exchange *x, const struct http_head *granted)
{
    struct routing r = { .x = x, .service = x->conn->service };
    int status = split_target(&r);

    if (!status)
        status = rewrite_target(&r);
    if (!status && headers_for_upstream(x, granted))
        status = 431;
    return status;
}
