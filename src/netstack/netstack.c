/* The stack as a whole: its life, the batch, the pull, time and status. */
#include "netstack/internal.h"

#include <errno.h>
#include <stdlib.h>

const char *netstack_reason_text(enum netstack_reason reason)
{
    static const char *const texts[] = {
#define X(name, text) [NETSTACK_CLOSED_##name] = text,
        NETSTACK_REASONS(X)
#undef X
    };

    return (size_t)reason < COUNT_OF(texts) ? texts[reason] : "unknown";
}

/* ---- life ------------------------------------------------------------------------------------------- */

static void set_default(uint32_t *field, uint32_t value)
{
    if (!*field)
        *field = value;
}

static void set_default64(uint64_t *field, uint64_t value)
{
    if (!*field)
        *field = value;
}

static void set_default_time(time_ns *field, time_ns value)
{
    if (!*field)
        *field = value;
}

static void fill_defaults(struct netstack_config *config)
{
    struct netstack_limits *l = &config->limits;

    set_default(&l->conns_per_peer, 8192);
    set_default(&l->conns_per_node, 32768);
    set_default(&l->conns, 131072);
    set_default(&l->half_open_per_peer, 1024);
    set_default(&l->half_open_per_node, 4096);
    set_default(&l->half_open, 16384);
    set_default(&l->time_wait, 65536);
    set_default(&l->control_per_peer, 128);
    set_default64(&l->receive_bytes_per_peer, 16u << 20);
    set_default64(&l->receive_bytes_per_node, 64u << 20);
    set_default64(&l->buffer_bytes, 256u << 20);
    set_default(&l->receive_window_bytes_max, 8u << 20);
    set_default(&l->send_buffer_bytes_max, 4u << 20);
    set_default(&l->not_sent_bytes_max, 128u << 10);
    set_default(&l->fragment_bytes, 4u << 20);
    set_default(&l->resets_per_second, 1000);
    set_default(&l->icmp_per_second, 1000);
    set_default_time(&config->user_timeout_ns, 2 * MINUTE);
    set_default_time(&config->zero_window_ns, 10 * MINUTE);
    set_default_time(&config->syn_defer_ns, 10 * SEC);
}

static bool limits_make_sense(const struct netstack_config *config)
{
    const struct netstack_limits *l = &config->limits;
    const time_ns longest = 10 * 24 * HOUR;

    return l->receive_window_bytes_max >= 16u << 10 &&
           l->receive_window_bytes_max <= 65535u << TCP_WINDOW_SCALE && l->time_wait < FLOW_SLOTS_MAX / 2 &&
           l->conns < FLOW_SLOTS_MAX && l->half_open < FLOW_SLOTS_MAX &&
           l->send_buffer_bytes_max >= SEND_BUFFER_FIRST && l->send_buffer_bytes_max <= 1u << 29 &&
           config->user_timeout_ns <= longest && config->zero_window_ns <= longest &&
           config->keepalive_ns <= longest && config->syn_defer_ns <= longest;
}

int netstack_new(struct netstack **out, const struct netstack_config *config, time_ns now)
{
    const struct congestion *congestion = congestion_find(config->congestion);
    struct netstack *ns;

    if (!congestion || !config->ops || !config->random)
        return -EINVAL;
    ns = calloc(1, sizeof(*ns));
    if (!ns)
        return -ENOMEM;
    ns->config = *config;
    fill_defaults(&ns->config);
    if (!limits_make_sense(&ns->config)) {
        free(ns);
        return -EINVAL;
    }
    ns->ops = config->ops;
    ns->ctx = config->ctx;
    ns->congestion = congestion;
    config->random(ns->table_key, sizeof(ns->table_key));
    config->random(ns->isn_key, sizeof(ns->isn_key));
    config->random(&ns->ip_id, sizeof(ns->ip_id));
    ns->told = TIME_NEVER;
    timer_wheel_init(&ns->wheel, (uint64_t)(now / MSEC));
    slab_init(&ns->conns, sizeof(struct tcp_conn), ns->config.limits.conns);
    slab_init(&ns->syns, sizeof(struct tcp_syn), ns->config.limits.half_open + 1);
    table_init(&ns->peers);
    list_init(&ns->announce);
    list_init(&ns->events);
    list_init(&ns->half_open);
    list_init(&ns->fragments);
    ns->tx_cache.bytes = sizeof(struct tcp_tx);
    ns->rx_cache.bytes = sizeof(struct tcp_rx);
    ns->peer_cache.bytes = sizeof(struct ns_peer);
    ns_enter(ns, now);
    ns->depth--;
    *out = ns;
    return 0;
}

void netstack_trim(struct netstack *ns)
{
    for (int i = 0; i < CHUNK_CLASSES; i++)
        cache_trim(&ns->chunk_cache[i]);
    cache_trim(&ns->tx_cache);
    cache_trim(&ns->rx_cache);
    cache_trim(&ns->peer_cache);
}

void netstack_free(struct netstack *ns)
{
    static const struct netstack_ops silent = { 0 };
    uint32_t at = 0;

    if (!ns)
        return;
    ns->ops = &silent;
    ns->depth = 1; /* nothing is announced any more */
    for (struct tcp_conn *c; (c = slab_next(&ns->conns, &at));)
        tcp_conn_free(ns, c);
    at = 0;
    for (uint32_t i = 0; i < ns->node_slots; i++)
        if (ns->nodes[i])
            netstack_node_remove(ns, i);
    control_free(ns, ns->lent);
    netstack_trim(ns);
    time_wait_deinit(ns);
    flow_table_deinit(&ns->flows);
    table_deinit(&ns->peers);
    slab_deinit(&ns->conns);
    slab_deinit(&ns->syns);
    free(ns->borrowed);
    free(ns->nodes);
    free(ns);
}

/* ---- every call -------------------------------------------------------------------------------------- */

/* An idle stack has a wheel that stood still; ticks are compared in 32 bits. */
static void catch_up(struct netstack *ns)
{
    uint64_t tick = (uint64_t)(ns->now / MSEC);

    if (tick - ns->wheel.tick > 1000 && timer_wheel_next(&ns->wheel) > tick)
        ns->wheel.tick = tick;
}

void ns_enter(struct netstack *ns, time_ns now)
{
    ns->depth++;
    if (now < 0)
        return;
    ns->now = now;
    ns->now_ms = (uint32_t)(now / MSEC);
    ns->now_us = (uint32_t)(now / USEC);
    catch_up(ns);
}

static bool peer_has_output(const struct ns_peer *peer)
{
    return !list_empty(&peer->control) || !list_empty(&peer->ready_syns) || !list_empty(&peer->ready);
}

void ns_leave(struct netstack *ns)
{
    time_ns deadline;

    if (--ns->depth)
        return;
    for (struct list *link; (link = list_pop_front(&ns->announce));) {
        struct ns_peer *peer = LIST_ENTRY(link, struct ns_peer, announce);

        if (peer->told || !peer_has_output(peer))
            continue;
        peer->told = true;
        ns->ops->output_ready(ns->ctx, peer->node->index, peer->token);
    }
    deadline = netstack_deadline(ns);
    if (deadline < ns->told) {
        ns->told = deadline;
        ns->ops->deadline_changed(ns->ctx);
    }
}

unsigned ns_memory_level(const struct netstack *ns)
{
    uint64_t max = ns->config.limits.buffer_bytes;

    if (ns->chunk_bytes < max / 10 * 7)
        return 0;
    return ns->chunk_bytes < max / 10 * 9 ? 1 : 2;
}

/* ---- in ---------------------------------------------------------------------------------------------- */

void ns_batch_settle(struct netstack *ns)
{
    tcp_deliver(ns);
    ns->borrowed_count = 0;
}

static void input_batch(struct netstack *ns, struct ns_node *node, struct ns_peer *peer,
                        const struct span *packets, size_t count)
{
    for (size_t i = 0; i < count && !node->removed; i++) {
        ns->counters.packets_in++;
        inner_input(ns, node, peer, packets[i]);
    }
    ns_batch_settle(ns);
}

void netstack_input(struct netstack *ns, uint32_t index, uint64_t token, const struct span *packets,
                    size_t count, time_ns now)
{
    size_t part = ns->config.coalescing_off ? 1 : NETSTACK_BATCH_MAX;

    must(ns->depth == 0);
    for (size_t done = 0; done < count; done += part) {
        struct ns_node *node = ns_node_get(ns, index);
        struct ns_peer *peer = node ? ns_peer_get(ns, node, token) : NULL;

        if (!peer)
            return;
        ns_enter(ns, now);
        peer->holds++;
        input_batch(ns, node, peer, packets + done, MIN(part, count - done));
        peer->holds--;
        ns_peer_release(ns, peer);
        ns_leave(ns);
    }
}

void netstack_reject(struct netstack *ns, const struct netstack_flow *flow)
{
    struct ns_node *node = ns_node_get(ns, flow->node);
    int local = node ? ns_node_local(node, &flow->local.ip) : -1;
    struct flow_key key = { .remote = flow->remote.ip,
                            .node = flow->node,
                            .local_port = flow->local.port,
                            .remote_port = flow->remote.port,
                            .local = (uint32_t)local };
    struct tcp_conn *c;
    flow_ref ref;

    if (local < 0)
        return;
    ref = flow_find(ns, &key, flow_hash(ns, &key));
    c = flow_ref_kind(ref) == FLOW_CONN ? slab_at(&ns->conns, flow_ref_slot(ref)) : NULL;
    if (!c || c->peer->token != flow->peer || c->state != TCP_SYN_SENT)
        return;
    ns_enter(ns, -1);
    tcp_conn_end(ns, c, NETSTACK_CLOSED_REFUSED);
    ns_leave(ns);
}

/* ---- the path changed ------------------------------------------------------------------------------------
 */

/* What was measured belongs to the old path: a gentle restart, and nothing is lost before one new RTT. */
static void path_moved(struct netstack *ns, struct tcp_conn *c, enum netstack_path path)
{
    c->rttvar_us = MAX(c->rttvar_us, c->srtt_us / 2);
    c->rto_ms = MAX(c->rto_ms, RTO_INITIAL_MS);
    c->min_rtt_us = 0;
    if (path == NETSTACK_PATH_RELAY)
        c->cwnd = MIN(c->cwnd, tcp_initial_window(c));
    else
        c->ssthresh = UINT32_MAX;
    if (ns->congestion->again)
        ns->congestion->again(c);
    if (!c->tx)
        return;
    c->tx->rack_valid = false;
    c->tx->path_moved = true;
    c->tx->path_settled = ns->now_ms + MAX(c->srtt_us / 1000, RTO_MIN_MS);
    tcp_tx_arm(ns, c);
    tcp_conn_ready(ns, c);
}

void netstack_peer_reachable(struct netstack *ns, uint32_t node, uint64_t token, time_ns now)
{
    struct ns_peer *peer = ns_peer_find(ns, node, token);

    if (!peer)
        return;
    ns_enter(ns, now);
    LIST_EACH (c, &peer->conns, struct tcp_conn, of_peer)
        tcp_repeat_now(ns, c);
    ns_leave(ns);
}

void netstack_path_changed(struct netstack *ns, uint32_t node, uint64_t token, enum netstack_path path,
                           uint32_t epoch, time_ns now)
{
    struct ns_peer *peer = ns_peer_find(ns, node, token);

    if (!peer || peer->path_epoch == epoch)
        return;
    ns_enter(ns, now);
    peer->path_epoch = epoch;
    peer->mtu = NETSTACK_MTU;
    LIST_EACH (c, &peer->conns, struct tcp_conn, of_peer)
        if (c->state >= TCP_ESTABLISHED && c->state != TCP_FINISHED)
            path_moved(ns, c, path);
    ns_leave(ns);
}

/* ---- out
 * --------------------------------------------------------------------------------------------------- */

static void pull_control(struct netstack *ns, struct ns_peer *peer, struct netstack_segment *out)
{
    struct control *c = LIST_ENTRY(list_pop_front(&peer->control), struct control, link);

    peer->control_count--;
    ns->lent = c;
    out->count = 1;
    out->payload_bytes = c->len;
    out->segment_bytes = (uint16_t)c->len;
    out->header_bytes = 0;
    out->header[0] = 0;
    out->span_count = 1;
    out->spans[0] = span_make(c->bytes, c->len);
}

static bool pull(struct netstack *ns, struct ns_peer *peer, size_t count_max, struct netstack_segment *out)
{
    struct list *link;

    if (!list_empty(&peer->control)) {
        pull_control(ns, peer, out);
        return true;
    }
    link = list_pop_front(&peer->ready_syns);
    if (link) {
        out->count = 1;
        out->payload_bytes = out->segment_bytes = out->span_count = 0;
        syn_pull(ns, LIST_ENTRY(link, struct tcp_syn, ready), out);
        return true;
    }
    while ((link = list_pop_front(&peer->ready))) {
        struct tcp_conn *c = LIST_ENTRY(link, struct tcp_conn, ready);

        if (!tcp_conn_pull(ns, c, count_max, out))
            continue;
        if (tcp_conn_has_output(ns, c))
            tcp_conn_ready(ns, c); /* to the end: the others are next */
        return true;
    }
    return false;
}

bool netstack_next_segment(struct netstack *ns, uint32_t node, uint64_t token, size_t count_max, time_ns now,
                           struct netstack_segment *out)
{
    struct ns_peer *peer = ns_peer_find(ns, node, token);
    bool found = false;

    control_free(ns, ns->lent);
    ns->lent = NULL;
    if (!peer)
        return false;
    ns_enter(ns, now);
    peer->told = true; /* who pulls need not be told */
    list_remove(&peer->announce);
    found = pull(ns, peer, MAX(count_max, 1u), out);
    if (found)
        out->packet_bytes = (uint16_t)(out->header_bytes + MIN(out->payload_bytes, out->segment_bytes));
    ns->counters.packets_out += found ? out->count : 0;
    peer->told = found;
    ns_peer_release(ns, peer);
    ns_leave(ns);
    return found;
}

/* ---- time
 * ----------------------------------------------------------------------------------------------------- */

/* The time of a tick of 32 bits that lies near now. */
static time_ns time_of(const struct netstack *ns, uint32_t tick)
{
    return (ns->now / MSEC + (int32_t)(tick - ns->now_ms)) * MSEC;
}

time_ns netstack_deadline(const struct netstack *ns)
{
    uint64_t tick = timer_wheel_next(&ns->wheel);
    time_ns at = tick == UINT64_MAX ? TIME_NEVER : (time_ns)tick * MSEC;
    uint32_t other;
    bool any;

    if (!list_empty(&ns->events))
        return MIN(at, ns->now);
    other = time_wait_deadline(ns, &any);
    if (any)
        at = MIN(at, time_of(ns, other));
    if (fragments_deadline(ns, &other))
        at = MIN(at, time_of(ns, other));
    return at;
}

void netstack_tick(struct netstack *ns, time_ns now)
{
    struct list due;

    must(ns->depth == 0);
    ns_enter(ns, now);
    list_init(&due);
    timer_wheel_advance(&ns->wheel, (uint64_t)(now / MSEC), &due);
    for (struct list *link; (link = list_pop_front(&due));) {
        struct timer_entry *e = LIST_ENTRY(link, struct timer_entry, link);

        if (e->kind == FLOW_CONN)
            tcp_conn_timer(ns, CONTAINER_OF(e, struct tcp_conn, timer));
        else
            syn_timer(ns, CONTAINER_OF(e, struct tcp_syn, timer));
    }
    time_wait_expire(ns);
    fragments_expire(ns);
    ns_batch_settle(ns);
    ns->told = TIME_NEVER; /* the owner's timer has fired */
    ns_leave(ns);
}

/* ---- status
 * ----------------------------------------------------------------------------------------------------- */

const struct netstack_counters *netstack_counters(const struct netstack *ns)
{
    return &ns->counters;
}

struct netstack_usage netstack_usage(const struct netstack *ns)
{
    const struct time_wait *tw = &ns->time_wait;
    uint64_t blocks =
        tw->next > tw->first ? (tw->next - 1) / TIME_WAIT_BLOCK - tw->first / TIME_WAIT_BLOCK + 1 : 0;
    struct netstack_usage u = {
        .nodes = ns->node_count,
        .peers = ns->peer_count,
        .conns = ns->conns.used,
        .half_open = ns->syns.used,
        .time_wait = tw->alive,
        .control_packets = ns->control_count,
        .fragments = ns->fragment_count,
        .chunk_bytes = ns->chunk_bytes,
    };

    u.memory_bytes = sizeof(*ns) + ns->chunk_bytes + ns->control_bytes + ns->fragment_bytes +
                     slab_memory(&ns->conns) + slab_memory(&ns->syns) +
                     ns->flows.size * sizeof(struct flow_entry) + tw->block_cap * sizeof(void *) +
                     blocks * TIME_WAIT_BLOCK * sizeof(struct time_wait_record) +
                     ns->borrowed_cap * sizeof(struct borrowed) + ns->node_slots * sizeof(void *) +
                     ns->node_count * sizeof(struct ns_node);
    u.memory_bytes += (ns->tx_cache.used + ns->tx_cache.kept) * sizeof(struct tcp_tx) +
                      (ns->rx_cache.used + ns->rx_cache.kept) * sizeof(struct tcp_rx) +
                      (ns->peer_cache.used + ns->peer_cache.kept) * sizeof(struct ns_peer);
    for (int i = 0; i < CHUNK_CLASSES; i++)
        u.memory_bytes += ns->chunk_cache[i].kept * ns->chunk_cache[i].bytes;
    return u;
}
