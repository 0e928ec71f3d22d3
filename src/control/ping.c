/* PingRequests of the server: answered beside the map stream, never in its way. */
#include "control/client.h"

#include "control/c2n.h"

#include <errno.h>
#include <stdlib.h>

struct ping {
    struct list link; /* in the client */
    struct control_client *client;
    struct call call;    /* inside Noise */
    struct fetch *fetch; /* outside */
    struct buf answer;   /* of c2n, until it can be posted */
    struct control_url url;
    char *target;
    bool c2n, noise, sent, done;
    time_ns deadline;
};

static void ping_free(struct ping *p)
{
    list_remove(&p->link);
    p->client->ping_count--;
    call_reset(&p->call);
    fetch_free(p->fetch);
    buf_deinit(&p->answer);
    free(p->target);
    free(p);
}

void ping_reset(struct control_client *c)
{
    LIST_EACH (p, &c->pings, struct ping, link)
        ping_free(p);
}

time_ns ping_deadline(const struct control_client *c)
{
    time_ns at = TIME_NEVER;

    LIST_EACH (p, &c->pings, struct ping, link)
        at = MIN(at, p->deadline);
    return at;
}

/* ---- receiving ------------------------------------------------------------------------------------- */

static struct ping *ping_new(struct control_client *c, const struct tailcfg_ping_request *request)
{
    struct ping *p = calloc(1, sizeof(*p));
    struct span target;

    if (!p)
        return NULL;
    p->client = c;
    p->noise = request->url_is_noise;
    p->c2n = span_equal_str(request->types, "c2n");
    buf_init(&p->answer, C2N_REQUEST_BYTES_MAX + 4096);
    list_push_back(&c->pings, &p->link);
    c->ping_count++;
    if (control_url_parse_target(request->url, &p->url, &target))
        p->target = text_dup(target);
    if (!p->target || (p->c2n && c2n_answer(request->payload, &p->answer))) {
        ping_free(p);
        return NULL;
    }
    return p;
}

void ping_received(struct control_client *c, const struct tailcfg_ping_request *request, time_ns now)
{
    uint64_t url = client_hash(request->url);
    struct ping *p;

    if (!request->url.len || url == c->ping_last_url)
        return;
    c->ping_last_url = url;
    c->ping_total++;
    if (request->types.len && !span_equal_str(request->types, "c2n")) {
        log_debug(c->name, "control: a ping of type %.*s is not answered", (int)MIN(request->types.len, 40u),
                  (const char *)request->types.data);
        return;
    }
    if (c->ping_count >= CLIENT_PINGS_MAX) {
        log_debug(c->name, "control: more than %d pings at once", CLIENT_PINGS_MAX);
        return;
    }
    p = ping_new(c, request);
    if (p)
        p->deadline = now + CLIENT_PING_TIMEOUT;
    else
        log_debug(c->name, "control: a ping request makes no sense");
    client_again(c);
}

/* ---- answering ----------------------------------------------------------------------------------------- */

static void on_fetched(void *ctx, const char *failure, time_ns now)
{
    struct ping *p = ctx;

    if (failure)
        log_debug(p->client->name, "control: a ping could not be answered: %s", failure);
    p->done = true;
    (void)now;
    client_again(p->client);
}

/* c2n answers go through Noise always; a plain ping where its URL says. */
static int answer(struct ping *p)
{
    struct control_client *c = p->client;
    struct call_config inside = { .method = p->c2n ? "POST" : "HEAD",
                                  .authority = c->server->url.authority,
                                  .path = span_from_str(p->target),
                                  .node_key = &c->registration.node_key,
                                  .body = buf_span(&p->answer) };
    struct fetch_config outside = { .url = &p->url,
                                    .tls = c->tls,
                                    .proxies = c->shard->gate->proxies,
                                    .method = "HEAD",
                                    .target = span_from_str(p->target),
                                    .headers = "Connection: close\r\n",
                                    .timeout = CLIENT_PING_TIMEOUT };

    p->sent = true;
    if (p->c2n || p->noise)
        return call_start(&p->call, c->session, &inside);
    return fetch_start(&p->fetch, c->shard->loop, &outside, on_fetched, p);
}

void ping_step(struct control_client *c, time_ns now)
{
    if (c->link != LINK_UP)
        return;
    LIST_EACH (p, &c->pings, struct ping, link) {
        if (!p->sent && answer(p))
            p->done = true;
        if (p->done || p->call.ended || now >= p->deadline)
            ping_free(p);
    }
}
