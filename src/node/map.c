/* node/map.c - what a netmap changes, and the netmap on disk */
#include "node/internal.h"

#include <errno.h>

#define SAVE_DELAY (2 * SEC)   /* a netmap is written this long after it changed, the first one at once, */
#define SAVE_JITTER (8 * SEC)  /* and up to this much later, so that N nodes do not write together, ... */
#define SAVE_SPREAD (SEC / 4)  /* ... and up to this much for each node of the shard: a save takes some ms */
#define EXPIRY_STEP (30 * SEC) /* the least between two looks at expiries: clocks differ */
#define STATE_NETMAP_WRITE_MAX ((size_t)STATE_NETMAP_BYTES_MAX - 128)

static void use_relays(struct node *n, const struct tailcfg_derp_map *map, time_ns now)
{
    if (relay_apply_map(n, map, now))
        log_warn(n->name, "the relay map cannot be used: out of memory");
    report_adopt_home(n);
}

bool map_use_relays(struct node *n, time_ns now)
{
    const struct tailcfg_derp_map *own = netmap_derp_map(n->netmap), *other;
    struct node_process *p = n->shard->process;

    if (own)
        process_derp_map_set(p, n->control_url, own);
    if (!n->underlay)
        return false;
    other = own ? NULL : process_derp_map_get(p, n->control_url);
    if (own || other)
        use_relays(n, own ? own : other, now);
    netmap_derp_map_unref(p->store, other);
    return own || other;
}

bool map_before(void *owner, time_ns now)
{
    struct node *n = owner;

    return n->home_region || map_use_relays(n, now);
}

/* Is there another peer with this disco key? Several node keys may share one (user switching). */
static bool disco_key_shared(const struct node *n, const struct public_key *disco_key)
{
    for (size_t i = 0; i < netmap_peer_count(n->netmap); i++)
        if (public_key_equal(&netmap_peer_at(n->netmap, i)->node.disco_key, disco_key))
            return true;
    return false;
}

static void sender_known(struct node *n, const struct public_key *disco_key, bool known)
{
    if (public_key_is_zero(disco_key) || (!known && disco_key_shared(n, disco_key)))
        return;
    if (underlay_node_knows(n->underlay, disco_key, known))
        log_warn(n->name, "too many peers: direct paths to some will not be found");
}

void map_tell_senders(struct node *n)
{
    for (size_t i = 0; i < netmap_peer_count(n->netmap); i++)
        sender_known(n, &netmap_peer_at(n->netmap, i)->node.disco_key, true);
}

static void apply_peer(struct node *n, const struct netmap_change *c, time_ns now)
{
    const struct public_key *old_disco = c->old ? &c->old->node.disco_key : NULL;
    const struct public_key *new_disco = c->new ? &c->new->node.disco_key : NULL;
    struct node_peer *p = c->old ? peer_find(n, &c->old->node.key) : NULL;

    if (!n->underlay)
        return;
    if (new_disco && (!old_disco || !public_key_equal(old_disco, new_disco)))
        sender_known(n, new_disco, true);
    if (old_disco && (!new_disco || !public_key_equal(old_disco, new_disco)))
        sender_known(n, old_disco, false);
    if (p &&
        (!c->new || (!public_key_equal(&c->new->node.key, &p->key) && peer_rekey(p, &c->new->node.key, now))))
        peer_free(p);
    else if (p)
        peer_update(p, c->new, now);
    if (c->new && (!c->old || !public_key_equal(&c->old->node.key, &c->new->node.key)))
        unknown_resume(n, &c->new->node.key, now);
}

/* Warns when the control server gave us another name than we asked for. */
static void check_name(struct node *n, const struct netmap_peer *self)
{
    struct span full = self->node.name;
    const uint8_t *dot = full.len ? memchr(full.data, '.', full.len) : NULL;
    struct span label = dot ? span_make(full.data, (size_t)(dot - full.data)) : full;

    if (n->name_checked || !label.len)
        return;
    n->name_checked = true;
    if (!text_equal_fold(label, span_from_str(n->name)))
        log_warn(n->name, "the control server named this node \"%.*s\": is \"%s\" taken in the tailnet?",
                 (int)label.len, label.data, n->name);
}

/* Our first address of a family; ip_is_none: there is none. */
static struct ip first_address(const struct netmap_peer *self, bool v4)
{
    for (size_t i = 0; i < self->node.addresses.count; i++)
        if (ip_is_v4(&self->node.addresses.items[i].ip) == v4)
            return self->node.addresses.items[i].ip;
    return (struct ip) { 0 };
}

static int apply_self(struct node *n)
{
    const struct netmap_peer *self = netmap_self(n->netmap);
    struct ip addresses[NETSTACK_NODE_ADDRESSES_MAX];
    size_t count = 0;
    int r;

    for (size_t i = 0; i < self->node.addresses.count && count < COUNT_OF(addresses); i++)
        if (ip_prefix_is_single(&self->node.addresses.items[i]))
            addresses[count++] = self->node.addresses.items[i].ip;
    r = netstack_node_add(n->shard->netstack, node_index(n), addresses, count);
    if (!r)
        r = filter_local_set(&n->filter, self->node.addresses.items, self->node.addresses.count);
    if (r)
        return r;
    n->own_v4 = first_address(self, true);
    n->own_v6 = first_address(self, false);
    n->filter.shields_up = !self->node.machine_authorized; /* nobody gets in before an administrator agreed */
    check_name(n, self);
    return 0;
}

static void arm_expiry(struct node *n, time_ns now)
{
    int64_t wall = ev_wall_clock();
    int64_t next = netmap_next_expiry(n->netmap);

    ev_timer_set(&n->expiry_timer, next == INT64_MAX ? TIME_NEVER : now + MAX(next - wall, EXPIRY_STEP));
}

void map_arm_save(struct node *n, time_ns now)
{
    time_ns spread = SAVE_JITTER + (time_ns)n->shard->nodes.used * SAVE_SPREAD;
    uint32_t jitter;

    if (ev_timer_running(&n->save_timer))
        return;
    if (!n->saved) {
        ev_timer_set(&n->save_timer, now);
        return;
    }
    random_bytes(&jitter, sizeof(jitter));
    ev_timer_set(&n->save_timer, now + SAVE_DELAY + (time_ns)((uint64_t)spread / UINT32_MAX * jitter));
}

static int apply_changes(struct node *n, struct netmap_changes *changes, time_ns now)
{
    int r = changes->self && netmap_self(n->netmap) ? apply_self(n) : 0;

    if (changes->derp_map)
        map_use_relays(n, now);
    for (size_t i = 0; i < changes->count; i++)
        apply_peer(n, &changes->peers[i], now);
    if (changes->self || changes->count || changes->filter || changes->derp_map || changes->users)
        map_arm_save(n, now);
    arm_expiry(n, now);
    netmap_changes_release(changes);
    return r;
}

int map_received(void *owner, const struct tailcfg_map_response *response, bool first, time_ns now)
{
    struct netmap_changes changes;
    struct node *n = owner;
    int r = netmap_apply(n->netmap, response, first, ev_wall_clock(), &changes);

    if (r > 0) {
        log_warn(n->name, "the control server's netmap is unusable: %s",
                 r == NETMAP_E_NO_NODE ? "it does not name this node"
                                       : "what it says about this node makes no sense");
        netmap_changes_release(&changes);
        return -EPROTO;
    }
    if (changes.skipped)
        log_warn(n->name, "%u entries of the netmap made no sense and were left out", changes.skipped);
    notices_apply(&n->notices, n->name, response, first);
    ev_timer_stop(&n->join_timer);
    int applied = apply_changes(n, &changes, now);
    return r ? r : applied;
}

/* ---- the stored netmap ------------------------------------------------------------------------------ */

static void on_netmap_written(void *owner, int result)
{
    struct node *n = owner;

    if (result)
        log_warn(n->name, "the netmap cannot be stored in %s: %s", n->state_directory, err_text(result));
}

void map_save(struct node *n)
{
    struct buf text;
    int r;

    if (!netmap_self(n->netmap) || !node_has_key(&n->keys))
        return;
    buf_init(&text, STATE_NETMAP_WRITE_MAX);
    r = netmap_save(n->netmap, &text);
    if (!r)
        r = state_folder_save_netmap(n->folder, &n->public_key, &text, on_netmap_written, n);
    n->saved = true;
    if (r == STATE_E_FULL) /* a thousand nodes, and a slow disk */
        map_arm_save(n, ev_now(n->shard->loop));
    else if (r)
        on_netmap_written(n, r);
    buf_deinit(&text);
}

void map_on_save(struct ev_timer *t, time_ns now)
{
    (void)now;
    map_save(CONTAINER_OF(t, struct node, save_timer));
}

void map_load(struct node *n)
{
    struct buf text;
    int r;

    buf_init(&text, STATE_NETMAP_BYTES_MAX + 2);
    r = state_folder_load_netmap(n->folder, &n->public_key, &text);
    if (!r)
        r = netmap_load(n->netmap, buf_span(&text));
    buf_deinit(&text);
    if (r == NETMAP_E_DAMAGED || r == -EBADMSG)
        state_damaged_netmap(state_folder_store(n->folder));
    if (r || !netmap_self(n->netmap))
        return;
    if (apply_self(n))
        log_warn(n->name, "the stored netmap cannot be used: out of memory");
    map_use_relays(n, ev_now(n->shard->loop));
    map_tell_senders(n);
    arm_expiry(n, ev_now(n->shard->loop));
    control_client_have_netmap(n->control);
    log_info(n->name, "serving from the stored netmap until the control server answers");
}

void map_on_expiry(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, expiry_timer);
    struct netmap_changes changes;

    if (netmap_expire(n->netmap, ev_wall_clock(), &changes) == 0 && changes.self && netmap_self(n->netmap))
        log_warn(n->name, "the node key has expired");
    if (apply_changes(n, &changes, now))
        log_warn(n->name, "out of memory while peers expired");
}
