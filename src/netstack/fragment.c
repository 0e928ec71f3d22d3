/* Reassembly, with caps. Any overlap drops the whole datagram (RFC 5722; for IPv4 the same rule), exact
 * repeats are ignored. Held per peer; what is incomplete after FRAGMENT_MS goes, oldest first. */
#include "netstack/internal.h"

#include <stdlib.h>

#define PIECES_MAX 64u
#define DATAGRAM_BYTES_MAX 65535u
#define PEER_BYTES_MAX (64u << 10)

struct piece {
    struct piece *next; /* by offset */
    uint32_t offset, len;
    uint8_t bytes[];
};

struct datagram {
    struct list link; /* netstack.fragments, oldest first */
    struct ns_peer *peer;
    struct ip remote;
    uint32_t local, id;
    uint8_t protocol; /* IPv6: of the first fragment */
    bool v4;
    uint8_t header_len; /* of the first fragment; 0: not here yet */
    uint8_t header[60];
    uint32_t total; /* payload bytes; 0: last fragment not here yet */
    uint32_t have, count, memory, expires_ms;
    struct piece *pieces;
};

static void forget(struct netstack *ns, struct datagram *d)
{
    struct ns_peer *peer = d->peer;

    for (struct piece *p = d->pieces, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    list_remove(&d->link);
    peer->fragment_bytes -= d->memory;
    ns->fragment_bytes -= d->memory;
    ns->fragment_count--;
    free(d);
    ns_peer_release(ns, peer);
}

void fragments_forget(struct netstack *ns, const struct ns_peer *peer)
{
    LIST_EACH (d, &ns->fragments, struct datagram, link)
        if (!peer || d->peer == peer)
            forget(ns, d);
}

void fragments_expire(struct netstack *ns)
{
    struct datagram *d;

    while ((d = LIST_FIRST(&ns->fragments, struct datagram, link)) &&
           (int32_t)(ns->now_ms - d->expires_ms) >= 0) {
        ns->counters.fragments_dropped++;
        forget(ns, d);
    }
}

static struct datagram *find(struct netstack *ns, const struct inner_packet *p, uint32_t id)
{
    LIST_EACH (d, &ns->fragments, struct datagram, link)
        if (d->id == id && d->peer == p->peer && d->local == p->local && d->v4 == p->v4 &&
            (!p->v4 || d->protocol == p->protocol) && ip_equal(&d->remote, &p->remote))
            return d;
    return NULL;
}

/* Charges `bytes` to the peer and the stack, making room by dropping the oldest. False: it cannot fit. */
static bool charge(struct netstack *ns, struct ns_peer *peer, const struct datagram *keep, uint32_t bytes)
{
    while (peer->fragment_bytes + bytes > PEER_BYTES_MAX ||
           ns->fragment_bytes + bytes > ns->config.limits.fragment_bytes) {
        bool own = peer->fragment_bytes + bytes > PEER_BYTES_MAX;
        struct datagram *victim = NULL;

        LIST_EACH (d, &ns->fragments, struct datagram, link)
            if (!victim && d != keep && (!own || d->peer == peer))
                victim = d;
        if (!victim)
            return false;
        ns->counters.fragments_dropped++;
        forget(ns, victim);
    }
    return true;
}

static struct datagram *create(struct netstack *ns, const struct inner_packet *p, uint32_t id)
{
    struct datagram *d = charge(ns, p->peer, NULL, sizeof(*d)) ? calloc(1, sizeof(*d)) : NULL;

    if (!d)
        return NULL;
    d->peer = p->peer;
    d->remote = p->remote;
    d->local = p->local;
    d->id = id;
    d->protocol = p->protocol;
    d->v4 = p->v4;
    d->expires_ms = ns->now_ms + FRAGMENT_MS;
    d->memory = sizeof(*d);
    list_push_back(&ns->fragments, &d->link);
    p->peer->fragment_bytes += d->memory;
    ns->fragment_bytes += d->memory;
    ns->fragment_count++;
    return d;
}

enum added { ADDED, REPEATED, BROKEN };

/* Puts the piece where it belongs. BROKEN: overlap, a limit, nonsense or no memory. */
static enum added add_piece(struct netstack *ns, struct datagram *d, struct span bytes, uint32_t offset,
                            bool more)
{
    uint32_t end = offset + (uint32_t)bytes.len, size = (uint32_t)(sizeof(struct piece) + bytes.len);
    struct piece **at = &d->pieces, *p;

    while (*at && (*at)->offset + (*at)->len <= offset)
        at = &(*at)->next;
    if (*at && (*at)->offset == offset && (*at)->len == bytes.len)
        return REPEATED;
    if ((*at && (*at)->offset < end) || (d->total && end > d->total) ||
        (!more && d->total && end != d->total))
        return BROKEN;
    if (d->count >= PIECES_MAX || !charge(ns, d->peer, d, size))
        return BROKEN;
    p = malloc(size);
    if (!p)
        return BROKEN;
    *p = (struct piece) { .next = *at, .offset = offset, .len = (uint32_t)bytes.len };
    memcpy(p->bytes, bytes.data, bytes.len);
    *at = p;
    d->count++;
    d->have += p->len;
    d->memory += size;
    d->peer->fragment_bytes += size;
    ns->fragment_bytes += size;
    if (!more)
        d->total = end;
    return ADDED;
}

/* A last fragment whose end lies before what is here already is an overlap, too. */
static bool fits_total(const struct datagram *d)
{
    for (const struct piece *p = d->pieces; d->total && p; p = p->next)
        if (p->offset + p->len > d->total)
            return false;
    return true;
}

static void complete(struct netstack *ns, struct datagram *d)
{
    uint8_t *whole = malloc(d->header_len + (size_t)d->total);
    struct inner_packet packet = { .node = d->peer->node,
                                   .peer = d->peer,
                                   .remote = d->remote,
                                   .local = d->local,
                                   .v4 = d->v4,
                                   .protocol = d->protocol };

    if (!whole) {
        ns->counters.fragments_dropped++;
        forget(ns, d);
        return;
    }
    memcpy(whole, d->header, d->header_len);
    for (const struct piece *p = d->pieces; p; p = p->next)
        memcpy(whole + d->header_len + p->offset, p->bytes, p->len);
    packet.whole = span_make(whole, d->header_len + (size_t)d->total);
    packet.payload = span_make(whole + d->header_len, d->total);
    forget(ns, d);
    ns->counters.fragments_complete++;
    inner_dispatch(ns, &packet);
    /* A connection may have borrowed bytes of it: they live for this call only. */
    ns_batch_settle(ns);
    free(whole);
}

void fragment_input(struct netstack *ns, const struct inner_packet *p, uint32_t id, uint32_t offset,
                    bool more)
{
    size_t header = p->whole.len - p->payload.len;
    struct datagram *d = find(ns, p, id);
    enum added added = BROKEN;

    ns->counters.fragments_in++;
    if (!p->v4 && header > IP6_BYTES)
        header = IP6_BYTES; /* without the fragment header */
    if (!d)
        d = create(ns, p, id);
    if (d && p->payload.len && offset + p->payload.len <= DATAGRAM_BYTES_MAX - header &&
        (!more || p->payload.len % 8 == 0))
        added = add_piece(ns, d, p->payload, offset, more);
    if (added == BROKEN || !fits_total(d)) {
        ns->counters.fragments_dropped++;
        if (d)
            forget(ns, d);
        return;
    }
    if (offset == 0 && header <= sizeof(d->header)) {
        memcpy(d->header, p->whole.data, header);
        d->header_len = (uint8_t)header;
        d->protocol = p->protocol;
    }
    if (d->total && d->have == d->total && d->header_len)
        complete(ns, d);
}

bool fragments_deadline(const struct netstack *ns, uint32_t *at_ms)
{
    struct datagram *d = LIST_FIRST(&ns->fragments, struct datagram, link);

    if (d)
        *at_ms = d->expires_ms;
    return d != NULL;
}
