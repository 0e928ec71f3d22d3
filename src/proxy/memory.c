/* What a service and its shard hold on the heap, added up when somebody asks. */
#include "proxy/h2_internal.h"

static void hold(struct account_memory *m, const void *block)
{
    account_hold_block(m, ACCOUNT_PROXY, block);
}

/* One of head_take. */
static void hold_head(struct account_memory *m, const struct http_head *h)
{
    if (!h)
        return;
    hold(m, CONTAINER_OF((struct http_head *)(uintptr_t)h, struct spare_head, head));
    hold(m, h->text.data);
}

static void hold_reader(struct account_memory *m, const struct http1 *r)
{
    hold(m, r->trailers);
    if (r->trailers)
        hold(m, r->trailers->text.data);
}

static void hold_upstream(struct account_memory *m, const struct upstream *u)
{
    hold(m, u);
    stream_memory(u->stream, ACCOUNT_PROXY, m);
}

static void hold_exchange(struct account_memory *m, const struct exchange *x)
{
    hold(m, x);
    hold(m, x->ahead.data);
    hold(m, x->in.pending.data);
    hold(m, x->out.pending.data);
    hold(m, x->line.data);
    hold(m, x->cookies.data);
}

static void hold_request(struct account_memory *m, const struct exchange *x)
{
    hold_exchange(m, x);
    hold_head(m, x->request);
    hold_head(m, x->response);
    hold_reader(m, &x->reader);
    hold_reader(m, &x->up_reader);
    if (x->up)
        hold_upstream(m, x->up);
}

static void hold_side(struct account_memory *m, const struct h2_side *side)
{
    hold(m, side);
    hold(m, side->body.data);
    hold_head(m, side->trailers_in);
    hold_head(m, side->trailers_out);
}

/* Its stream, where it is one of HTTP/2, is the side. */
static void hold_conn(struct account_memory *m, const struct conn *c)
{
    hold(m, c);
    if (c->side)
        hold_side(m, c->side);
    else
        stream_memory(c->stream, ACCOUNT_PROXY, m);
    if (c->x)
        hold_request(m, c->x);
    if (c->h2) {
        hold(m, c->h2);
        account_hold(m, ACCOUNT_PROXY, h2_server_memory(c->h2->server));
    }
}

static void hold_backend(struct account_memory *m, const struct backend *b)
{
    LIST_EACH (u, &b->idle, struct upstream, link)
        hold_upstream(m, u);
    hold(m, b->trouble);
}

void proxy_service_memory(const struct proxy_service *s, struct account_memory *m)
{
    hold(m, s);
    hold(m, s->name);
    hold(m, s->timing);
    for (size_t i = 0; i < s->prefix_count; i++)
        hold(m, s->prefixes[i].path);
    for (size_t i = 0; i < s->header_count; i++) {
        hold(m, s->headers[i].name);
        hold(m, s->headers[i].value);
    }
    hold_backend(m, &s->backend);
    if (s->auth) {
        hold(m, s->auth);
        hold_backend(m, &s->auth->backend);
    }
    LIST_EACH (c, &s->conns, struct conn, link)
        hold_conn(m, c);
}

void proxy_shard_memory(const struct proxy_shard *shard, struct account_memory *m)
{
    hold(m, shard);
    hold(m, shard->in);
    hold(m, shard->h2_scratch);
    hold(m, shard->out.data);
    hold(m, shard->text.data);
    hold(m, shard->pending.data);
    hold(m, shard->access_log.lines.data);
    LIST_EACH (x, &shard->spare_exchanges, struct exchange, link)
        hold_exchange(m, x);
    LIST_EACH (h, &shard->spare_heads, struct spare_head, link)
        hold_head(m, &h->head);
}
