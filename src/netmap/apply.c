/* netmap/apply.c - one message of the map stream
 *
 * The peers after the message are put together beside those before it, compared, and then take their place;
 * what failed until then has changed nothing. Entries that stay keep their one reference: in a list under
 * construction an entry owns a reference only if the list in use does not have the very same one ("fresh").
 */
#include "netmap/view.h"

#include <errno.h>
#include <stdlib.h>

struct refs {
    struct peer_ref *items;
    uint32_t count;
};

struct draft {
    struct netmap *n;
    const struct tailcfg_map_response *r;
    struct netmap_changes *out;
    int64_t wall_now;
    struct refs peers;
    bool peers_built;         /* false: `peers` is the list in use, and only liveness changes */
    struct stored_peer *self; /* NULL: not in the message */
    struct document *derp_map;
    struct part_users users;
    struct part_chunks chunks;
};

static struct stored_peer *peer_of(const struct draft *d, const struct peer_ref *ref)
{
    return store_slot(d->n->store, ref->slot);
}

static int64_t id_of(const struct draft *d, const struct peer_ref *ref)
{
    return peer_of(d, ref)->peer.node.id;
}

/* First entry at or after `from` whose id is not below. */
static uint32_t lower_bound(const struct draft *d, const struct refs *l, uint32_t from, int64_t id)
{
    uint32_t low = from, high = l->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (id_of(d, &l->items[middle]) < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct peer_ref *find(const struct draft *d, const struct refs *l, int64_t id)
{
    uint32_t at = lower_bound(d, l, 0, id);

    return at < l->count && id_of(d, &l->items[at]) == id ? &l->items[at] : NULL;
}

static struct refs in_use(const struct draft *d)
{
    return (struct refs) { d->n->peers, d->n->peer_count };
}

static bool is_fresh(const struct draft *d, const struct peer_ref *ref)
{
    struct refs old = in_use(d);
    const struct peer_ref *same = find(d, &old, id_of(d, ref));

    return !same || same->slot != ref->slot;
}

/* ---- full nodes
 * -------------------------------------------------------------------------------------------------- */

static int compare_refs(const void *draft, const void *a, const void *b)
{
    int64_t x = id_of(draft, a), y = id_of(draft, b);

    return (x > y) - (x < y);
}

static void drop_list(const struct draft *d, struct refs *l)
{
    for (uint32_t i = 0; i < l->count; i++)
        stored_peer_unref(d->n->store, peer_of(d, &l->items[i]));
    free(l->items);
    *l = (struct refs) { NULL, 0 };
}

/* Of each id the last one stays. */
static void unique_refs(const struct draft *d, struct refs *l)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < l->count; i++) {
        if (kept && id_of(d, &l->items[kept - 1]) == id_of(d, &l->items[i]))
            stored_peer_unref(d->n->store, peer_of(d, &l->items[--kept]));
        l->items[kept++] = l->items[i];
    }
    l->count = kept;
}

/* The nodes of these texts, by id, each with a reference. */
static int take_nodes(struct draft *d, const struct tailcfg_texts *texts, struct refs *out)
{
    int e = 0;

    *out = (struct refs) { calloc(texts->count + 1, sizeof(*out->items)), 0 };
    if (!out->items)
        return err_trace(-ENOMEM);
    for (size_t i = 0; i < texts->count && e >= 0; i++) {
        struct stored_peer *p;
        int64_t last_seen;
        uint8_t online;

        e = out->count < NETMAP_PEERS_MAX
                ? store_node_text(d->n->store, texts->items[i], &p, &online, &last_seen)
                : -ENOBUFS;
        if (e == -ENOBUFS)
            e = NETMAP_E_BAD_NODE; /* one too many: left out like one that makes no sense */
        if (e > 0)
            d->out->skipped++;
        if (!e)
            out->items[out->count++] =
                (struct peer_ref) { p->slot, view_seconds(last_seen) & ((1u << 30) - 1), online & 3u };
    }
    if (e >= 0)
        e = view_sort(out->items, out->count, sizeof(*out->items), compare_refs, d);
    if (e < 0) {
        drop_list(d, out);
        return e;
    }
    unique_refs(d, out);
    return 0;
}

static int compare_ids(const void *ctx, const void *a, const void *b)
{
    const int64_t *x = a, *y = b;

    (void)ctx;
    return (*x > *y) - (*x < *y);
}

static bool listed(const struct tailcfg_ids *sorted, int64_t id)
{
    size_t low = 0, high = sorted->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (sorted->items[middle] < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < sorted->count && sorted->items[low] == id;
}

/* Old entries [from, to) that stay: all but the removed ones; none if the new list is complete. */
static void keep(struct draft *d, uint32_t from, uint32_t to, bool complete,
                 const struct tailcfg_ids *removed)
{
    const struct peer_ref *old = d->n->peers;

    if (complete || from == to)
        return;
    if (!removed->count) {
        memcpy(&d->peers.items[d->peers.count], &old[from], (to - from) * sizeof(*old));
        d->peers.count += to - from;
        return;
    }
    for (uint32_t i = from; i < to; i++)
        if (!listed(removed, id_of(d, &old[i])))
            d->peers.items[d->peers.count++] = old[i];
}

/* Old and new entries into one list; the new one wins. One that is the old one gives its reference back. */
static void merge(struct draft *d, const struct refs *new, bool complete, const struct tailcfg_ids *removed)
{
    const struct refs old = in_use(d);
    uint32_t a = 0;

    for (uint32_t b = 0; b < new->count; b++) {
        int64_t id = id_of(d, &new->items[b]);
        /* Lists that are nearly the same are walked, not searched. */
        bool here =
            a < old.count && (old.items[a].slot == new->items[b].slot || id_of(d, &old.items[a]) >= id);
        uint32_t at = here ? a : lower_bound(d, &old, a, id);

        keep(d, a, at, complete, removed);
        a = at;
        if (a < old.count && old.items[a].slot == new->items[b].slot) {
            d->out->liveness |= memcmp(&old.items[a], &new->items[b], sizeof(old.items[a])) != 0;
            stored_peer_unref(d->n->store, peer_of(d, &new->items[b]));
        }
        a += a < old.count && id_of(d, &old.items[a]) == id;
        d->peers.items[d->peers.count++] = new->items[b];
    }
    keep(d, a, old.count, complete, removed);
}

/* Ids of PeersRemoved in order, for looking up. */
static int sorted_ids(const struct tailcfg_ids *in, struct tailcfg_ids *out)
{
    int64_t *copy = malloc((in->count + 1) * sizeof(*copy));

    if (!copy)
        return err_trace(-ENOMEM);
    if (in->count)
        memcpy(copy, in->items, in->count * sizeof(*copy));
    *out = (struct tailcfg_ids) { copy, in->count };
    return view_sort(copy, in->count, sizeof(*copy), compare_ids, NULL);
}

/* The list before patches: complete ones replace, deltas are merged. */
static int build_list(struct draft *d, bool first)
{
    const struct tailcfg_map_response *r = d->r;
    struct tailcfg_ids removed = { NULL, 0 };
    struct refs new;
    int e = take_nodes(d, r->peers.count ? &r->peers : &r->peers_changed, &new);

    if (e)
        return e;
    e = sorted_ids(&r->peers_removed, &removed);
    if (!e)
        d->peers.items = calloc(d->n->peer_count + new.count + 1, sizeof(*d->peers.items));
    if (d->peers.items) {
        d->peers_built = true;
        merge(d, &new, first || r->peers.count, &removed);
        free(new.items);
    } else {
        drop_list(d, &new);
        e = err_trace(-ENOMEM);
    }
    free((void *)(uintptr_t)removed.items);
    return e;
}

/* ---- changes of single members
 * --------------------------------------------------------------------------------- */

static void set_online(struct draft *d, struct peer_ref *ref, bool online)
{
    ref->online = online ? TAILCFG_TRUE : TAILCFG_FALSE;
    d->out->liveness = true;
}

static void set_last_seen(struct draft *d, struct peer_ref *ref, int64_t wall)
{
    ref->last_seen = view_seconds(wall) & ((1u << 30) - 1);
    d->out->liveness = true;
}

static bool changes_content(const struct tailcfg_peer_change *c)
{
    return c->home_derp || c->cap || c->has_caps || c->has_endpoints || c->has_key || c->has_key_signature ||
           c->has_disco_key || c->has_key_expiry;
}

/* The node as the patch makes it; borrows from both. */
static struct tailcfg_node patched(const struct tailcfg_node *node, const struct tailcfg_peer_change *c)
{
    struct tailcfg_node out = *node;

    if (c->home_derp)
        out.home_derp = c->home_derp;
    if (c->cap)
        out.cap = c->cap;
    if (c->has_caps)
        out.caps = c->caps;
    if (c->has_endpoints)
        out.endpoints = c->endpoints;
    if (c->has_key)
        out.key = c->key;
    if (c->has_key_signature)
        out.key_signature = c->key_signature;
    if (c->has_disco_key)
        out.disco_key = c->disco_key;
    if (c->has_key_expiry)
        out.key_expiry = c->key_expiry;
    return out;
}

static int patch(struct draft *d, const struct tailcfg_peer_change *c)
{
    struct peer_ref *ref = find(d, &d->peers, c->id);
    struct stored_peer *new;
    struct tailcfg_node node;
    int e;

    if (!ref)
        return 0; /* unknown: never created by a patch */
    if (c->online != TAILCFG_UNSET)
        set_online(d, ref, c->online == TAILCFG_TRUE);
    if (c->has_last_seen)
        set_last_seen(d, ref, c->last_seen);
    if (!changes_content(c))
        return 0;
    node = patched(&peer_of(d, ref)->peer.node, c);
    e = store_node(d->n->store, &node, &new);
    if (e)
        return e;
    if (is_fresh(d, ref)) {
        stored_peer_unref(d->n->store, peer_of(d, ref));
        ref->slot = new->slot;
        if (!is_fresh(d, ref)) /* the patch leads back to what is in use */
            stored_peer_unref(d->n->store, new);
        return 0;
    }
    if (ref->slot == new->slot)
        stored_peer_unref(d->n->store, new);
    ref->slot = new->slot;
    return 0;
}

/* Patches and liveness work on the list that is in use or being built. */
static int modify_list(struct draft *d)
{
    const struct tailcfg_map_response *r = d->r;
    struct peer_ref *ref;
    int e = 0;

    for (size_t i = 0; i < r->seen_change_count; i++) {
        ref = find(d, &d->peers, r->seen_changes[i].id);
        if (ref)
            set_last_seen(d, ref, r->seen_changes[i].value ? netmap_control_now(d->n, d->wall_now) : 0);
    }
    for (size_t i = 0; i < r->online_change_count; i++) {
        ref = find(d, &d->peers, r->online_changes[i].id);
        if (ref)
            set_online(d, ref, r->online_changes[i].value);
    }
    for (size_t i = 0; i < r->patch_count && !e; i++)
        e = patch(d, &r->patches[i]);
    return e;
}

static bool needs_list(const struct tailcfg_map_response *r, bool first)
{
    bool needed = first || r->peers.count || r->peers_changed.count || r->peers_removed.count;

    for (size_t i = 0; i < r->patch_count && !needed; i++)
        needed = changes_content(&r->patches[i]);
    return needed;
}

static int prepare_peers(struct draft *d, bool first)
{
    int e = 0;

    d->peers = in_use(d);
    if (needs_list(d->r, first)) {
        d->peers = (struct refs) { NULL, 0 };
        e = build_list(d, first);
    }
    if (!e && !d->r->peers.count) /* a complete list makes every other statement void */
        e = modify_list(d);
    return e;
}

/* ---- from the draft to the netmap
 * ------------------------------------------------------------------------------ */

/* Steps through both lists by id. False at the end. */
static bool step(const struct draft *d, const struct refs *old, uint32_t *a, uint32_t *b,
                 struct peer_ref **was, struct peer_ref **is)
{
    int order;

    if (*a == old->count && *b == d->peers.count)
        return false;
    *was = *a < old->count ? &old->items[*a] : NULL;
    *is = *b < d->peers.count ? &d->peers.items[*b] : NULL;
    if (*was && *is) {
        order = (*was)->slot == (*is)->slot ? 0 : compare_refs(d, *was, *is);
        if (order < 0)
            *is = NULL;
        if (order > 0)
            *was = NULL;
    }
    *a += *was != NULL;
    *b += *is != NULL;
    return true;
}

static int collect_changes(struct draft *d)
{
    struct refs old = in_use(d);
    struct peer_ref *was, *is;
    uint32_t a = 0, b = 0;

    while (d->peers_built && step(d, &old, &a, &b, &was, &is)) {
        int e;

        if (was && is && was->slot == is->slot)
            continue;
        e = changes_add(d->out, was ? peer_of(d, was) : NULL, is ? peer_of(d, is) : NULL);
        if (e)
            return e;
    }
    return 0;
}

/* References that only the draft has. */
static void drop_draft(struct draft *d)
{
    struct refs old = in_use(d);
    struct peer_ref *was, *is;
    uint32_t a = 0, b = 0;

    if (d->peers_built) {
        while (step(d, &old, &a, &b, &was, &is))
            if (is && !(was && was->slot == is->slot))
                stored_peer_unref(d->n->store, peer_of(d, is));
        free(d->peers.items);
    }
    stored_peer_unref(d->n->store, d->self);
    document_unref(d->n->store, d->derp_map);
    part_users_drop(d->n, &d->users);
    part_chunks_drop(d->n, &d->chunks);
}

/* The changes hold references of their own, so nothing is gone while we count. */
static void commit_peers(struct draft *d)
{
    struct netmap *n = d->n;
    struct peer_ref *fit;

    if (!d->peers_built)
        return;
    for (size_t i = 0; i < d->out->count; i++) {
        const struct netmap_change *c = &d->out->peers[i];

        if (c->old)
            view_count(n, (const struct stored_peer *)c->old, -1);
        if (c->new)
            view_count(n, (const struct stored_peer *)c->new, 1);
        netmap_peer_unref(n->store, c->old);
    }
    free(n->peers);
    fit = realloc(d->peers.items, (d->peers.count + 1) * sizeof(*fit));
    n->peers = fit ? fit : d->peers.items;
    n->peer_count = d->peers.count;
}

static void commit_self(struct draft *d)
{
    if (d->self && d->self != d->n->self) {
        d->out->self = true;
        d->out->old_self = d->n->self ? &d->n->self->peer : NULL; /* our reference goes along */
        d->n->self = d->self;
        view_note_expiry(d->n, d->self);
    } else {
        stored_peer_unref(d->n->store, d->self);
    }
}

static bool same_texts(const struct tailcfg_texts *a, const struct tailcfg_texts *b)
{
    bool same = a->count == b->count;

    for (size_t i = 0; same && i < a->count; i++)
        same = span_equal(a->items[i], b->items[i]);
    return same;
}

/* Domain, tailnet lock and DNS live in one small arena, which is made anew if one of them changes. */
static int commit_texts(struct draft *d, bool first)
{
    const struct tailcfg_map_response *r = d->r;
    struct netmap *n = d->n;
    struct span domain = r->domain.len || first ? r->domain : n->domain;
    struct span tka = r->has_tka ? (r->tka_disabled ? SPAN_NONE : r->tka_head)
                      : first    ? SPAN_NONE
                                 : n->tka_head;
    struct tailcfg_texts certs = r->dns ? r->dns->cert_domains : n->cert_domains;
    bool magic_dns = r->dns ? r->dns->proxied : !first && n->magic_dns;
    struct span *items;
    struct arena a;

    if (first && !r->dns)
        certs = (struct tailcfg_texts) { NULL, 0 };
    arena_init(&a, n->texts.max);
    domain = arena_copy(&a, domain);
    tka = tka.len ? arena_copy(&a, tka) : SPAN_NONE;
    items = ARENA_ARRAY(&a, certs.count, struct span);
    for (size_t i = 0; items && i < certs.count; i++)
        items[i] = arena_copy(&a, certs.items[i]);
    if (a.failed) {
        arena_deinit(&a);
        return err_trace(-ENOMEM);
    }
    d->out->domain = !span_equal(domain, n->domain);
    d->out->tka = !span_equal(tka, n->tka_head);
    d->out->dns = !same_texts(&certs, &n->cert_domains) || magic_dns != n->magic_dns;
    arena_deinit(&n->texts);
    n->texts = a;
    n->domain = domain;
    n->tka_head = tka;
    n->cert_domains = (struct tailcfg_texts) { items, certs.count };
    n->magic_dns = magic_dns;
    return 0;
}

static int commit(struct draft *d, bool first)
{
    struct netmap *n = d->n;
    bool refused = n->filter.refused, had_unsigned = n->unsigned_count;
    int e = 0;

    if (first)
        n->next_expiry = INT64_MAX; /* all who stay are noted again below */
    commit_peers(d);
    commit_self(d);
    for (uint32_t i = 0; first && i < n->peer_count; i++)
        view_note_expiry(n, view_peer(n, i));
    if (first && n->self)
        view_note_expiry(n, n->self);
    d->out->derp_map = d->derp_map != n->derp_map;
    document_unref(n->store, n->derp_map);
    n->derp_map = d->derp_map;
    d->out->users = d->users.changed;
    part_users_commit(n, &d->users);
    d->out->filter = d->chunks.changed;
    part_chunks_commit(n, &d->chunks);
    if (d->out->filter || ((had_unsigned || n->unsigned_count) && d->out->count))
        e = view_rebuild_filter(n);
    d->out->filter |= refused != n->filter.refused;
    if (!e && (d->r->domain.len || d->r->dns || d->r->has_tka || first))
        e = commit_texts(d, first);
    if (d->out->count || d->out->self || d->out->derp_map || d->out->dns || d->out->domain ||
        d->out->filter || d->out->users || d->out->tka)
        n->generation++;
    return e;
}

static int prepare(struct draft *d, bool first)
{
    const struct tailcfg_map_response *r = d->r;
    struct netmap *n = d->n;
    int64_t last_seen;
    uint8_t online;
    int e;

    if (first && !r->node.len)
        return NETMAP_E_NO_NODE;
    e = r->node.len ? store_node_text(n->store, r->node, &d->self, &online, &last_seen) : 0;
    if (!e)
        e = part_users_prepare(n, r, first, &d->users, &d->out->skipped);
    if (!e)
        e = part_chunks_prepare(n, r, first, &d->chunks, &d->out->skipped);
    if (!e)
        e = part_derp_prepare(n, r, first, &d->derp_map, &d->out->skipped);
    if (!e)
        e = prepare_peers(d, first);
    if (!e)
        e = collect_changes(d);
    return e;
}

int netmap_apply(struct netmap *n, const struct tailcfg_map_response *r, bool first, int64_t wall_now,
                 struct netmap_changes *out)
{
    struct draft d = { .n = n, .r = r, .out = out, .wall_now = wall_now };
    int e;

    *out = (struct netmap_changes) { .store = n->store, .skipped = r->skipped };
    view_set_control_time(n, r->control_time, wall_now);
    if (r->keep_alive)
        return 0;
    e = prepare(&d, first);
    if (e) {
        drop_draft(&d);
        netmap_changes_release(out);
        return e < 0 ? err_trace(e) : e;
    }
    return commit(&d, first);
}
