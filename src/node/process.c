#include "node/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Of a control server. They stay as long as the process: there are no more than control servers. */
struct derp_map_of {
    struct list link;
    char *control_url;
    const struct tailcfg_derp_map *map; /* a reference */
};

static void derp_maps_free(struct node_process *p)
{
    struct list *link;

    while ((link = list_pop_front(&p->derp_maps))) {
        struct derp_map_of *d = LIST_ENTRY(link, struct derp_map_of, link);

        netmap_derp_map_unref(p->store, d->map);
        free(d->control_url);
        free(d);
    }
}

/* Under the lock. NULL: not there. */
static struct derp_map_of *derp_map_find(struct node_process *p, const char *control_url)
{
    LIST_EACH (d, &p->derp_maps, struct derp_map_of, link)
        if (strcmp(d->control_url, control_url) == 0)
            return d;
    return NULL;
}

/* Without memory: NULL, and the others find their relay by their own map. */
static struct derp_map_of *derp_map_new(struct node_process *p, const char *control_url)
{
    struct derp_map_of *d = calloc(1, sizeof(*d));

    if (d)
        d->control_url = text_dup(span_from_str(control_url));
    if (!d || !d->control_url) {
        free(d);
        return NULL;
    }
    list_push_back(&p->derp_maps, &d->link);
    return d;
}

void process_derp_map_set(struct node_process *p, const char *control_url, const struct tailcfg_derp_map *map)
{
    const struct tailcfg_derp_map *old = NULL;
    struct derp_map_of *d;

    pthread_mutex_lock(&p->lock);
    d = derp_map_find(p, control_url);
    if (!d)
        d = derp_map_new(p, control_url);
    if (d && d->map != map) {
        old = d->map;
        d->map = netmap_derp_map_ref(map);
    }
    pthread_mutex_unlock(&p->lock);
    netmap_derp_map_unref(p->store, old);
}

const struct tailcfg_derp_map *process_derp_map_get(struct node_process *p, const char *control_url)
{
    const struct derp_map_of *d;
    const struct tailcfg_derp_map *map = NULL;

    pthread_mutex_lock(&p->lock);
    d = derp_map_find(p, control_url);
    if (d)
        map = netmap_derp_map_ref(d->map);
    pthread_mutex_unlock(&p->lock);
    return map;
}

int node_process_new(struct node_process **out, const struct node_process_config *config,
                     char why[NODE_WHY_BYTES])
{
    struct node_process *p = calloc(1, sizeof(*p));
    int r;

    if (!p)
        return -ENOMEM;
    why[0] = 0;
    must(config->shard_count >= 1 && config->shard_count <= NODE_SHARDS_MAX);
    p->config = *config;
    pthread_mutex_init(&p->lock, NULL);
    table_init(&p->local_nodes);
    list_init(&p->derp_maps);
    random_bytes(p->hash_key, sizeof(p->hash_key));
    random_bytes(p->wireguard_secret, sizeof(p->wireguard_secret));
    while ((1u << p->shard_bits) < config->shard_count)
        p->shard_bits++;
    r = stream_proxies_new(&p->proxies, &config->proxies, why);
    if (!r)
        r = control_gate_new(&p->gate, &(struct control_gate_config) { .proxies = p->proxies });
    if (!r)
        r = netmap_store_new(&p->store, p->hash_key);
    if (!r)
        r = relay_pacer_new(&p->pacer);
    if (!r)
        r = state_disk_new(&p->disk);
    if (!r)
        r = underlay_survey_new(&p->survey);
    if (!r)
        r = tls_server_new(&p->tls_server);
    if (!r) {
        char reason[TLS_WHY_BYTES];

        r = tls_client_new(&p->tls, config->ca_file, reason);
        if (r > 0)
            snprintf(why, NODE_WHY_BYTES, "%s", reason);
    }
    if (r) {
        node_process_free(p);
        return r > 0 ? 1 : err_trace(r);
    }
    *out = p;
    return 0;
}

void node_process_free(struct node_process *p)
{
    if (!p)
        return;
    tls_client_unref(p->tls);
    tls_server_unref(p->tls_server);
    underlay_survey_free(p->survey);
    state_disk_free(p->disk);
    relay_pacer_free(p->pacer);
    if (p->store)
        derp_maps_free(p);
    netmap_store_free(p->store);
    control_gate_free(p->gate);
    stream_proxies_free(p->proxies);
    table_deinit(&p->local_nodes);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

static uint64_t key_hash(const struct node_process *p, const struct public_key *key)
{
    return siphash(p->hash_key, key, sizeof(*key));
}

int process_register(struct node_process *p, struct local_node *l)
{
    int r;

    pthread_mutex_lock(&p->lock);
    r = table_insert(&p->local_nodes, &l->by_key, key_hash(p, &l->key));
    pthread_mutex_unlock(&p->lock);
    return r;
}

void process_unregister(struct node_process *p, struct local_node *l)
{
    pthread_mutex_lock(&p->lock);
    table_remove(&p->local_nodes, &l->by_key);
    pthread_mutex_unlock(&p->lock);
}

bool process_find(struct node_process *p, const struct public_key *key, struct node_shard **shard,
                  handle *node)
{
    bool found = false;

    pthread_mutex_lock(&p->lock);
    for (struct table_node *t = table_first(&p->local_nodes, key_hash(p, key)); t && !found;
         t = table_next_same(t)) {
        struct local_node *l = TABLE_ENTRY(t, struct local_node, by_key);

        if (public_key_equal(&l->key, key)) {
            *shard = l->shard;
            *node = l->node;
            found = true;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return found;
}
