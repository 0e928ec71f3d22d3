/* How long a region takes to answer a small HTTP request: what is left to measure where UDP is blocked.
 *
 * Counted from the request to the first byte of the answer, so a name, a TCP connection and TLS cost nothing.
 * One stream per probe, of a few round trips; the relay's own code path answers it without work.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/internal.h"

#define ANSWER_BYTES 64 /* of its head; no more is looked at */

struct relay_probe {
    struct list link;
    struct relay_node *node;
    struct stream *stream;
    struct ev_timer timer;
    time_ns asked_at; /* 0: not yet */
    uint16_t region;
    uint8_t host;
};

static void probe_free(struct relay_probe *p)
{
    stream_close(p->stream);
    ev_timer_stop(&p->timer);
    list_remove(&p->link);
    free(p);
}

static void finish(struct relay_probe *p, time_ns latency, time_ns now)
{
    struct relay_node *n = p->node;
    uint16_t region = p->region;

    probe_free(p);
    if (n->ops->probed)
        n->ops->probed(n->ctx, region, latency, now);
}

static void next_host(struct relay_probe *p, time_ns now);

static void ask(struct relay_probe *p, time_ns now)
{
    const struct relay_region *region = relay_map_region(p->node->map, p->region);
    char request[512];
    int len;

    if (!region || p->host >= region->host_count) {
        finish(p, 0, now); /* the map changed meanwhile */
        return;
    }
    len = snprintf(request, sizeof(request),
                   "GET /derp/latency-check HTTP/1.1\r\nHost: %.255s\r\nConnection: close\r\n\r\n",
                   region->hosts[p->host].host_name);
    p->asked_at = ev_clock();
    if (account_moved(ACCOUNT_RELAY, ACCOUNT_OUT, stream_write(p->stream, span_make(request, (size_t)len))) !=
        len)
        next_host(p, now);
}

static void answered(struct relay_probe *p, time_ns now)
{
    uint8_t head[ANSWER_BYTES];
    ssize_t n = account_moved(ACCOUNT_RELAY, ACCOUNT_IN, stream_read(p->stream, head, sizeof(head)));

    if (n == -EAGAIN)
        return;
    if (n > 0 && p->asked_at && text_starts_with(span_make(head, (size_t)n), "HTTP/1."))
        finish(p, MAX(ev_clock() - p->asked_at, USEC), now);
    else
        next_host(p, now);
}

static void on_stream(struct stream *s, unsigned events, time_ns now)
{
    struct relay_probe *p = s->owner;

    if (events & STREAM_FAILED)
        next_host(p, now);
    else if (events & STREAM_CONNECTED)
        ask(p, now);
    else if (events & STREAM_READABLE)
        answered(p, now);
}

/* Until one can be dialled; none left: there was no answer. */
static void dial(struct relay_probe *p, time_ns now)
{
    const struct relay_region *region = relay_map_region(p->node->map, p->region);

    for (; region && p->host < region->host_count; p->host++) {
        if (relay_dial(&p->stream, p->node, &region->hosts[p->host]) == 0) {
            stream_set_owner(p->stream, p, on_stream);
            ev_timer_set(&p->timer, now + RELAY_PROBE_TIMEOUT);
            return;
        }
    }
    ev_timer_set(&p->timer, now); /* answers never come from inside the question */
    p->host = UINT8_MAX;
}

static void next_host(struct relay_probe *p, time_ns now)
{
    stream_close(p->stream);
    p->stream = NULL;
    p->asked_at = 0;
    p->host += p->host < UINT8_MAX;
    dial(p, now);
}

static void on_timer(struct ev_timer *timer, time_ns now)
{
    struct relay_probe *p = CONTAINER_OF(timer, struct relay_probe, timer);

    if (p->host == UINT8_MAX)
        finish(p, 0, now);
    else
        next_host(p, now);
}

int relay_node_probe(struct relay_node *n, uint16_t region, time_ns now)
{
    struct relay_probe *p = calloc(1, sizeof(*p));

    if (!p)
        return -ENOMEM;
    *p = (struct relay_probe) { .node = n, .region = region };
    ev_timer_init(&p->timer, n->shard->loop, on_timer);
    list_push_back(&n->probes, &p->link);
    dial(p, now);
    return 0;
}

void probes_end(struct relay_node *n)
{
    while (!list_empty(&n->probes))
        probe_free(LIST_FIRST(&n->probes, struct relay_probe, link));
}
