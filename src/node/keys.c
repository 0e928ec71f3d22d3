/* node/keys.c - a node's keys on disk, and the data path that has them in it */
#include "node/internal.h"

#include <errno.h>
#include <stdio.h>

#define KEYS_RETRY (30 * SEC) /* after the first keys could not be written */

/* ---- the data path -------------------------------------------------------------------------- */

void data_path_down(struct node *n)
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

/* Everything that has the node key in it, for the key in n->keys. */
int data_path_up(struct node *n)
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
    map_use_relays(n, ev_now(s->loop));
    map_tell_senders(n);
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
    map_arm_save(n, now);
    return 0;
}

/* ---- keys ---------------------------------------------------------------------------------- */

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

bool node_has_key(const struct state_keys *keys)
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
    else if (node_has_key(&n->keys))
        result = change_key(n, ev_now(n->shard->loop));
    control_client_keys_stored(n->control, result);
    account_switch(was);
}

/* Persisted before it is used: a crash afterwards finds the key that the server knows. */
int keys_changed(void *owner, const struct control_keys *keys)
{
    struct node *n = owner;
    int r;

    n->fresh = n->keys;
    n->fresh.node = keys->node;
    n->fresh.old_node = keys->old_node;
    r = state_folder_save(n->folder, &n->fresh, on_keys_written, n);
    return r ? r : CONTROL_KEYS_LATER;
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
        node_enter(n, NODE_FAILED, text);
    ev_timer_set(&n->keys_timer, ev_now(n->shard->loop) + KEYS_RETRY);
}

void keys_on_retry(struct ev_timer *t, time_ns now)
{
    struct node *n = CONTAINER_OF(t, struct node, keys_timer);

    if (state_folder_save(n->folder, &n->keys, on_first_keys_written, n))
        ev_timer_set(&n->keys_timer, now + KEYS_RETRY);
}

int keys_open(struct node *n, char why[NODE_WHY_BYTES])
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
