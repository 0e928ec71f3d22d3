/* fuzz/netmap_stream.c - a map stream, one message a line, seen by two nodes of one store
 *
 * A line that begins with '!' opens a new stream. The second node misses every third message, so that their
 * lists differ.
 */
#include "netmap/netmap.h"

#define NOW (INT64_C(1787392800) * SEC)

static void check_peer(const struct netmap *n, size_t i)
{
    const struct netmap_peer *p = netmap_peer_at(n, i), *other;

    must(p && p->node.id && netmap_peer_by_id(n, p->node.id) == p);
    must(!i || netmap_peer_at(n, i - 1)->node.id < p->node.id);
    must(netmap_peer_online(n, p) <= TAILCFG_TRUE && netmap_peer_last_seen(n, p) >= 0);
    other = netmap_peer_by_key(n, &p->node.key);
    must(public_key_is_zero(&p->node.key) ? !other
                                          : other && public_key_equal(&other->node.key, &p->node.key));
    for (size_t k = 0; k < p->node.addresses.count; k++) {
        const struct ip *a = &p->node.addresses.items[k].ip;
        char name[NETMAP_NAME_BYTES];

        if (!ip_prefix_is_single(&p->node.addresses.items[k]))
            continue;
        other = netmap_peer_by_address(n, a);
        must(other && other->node.id <= p->node.id && netmap_peer_has_address(other, a));
        other = netmap_route(n, a);
        must(!other || netmap_peer_routes(other, a));
        must(*netmap_peer_display_name(n, p, name));
    }
}

static void check(const struct netmap *n, const struct netmap_changes *c)
{
    for (size_t i = 0; i < netmap_peer_count(n); i++)
        check_peer(n, i);
    for (size_t i = 0; i < c->count; i++) {
        const struct netmap_peer *now;

        must((c->peers[i].old || c->peers[i].new) && c->peers[i].old != c->peers[i].new);
        now = netmap_peer_by_id(n, (c->peers[i].new ? c->peers[i].new : c->peers[i].old)->node.id);
        must(now == c->peers[i].new);
    }
}

/* What was saved loads to the very same objects. */
static void check_saved(struct netmap_store *s, const struct netmap *n)
{
    struct netmap *again;
    struct buf b;

    buf_init(&b, NETMAP_SAVED_BYTES_MAX);
    if (netmap_save(n, &b) == 0) {
        must(netmap_new(&again, s) == 0 && netmap_load(again, buf_span(&b)) == 0);
        must(netmap_self(again) == netmap_self(n) && netmap_peer_count(again) == netmap_peer_count(n));
        for (size_t i = 0; i < netmap_peer_count(n); i++)
            must(netmap_peer_at(again, i) == netmap_peer_at(n, i));
        must(netmap_filter(again)->refused == netmap_filter(n)->refused);
        netmap_free(again);
    }
    buf_deinit(&b);
}

static void apply(struct netmap *n, const struct tailcfg_map_response *r, bool first)
{
    const struct netmap_peer *self = netmap_self(n);
    size_t count = netmap_peer_count(n);
    struct netmap_changes c;
    int e = netmap_apply(n, r, first, NOW, &c);

    must(e >= 0);
    if (e)
        must(netmap_self(n) == self && netmap_peer_count(n) == count && !c.count);
    check(n, &c);
    netmap_changes_release(&c);
    must(netmap_expire(n, NOW + HOUR, &c) == 0);
    netmap_changes_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t key[16] = "not random here";
    struct span rest = span_make(data, len);
    struct netmap_store_stats stats;
    struct netmap *nodes[2];
    struct netmap_store *s;
    bool first = true;

    must(netmap_store_new(&s, key) == 0 && netmap_new(&nodes[0], s) == 0 && netmap_new(&nodes[1], s) == 0);
    for (int i = 0; rest.len; i++) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        struct span line = span_slice(rest, 0, end ? (size_t)(end - rest.data) : rest.len);
        struct tailcfg_map_response r;

        rest = span_slice(rest, line.len + 1, rest.len);
        if (line.len && *line.data == '!') {
            first = true;
            line = span_slice(line, 1, line.len);
        }
        if (tailcfg_map_response_parse(line, &r))
            continue;
        apply(nodes[0], &r, first && !r.keep_alive);
        if (i % 3 != 2)
            apply(nodes[1], &r, first && !r.keep_alive);
        first &= r.keep_alive || !netmap_self(nodes[0]);
        tailcfg_map_response_deinit(&r);
    }
    check_saved(s, nodes[0]);
    netmap_free(nodes[0]);
    netmap_free(nodes[1]);
    netmap_store_stats(s, &stats);
    must(!stats.peers && !stats.peer_bytes && !stats.text_bytes);
    netmap_store_free(s);
    return 0;
}
