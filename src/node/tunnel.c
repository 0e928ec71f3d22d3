/* node/tunnel.c - inner packets: from WireGuard to the stack, from the stack to WireGuard
 *
 * In: a run of datagrams of one peer becomes one batch for the stack. Out: the stack is asked for packets
 * only when there is a key to seal them with and room to send them, so nothing is queued below TCP.
 */
#include "node/internal.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define BATCH_PACKETS 128
#define PULLS_PER_TURN 4 /* super-segments of one peer before the next peer's turn */

/* ---- letters between shards --------------------------------------------------------------------
 *
 * Two reasons to write: a packet from one of our nodes to another, and a datagram that arrived here although
 * its session lives elsewhere (an old peer that mixed up our addresses).
 */
enum letter_kind { LETTER_PACKET, LETTER_DATAGRAM };

struct shard_letter {
    struct ev_letter base;
    enum letter_kind kind;
    unsigned hops; /* DATAGRAM: shards that have looked at it */
    handle to;     /* PACKET */
    struct public_key from;
    struct underlay_source source; /* DATAGRAM */
    size_t len;
    uint8_t bytes[];
};

static bool post(struct node_shard *from, struct node_shard *to, const struct shard_letter *head,
                 struct span bytes)
{
    struct shard_letter *l = NULL;

    if (to && atomic_load(&to->letters_queued) < LETTERS_MAX)
        l = malloc(sizeof(*l) + bytes.len);
    if (!l) {
        from->counters.letters_dropped++;
        return false;
    }
    *l = *head;
    l->len = bytes.len;
    memcpy(l->bytes, bytes.data, bytes.len);
    atomic_fetch_add(&to->letters_queued, 1);
    ev_mailbox_post(to->mailbox, &l->base);
    return true;
}

/* A message with an index goes to the shard that the index names; an initiation that is for no node here is
 * shown to the other shards in turn. */
static void forward(struct node_shard *s, struct span datagram, const struct underlay_source *source,
                    bool in_turn)
{
    struct shard_letter head = { .kind = LETTER_DATAGRAM, .hops = s->arriving.hops + 1, .source = *source };
    unsigned to = (s->index + 1) % s->process->config.shard_count;

    if (head.hops >= s->process->config.shard_count ||
        (!in_turn && !wireguard_shard_of(datagram, s->process->shard_bits, &to)))
        return;
    if (to < s->process->config.shard_count && to != s->index &&
        post(s, s->process->shards[to], &head, datagram))
        s->counters.datagrams_forwarded++;
}

/* ---- in ------------------------------------------------------------------------------------- */

/* Accepted by source check and packet filter? What is not for the stack is dealt with here. */
static bool admit(struct node_peer *from, struct mspan arrived, time_ns now)
{
    struct span packet = { arrived.data, arrived.len };
    struct node *n = from->node;
    struct shard_counters *counters = &n->shard->counters;
    struct filter_source source = netmap_peer_filter_source(from->info);
    struct packet_info info;
    enum filter_verdict verdict;

    masquerade_in(from, arrived);
    packet_parse(packet, &info);
    if (info.version && !netmap_source_allowed(n->netmap, from->info, &info.src)) {
        counters->inner_source_refused++;
        return false;
    }
    verdict = filter_inbound(netmap_filter(n->netmap), &n->filter, packet.len, &info, &source);
    if (!filter_accepts(verdict)) {
        counters->inner_filtered++;
        n->filtered++;
        if (info.protocol == PACKET_TCP && filter_is_local(&n->filter, &info.dst))
            tsmp_send_reject(from, &info, verdict == FILTER_DROP_SHIELDS_UP ? 'S' : 'A', now);
        return false;
    }
    return packet.len && !tsmp_handle(from, packet, &info, now);
}

void tunnel_deliver(struct node_peer *from, const struct mspan *packets, size_t count, time_ns now)
{
    struct span accepted[BATCH_PACKETS];
    struct node *n = from->node;
    account_charge was = account_switch(node_charge(n, ACCOUNT_NETSTACK));
    size_t taken = 0, bytes = 0;

    must(count <= BATCH_PACKETS);
    from->last_seen = now;
    for (size_t i = 0; i < count; i++) {
        n->packets_in++;
        n->bytes_in += packets[i].len;
        from->bytes_in += packets[i].len;
        bytes += packets[i].len;
        if (admit(from, packets[i], now))
            accepted[taken++] = span_make(packets[i].data, packets[i].len);
    }
    account_count(ACCOUNT_NETSTACK, ACCOUNT_IN, count, bytes);
    n->shard->counters.inner_in += taken;
    if (taken)
        netstack_input(n->shard->netstack, node_index(n), peer_token(from), accepted, taken, now);
    account_switch(was);
}

struct run {
    struct node_peer *from;
    struct mspan packets[BATCH_PACKETS];
    size_t count;
};

static void run_deliver(struct run *run, time_ns now)
{
    if (run->count)
        tunnel_deliver(run->from, run->packets, run->count, now);
    run->count = 0;
}

static void run_add(struct run *run, struct node_peer *from, struct mspan packet, time_ns now)
{
    if (run->from != from || run->count == BATCH_PACKETS)
        run_deliver(run, now);
    run->from = from;
    run->packets[run->count++] = packet;
}

/* From the socket a message is nobody's until it is opened; what that took is this node's. */
static void claim(const struct node *n)
{
    account_charge charge = node_charge(n, ACCOUNT_WIREGUARD);

    if (accounts.charge != charge && accounts.charge >> 8 == 0)
        account_claim(charge);
    else
        account_switch(charge);
}

/* Once, on the shard where it arrived. */
static void count_datagram(const struct node_shard *s, const struct underlay_source *source, size_t bytes)
{
    if (!source->relayed && !s->arriving.hops)
        account_count(ACCOUNT_PATHS, ACCOUNT_IN, 1, bytes);
}

void tunnel_receive(struct node_shard *s, struct underlay_node *hint, const struct mspan *datagrams,
                    size_t count, const struct underlay_source *source, time_ns now)
{
    struct node *hint_node = hint ? underlay_node_user(hint) : NULL;
    struct wireguard_source from = { .address = source->address,
                                     .relayed = source->relayed,
                                     .relay_key = source->relay_key };
    struct wireguard_received received;
    account_charge was = accounts.charge;
    struct run run = { 0 };

    if (was >> 8) /* through a node's relay */
        account_switch_part(ACCOUNT_WIREGUARD);
    s->arriving.source = source;
    s->arriving.hint = hint;
    for (size_t i = 0; i < count; i++) {
        size_t bytes = datagrams[i].len;
        int r;

        s->arriving.datagram = (struct span) { datagrams[i].data, datagrams[i].len };
        r = wireguard_receive(s->wireguard, hint_node ? hint_node->wireguard : NULL, datagrams[i], &from, now,
                              &received);
        if (r)
            account_switch(was);
        else
            claim(wireguard_node_user(received.node));
        count_datagram(s, source, bytes);
        if (r == WIREGUARD_E_OTHER_SHARD || r == WIREGUARD_E_NO_NODE) {
            forward(s, s->arriving.datagram, source, r == WIREGUARD_E_NO_NODE);
            continue;
        }
        account_count(ACCOUNT_WIREGUARD, ACCOUNT_IN, 1, bytes);
        if (r == 0 && received.kind == WIREGUARD_RECEIVED_DATA)
            run_add(&run, wireguard_peer_user(received.peer), received.packet, now);
    }
    run_deliver(&run, now);
    s->arriving.source = NULL;
    account_switch(was);
}

/* ---- between nodes of this process -------------------------------------------------------------- */

static void deliver_local(struct node_shard *s, handle to, const struct public_key *from, struct mspan packet,
                          time_ns now)
{
    struct node *n = slab_get(&s->nodes, to);
    struct node_peer *peer = n ? peer_get(n, from) : NULL;

    s->counters.inner_local++;
    if (peer)
        tunnel_deliver(peer, &packet, 1, now);
}

void tunnel_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    struct shard_letter *l = CONTAINER_OF(letter, struct shard_letter, base);
    struct mspan datagram = { l->bytes, l->len };
    struct node_shard *s = owner;

    atomic_fetch_sub(&s->letters_queued, 1);
    if (l->kind == LETTER_PACKET) {
        deliver_local(s, l->to, &l->from, (struct mspan) { l->bytes, l->len }, now);
    } else {
        s->arriving.hops = l->hops;
        tunnel_receive(s, NULL, &datagram, 1, &l->source, now);
        s->arriving.hops = 0;
    }
    free(l);
}

static void send_local(struct node_peer *p, struct mspan packet, time_ns now)
{
    struct shard_letter head = { .kind = LETTER_PACKET, .to = p->local_node, .from = p->node->public_key };

    if (p->local_shard == p->node->shard)
        deliver_local(p->local_shard, p->local_node, &p->node->public_key, packet, now);
    else
        post(p->node->shard, p->local_shard, &head, span_make(packet.data, packet.len));
}

/* ---- out ------------------------------------------------------------------------------------------ */

void tunnel_output(struct node_peer *p)
{
    struct node_shard *s = p->node->shard;

    if (!list_linked(&p->output))
        list_push_back(&s->output, &p->output);
    ev_task_post(&s->flush);
}

/* `bytes` of payload, `inner` of the packets. */
static void count_sent(struct node_peer *p, size_t packets, size_t bytes, size_t inner)
{
    account_count(ACCOUNT_NETSTACK, ACCOUNT_OUT, packets, inner);
    p->node->packets_out += packets;
    p->node->bytes_out += bytes;
    p->bytes_out += bytes;
    p->node->shard->counters.inner_out += packets;
}

static void send_datagrams(struct node_peer *p, struct span datagrams, size_t segment, time_ns now)
{
    account_count(ACCOUNT_WIREGUARD, ACCOUNT_OUT, (datagrams.len + segment - 1) / segment, datagrams.len);
    if (underlay_send(p->underlay, datagrams, segment, UNDERLAY_DATA, now))
        p->node->shard->counters.send_failed++;
}

/* Seals the packets of a segment one behind the other in the slab and sends them with one call. */
static void send_segment(struct node_peer *p, const struct netstack_segment *segment, time_ns now)
{
    struct node_shard *s = p->node->shard;
    size_t stride = wireguard_sealed_bytes(segment->packet_bytes);
    struct wireguard_batch batch = {
        .first = s->send_slab, .count = segment->count, .stride = stride, .len = segment->packet_bytes
    };

    for (uint32_t i = 0; i < segment->count; i++) {
        uint8_t *datagram = s->send_slab + i * stride;

        batch.last_len = netstack_segment_write(segment, i, datagram + WIREGUARD_HEADER_BYTES, NETSTACK_MTU);
        must(batch.last_len);
        masquerade_out(p, (struct mspan) { datagram + WIREGUARD_HEADER_BYTES, batch.last_len });
    }
    if (wireguard_seal_batch(p->wireguard, &batch, now)) {
        s->counters.send_failed++;
        return;
    }
    count_sent(p, segment->count, segment->payload_bytes,
               (segment->count - 1) * segment->packet_bytes + batch.last_len);
    send_datagrams(
        p, span_make(s->send_slab, (segment->count - 1) * stride + wireguard_sealed_bytes(batch.last_len)),
        stride, now);
}

static void send_segment_local(struct node_peer *p, const struct netstack_segment *segment, time_ns now)
{
    uint8_t packet[NETSTACK_MTU];
    size_t inner = 0;

    for (uint32_t i = 0; i < segment->count; i++) {
        struct mspan whole = { packet, netstack_segment_write(segment, i, packet, sizeof(packet)) };

        inner += whole.len;
        masquerade_out(p, whole);
        send_local(p, whole, now);
    }
    count_sent(p, segment->count, segment->payload_bytes, inner);
}

static bool can_seal(const struct node_peer *p, time_ns now)
{
    struct wireguard_peer_facts facts;

    wireguard_peer_facts(p->wireguard, now, &facts);
    return facts.session;
}

/* Without a way the last attempt reached nobody, and WireGuard would repeat it after 5 s only. */
static void ask_for_session(struct node_peer *p, time_ns now)
{
    if (p->asked_nowhere && peer_has_way(p, now)) {
        p->asked_nowhere = false;
        wireguard_peer_renew(p->wireguard, now);
    }
    wireguard_initiate(p->wireguard, now); /* nothing if one is under way */
}

/* Packets that can leave for this peer now. 0: somebody brings us back when there is a key (session_ready) or
 * room in the relay's queue (on_room). */
static size_t way_out(struct node_peer *p, time_ns now)
{
    if (p->local_shard)
        return NETSTACK_SEGMENTS_MAX;
    if (can_seal(p, now))
        return MIN(relay_room(p), (size_t)NETSTACK_SEGMENTS_MAX);
    if (peer_is_local(p))
        return NETSTACK_SEGMENTS_MAX;
    ask_for_session(p, now);
    return 0;
}

/* False: it has more, and others wait. */
static bool send_peer(struct node_peer *p, time_ns now)
{
    struct node_shard *s = p->node->shard;
    struct netstack_segment segment;

    account_switch(node_charge(p->node, ACCOUNT_WIREGUARD));
    if (p->stalled)
        underlay_peer_check(p->underlay, now);
    p->stalled = false;
    for (int i = 0; i < PULLS_PER_TURN; i++) {
        size_t room = way_out(p, now);

        account_switch(node_charge(p->node, ACCOUNT_NETSTACK));
        if (!room ||
            !netstack_next_segment(s->netstack, node_index(p->node), peer_token(p), room, now, &segment))
            return true;
        account_switch(node_charge(p->node, ACCOUNT_WIREGUARD));
        if (p->local_shard)
            send_segment_local(p, &segment, now);
        else
            send_segment(p, &segment, now);
    }
    return false;
}

void tunnel_flush(struct node_shard *s, time_ns now)
{
    for (struct list *link; (link = list_pop_front(&s->output));) {
        struct node_peer *p = LIST_ENTRY(link, struct node_peer, output);

        if (!send_peer(p, now) && !list_linked(&p->output))
            list_push_back(&s->output, &p->output);
    }
}

void tunnel_session_ready(struct node_peer *p, time_ns now)
{
    netstack_peer_reachable(p->node->shard->netstack, node_index(p->node), peer_token(p), now);
    tunnel_output(p);
}

void tunnel_send_packet(struct node_peer *p, struct span packet, time_ns now)
{
    uint8_t room[WIREGUARD_OVERHEAD_BYTES + NETSTACK_MTU];
    struct mspan copy = { room + WIREGUARD_HEADER_BYTES, packet.len };
    size_t len;

    must(packet.len <= NETSTACK_MTU);
    memcpy(copy.data, packet.data, packet.len);
    masquerade_out(p, copy);
    if (peer_is_local(p)) {
        send_local(p, copy, now);
        return;
    }
    if (wireguard_seal(p->wireguard, (struct mspan) { room, sizeof(room) }, packet.len, now, &len))
        return; /* no key yet: whoever asked will ask again */
    count_sent(p, 1, packet.len, packet.len);
    send_datagrams(p, span_make(room, len), len, now);
}
