#include "underlay/underlay.h"

#include <errno.h>
#include <stdlib.h>

#include "underlay/classify.h"
#include "underlay/internal.h"

void underlay_random(void *ctx, void *out, size_t len)
{
    (void)ctx;
    random_bytes(out, len);
}

/* ---- performing ------------------------------------------------------------------------- */

#define ARM_SLACK (500 * MSEC)

static void arm(struct underlay_peer *p)
{
    time_ns at = path_deadline(&p->path);

    /* A little later than armed is fine: the tick then finds nothing to do and arms again. That is cheap for
     * the data path. Much later, as after a pong, would cost a wake-up. */
    if (at == TIME_NEVER)
        ev_timer_stop(&p->timer);
    else if (!ev_timer_running(&p->timer) || at < p->timer.at || at - p->timer.at > ARM_SLACK)
        ev_timer_set(&p->timer, at);
}

static void call_me_maybe(struct underlay_peer *p, time_ns now)
{
    struct underlay *u = p->node->u;

    if (measure_fresh(u, now)) {
        talk_send_call_me_maybe(p);
        return;
    }
    if (!list_linked(&p->calling))
        list_push_back(&u->calling, &p->calling);
    measure_wanted(u, now);
}

/* The path changed its mind: count, look at our side if it died, tell the owner. */
static void tell_change(struct underlay_peer *p, const struct path_turn *t)
{
    struct underlay *u = p->node->u;
    enum underlay_path path =
        path_kind(&p->path, t->now) == PATH_DIRECT ? UNDERLAY_PATH_DIRECT : UNDERLAY_PATH_RELAY;

    u->counters.paths_won += path == UNDERLAY_PATH_DIRECT;
    u->counters.paths_lost += t->lost;
    if (t->lost)
        measure_wanted(u, t->now); /* was it our mapping? */
    if (u->ops->path_changed)
        u->ops->path_changed(u->ctx, p, path, p->path.epoch);
}

void underlay_perform(struct underlay_peer *p, const struct path_turn *t)
{
    struct underlay *u = p->node->u;

    if (p->path.state && !list_linked(&p->awake))
        list_push_back(&u->awake, &p->awake);
    if (t->quiet) {
        list_remove(&p->awake);
        list_remove(&p->calling);
    }
    u->counters.out_of_memory += t->no_memory;
    for (size_t i = 0; i < t->ping_count; i++)
        talk_send_ping(p, &t->pings[i]);
    if (t->call_me_maybe)
        call_me_maybe(p, t->now);
    arm(p);
    if (t->changed)
        tell_change(p, t);
    if (t->quiet && u->ops->peer_quiet)
        u->ops->peer_quiet(u->ctx, p, t->now);
}

static void on_peer_timer(struct ev_timer *timer, time_ns now)
{
    struct underlay_peer *p = CONTAINER_OF(timer, struct underlay_peer, timer);
    struct path_turn t;

    account_switch(p->node->charge); /* a packet of another part may have set it */
    turn_begin(&t, now);
    if (now >= path_deadline(&p->path))
        path_tick(&p->path, &t);
    underlay_perform(p, &t);
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* WireGuard datagrams of one source, as they came. */
struct run {
    struct mspan datagrams[EV_UDP_BATCH_MAX];
    size_t count;
    struct underlay_source source;
};

static void flush_run(struct underlay *u, struct run *run, time_ns now)
{
    if (!run->count)
        return;
    u->counters.wireguard_in += run->count;
    u->ops->on_wireguard(u->ctx, u, NULL, run->datagrams, run->count, &run->source, now);
    run->count = 0;
}

static void add_to_run(struct underlay *u, struct run *run, const struct ev_datagram *d, time_ns now)
{
    if (run->count == EV_UDP_BATCH_MAX || (run->count && !ip_port_equal(&run->source.address, &d->from)))
        flush_run(u, run, now);
    if (!run->count)
        run->source.address = d->from;
    run->datagrams[run->count++] = d->bytes;
}

/* Those of WireGuard and disco are counted where it turns out whose they are. */
static void count_in(struct span datagram)
{
    account_count(ACCOUNT_PATHS, ACCOUNT_IN, 1, datagram.len);
}

static void on_datagrams(void *owner, struct ev_datagram *datagrams, size_t count, time_ns now)
{
    struct underlay *u = owner;
    struct run run;

    run.count = 0;
    run.source = (struct underlay_source) { .relayed = false };
    u->counters.datagrams_in += count;
    for (size_t i = 0; i < count; i++) {
        struct ev_datagram *d = &datagrams[i];
        struct span bytes = { d->bytes.data, d->bytes.len };
        struct underlay_source source = { .address = d->from };

        switch (datagram_classify(bytes)) {
        case DATAGRAM_WIREGUARD:
            add_to_run(u, &run, d, now);
            break;
        case DATAGRAM_DISCO:
            talk_received(u, NULL, &source, bytes, now);
            break;
        case DATAGRAM_STUN:
            count_in(bytes);
            u->counters.stun_in++;
            measure_stun_received(u, bytes, now);
            break;
        case DATAGRAM_GENEVE:
            count_in(bytes);
            u->counters.disco_ignored++;
            break;
        case DATAGRAM_SHORT:
            count_in(bytes);
            u->counters.short_in++;
            break;
        }
    }
    flush_run(u, &run, now);
}

void underlay_relay_received(struct underlay_node *n, uint16_t region, const struct public_key *from,
                             struct mspan packet, time_ns now)
{
    struct underlay *u = n->u;
    struct underlay_source source = { .relayed = true, .region = region, .relay_key = *from };
    struct span bytes = { packet.data, packet.len };

    underlay_relay_heard(n, region, now);
    if (disco_is(bytes)) {
        talk_received(u, n, &source, bytes, now);
    } else if (packet.len < WIREGUARD_BYTES_MIN) {
        u->counters.short_in++;
    } else {
        u->counters.wireguard_in++;
        u->ops->on_wireguard(u->ctx, u, n, &packet, 1, &source, now);
    }
}

/* ---- sending --------------------------------------------------------------------------------- */

/* Not this datagram is wrong, but the socket: a device that went down, a policy that changed. */
static bool means_socket_is_broken(int r)
{
    return r == -EPERM || r == -EPIPE || r == -ENOTCONN || r == -ENETDOWN || r == -EBADF || r == -ENODEV;
}

int underlay_send_udp(struct underlay *u, const struct ip_port *to, struct span bytes, size_t segment)
{
    int r = ev_udp_send(u->udp, to, bytes, segment);

    if (!r) {
        account_count(ACCOUNT_PATHS, ACCOUNT_OUT, (bytes.len + segment - 1) / segment, bytes.len);
        return 0;
    }
    u->counters.send_failed++;
    if (means_socket_is_broken(r))
        measure_rebind_wanted(u, ev_now(u->loop));
    return r;
}

static void send_relay(struct underlay_peer *p, struct span datagrams, size_t segment)
{
    struct underlay *u = p->node->u;

    while (datagrams.len) {
        struct span one = span_slice(datagrams, 0, segment);

        u->ops->relay_send(u->ctx, p->node, p->home_region, &p->node_key, one);
        datagrams = span_slice(datagrams, one.len, datagrams.len);
    }
}

/* The kernel knows no way there, now or ever: not a matter of loss. */
static bool means_unreachable(int r)
{
    return r == -EHOSTUNREACH || r == -ENETUNREACH || r == -EADDRNOTAVAIL || r == -EAFNOSUPPORT ||
           r == -EINVAL || r == -ENETDOWN;
}

static int send_direct(struct underlay_peer *p, const struct ip_port *to, struct span datagrams,
                       size_t segment, time_ns now)
{
    struct underlay *u = p->node->u;
    int r = underlay_send_udp(u, to, datagrams, segment);
    struct path_turn t;

    if (!means_unreachable(r))
        return r;
    u->counters.unreachable++;
    turn_begin(&t, now);
    path_unreachable(&p->path, to, &t);
    underlay_perform(p, &t);
    return r;
}

int underlay_send(struct underlay_peer *p, struct span datagrams, size_t segment, enum underlay_kind kind,
                  time_ns now)
{
    struct underlay *u = p->node->u;
    struct path_route route = { .relay = true };
    struct path_turn t;
    int r = 0;

    must(segment > 0 && datagrams.len > 0);
    if (p->expired)
        return UNDERLAY_E_EXPIRED;
    measure_active(u, now);
    if (p->sender) {
        turn_begin(&t, now);
        route = path_send(&p->path, &t);
        underlay_perform(p, &t); /* pings first: they tell the peer whose address this is */
    }
    if (route.direct)
        r = send_direct(p, &route.address, datagrams, segment, now);
    route.relay |= kind == UNDERLAY_INITIATION || (r && r != -EAGAIN);
    if (route.relay)
        send_relay(p, datagrams, segment);
    u->counters.sent_both += route.relay && route.direct;
    u->counters.sent_direct += route.direct && !route.relay;
    u->counters.sent_relay += route.relay && !route.direct;
    return r == -EAGAIN && !route.relay ? UNDERLAY_E_FULL : 0;
}

void underlay_reply(struct underlay *u, struct underlay_node *node, const struct underlay_source *to,
                    struct span datagram)
{
    if (!to->relayed)
        (void)underlay_send_udp(u, &to->address, datagram, datagram.len);
    else if (node)
        u->ops->relay_send(u->ctx, node, to->region, &to->relay_key, datagram);
}

void underlay_peer_check(struct underlay_peer *p, time_ns now)
{
    struct path_turn t;

    turn_begin(&t, now);
    path_check(&p->path, &t);
    underlay_perform(p, &t);
}

void underlay_peer_doubt(struct underlay_peer *p, time_ns now)
{
    struct path_turn t;

    turn_begin(&t, now);
    path_doubt(&p->path, &t);
    underlay_perform(p, &t);
}

/* ---- life: the socket ---------------------------------------------------------------------------- */

int underlay_new(struct underlay **out, struct ev_loop *loop, const struct underlay_config *config)
{
    struct underlay *u = calloc(1, sizeof(*u));
    account_charge was;
    uint8_t hash_key[16];
    int r;

    if (!u)
        return -ENOMEM;
    was = account_switch_part(ACCOUNT_PATHS); /* datagrams are charged to it until somebody claims them */
    u->loop = loop;
    u->ops = config->ops;
    u->ctx = config->ctx;
    u->fixed_port = config->port != 0;
    slab_init(&u->nodes, sizeof(struct underlay_node), UNDERLAY_NODES_MAX);
    slab_init(&u->peers, sizeof(struct underlay_peer), UNDERLAY_PEERS_MAX);
    random_bytes(hash_key, sizeof(hash_key));
    random_bytes(&u->tag_mask, sizeof(u->tag_mask));
    senders_init(&u->senders, hash_key);
    list_init(&u->awake);
    list_init(&u->calling);
    r = measure_init(u, config->survey);
    u->room = malloc(DISCO_INNER_BYTES_MAX + BOX_TAG_BYTES);
    if (!r)
        r = u->room ? ev_udp_open(&u->udp, loop, config->port, on_datagrams, u) : -ENOMEM;
    account_switch(was);
    if (r) {
        underlay_free(u);
        return err_trace(r);
    }
    *out = u;
    return 0;
}

void underlay_free(struct underlay *u)
{
    if (!u)
        return;
    must(u->nodes.used == 0 && u->peers.used == 0);
    ev_udp_close(u->udp);
    measure_deinit(u);
    senders_deinit(&u->senders);
    slab_deinit(&u->nodes);
    slab_deinit(&u->peers);
    free(u->room);
    free(u);
}

uint16_t underlay_port(const struct underlay *u, bool v4)
{
    return ev_udp_port(u->udp, v4);
}

const struct underlay_counters *underlay_counters_get(const struct underlay *u)
{
    return &u->counters;
}

/* ---- life: nodes ----------------------------------------------------------------------------------- */

int underlay_node_new(struct underlay_node **out, struct underlay *u, const struct secret_key *disco_secret,
                      const struct public_key *node_key, void *user)
{
    struct underlay_node *n;

    if (u->nodes.used >= UNDERLAY_NODES_MAX)
        return -ENOSPC;
    n = slab_alloc(&u->nodes);
    if (!n)
        return -ENOMEM;
    n->u = u;
    n->charge = account_charge_here(ACCOUNT_PATHS);
    n->user = user;
    n->secret = *disco_secret;
    secret_key_public(&n->secret, &n->disco_key);
    n->node_key = *node_key;
    n->index = slab_index(&u->nodes, n);
    *out = n;
    return 0;
}

void underlay_node_free(struct underlay_node *n)
{
    struct underlay *u;

    if (!n)
        return;
    u = n->u;
    must(n->peer_count == 0);
    senders_forget_node(&u->senders, n->index);
    measure_release_map(n->map);
    wipe(&n->secret, sizeof(n->secret));
    slab_release(&u->nodes, n);
}

void *underlay_node_user(const struct underlay_node *n)
{
    return n->user;
}

const struct public_key *underlay_node_disco_key(const struct underlay_node *n)
{
    return &n->disco_key;
}

void underlay_node_set_key(struct underlay_node *n, const struct public_key *node_key)
{
    n->node_key = *node_key;
}

int underlay_node_knows(struct underlay_node *n, const struct public_key *disco_key, bool known)
{
    if (public_key_is_zero(disco_key))
        return 0;
    return senders_set_known(&n->u->senders, disco_key, n->index, known);
}

/* ---- life: peers ------------------------------------------------------------------------------------ */

void underlay_peer_set_key(struct underlay_peer *p, const struct public_key *node_key)
{
    p->node_key = *node_key;
}

int underlay_peer_new(struct underlay_peer **out, struct underlay_node *n, const struct public_key *node_key,
                      void *user)
{
    struct underlay *u = n->u;
    struct underlay_peer *p;

    if (u->peers.used >= UNDERLAY_PEERS_MAX)
        return -ENOSPC;
    p = slab_alloc(&u->peers);
    if (!p)
        return -ENOMEM;
    p->node = n;
    p->user = user;
    p->node_key = *node_key;
    path_init(&p->path, slab_index(&u->peers, p) ^ u->tag_mask);
    ev_timer_init(&p->timer, u->loop, on_peer_timer);
    n->peer_count++;
    *out = p;
    return 0;
}

void underlay_peer_free(struct underlay_peer *p)
{
    struct underlay *u;

    if (!p)
        return;
    u = p->node->u;
    ev_timer_stop(&p->timer);
    list_remove(&p->awake);
    list_remove(&p->calling);
    path_deinit(&p->path);
    senders_unref(&u->senders, p->sender);
    p->node->peer_count--;
    slab_release(&u->peers, p);
}

void *underlay_peer_user(const struct underlay_peer *p)
{
    return p->user;
}

struct underlay_node *underlay_peer_node(const struct underlay_peer *p)
{
    return p->node;
}

/* The candidates stay: pings under the old key die by themselves. */
static void set_disco_key(struct underlay_peer *p, const struct public_key *key)
{
    struct underlay *u = p->node->u;
    struct sender *old = p->sender;

    if (old ? public_key_equal(&old->key, key) : public_key_is_zero(key))
        return;
    p->sender = NULL;
    if (!public_key_is_zero(key) && senders_ref(&u->senders, key, &p->sender))
        u->counters.out_of_memory++; /* the relay still carries its packets */
    senders_unref(&u->senders, old);
    if (underlay_node_knows(p->node, key, true))
        u->counters.out_of_memory++;
}

void underlay_peer_set(struct underlay_peer *p, const struct underlay_peer_facts *facts, time_ns now)
{
    struct path_turn t;

    set_disco_key(p, &facts->disco_key);
    p->home_region = facts->home_region;
    p->expired = facts->expired;
    turn_begin(&t, now);
    path_set_endpoints(&p->path, facts->endpoints, facts->endpoint_count, true, &t);
    underlay_perform(p, &t);
}

void underlay_peer_status_get(const struct underlay_peer *p, time_ns now, struct underlay_peer_status *out)
{
    struct path_view view;

    path_look(&p->path, &view);
    *out = (struct underlay_peer_status) { .epoch = p->path.epoch,
                                           .candidate_count = view.candidate_count,
                                           .active_until = now < view.active_until ? view.active_until : 0 };
    if (path_kind(&p->path, now) != PATH_DIRECT)
        return;
    out->path = UNDERLAY_PATH_DIRECT;
    out->address = view.best;
    out->latency_us = view.latency_us;
}

/* ---- memory ------------------------------------------------------------------------------------- */

size_t underlay_peer_memory(const struct underlay_peer *p)
{
    return p->node->u->peers.object_bytes + path_memory(&p->path);
}

size_t underlay_node_memory(const struct underlay_node *n)
{
    return n->u->nodes.object_bytes;
}

size_t underlay_memory(const struct underlay *u)
{
    return account_block(u) + account_block(u->room) + slab_memory(&u->nodes) + slab_memory(&u->peers) +
           slab_memory(&u->senders.boxes) - u->nodes.used * u->nodes.object_bytes -
           u->peers.used * u->peers.object_bytes;
}
