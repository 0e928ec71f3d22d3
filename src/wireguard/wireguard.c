/* Life of the machine, its nodes and peers. */
#include "wireguard/internal.h"

#include <errno.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define FIRST_DOORS 16

static void random_default(void *ctx, void *out, size_t len)
{
    (void)ctx;
    random_bytes(out, len);
}

const char *wireguard_outcome_text(int outcome)
{
    static const char *const texts[] = { [WIREGUARD_OK] = "fine",
#define TEXT(name, text) [WIREGUARD_E_##name] = text,
                                         WIREGUARD_OUTCOMES(TEXT)
#undef TEXT
    };

    return outcome >= 0 && outcome < WIREGUARD_OUTCOME_COUNT ? texts[outcome] : err_text(outcome);
}

int wireguard_new(struct wireguard **out, const struct wireguard_config *config)
{
    struct wireguard *w = calloc(1, sizeof(*w));
    uint64_t keys[4];

    if (!w)
        return err_trace(-ENOMEM);
    w->ops = config->ops;
    w->ctx = config->ctx;
    w->random = config->random ? config->random : random_default;
    w->random_ctx = config->random_ctx;
    memcpy(w->process_secret, config->process_secret, sizeof(w->process_secret));
    w->random(w->random_ctx, w->hash_key, sizeof(w->hash_key));
    w->random(w->random_ctx, keys, sizeof(keys));
    w->random(w->random_ctx, &w->jitter, sizeof(w->jitter));
    index_table_init(&w->indices, config->shard, config->shard_bits, keys);
    table_init(&w->peers);
    *out = w;
    return 0;
}

void wireguard_free(struct wireguard *w)
{
    if (!w)
        return;
    must(!w->busy && w->door_count == 0);
    index_table_deinit(&w->indices);
    table_deinit(&w->peers);
    free(w->doors);
    free(w->recent);
    free(w->searchers);
    free(w->handshakers);
    wipe(w, sizeof(*w));
    free(w);
}

const struct wireguard_counters *wireguard_counters(const struct wireguard *w)
{
    return &w->counters;
}

/* ---- nodes ---------------------------------------------------------------- */

static int doors_grow(struct wireguard *w)
{
    uint32_t room = w->door_room ? w->door_room * 2 : FIRST_DOORS;
    struct door *doors;

    if (w->door_count < w->door_room)
        return 0;
    if (w->door_count >= WIREGUARD_NODES_MAX)
        return -ENOSPC;
    doors = realloc(w->doors, room * sizeof(*doors));
    if (!doors)
        return -ENOMEM;
    w->doors = doors;
    w->door_room = room;
    return 0;
}

int wireguard_node_new(struct wireguard_node **out, struct wireguard *w, const struct secret_key *secret,
                       void *user)
{
    struct wireguard_node *n;
    struct public_key public;
    int r;

    secret_key_public(secret, &public);
    for (uint32_t i = 0; i < w->door_count; i++)
        if (public_key_equal(&w->doors[i].node->identity.public, &public))
            return -EEXIST;
    r = doors_grow(w);
    if (r)
        return err_trace(r);
    n = calloc(1, sizeof(*n));
    if (!n)
        return err_trace(-ENOMEM);
    *n = (struct wireguard_node) { .w = w, .user = user, .slot = w->door_count };
    n->identity = (struct identity) { *secret, public };
    mac1_key(&w->doors[w->door_count].mac1, &public);
    w->doors[w->door_count++].node = n;
    w->counters.nodes++;
    *out = n;
    return 0;
}

void wireguard_node_free(struct wireguard_node *n)
{
    struct wireguard *w;

    if (!n)
        return;
    w = n->w;
    must(!w->busy && n->peer_count == 0); /* I4 */
    recent_forget(w, n);
    w->door_count--;
    w->doors[n->slot] = w->doors[w->door_count];
    w->doors[n->slot].node->slot = n->slot;
    w->counters.nodes--;
    wipe(n, sizeof(*n));
    free(n);
}

int wireguard_node_set_secret(struct wireguard_node *n, const struct secret_key *secret)
{
    struct wireguard *w = n->w;
    struct public_key public;

    must(!w->busy);
    secret_key_public(secret, &public);
    for (uint32_t i = 0; i < w->door_count; i++)
        if (w->doors[i].node != n && public_key_equal(&w->doors[i].node->identity.public, &public))
            return -EEXIST;
    n->identity = (struct identity) { *secret, public };
    n->key_epoch++; /* answers to what is under way are for the old key: their mac1 does not fit any more */
    mac1_key(&w->doors[n->slot].mac1, &public);
    return 0;
}

void *wireguard_node_user(const struct wireguard_node *n)
{
    return n->user;
}

const struct public_key *wireguard_node_key(const struct wireguard_node *n)
{
    return &n->identity.public;
}

/* ---- peers ------------------------------------------------------------------ */

static uint64_t peer_hash(const struct wireguard_node *n, const struct public_key *key)
{
    uint8_t bytes[sizeof(n) + KEY_BYTES];

    memcpy(bytes, &n, sizeof(n));
    memcpy(bytes + sizeof(n), key->bytes, KEY_BYTES);
    return siphash(n->w->hash_key, bytes, sizeof(bytes));
}

struct wireguard_peer *wireguard_peer_find(const struct wireguard_node *n, const struct public_key *key)
{
    struct table_node *t = table_first(&n->w->peers, peer_hash(n, key));

    for (; t; t = table_next_same(t)) {
        struct wireguard_peer *p = TABLE_ENTRY(t, struct wireguard_peer, by_key);

        if (p->node == n && public_key_equal(&p->key, key))
            return p;
    }
    return NULL;
}

int wireguard_peer_new(struct wireguard_peer **out, struct wireguard_node *n, const struct public_key *key,
                       void *user)
{
    struct wireguard_peer *p;
    int r;

    if (wireguard_peer_find(n, key))
        return -EEXIST;
    p = calloc(1, sizeof(*p));
    if (!p)
        return err_trace(-ENOMEM);
    *p = (struct wireguard_peer) { .node = n, .user = user, .key = *key };
    p->armed = TIME_NEVER;
    p->handshake_at = p->received_at = -1;
    r = table_insert(&n->w->peers, &p->by_key, peer_hash(n, key));
    if (r) {
        free(p);
        return err_trace(r);
    }
    n->peer_count++;
    n->w->counters.peers++;
    *out = p;
    return 0;
}

static void active_free(struct wireguard_peer *p)
{
    wipe(p->active, sizeof(*p->active));
    free(p->active);
    p->active = NULL;
    wireguard_of(p)->counters.peers_active--;
}

void wireguard_peer_free(struct wireguard_peer *p)
{
    struct wireguard *w;

    if (!p)
        return;
    w = wireguard_of(p);
    must(!w->busy); /* I4 */
    if (p->active) {
        session_erase(p, w->now);
        pending_drop(p, w->now);
        active_free(p);
    }
    table_remove(&w->peers, &p->by_key);
    p->node->peer_count--;
    w->counters.peers--;
    w->counters.indices = w->indices.used;
    free(p);
}

void *wireguard_peer_user(const struct wireguard_peer *p)
{
    return p->user;
}

void wireguard_peer_set_user(struct wireguard_peer *p, void *user)
{
    p->user = user;
}

struct wireguard_node *wireguard_peer_node(const struct wireguard_peer *p)
{
    return p->node;
}

const struct public_key *wireguard_peer_key(const struct wireguard_peer *p)
{
    return &p->key;
}

void wireguard_peer_facts(const struct wireguard_peer *p, time_ns now, struct wireguard_peer_facts *out)
{
    *out = (struct wireguard_peer_facts) {
        .received_bytes = p->received_bytes,
        .sent_bytes = p->sent_bytes,
        .handshake_at = p->handshake_at,
        .received_at = p->received_at,
        .session = session_sending_key(p, 1, now) != NULL,
    };
}

/* ---- the active part --------------------------------------------------------- */

int active_get(struct wireguard_peer *p)
{
    if (p->active)
        return 0;
    p->active = calloc(1, sizeof(*p->active));
    if (!p->active)
        return err_trace(-ENOMEM);
    p->active->cookie_at = p->active->handshake_sent_at = p->active->initiation_received_at = LONG_AGO;
    timers_init(p->active);
    wireguard_of(p)->counters.peers_active++;
    return 0;
}

bool static_shared_known(const struct wireguard_peer *p)
{
    return p->active && p->active->has_static_shared && p->active->key_epoch == p->node->key_epoch;
}

void static_shared_set(struct wireguard_peer *p, const uint8_t shared[KEY_BYTES])
{
    memmove(p->active->static_shared, shared, KEY_BYTES);
    p->active->has_static_shared = true;
    p->active->key_epoch = p->node->key_epoch;
}

/* The one Curve25519 that both directions of every handshake of a peer share. 0, HOSTILE_KEY. */
int static_shared_get(struct wireguard_peer *p, uint8_t out[KEY_BYTES])
{
    if (static_shared_known(p)) {
        memcpy(out, p->active->static_shared, KEY_BYTES);
        return 0;
    }
    return x25519(out, &p->node->identity.secret, &p->key) ? 0 : WIREGUARD_E_HOSTILE_KEY;
}

static bool is_idle(const struct wireguard_peer *p)
{
    const struct active *a = p->active;

    return !a->previous && !a->current && !a->next && !a->is_pending &&
           wireguard_peer_deadline(p) == TIME_NEVER;
}

/* Frees what is not needed any more (I2) and lets the owner know about a nearer deadline, or, if
 * `tell`, about the deadline whatever it is. */
void settle(struct wireguard_peer *p, bool tell)
{
    struct wireguard *w = wireguard_of(p);
    time_ns deadline;

    if (p->active && !w->busy && is_idle(p))
        active_free(p);
    w->counters.indices = w->indices.used;
    deadline = wireguard_peer_deadline(p);
    if (!tell && deadline >= p->armed && (deadline != TIME_NEVER || p->armed == TIME_NEVER))
        return;
    p->armed = deadline;
    w->busy++;
    w->ops->deadline_changed(w->ctx, p);
    w->busy--;
}

void emit(struct wireguard_node *n, struct wireguard_peer *p, const struct wireguard_source *reply_to,
          struct span message, enum wireguard_kind kind)
{
    struct wireguard *w = n->w;

    if (p)
        p->sent_bytes += message.len;
    w->busy++;
    w->ops->send(w->ctx, n, p, reply_to, message, kind);
    w->busy--;
}

void secret_key_draw(struct wireguard *w, struct secret_key *out)
{
    w->random(w->random_ctx, out->bytes, sizeof(out->bytes));
    secret_key_clamp(out);
}

/* ---- memory ---------------------------------------------------------------------------------- */

static size_t keypair_memory(const struct keypair *kp)
{
    return kp ? account_block(kp) + account_block(kp->replay.ring) : 0;
}

size_t wireguard_peer_memory(const struct wireguard_peer *p)
{
    const struct active *a = p->active;
    size_t bytes = account_block(p) + account_block(a);

    return a ? bytes + keypair_memory(a->previous) + keypair_memory(a->current) + keypair_memory(a->next)
             : bytes;
}

size_t wireguard_node_memory(const struct wireguard_node *n)
{
    return account_block(n) + sizeof(struct door);
}

size_t wireguard_memory(const struct wireguard *w)
{
    return account_block(w) + account_block(w->indices.entries) + account_block(w->peers.buckets) +
           account_block(w->doors) - w->door_count * sizeof(struct door) + account_block(w->recent) +
           account_block(w->searchers) + account_block(w->handshakers);
}
