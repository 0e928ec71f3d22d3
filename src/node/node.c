/* node/node.c - the life of a node: its state, control, start and end */
#include "node/internal.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
void node_enter(struct node *n, enum node_state to, const char *sentence)
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
        node_enter(n, state_of(n, status.state), status.sentence);
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

/* ---- life -------------------------------------------------------------------------------------------- */

static void on_join_timer(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, join_timer);

    (void)now;
    log_warn(n->name, "has not joined the tailnet yet, still trying: %s", n->sentence);
}

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
    .keys_changed = keys_changed,
    .map = map_received,
    .report = report_fill,
    .logged_out = on_logged_out,
    .before_map = map_before,
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
        map_save(n);
    node_enter(n, NODE_STOPPED, "stopped");
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
    ev_timer_init(&n->save_timer, s->loop, map_on_save);
    ev_timer_init(&n->expiry_timer, s->loop, map_on_expiry);
    ev_timer_init(&n->join_timer, s->loop, on_join_timer);
    ev_timer_init(&n->stop_timer, s->loop, on_stop_timer);
    ev_timer_init(&n->keys_timer, s->loop, keys_on_retry);
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
    node_enter(n, NODE_STARTING, "starting");
    if (node_has_key(&n->keys)) {
        if (data_path_up(n))
            log_warn(n->name,
                     "the data path cannot be set up: out of memory; waiting for the control server");
        else
            map_load(n);
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
    node_enter(n, NODE_STOPPING, "finishing requests under way");
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
