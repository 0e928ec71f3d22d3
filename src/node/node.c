/* node/node.c - the life of a node: keys on disk, control, and what a netmap changes */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SAVE_DELAY (2 * SEC)   /* a netmap is written this long after it changed, the first one at once, */
#define SAVE_JITTER (8 * SEC)  /* and up to this much later, so that N nodes do not write together, ... */
#define SAVE_SPREAD (SEC / 4)  /* ... and up to this much for each node of the shard: a save takes some ms */
#define KEYS_RETRY (30 * SEC)  /* after the first keys could not be written */
#define EXPIRY_STEP (30 * SEC) /* the least between two looks at expiries: clocks differ */
#define STATE_NETMAP_WRITE_MAX ((size_t)STATE_NETMAP_BYTES_MAX - 128)

static const char *const state_texts[] = {
#define X(name, text) [NODE_##name] = text,
    NODE_STATES(X)
#undef X
};

const char *node_state_text(enum node_state state)
{
    return state_texts[state];
}

const char *node_name(const struct node *n)
{
    return n->name;
}

enum node_state node_state_get(const struct node *n)
{
    return n->state;
}

uint32_t node_index(const struct node *n)
{
    return slab_index(&n->shard->nodes, n);
}

struct node *node_of_index(struct node_shard *s, uint32_t index)
{
    return slab_at(&s->nodes, index);
}

/* ---- state ---------------------------------------------------------------------------- */

/* The only place that writes n->state. */
static void enter(struct node *n, enum node_state to, const char *sentence)
{
    bool same = n->state == to && strcmp(n->sentence, sentence) == 0;

    if (n->state != to || !n->state_since)
        n->state_since = ev_wall_clock();
    n->state = to;
    snprintf(n->sentence, sizeof(n->sentence), "%s", sentence);
    if (!same)
        n->ops->state_changed(n->ctx, n, to, n->sentence);
}

/* What control says, seen with what the data path has. */
static enum node_state state_of(const struct node *n, enum control_state control)
{
    switch (control) {
    case CONTROL_RUNNING:
        return NODE_RUNNING;
    case CONTROL_NEEDS_LOGIN:
        return NODE_NEEDS_LOGIN;
    case CONTROL_WAITING_APPROVAL:
        return NODE_WAITING_APPROVAL;
    case CONTROL_EXPIRED:
        return NODE_EXPIRED;
    case CONTROL_LOGGED_OUT:
        return NODE_STOPPED;
    case CONTROL_STOPPED:
    case CONTROL_WAITING:
    case CONTROL_FETCHING_KEY:
    case CONTROL_CONNECTING:
    case CONTROL_REGISTERING:
    case CONTROL_MINTING:
    case CONTROL_FETCHING_MAP:
    case CONTROL_FAILED:
    case CONTROL_STATE_COUNT:
        break;
    }
    return netmap_self(n->netmap) ? NODE_SERVING_STORED : NODE_STARTING;
}

static void on_control_state(void *owner, struct control_client *c)
{
    struct node *n = owner;
    struct control_status status;

    control_client_status(c, ev_now(n->shard->loop), &status);
    if (!control_in_trouble(&status))
        n->trouble_since = 0;
    else if (!n->trouble_since)
        n->trouble_since = ev_wall_clock();
    if (!n->stopping)
        enter(n, state_of(n, status.state), status.sentence);
    if (status.state == CONTROL_RUNNING)
        node_report_changed(n, UNDERLAY_CHANGED_HOME);
}

static void on_auth_url(void *owner, const char *url)
{
    struct node *n = owner;

    free(n->auth_url);
    n->auth_url = url ? text_dup(span_from_str(url)) : NULL;
    n->ops->auth_url(n->ctx, n, url);
}

/* ---- keys ---------------------------------------------------------------------------------- */

static void data_path_down(struct node *n)
{
    while (!list_empty(&n->peers))
        peer_free(LIST_FIRST(&n->peers, struct node_peer, link));
    unknown_forget(n);
    relay_node_free(n->relay);
    n->relay = NULL;
    n->home_region = 0; /* chosen anew for the next connection; what was announced stands until then */
    wireguard_node_free(n->wireguard);
    n->wireguard = NULL;
    underlay_node_free(n->underlay);
    n->underlay = NULL;
    if (n->registered)
        process_unregister(n->shard->process, &n->local);
    n->registered = false;
}

static void apply_derp_map(struct node *n, time_ns now);
static void arm_save(struct node *n, time_ns now);
static void tell_senders(struct node *n);

/* Everything that has the node key in it, for the key in n->keys. */
static int data_path_up(struct node *n)
{
    struct node_shard *s = n->shard;
    int r;

    data_path_down(n);
    secret_key_public(&n->keys.node, &n->public_key);
    n->local = (struct local_node) { .key = n->public_key, .shard = s, .node = slab_handle(&s->nodes, n) };
    r = wireguard_node_new(&n->wireguard, s->wireguard, &n->keys.node, n);
    if (!r)
        r = underlay_node_new(&n->underlay, node_underlay(n), &n->keys.disco, &n->public_key, n);
    if (!r)
        r = relay_open(n);
    if (!r)
        r = process_register(s->process, &n->local);
    n->registered = r == 0;
    if (r) {
        data_path_down(n);
        return err_trace(r);
    }
    apply_derp_map(n, ev_now(s->loop));
    tell_senders(n);
    return 0;
}

/* The node key has changed while the data path is up: what knows the key gets the new one, everything else
 * (connections inside, paths, sessions until the next handshake) stays. -errno: half done. */
static int data_path_rekey(struct node *n, time_ns now)
{
    struct node_shard *s = n->shard;
    int r = wireguard_node_set_secret(n->wireguard, &n->keys.node);

    if (r)
        return r;
    secret_key_public(&n->keys.node, &n->public_key);
    underlay_node_set_key(n->underlay, &n->public_key);
    process_unregister(s->process, &n->local);
    n->local.key = n->public_key;
    r = process_register(s->process, &n->local);
    n->registered = r == 0;
    if (!r)
        r = relay_reopen(n, now);
    if (r)
        return r;
    LIST_EACH (p, &n->peers, struct node_peer, link) {
        wireguard_peer_renew(p->wireguard, now);
    }
    n->saved = false; /* the stored netmap is the old key's */
    ev_timer_stop(&n->save_timer);
    arm_save(n, now);
    return 0;
}

static int change_key(struct node *n, time_ns now)
{
    struct public_key fresh;
    int r = -ENOENT;

    secret_key_public(&n->keys.node, &fresh);
    if (n->wireguard && public_key_equal(&fresh, &n->public_key))
        return 0;
    if (n->wireguard)
        r = data_path_rekey(n, now);
    return r ? data_path_up(n) : 0;
}

static bool has_node_key(const struct state_keys *keys)
{
    static const struct secret_key none;

    return !crypto_equal(&keys->node, &none, sizeof(none));
}

/* On disk now, or not: then the node goes on with the keys it has. The writer's letter is nobody's, but what
 * follows from it, connections that stay included, is the node's. */
static void on_keys_written(void *owner, int result)
{
    struct node *n = owner;
    account_charge was = account_switch(node_charge(n, ACCOUNT_CONTROL));

    if (!result)
        n->keys = n->fresh;
    else
        state_keys_wipe(&n->fresh);
    if (result)
        log_error(n->name, "the new node key cannot be written to %s: %s", n->state_directory,
                  err_text(result));
    else if (has_node_key(&n->keys))
        result = change_key(n, ev_now(n->shard->loop));
    control_client_keys_stored(n->control, result);
    account_switch(was);
}

/* Persisted before it is used: a crash afterwards finds the key that the server knows. */
int node_keys_changed(void *owner, const struct control_keys *keys)
{
    struct node *n = owner;
    int r;

    n->fresh = n->keys;
    n->fresh.node = keys->node;
    n->fresh.old_node = keys->old_node;
    r = state_folder_save(n->folder, &n->fresh, on_keys_written, n);
    return r ? r : CONTROL_KEYS_LATER;
}

/* ---- reports ------------------------------------------------------------------------------- */

static enum tailcfg_bool fact(enum underlay_fact f)
{
    return f == UNDERLAY_UNKNOWN ? TAILCFG_UNSET : f == UNDERLAY_YES ? TAILCFG_TRUE : TAILCFG_FALSE;
}

static enum tailcfg_bool yes_or_no(bool b)
{
    return b ? TAILCFG_TRUE : TAILCFG_FALSE;
}

/* Before the first run has ended nobody knows. */
static enum tailcfg_bool measured(const struct underlay_report *report, bool b)
{
    return report->measured_at ? yes_or_no(b) : TAILCFG_UNSET;
}

static void report_netinfo(const struct node *n, struct report_scratch *scratch)
{
    const struct underlay_report *report = underlay_node_report(n->underlay);
    struct tailcfg_netinfo *info = &scratch->netinfo;
    size_t count = 0;

    *info = (struct tailcfg_netinfo) {
        .mapping_varies_by_dest_ip = fact(report->mapping_varies_by_dest_ip),
        .working_ipv6 = measured(report, report->v6),
        .os_has_ipv6 = yes_or_no(report->os_has_v6),
        .working_udp = measured(report, report->udp),
        .preferred_derp = n->home_announced,
        .latencies = scratch->latencies,
    };
    for (size_t i = 0; i < report->latency_count && count + 2 <= COUNT_OF(scratch->latencies); i++) {
        const struct underlay_region_latency *l = &report->latencies[i];

        if (l->v4_us)
            scratch->latencies[count++] = (struct tailcfg_derp_latency) { l->region, false, l->v4_us / 1e6 };
        if (l->v6_us)
            scratch->latencies[count++] = (struct tailcfg_derp_latency) { l->region, true, l->v6_us / 1e6 };
    }
    info->latency_count = count;
}

static void on_report(void *owner, struct control_report *out)
{
    struct node *n = owner;
    struct report_scratch *scratch = &n->shard->scratch;
    size_t count = 0;
    const struct underlay_endpoint *endpoints = underlay_endpoints(node_underlay(n), &count);

    secret_key_public(&n->keys.disco, &out->disco_key);
    for (size_t i = 0; i < count && i < COUNT_OF(scratch->endpoints); i++)
        scratch->endpoints[out->endpoint_count++] =
            (struct tailcfg_endpoint) { endpoints[i].address, (enum tailcfg_endpoint_type)endpoints[i].type };
    out->endpoints = scratch->endpoints;
    out->hostinfo.userspace = TAILCFG_TRUE;
    out->hostinfo.no_logs_no_support = true;
    if (!n->underlay)
        return;
    report_netinfo(n, scratch);
    if (n->home_announced)
        out->hostinfo.netinfo = &scratch->netinfo;
}

/* A home region is changed only while control hears of it; a first one is taken at once. */
static void adopt_home(struct node *n)
{
    uint16_t home = underlay_node_report(n->underlay)->home_region;

    if (!home || home == n->home_region || (n->home_region && n->state != NODE_RUNNING))
        return;
    log_debug(n->name, "home relay region is %u now", home);
    n->home_region = home;
    relay_node_set_home(n->relay, home, ev_now(n->shard->loop));
}

void node_relay_heard(struct node *n, uint16_t region)
{
    if (region != n->home_region || region == n->home_announced)
        return;
    n->home_announced = region;
    control_client_report_changed(n->control);
}

void node_report_changed(struct node *n, unsigned what)
{
    if (!n->underlay || !n->control)
        return;
    if (what & UNDERLAY_CHANGED_HOME)
        adopt_home(n);
    control_client_report_changed(n->control);
}

/* ---- what a netmap changes --------------------------------------------------------------------- */

static void apply_derp_map(struct node *n, time_ns now)
{
    const struct tailcfg_derp_map *map = netmap_derp_map(n->netmap);

    if (!map || !n->underlay)
        return;
    if (relay_apply_map(n, map, now))
        log_warn(n->name, "the relay map cannot be used: out of memory");
    adopt_home(n);
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

/* All senders of the netmap, for a fresh underlay node. */
static void tell_senders(struct node *n)
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

static void arm_save(struct node *n, time_ns now)
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
        apply_derp_map(n, now);
    for (size_t i = 0; i < changes->count; i++)
        apply_peer(n, &changes->peers[i], now);
    if (changes->self || changes->count || changes->filter || changes->derp_map || changes->users)
        arm_save(n, now);
    arm_expiry(n, now);
    netmap_changes_release(changes);
    return r;
}

int node_map(void *owner, const struct tailcfg_map_response *response, bool first, time_ns now)
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

static void save_netmap(struct node *n)
{
    struct buf text;
    int r;

    if (!netmap_self(n->netmap) || !has_node_key(&n->keys))
        return;
    buf_init(&text, STATE_NETMAP_WRITE_MAX);
    r = netmap_save(n->netmap, &text);
    if (!r)
        r = state_folder_save_netmap(n->folder, &n->public_key, &text, on_netmap_written, n);
    n->saved = true;
    if (r == STATE_E_FULL) /* a thousand nodes, and a slow disk */
        arm_save(n, ev_now(n->shard->loop));
    else if (r)
        on_netmap_written(n, r);
    buf_deinit(&text);
}

static void on_save_timer(struct ev_timer *t, time_ns now)
{
    (void)now;
    save_netmap(CONTAINER_OF(t, struct node, save_timer));
}

static void load_netmap(struct node *n)
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
    apply_derp_map(n, ev_now(n->shard->loop));
    tell_senders(n);
    arm_expiry(n, ev_now(n->shard->loop));
    control_client_have_netmap(n->control);
    log_info(n->name, "serving from the stored netmap until the control server answers");
}

static void on_expiry_timer(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, expiry_timer);
    struct netmap_changes changes;

    if (netmap_expire(n->netmap, ev_wall_clock(), &changes) == 0 && changes.self && netmap_self(n->netmap))
        log_warn(n->name, "the node key has expired");
    if (apply_changes(n, &changes, now))
        log_warn(n->name, "out of memory while peers expired");
}

static void on_join_timer(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, join_timer);

    (void)now;
    log_warn(n->name, "has not joined the tailnet yet, still trying: %s", n->sentence);
}

/* ---- life -------------------------------------------------------------------------------------------- */

static void on_logged_out(void *owner, bool done)
{
    struct node *n = owner;

    if (!done)
        log_warn(n->name, "the control server did not confirm the log-out");
    n->logged_out = true;
    ev_task_post(&n->stopped_task);
}

static_assert(NODE_AUTH_KEY_BYTES == CONTROL_AUTH_KEY_BYTES_MAX + 1, "a key of the one fits the other");

static bool on_auth_key(void *owner, char out[CONTROL_AUTH_KEY_BYTES_MAX + 1])
{
    struct node *n = owner;

    return n->ops->auth_key && n->ops->auth_key(n->ctx, n, out);
}

static const struct control_ops control_ops = {
    .state_changed = on_control_state,
    .auth_url = on_auth_url,
    .keys_changed = node_keys_changed,
    .map = node_map,
    .report = on_report,
    .logged_out = on_logged_out,
};

static void log_out(struct node *n)
{
    if (!n->logging_out)
        control_client_logout(n->control);
    n->logging_out = true;
}

/* Draining and log-out are both over, or there is nothing to wait for. */
static void on_stopped_task(struct ev_task *task, time_ns now)
{
    struct node *n = CONTAINER_OF(task, struct node, stopped_task);

    (void)now;
    if (n->ending && ev_timer_running(&n->stop_timer))
        return;
    if (!n->stopping || n->state == NODE_STOPPED || !n->drained)
        return;
    if (!n->logged_out && n->ephemeral && n->control && !n->ending) {
        log_out(n);
        return;
    }
    ev_timer_stop(&n->stop_timer);
    ev_timer_stop(&n->keys_timer);
    if (!n->logged_out && (!n->saved || ev_timer_running(&n->save_timer)))
        save_netmap(n);
    enter(n, NODE_STOPPED, "stopped");
    n->ops->stopped(n->ctx, n);
}

/* Before the node goes: there is still a tunnel to tell the clients by. */
static void cut(struct node *n, const char *why)
{
    if (n->drained)
        return;
    log_info(n->name, "requests under way are cut: %s", why);
    service_cut(n);
    n->drained = true;
}

static void on_stop_timer(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, stop_timer);

    (void)now;
    cut(n, "the time to finish is over");
    ev_task_post(&n->stopped_task);
}

static int copy_texts(struct node *n, const struct node_config *c)
{
    n->name = text_dup(span_from_str(c->name));
    n->control_url = text_dup(span_from_str(c->control_url));
    n->state_directory = text_dup(span_from_str(c->state_directory));
    if (!n->name || !n->control_url || !n->state_directory)
        return -ENOMEM;
    return 0;
}

static int control_open(struct node *n, const struct node_config *c, char why[NODE_WHY_BYTES])
{
    struct control_config config = {
        .name = n->name,
        .control_url = n->control_url,
        .hostname = n->name,
        .auth_key = c->auth_key,
        .auth_key_now = on_auth_key,
        .tls = n->shard->process->tls,
        .ephemeral = c->ephemeral,
        .place = c->place,
        .request_tags = c->tags,
        .request_tag_count = c->tag_count,
        .machine_key = n->keys.machine,
        .keys = { .node = n->keys.node, .old_node = n->keys.old_node },
    };
    int r = control_client_new(&n->control, n->shard->control, &config, &control_ops, n);

    if (r == CONTROL_E_URL)
        snprintf(why, NODE_WHY_BYTES, "control URL \"%s\": %s", n->control_url,
                 control_url_check(span_from_str(n->control_url)));
    else if (r == CONTROL_E_CONFIG)
        snprintf(why, NODE_WHY_BYTES, "the auth key, a tag or the name is out of bounds");
    wipe(&config, sizeof(config));
    return r;
}

/* The first keys are on disk: now somebody may hear of them. */
static void on_first_keys_written(void *owner, int result)
{
    struct node *n = owner;
    char text[CONTROL_SENTENCE_BYTES];
    account_charge was;

    if (!result) {
        n->first_keys = false;
        was = account_switch(node_charge(n, ACCOUNT_CONTROL)); /* the writer's letter is nobody's */
        if (n->started && !n->stopping)
            control_client_start(n->control);
        account_switch(was);
        return;
    }
    snprintf(text, sizeof(text), "the keys cannot be written to %s: %s; trying again", n->state_directory,
             err_text(result));
    log_error(n->name, "%s", text);
    if (!n->stopping)
        enter(n, NODE_FAILED, text);
    ev_timer_set(&n->keys_timer, ev_now(n->shard->loop) + KEYS_RETRY);
}

static void on_keys_timer(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, keys_timer);

    if (state_folder_save(n->folder, &n->keys, on_first_keys_written, n))
        ev_timer_set(&n->keys_timer, now + KEYS_RETRY);
}

static int keys_open(struct node *n, char why[NODE_WHY_BYTES])
{
    int r = state_folder_open(&n->folder, n->shard->desk, n->state_directory, n->control_url, why);

    if (r)
        return r > 0 ? 1 : r;
    r = state_load(state_folder_store(n->folder), n->control_url, &n->keys, why);
    if (r == STATE_E_DAMAGED)
        log_error(n->name, "%s. Starting with new keys: the node will register anew", why);
    if (r == STATE_E_IMPORTED)
        log_info(n->name, "%s", why);
    if (r <= 0)
        return r;
    n->first_keys = true;
    return state_folder_save(n->folder, &n->keys, on_first_keys_written, n);
}

static int open_parts(struct node *n, const struct node_config *c, char why[NODE_WHY_BYTES])
{
    uint64_t seed;
    int r = copy_texts(n, c);

    random_bytes(&seed, sizeof(seed));
    filter_local_init(&n->filter, seed);
    if (!r)
        r = netmap_new(&n->netmap, n->shard->process->store);
    if (!r)
        r = keys_open(n, why);
    if (!r)
        r = socket_open(n, c, why);
    if (!r)
        r = service_open(n, c, why);
    if (!r)
        r = control_open(n, c, why);
    return r;
}

int node_new(struct node **out, struct node_shard *s, const struct node_config *c, const struct node_ops *ops,
             void *ctx, char why[NODE_WHY_BYTES])
{
    struct node *n = slab_alloc(&s->nodes);
    account_charge was;
    int r;

    why[0] = 0;
    if (!n)
        return -ENOMEM;
    n->shard = s;
    n->account = account_open(node_index(n) + 1);
    n->ops = ops;
    n->ctx = ctx;
    n->ephemeral = c->ephemeral;
    n->join_timeout = c->join_timeout;
    list_init(&n->peers);
    list_init(&n->inner_streams);
    list_init(&n->retired);
    table_init(&n->peers_by_key);
    ev_timer_init(&n->save_timer, s->loop, on_save_timer);
    ev_timer_init(&n->expiry_timer, s->loop, on_expiry_timer);
    ev_timer_init(&n->join_timer, s->loop, on_join_timer);
    ev_timer_init(&n->stop_timer, s->loop, on_stop_timer);
    ev_timer_init(&n->keys_timer, s->loop, on_keys_timer);
    ev_task_init(&n->stopped_task, s->loop, on_stopped_task);
    was = account_switch(node_charge(n, ACCOUNT_CONTROL));
    r = open_parts(n, c, why);
    account_switch(was);
    if (r) {
        if (!*why)
            snprintf(why, NODE_WHY_BYTES, "%s", err_text(r));
        node_free(n);
        return r;
    }
    *out = n;
    return 0;
}

void node_free(struct node *n)
{
    struct node_shard *s;

    if (!n)
        return;
    s = n->shard;
    control_client_free(n->control);
    inner_streams_abort(n);
    service_close(n);
    data_path_down(n);
    socket_close(n);
    netstack_node_remove(s->netstack, node_index(n));
    ev_timer_stop(&n->save_timer);
    ev_timer_stop(&n->expiry_timer);
    ev_timer_stop(&n->join_timer);
    ev_timer_stop(&n->stop_timer);
    ev_timer_stop(&n->keys_timer);
    ev_task_cancel(&n->stopped_task);
    filter_local_deinit(&n->filter);
    notices_deinit(&n->notices);
    netmap_free(n->netmap);
    table_deinit(&n->peers_by_key);
    state_folder_close(n->folder);
    state_keys_wipe(&n->keys);
    state_keys_wipe(&n->fresh);
    free(n->name);
    free(n->control_url);
    free(n->state_directory);
    free(n->auth_url);
    account_close(n->account);
    slab_release(&s->nodes, n);
}

void node_start(struct node *n)
{
    account_charge was;

    if (n->started)
        return;
    n->started = true;
    was = account_switch(node_charge(n, ACCOUNT_CONTROL));
    enter(n, NODE_STARTING, "starting");
    if (has_node_key(&n->keys)) {
        if (data_path_up(n))
            log_warn(n->name,
                     "the data path cannot be set up: out of memory; waiting for the control server");
        else
            load_netmap(n);
    }
    if (n->join_timeout > 0)
        ev_timer_set(&n->join_timer, ev_now(n->shard->loop) + n->join_timeout);
    if (!n->first_keys)
        control_client_start(n->control);
    account_switch(was);
}

void node_stop(struct node *n, time_ns deadline)
{
    if (n->stopping)
        return;
    n->stopping = true;
    enter(n, NODE_STOPPING, "finishing requests under way");
    ev_timer_stop(&n->join_timer);
    ev_timer_set(&n->stop_timer, deadline);
    service_drain(n);
}

/* The timer is due in the next turn: tasks of this one (the tunnel's, the control connection's) come before.
 */
void node_end(struct node *n)
{
    if (n->ending || n->state == NODE_STOPPED)
        return;
    n->stopping = n->ending = true;
    cut(n, "asked to end at once");
    if (n->ephemeral && n->control && !n->logged_out)
        log_out(n);
    ev_timer_set(&n->stop_timer, ev_now(n->shard->loop));
}
