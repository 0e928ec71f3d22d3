/* netmap/content.c - a node as a value: hashing it, and packing it into one allocation
 *
 * Everything of a node but `online` and `last_seen` is its content. One table says what it consists of.
 */
#include "netmap/store.h"

#include <stdlib.h>

#define XXH_STATIC_LINKING_ONLY /* the state on our stack */
#include <xxhash.h>

enum field_kind {
    PLAIN, /* bytes in the struct */
    TEXT,  /* struct span */
    ITEMS, /* pointer and count of plain elements */
    TEXTS, /* pointer and count of spans */
};

struct field {
    uint16_t at;
    uint8_t kind;
    uint8_t size; /* PLAIN: of the field; else of an element */
};

#define AT(name) offsetof(struct tailcfg_node, name)
#define FIELD(name)                                               \
    {                                                             \
        AT(name), PLAIN, sizeof(((struct tailcfg_node *)0)->name) \
    }
#define LIST(name, element, kind)       \
    {                                   \
        AT(name), kind, sizeof(element) \
    }

/* A cap is two spans, so a list of caps is a list of spans, twice as long: TEXTS with the element of two. */
static const struct field fields[] = {
    FIELD(id),
    FIELD(user),
    FIELD(sharer),
    FIELD(key),
    FIELD(disco_key),
    FIELD(key_expiry),
    FIELD(home_derp),
    FIELD(cap),
    FIELD(peerapi4_port),
    FIELD(peerapi6_port),
    FIELD(created),
    FIELD(machine_authorized),
    FIELD(unsigned_peerapi_only),
    FIELD(expired),
    FIELD(wireguard_only),
    FIELD(jailed),
    FIELD(sharee),
    FIELD(masquerade_v4),
    FIELD(masquerade_v6),
    LIST(stable_id, uint8_t, TEXT),
    LIST(name, uint8_t, TEXT),
    LIST(key_signature, uint8_t, TEXT),
    LIST(hostname, uint8_t, TEXT),
    LIST(os, uint8_t, TEXT),
    LIST(addresses, struct ip_prefix, ITEMS),
    LIST(allowed_ips, struct ip_prefix, ITEMS),
    LIST(primary_routes, struct ip_prefix, ITEMS),
    LIST(endpoints, struct ip_port, ITEMS),
    LIST(tags, struct span, TEXTS),
    LIST(caps, struct tailcfg_cap, TEXTS),
};

/* Every list of a node has this shape. */
struct any_list {
    const void *items;
    size_t count;
};

static struct any_list list_of(const struct tailcfg_node *node, const struct field *f)
{
    struct any_list list;

    memcpy(&list, (const uint8_t *)node + f->at, sizeof(list));
    return list;
}

static size_t span_count(const struct any_list *list, const struct field *f)
{
    return list->count * (f->size / sizeof(struct span));
}

/* ---- hashing ------------------------------------------------------------------------------------------- */

static struct content_hash from_xxh(XXH128_hash_t h)
{
    return (struct content_hash) { h.low64, h.high64 };
}

struct content_hash content_hash_text(uint64_t seed, struct span text)
{
    return from_xxh(XXH3_128bits_withSeed(text.data, text.len, seed));
}

static void mix(XXH3_state_t *h, const void *bytes, size_t len)
{
    if (len)
        XXH3_128bits_update(h, bytes, len);
}

static void mix_field(XXH3_state_t *h, const struct tailcfg_node *node, const struct field *f)
{
    struct any_list list;

    if (f->kind == PLAIN) {
        mix(h, (const uint8_t *)node + f->at, f->size);
        return;
    }
    list = list_of(node, f);
    mix(h, &list.count, sizeof(list.count)); /* so that elements cannot change lists */
    if (f->kind != TEXTS) {
        mix(h, list.items, list.count * f->size);
        return;
    }
    for (size_t i = 0; i < span_count(&list, f); i++) {
        const struct span *s = (const struct span *)list.items + i;

        mix(h, &s->len, sizeof(s->len));
        mix(h, s->data, s->len);
    }
}

struct content_hash content_hash_node(uint64_t seed, const struct tailcfg_node *node)
{
    XXH3_state_t h;

    XXH3_INITSTATE(&h); /* or a leftover seed on our stack passes for an initialised secret */
    XXH3_128bits_reset_withSeed(&h, seed);
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        mix_field(&h, node, &fields[i]);
    return from_xxh(XXH3_128bits_digest(&h));
}

/* ---- packing ------------------------------------------------------------------------------------------- */

static bool same_prefixes(const struct tailcfg_prefixes *a, const struct tailcfg_prefixes *b)
{
    return a->count == b->count && (!a->count || !memcmp(a->items, b->items, a->count * sizeof(*a->items)));
}

/* Most nodes are allowed exactly their addresses: then one list serves both. */
static bool shares_addresses(const struct tailcfg_node *node, const struct field *f)
{
    return f->at == AT(allowed_ips) && same_prefixes(&node->allowed_ips, &node->addresses);
}

/* Arrays of spans need alignment, the rest does not: first all of them, then the bytes. */
static void measure(const struct tailcfg_node *node, size_t *spans, size_t *bytes)
{
    *spans = *bytes = 0;
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const struct field *f = &fields[i];
        struct any_list list;

        if (f->kind == PLAIN || shares_addresses(node, f))
            continue;
        list = list_of(node, f);
        if (f->kind != TEXTS) {
            *bytes += list.count * f->size + list.count * f->size % 2; /* ip_port is of 16-bit units */
            continue;
        }
        *spans += span_count(&list, f);
        for (size_t k = 0; k < span_count(&list, f); k++)
            *bytes += ((const struct span *)list.items)[k].len;
    }
}

/* Where the next array of spans and the next bytes go. */
struct room {
    struct span *spans;
    uint8_t *even, *bytes; /* elements of two-byte units, then texts */
};

static void *put(uint8_t **at, const void *bytes, size_t len)
{
    void *here = *at;

    if (len)
        memcpy(here, bytes, len);
    *at += len;
    return here;
}

static void pack_field(struct tailcfg_node *node, const struct field *f, struct room *room)
{
    struct any_list list = list_of(node, f);
    struct span *copies = room->spans;

    if (f->kind == TEXTS) {
        room->spans += span_count(&list, f);
        for (size_t i = 0; i < span_count(&list, f); i++) {
            copies[i] = ((const struct span *)list.items)[i];
            copies[i].data = put(&room->bytes, copies[i].data, copies[i].len);
        }
        list.items = copies;
    } else if (f->kind == ITEMS && f->size % 2 == 0) {
        list.items = put(&room->even, list.items, list.count * f->size);
    } else {
        list.items = put(&room->bytes, list.items, list.count * f->size);
    }
    if (!list.count)
        list.items = NULL;
    memcpy((uint8_t *)node + f->at, &list, sizeof(list));
}

static bool prefix_listed(const struct tailcfg_prefixes *list, const struct ip_prefix *p)
{
    for (size_t i = 0; i < list->count; i++)
        if (ip_prefix_equal(&list->items[i], p))
            return true;
    return false;
}

/* Single addresses of both lists, each once; out may be NULL to count. */
static uint32_t list_addresses(const struct tailcfg_node *node, struct peer_address *out)
{
    uint32_t n = 0;

    for (size_t i = 0; i < node->addresses.count; i++) {
        const struct ip_prefix *p = &node->addresses.items[i];

        if (!ip_prefix_is_single(p))
            continue;
        if (out)
            out[n] = (struct peer_address) { .ip = p->ip,
                                             .own = true,
                                             .routed = prefix_listed(&node->allowed_ips, p) };
        n++;
    }
    for (size_t i = 0; i < node->allowed_ips.count; i++) {
        const struct ip_prefix *p = &node->allowed_ips.items[i];

        if (!ip_prefix_is_single(p) || prefix_listed(&node->addresses, p))
            continue;
        if (out)
            out[n] = (struct peer_address) { .ip = p->ip, .routed = true };
        n++;
    }
    return n;
}

static bool has_wide_routes(const struct tailcfg_node *node)
{
    for (size_t i = 0; i < node->allowed_ips.count; i++)
        if (!ip_prefix_is_single(&node->allowed_ips.items[i]))
            return true;
    return false;
}

struct stored_peer *content_pack(const struct tailcfg_node *node)
{
    uint32_t address_count = list_addresses(node, NULL);
    size_t spans, bytes, size, even = node->endpoints.count * sizeof(struct ip_port);
    struct stored_peer *p;
    struct room room;

    measure(node, &spans, &bytes);
    size = sizeof(*p) + address_count * sizeof(*p->addresses) + spans * sizeof(struct span) + bytes;
    p = calloc(1, size);
    if (!p)
        return NULL;
    p->peer.node = *node;
    p->peer.node.online = TAILCFG_UNSET;
    p->peer.node.last_seen = 0;
    p->bytes = size;
    p->addresses = (struct peer_address *)(p + 1);
    p->address_count = list_addresses(node, p->addresses);
    room.spans = (struct span *)(p->addresses + address_count);
    room.even = (uint8_t *)(room.spans + spans);
    room.bytes = room.even + even;
    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (fields[i].kind != PLAIN && !shares_addresses(node, &fields[i]))
            pack_field(&p->peer.node, &fields[i], &room);
    if (same_prefixes(&node->allowed_ips, &node->addresses))
        p->peer.node.allowed_ips = p->peer.node.addresses;
    must(room.bytes <= (uint8_t *)p + size);
    for (uint32_t i = 0; i < address_count; i++)
        p->addresses[i].peer = p;
    p->has_wide_routes = has_wide_routes(node);
    return p;
}
