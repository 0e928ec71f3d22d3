/* netmap/netmap.c - life of a netmap, and what it can be asked */
#include "netmap/view.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define SECONDS_FROM INT64_C(1577836800) /* 2020-01-01 */
#define SECONDS_MAX ((1 << 30) - 1)
#define VIEW_TEXTS_MAX (1u << 20)

int netmap_new(struct netmap **out, struct netmap_store *s)
{
    struct netmap *n = calloc(1, sizeof(*n));

    *out = n;
    if (!n)
        return err_trace(-ENOMEM);
    n->store = s;
    n->next_expiry = INT64_MAX;
    arena_init(&n->texts, VIEW_TEXTS_MAX);
    return 0;
}

void netmap_free(struct netmap *n)
{
    if (!n)
        return;
    for (uint32_t i = 0; i < n->peer_count; i++)
        stored_peer_unref(n->store, view_peer(n, i));
    stored_peer_unref(n->store, n->self);
    for (uint32_t i = 0; i < n->user_count; i++)
        document_unref(n->store, n->users[i]);
    for (uint32_t i = 0; i < n->chunk_count; i++) {
        document_unref(n->store, n->chunks[i].rules);
        free(n->chunks[i].name);
    }
    document_unref(n->store, n->derp_map);
    arena_deinit(&n->texts);
    free(n->peers);
    free(n->users);
    free(n->chunks);
    free(n->active);
    free(n);
}

/* ---- inside -----------------------------------------------------------------------------------------------
 */

uint32_t view_find(const struct netmap *n, int64_t id, bool *found)
{
    uint32_t low = 0, high = n->peer_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (view_peer(n, middle)->peer.node.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    *found = low < n->peer_count && view_peer(n, low)->peer.node.id == id;
    return low;
}

bool view_sees(const void *netmap, const struct stored_peer *p)
{
    const struct netmap *n = netmap;
    bool found;
    uint32_t i;

    if (p == n->self)
        return true;
    i = view_find(n, p->peer.node.id, &found);
    return found && n->peers[i].slot == p->slot;
}

void view_note_expiry(struct netmap *n, const struct stored_peer *p)
{
    int64_t expiry = p->peer.node.key_expiry;

    if (expiry && expiry > n->expired_until)
        n->next_expiry = MIN(n->next_expiry, expiry);
}

void view_count(struct netmap *n, const struct stored_peer *p, int by)
{
    n->unsigned_count += p->peer.node.unsigned_peerapi_only ? (uint32_t)by : 0;
    n->wide_count += p->has_wide_routes ? (uint32_t)by : 0;
    if (by > 0)
        view_note_expiry(n, p);
}

uint32_t view_seconds(int64_t wall_ns)
{
    int64_t seconds = wall_ns / SEC - SECONDS_FROM;

    if (!wall_ns)
        return 0;
    return (uint32_t)MIN(MAX(seconds, 1), SECONDS_MAX);
}

/* A rule that names an unsigned peer as a source: the server is broken or hostile. */
static bool names_unsigned(const struct netmap *n)
{
    for (uint32_t i = 0; i < n->peer_count && n->unsigned_count; i++) {
        const struct tailcfg_node *node = &view_peer(n, i)->peer.node;

        for (size_t k = 0; k < node->allowed_ips.count && node->unsigned_peerapi_only; k++)
            for (uint32_t c = 0; c < n->chunk_count; c++)
                if (filter_rules_source_overlaps(n->chunks[c].rules->rules, &node->allowed_ips.items[k]))
                    return true;
    }
    return false;
}

int view_rebuild_filter(struct netmap *n)
{
    free(n->active);
    n->active = NULL;
    n->filter = (struct filter) { .refused = true }; /* should memory be out: deny all */
    if (n->chunk_count) {
        n->active = calloc(n->chunk_count, sizeof(*n->active));
        if (!n->active)
            return err_trace(-ENOMEM);
    }
    n->filter = (struct filter) { .chunks = n->active, .count = n->chunk_count };
    for (uint32_t i = 0; i < n->chunk_count; i++) {
        n->active[i] = n->chunks[i].rules->rules;
        n->filter.refused |= filter_rules_ancient(n->active[i]);
    }
    n->filter.refused |= names_unsigned(n);
    return 0;
}

/* ---- peers as values
 * ------------------------------------------------------------------------------------------ */

const struct tailcfg_cap *netmap_peer_cap(const struct netmap_peer *p, const char *name)
{
    for (size_t i = 0; i < p->node.caps.count; i++)
        if (span_equal_str(p->node.caps.items[i].name, name))
            return &p->node.caps.items[i];
    return NULL;
}

bool netmap_peer_has_address(const struct netmap_peer *p, const struct ip *a)
{
    for (size_t i = 0; i < p->node.addresses.count; i++)
        if (ip_prefix_is_single(&p->node.addresses.items[i]) && ip_equal(&p->node.addresses.items[i].ip, a))
            return true;
    return false;
}

/* Bits of the longest prefix of its AllowedIPs that holds `a`; -1: none. */
static int route_bits(const struct netmap_peer *p, const struct ip *a)
{
    int best = -1;

    for (size_t i = 0; i < p->node.allowed_ips.count; i++) {
        const struct ip_prefix *prefix = &p->node.allowed_ips.items[i];

        if (prefix->bits > best && ip_prefix_contains(prefix, a))
            best = prefix->bits;
    }
    return best;
}

bool netmap_peer_routes(const struct netmap_peer *p, const struct ip *a)
{
    return route_bits(p, a) >= 0;
}

static bool source_has_cap(const void *peer, const struct ip *source, struct span cap)
{
    const struct netmap_peer *p = peer;

    if (p->node.unsigned_peerapi_only || !netmap_peer_has_address(p, source))
        return false;
    for (size_t i = 0; i < p->node.caps.count; i++)
        if (span_equal(p->node.caps.items[i].name, cap))
            return true;
    return false;
}

struct filter_source netmap_peer_filter_source(const struct netmap_peer *p)
{
    return (struct filter_source) { .jailed = p->node.jailed, .has_cap = source_has_cap, .peer = p };
}

/* ---- look-ups
 * -------------------------------------------------------------------------------------------------- */

uint64_t netmap_generation(const struct netmap *n)
{
    return n->generation;
}

const struct netmap_peer *netmap_self(const struct netmap *n)
{
    return n->self ? &n->self->peer : NULL;
}

size_t netmap_peer_count(const struct netmap *n)
{
    return n->peer_count;
}

const struct netmap_peer *netmap_peer_at(const struct netmap *n, size_t index)
{
    return index < n->peer_count ? &view_peer(n, (uint32_t)index)->peer : NULL;
}

const struct netmap_peer *netmap_peer_by_id(const struct netmap *n, int64_t id)
{
    bool found;
    uint32_t i = view_find(n, id, &found);

    return found ? &view_peer(n, i)->peer : NULL;
}

static bool is_peer(const void *netmap, const struct stored_peer *p)
{
    return p != ((const struct netmap *)netmap)->self && view_sees(netmap, p);
}

static const struct netmap_peer *door(const struct stored_peer *p)
{
    return p ? &p->peer : NULL;
}

const struct netmap_peer *netmap_peer_by_key(const struct netmap *n, const struct public_key *key)
{
    return door(store_find_key(n->store, key, is_peer, n));
}

const struct netmap_peer *netmap_peer_by_address(const struct netmap *n, const struct ip *a)
{
    return door(store_find_address(n->store, a, false, is_peer, n));
}

/* As far as time was told to us. */
static bool known_expired(const struct netmap *n, const struct netmap_peer *p)
{
    return p->node.expired || (p->node.key_expiry && p->node.key_expiry <= n->expired_until);
}

static bool is_live_peer(const void *netmap, const struct stored_peer *p)
{
    return is_peer(netmap, p) && !known_expired(netmap, &p->peer);
}

const struct netmap_peer *netmap_route(const struct netmap *n, const struct ip *a)
{
    const struct stored_peer *single = store_find_address(n->store, a, true, is_live_peer, n);
    const struct netmap_peer *best = NULL;
    int best_bits = -1;

    if (single)
        return &single->peer;
    for (uint32_t i = 0, left = n->wide_count; i < n->peer_count && left; i++) {
        const struct stored_peer *p = view_peer(n, i);
        int bits;

        if (!p->has_wide_routes)
            continue;
        left--;
        bits = route_bits(&p->peer, a);
        if (bits > best_bits && !known_expired(n, &p->peer)) {
            best = &p->peer;
            best_bits = bits;
        }
    }
    return best;
}

bool netmap_source_allowed(const struct netmap *n, const struct netmap_peer *p, const struct ip *source)
{
    if (netmap_peer_has_address(p, source) && netmap_peer_routes(p, source))
        return true;
    return netmap_peer_routes(p, source) && netmap_route(n, source) == p;
}

static const struct peer_ref *ref_of(const struct netmap *n, const struct netmap_peer *p)
{
    bool found;
    uint32_t i = view_find(n, p->node.id, &found);

    return found ? &n->peers[i] : NULL;
}

enum tailcfg_bool netmap_peer_online(const struct netmap *n, const struct netmap_peer *p)
{
    const struct peer_ref *ref = ref_of(n, p);

    return ref ? (enum tailcfg_bool)ref->online : TAILCFG_UNSET;
}

int64_t netmap_peer_last_seen(const struct netmap *n, const struct netmap_peer *p)
{
    const struct peer_ref *ref = ref_of(n, p);

    return ref && ref->last_seen ? (ref->last_seen + SECONDS_FROM) * SEC : 0;
}

/* ---- what is not peers
 * ------------------------------------------------------------------------------------------- */

const struct filter *netmap_filter(const struct netmap *n)
{
    return &n->filter;
}

const struct tailcfg_derp_map *netmap_derp_map(const struct netmap *n)
{
    return n->derp_map ? &n->derp_map->derp_map : NULL;
}

static struct document *document_of(const struct tailcfg_derp_map *map)
{
    return CONTAINER_OF((struct tailcfg_derp_map *)(uintptr_t)map, struct document, derp_map);
}

const struct tailcfg_derp_map *netmap_derp_map_ref(const struct tailcfg_derp_map *map)
{
    document_ref(document_of(map));
    return map;
}

void netmap_derp_map_unref(struct netmap_store *s, const struct tailcfg_derp_map *map)
{
    if (map)
        document_unref(s, document_of(map));
}

struct span netmap_domain(const struct netmap *n)
{
    return n->domain;
}

bool netmap_magic_dns(const struct netmap *n)
{
    return n->magic_dns;
}

size_t netmap_cert_domain_count(const struct netmap *n)
{
    return n->cert_domains.count;
}

struct span netmap_cert_domain(const struct netmap *n, size_t index)
{
    return index < n->cert_domains.count ? n->cert_domains.items[index] : SPAN_NONE;
}

struct span netmap_tka_head(const struct netmap *n)
{
    return n->tka_head;
}

static struct span without_dot(struct span name)
{
    if (name.len && name.data[name.len - 1] == '.')
        name.len--;
    return name;
}

struct span netmap_magic_dns_suffix(const struct netmap *n)
{
    struct span name = n->self ? without_dot(n->self->peer.node.name) : SPAN_NONE;
    const uint8_t *dot = name.len ? memchr(name.data, '.', name.len) : NULL;

    return dot ? span_slice(name, (size_t)(dot - name.data) + 1, name.len) : SPAN_NONE;
}

/* Lower case letters, digits and inner dashes; at most a DNS label. */
static size_t sanitize(struct span host, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < host.len && n < 63; i++) {
        int c = tolower(host.data[i]);

        if (c == '.')
            break;
        if (isalnum(c) && c < 128)
            out[n++] = (char)c;
        else if (n)
            out[n++] = '-';
    }
    while (n && out[n - 1] == '-')
        n--;
    out[n] = 0;
    return n;
}

const char *netmap_peer_display_name(const struct netmap *n, const struct netmap_peer *p,
                                     char out[NETMAP_NAME_BYTES])
{
    struct span name = without_dot(p->node.name), suffix = netmap_magic_dns_suffix(n);

    if (suffix.len && name.len > suffix.len + 1 && name.data[name.len - suffix.len - 1] == '.' &&
        span_equal(span_slice(name, name.len - suffix.len, suffix.len), suffix))
        name.len -= suffix.len + 1;
    name.len = MIN(name.len, (size_t)NETMAP_NAME_BYTES - 1);
    if ((name.len && text_copy(out, NETMAP_NAME_BYTES, name)) || sanitize(p->node.hostname, out))
        return out;
    static_assert(NETMAP_NAME_BYTES >= KEY_TEXT_BYTES, "a key is the last resort");
    return key_text(out, "nodekey:", p->node.key.bytes);
}

const struct tailcfg_user_profile *netmap_user(const struct netmap *n, int64_t id)
{
    uint32_t low = 0, high = n->user_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (n->users[middle]->user.id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n->user_count && n->users[low]->user.id == id ? &n->users[low]->user : NULL;
}

bool netmap_whois(const struct netmap *n, const struct ip *a, struct netmap_whois *out)
{
    const struct stored_peer *p = store_find_address(n->store, a, false, view_sees, n);
    const struct tailcfg_user_profile *user = p ? netmap_user(n, p->peer.node.user) : NULL;

    if (!user)
        return false;
    *out = (struct netmap_whois) { .peer = &p->peer, .user = user, .tagged = p->peer.node.tags.count > 0 };
    return true;
}

/* ---- capabilities
 * -------------------------------------------------------------------------------------------------- */

#define CAP_INGRESS "https://tailscale.com/cap/ingress"

struct ingress_only {
    filter_cap_fn *each;
    void *ctx;
};

static void pass_ingress(void *ctx, struct span name, struct span values)
{
    const struct ingress_only *o = ctx;

    if (span_equal_str(name, CAP_INGRESS))
        o->each(o->ctx, name, values);
}

static const struct ip *address_of_family(const struct netmap_peer *p, bool v4)
{
    for (size_t i = 0; p && i < p->node.addresses.count; i++)
        if (ip_prefix_is_single(&p->node.addresses.items[i]) &&
            ip_is_v4(&p->node.addresses.items[i].ip) == v4)
            return &p->node.addresses.items[i].ip;
    return NULL;
}

void netmap_caps(const struct netmap *n, const struct netmap_peer *p, const struct ip *dst,
                 filter_cap_fn *each, void *ctx)
{
    struct ingress_only only = { each, ctx };
    const struct ip *src = p->node.addresses.count ? &p->node.addresses.items[0].ip : NULL;

    if (src && !dst)
        dst = address_of_family(netmap_self(n), ip_is_v4(src));
    if (!src || !dst)
        return;
    if (p->node.unsigned_peerapi_only)
        filter_caps(&n->filter, src, dst, pass_ingress, &only);
    else
        filter_caps(&n->filter, src, dst, each, ctx);
}

size_t netmap_memory(const struct netmap *n)
{
    size_t bytes = account_block(n) + account_block(n->peers) + account_block(n->users) +
                   account_block(n->chunks) + account_block(n->active) + n->texts.held;

    for (uint32_t i = 0; i < n->chunk_count; i++)
        bytes += account_block(n->chunks[i].name);
    return bytes;
}
