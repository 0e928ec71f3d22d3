#include "node/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

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
