/* underlay/talk.c - disco in both directions: whom a message is for, what it means, what is answered */
#include "underlay/internal.h"

/* ---- out ------------------------------------------------------------------------------ */

/* Seals for this pair and sends: to an address, or through the relay. */
static void send_to_address(struct underlay_node *n, const struct box *b, const struct ip_port *to,
                            const struct disco_message *m)
{
    uint8_t datagram[DISCO_DATAGRAM_BYTES_MAX], nonce[BOX_NONCE_BYTES];
    size_t len;

    random_bytes(nonce, sizeof(nonce));
    len = disco_write(datagram, m, &n->disco_key, nonce, b->key);
    (void)underlay_send_udp(n->u, to, span_make(datagram, len), len); /* a lost ping is a lost ping */
}

static void send_by_relay(struct underlay_node *n, const struct box *b, uint16_t region,
                          const struct public_key *to, const struct disco_message *m)
{
    uint8_t datagram[DISCO_DATAGRAM_BYTES_MAX], nonce[BOX_NONCE_BYTES];
    size_t len;

    random_bytes(nonce, sizeof(nonce));
    len = disco_write(datagram, m, &n->disco_key, nonce, b->key);
    n->u->ops->relay_send(n->u->ctx, n, region, to, span_make(datagram, len));
}

static struct box *box_of(struct underlay_peer *p)
{
    struct underlay *u = p->node->u;

    if (!p->sender)
        return NULL;
    return senders_box(&u->senders, p->sender, p->node->index, &p->node->secret, &u->counters);
}

void talk_send_ping(struct underlay_peer *p, const struct path_ping *ping)
{
    struct disco_message m = { .type = DISCO_PING, .txid = ping->txid, .node_key = p->node->node_key };
    struct box *b = box_of(p);

    if (!b)
        return;
    senders_asking(&p->node->u->senders, b);
    p->node->u->counters.pings_out++;
    send_to_address(p->node, b, &ping->to, &m);
}

void talk_send_call_me_maybe(struct underlay_peer *p)
{
    struct underlay *u = p->node->u;
    struct disco_message m = { .type = DISCO_CALL_ME_MAYBE };
    struct box *b = box_of(p);

    for (size_t i = 0; i < u->endpoints.count && m.endpoint_count < DISCO_ENDPOINTS_MAX; i++)
        m.endpoints[m.endpoint_count++] = u->endpoints.list[i].address;
    if (!b || !m.endpoint_count)
        return; /* an empty one would only clear what the peer knows */
    u->counters.call_me_maybes_out++;
    send_by_relay(p->node, b, p->home_region, &p->node_key, &m);
}

/* The reference's way to say "seen through relay region n". */
static struct ip_port relay_address(uint16_t region)
{
    return (struct ip_port) { ip_from_v4((const uint8_t[4]) { 127, 3, 3, 40 }), region };
}

static void send_pong(struct underlay_node *n, const struct box *b, const struct underlay_source *to,
                      const struct disco_txid *txid)
{
    struct disco_message m = { .type = DISCO_PONG, .txid = *txid };

    n->u->counters.pongs_out++;
    m.seen_from = to->relayed ? relay_address(to->region) : to->address;
    if (to->relayed)
        send_by_relay(n, b, to->region, &to->relay_key, &m);
    else
        send_to_address(n, b, &to->address, &m);
}

/* ---- in -------------------------------------------------------------------------------- */

struct arrival {
    struct underlay *u;
    struct underlay_node *node;
    struct sender *sender;
    struct box *box;
    const struct underlay_source *source;
    time_ns now;
};

/* The peer with this node key, if the disco key of the message is its. */
static struct underlay_peer *peer_with(const struct arrival *a, const struct public_key *node_key)
{
    struct underlay_peer *p = a->u->ops->find_peer(a->u->ctx, a->node, node_key, &a->sender->key);

    if (!p || p->sender != a->sender)
        return NULL;
    must(p->node == a->node);
    return p;
}

/* A disco key can belong to several nodes: the ping's own word counts, else being the only one. */
static struct underlay_peer *peer_of_ping(const struct arrival *a, const struct disco_message *m)
{
    struct underlay_peer *p = public_key_is_zero(&m->node_key) ? NULL : peer_with(a, &m->node_key);

    return p ? p : peer_with(a, NULL);
}

static void tell_call(const struct arrival *a, struct underlay_peer *p)
{
    if (a->u->ops->peer_calls)
        a->u->ops->peer_calls(a->u->ctx, p, a->now);
}

static void ping_received(const struct arrival *a, const struct disco_message *m)
{
    struct underlay_peer *p = a->source->relayed ? NULL : peer_of_ping(a, m);
    struct path_turn t;
    int r = 0;

    a->u->counters.pings_in++;
    if (p) {
        turn_begin(&t, a->now);
        r = path_ping_received(&p->path, &a->source->address, &m->txid, &t);
    }
    if (r != PATH_E_DUPLICATE)
        send_pong(a->node, a->box, a->source, &m->txid);
    if (!p)
        return;
    underlay_perform(p, &t);
    tell_call(a, p);
}

/* Our NAT shows the peer an address that we do not know of: find out. */
static void check_seen_from(const struct arrival *a, const struct ip_port *seen)
{
    size_t count;
    const struct underlay_endpoint *list = underlay_endpoints(a->u, &count);

    if (!ip_is_v4(&seen->ip) || ip_is_private(&seen->ip) || ip_is_loopback(&seen->ip) || !count ||
        underlay_node_report(a->node)->mapping_varies_by_dest_ip != UNDERLAY_NO)
        return;
    for (size_t i = 0; i < count; i++)
        if (ip_port_equal(&list[i].address, seen))
            return;
    measure_wanted(a->u, a->now);
}

static void pong_received(const struct arrival *a, const struct disco_message *m)
{
    struct underlay *u = a->u;
    struct underlay_peer *p = slab_at(&u->peers, load_be32(m->txid.bytes) ^ u->tag_mask);
    struct path_turn t;

    u->counters.pongs_in++;
    if (!p || p->node != a->node || p->sender != a->sender || a->source->relayed) {
        u->counters.pongs_unexpected++;
        return;
    }
    turn_begin(&t, a->now);
    if (path_pong_received(&p->path, &m->txid, &t)) {
        u->counters.pongs_unexpected++;
        return;
    }
    underlay_perform(p, &t);
    check_seen_from(a, &m->seen_from);
}

static void call_me_maybe_received(const struct arrival *a, const struct disco_message *m)
{
    struct underlay_peer *p = a->source->relayed ? peer_with(a, &a->source->relay_key) : NULL;
    struct path_turn t;

    if (!p) {
        a->u->counters.disco_wrong_way++;
        return;
    }
    a->u->counters.call_me_maybes_in++;
    turn_begin(&t, a->now);
    path_call_me_maybe_received(&p->path, m->endpoints, m->endpoint_count, &t);
    underlay_perform(p, &t);
    tell_call(a, p);
}

static const struct secret_key *secret_of(void *ctx, uint32_t index)
{
    const struct underlay *u = ctx;
    const struct underlay_node *n = slab_at(&u->nodes, index);

    must(n != NULL); /* senders_forget_node was called for every node that left */
    return &n->secret;
}

/* Finds the node and the key; false: nobody here can read it. */
static bool open_message(struct arrival *a, struct span datagram, struct disco_message *m)
{
    struct underlay *u = a->u;
    struct disco_envelope envelope;
    struct search search = {
        .envelope = &envelope,
        .room = { u->room, DISCO_INNER_BYTES_MAX + BOX_TAG_BYTES },
        .secret_of = secret_of,
        .ctx = u,
        .counters = &u->counters,
        .now = a->now,
    };
    int r = disco_envelope_parse(datagram, &envelope);

    if (r) {
        u->counters.disco_malformed++;
        return false;
    }
    a->sender = senders_find(&u->senders, &envelope.sender);
    if (!a->sender || (a->node && !senders_known(a->sender, a->node->index))) {
        u->counters.disco_unknown_sender++;
        return false;
    }
    a->box = a->node ? senders_open(&u->senders, a->sender, a->node->index, &search)
                     : senders_search(&u->senders, a->sender, &search);
    if (!a->box) {
        u->counters.disco_forged++;
        return false;
    }
    a->node = slab_at(&u->nodes, a->box->node);
    r = disco_message_parse(search.inner, m);
    u->counters.disco_malformed += r == DISCO_E_SHORT;
    u->counters.disco_ignored += r == DISCO_E_IGNORED;
    return r == 0;
}

static void message_received(const struct arrival *a, const struct disco_message *m)
{
    switch (m->type) {
    case DISCO_PING:
        ping_received(a, m);
        break;
    case DISCO_PONG:
        pong_received(a, m);
        break;
    case DISCO_CALL_ME_MAYBE:
        call_me_maybe_received(a, m);
        break;
    }
}

void talk_received(struct underlay *u, struct underlay_node *node, const struct underlay_source *source,
                   struct span datagram, time_ns now)
{
    struct arrival a = { .u = u, .node = node, .source = source, .now = now };
    account_charge was = accounts.charge;
    struct disco_message m;
    bool opened;

    u->counters.disco_in++;
    opened = open_message(&a, datagram, &m);
    if (a.node && !source->relayed)
        account_claim(a.node->charge);
    if (!source->relayed)
        account_count(ACCOUNT_PATHS, ACCOUNT_IN, 1, datagram.len);
    if (opened)
        message_received(&a, &m);
    account_switch(was);
}
