/* filter/rules.c - from the text of a rule list to what verdicts are looked up in */
#include "filter/rules.h"

#include <errno.h>
#include <stdlib.h>

/* While compiling: the result, and the room of its arrays. */
struct compiler {
    struct filter_rules *r;
    struct arena scratch; /* one parsed rule */
    uint32_t rule_room, dst_room, v4_room, v6_room, cap_room, grant_room, grant_dst_room, grant_cap_room;
    bool no_memory, too_big;
};

/* One more element at the end of an array of the result; NULL when there is no room for it. */
static void *push(struct compiler *c, void **items, uint32_t *count, uint32_t *room, size_t size,
                  uint32_t max)
{
    void *bigger;

    if (*count >= max) {
        c->too_big = true;
        return NULL;
    }
    if (*count == *room) {
        uint32_t more = *room ? *room * 2 : 8;

        bigger = realloc(*items, more * size);
        if (!bigger) {
            c->no_memory = true;
            return NULL;
        }
        *items = bigger;
        *room = more;
    }
    memset((uint8_t *)*items + *count * size, 0, size);
    return (uint8_t *)*items + (*count)++ * size;
}

#define PUSH(c, items, name, max) \
    push(c, (void **)&(c)->r->items, &(c)->r->name##_count, &(c)->name##_room, sizeof(*(c)->r->items), max)

/* ---- addresses --------------------------------------------------------------------------------------------
 */

static uint32_t v4_number(const struct ip *a)
{
    return load_be32(ip_v4_bytes(a));
}

/* IPv4 in IPv6 spelling matches nothing in the reference; to us it would be IPv4. */
static bool parse_address(struct span s, struct ip *out)
{
    return ip_parse(s, out) && ip_is_v4(out) == !memchr(s.data, ':', s.len);
}

static struct range6 prefix_range(const struct ip_prefix *p)
{
    struct range6 range = { p->ip, p->ip };

    for (unsigned bit = (ip_is_v4(&p->ip) ? 96 : 0) + p->bits; bit < 128; bit++)
        range.last.bytes[bit / 8] |= (uint8_t)(0x80 >> (bit % 8));
    return range;
}

static bool parse_prefix(struct span s, struct range6 *out)
{
    struct ip_prefix p;

    if (!ip_prefix_parse(s, &p) || ip_is_v4(&p.ip) == !!memchr(s.data, ':', s.len))
        return false;
    *out = prefix_range(&p);
    return true;
}

static bool parse_range(struct span s, size_t dash, struct range6 *out)
{
    return parse_address(span_slice(s, 0, dash), &out->first) &&
           parse_address(span_slice(s, dash + 1, s.len), &out->last) &&
           ip_is_v4(&out->first) == ip_is_v4(&out->last) &&
           memcmp(&out->first, &out->last, sizeof(out->first)) <= 0;
}

/* Address, prefix or range; "*" is the caller's. */
static bool parse_set(struct span s, struct range6 *out)
{
    const uint8_t *slash = s.len ? memchr(s.data, '/', s.len) : NULL,
                  *dash = s.len ? memchr(s.data, '-', s.len) : NULL;

    if (slash)
        return parse_prefix(s, out);
    if (dash)
        return parse_range(s, (size_t)(dash - s.data), out);
    out->first = IP_NONE;
    if (!s.len || !parse_address(s, &out->first))
        return false;
    out->last = out->first;
    return true;
}

static const struct range6 all_v4 = { { { [10] = 0xff, 0xff } },
                                      { { [10] = 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } } };
static const struct range6 all_v6 = { { { 0 } },
                                      { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                          0xff, 0xff, 0xff, 0xff, 0xff } } };

/* ---- sources
 * -------------------------------------------------------------------------------------------------- */

static void add_source(struct compiler *c, const struct range6 *range, bool v4)
{
    struct range4 *four;
    struct range6 *six;

    if (v4) {
        four = PUSH(c, v4, v4, FILTER_RANGES_MAX);
        if (four)
            *four = (struct range4) { v4_number(&range->first), v4_number(&range->last) };
    } else {
        six = PUSH(c, v6, v6, FILTER_RANGES_MAX);
        if (six)
            *six = *range;
    }
}

static int compare4(const void *a, const void *b)
{
    const struct range4 *x = a, *y = b;

    return (x->first > y->first) - (x->first < y->first);
}

static int compare6(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct ip));
}

/* Sorts what was added since `at` and joins what overlaps. */
static uint32_t tidy4(struct range4 *items, uint32_t count)
{
    uint32_t kept = 0;

    if (count > 1)
        qsort(items, count, sizeof(*items), compare4);
    for (uint32_t i = 0; i < count; i++) {
        if (kept && items[i].first <= items[kept - 1].last)
            items[kept - 1].last = MAX(items[kept - 1].last, items[i].last);
        else
            items[kept++] = items[i];
    }
    return kept;
}

static uint32_t tidy6(struct range6 *items, uint32_t count)
{
    uint32_t kept = 0;

    if (count > 1)
        qsort(items, count, sizeof(*items), compare6);
    for (uint32_t i = 0; i < count; i++) {
        if (kept && memcmp(&items[i].first, &items[kept - 1].last, sizeof(struct ip)) <= 0) {
            if (memcmp(&items[i].last, &items[kept - 1].last, sizeof(struct ip)) > 0)
                items[kept - 1].last = items[i].last;
        } else {
            items[kept++] = items[i];
        }
    }
    return kept;
}

static void add_cap_source(struct compiler *c, struct span name)
{
    struct span *cap = PUSH(c, caps, cap, FILTER_RANGES_MAX);

    if (cap)
        *cap = arena_copy(&c->r->texts, name);
}

static struct address_set compile_sources(struct compiler *c, const struct tailcfg_texts *sources)
{
    struct filter_rules *r = c->r;
    struct address_set set = { .v4_at = r->v4_count, .v6_at = r->v6_count };
    struct range6 range;

    for (size_t i = 0; i < sources->count; i++) {
        struct span s = sources->items[i];

        if (span_equal_str(s, "*")) {
            add_source(c, &all_v4, true);
            add_source(c, &all_v6, false);
        } else if (text_starts_with(s, "cap:")) {
            add_cap_source(c, span_slice(s, 4, s.len));
        } else if (parse_set(s, &range)) {
            add_source(c, &range, ip_is_v4(&range.first));
        } else {
            r->skipped++;
        }
    }
    set.v4_count = tidy4(r->v4 ? r->v4 + set.v4_at : NULL, r->v4_count - set.v4_at);
    set.v6_count = tidy6(r->v6 ? r->v6 + set.v6_at : NULL, r->v6_count - set.v6_at);
    r->v4_count = set.v4_at + set.v4_count;
    r->v6_count = set.v6_at + set.v6_count;
    return set;
}

/* ---- the rest of a rule
 * -------------------------------------------------------------------------------------------- */

static void add_destination(struct compiler *c, const struct range6 *range, bool v4,
                            struct tailcfg_port_range ports)
{
    struct destination *d = PUSH(c, dsts, dst, FILTER_RANGES_MAX);

    if (d)
        *d = (struct destination) { .range = *range, .v4 = v4, .ports = ports };
}

static void compile_destinations(struct compiler *c, const struct tailcfg_filter_rule *in, struct rule *out)
{
    out->dst_at = c->r->dst_count;
    for (size_t i = 0; i < in->destination_count; i++) {
        const struct tailcfg_filter_destination *d = &in->destinations[i];
        struct range6 range;

        if (span_equal_str(d->ip, "*")) {
            add_destination(c, &all_v4, true, d->ports);
            add_destination(c, &all_v6, false, d->ports);
        } else if (parse_set(d->ip, &range)) {
            add_destination(c, &range, ip_is_v4(&range.first), d->ports);
        } else {
            c->r->skipped++; /* "cap:" too: it is only for sources */
        }
    }
    out->dst_count = c->r->dst_count - out->dst_at;
    for (uint32_t i = 0; i < out->dst_count; i++) {
        out->has_v4 |= c->r->dsts[out->dst_at + i].v4;
        out->has_v6 |= !c->r->dsts[out->dst_at + i].v4;
    }
}

static void compile_protocols(const struct tailcfg_filter_rule *in, struct rule *out)
{
    static const uint8_t defaults[] = { PACKET_TCP, PACKET_UDP, PACKET_ICMP, PACKET_ICMPV6 };

    memcpy(out->protocols, in->protocols, sizeof(out->protocols));
    for (size_t i = 0; i < COUNT_OF(defaults) && !in->has_protocols; i++)
        out->protocols[defaults[i] / 32] |= BIT(defaults[i] % 32);
}

static void add_grant_cap(struct compiler *c, struct span name, struct span values)
{
    struct tailcfg_cap *cap;

    if (!name.len)
        return;
    cap = PUSH(c, grant_caps, grant_cap, FILTER_RANGES_MAX);
    if (cap) {
        cap->name = arena_copy(&c->r->texts, name);
        cap->values = values.len ? arena_copy(&c->r->texts, values) : SPAN_NONE;
    }
}

static void compile_grant(struct compiler *c, const struct tailcfg_cap_grant *in,
                          const struct address_set *sources)
{
    struct filter_rules *r = c->r;
    struct grant *g = PUSH(c, grants, grant, FILTER_RANGES_MAX);
    struct ip_prefix *p;

    if (!g)
        return;
    *g = (struct grant) { .sources = *sources, .dst_at = r->grant_dst_count, .cap_at = r->grant_cap_count };
    for (size_t i = 0; i < in->destinations.count; i++) {
        p = PUSH(c, grant_dsts, grant_dst, FILTER_RANGES_MAX);
        if (p)
            *p = in->destinations.items[i];
    }
    for (size_t i = 0; i < in->caps.count; i++)
        add_grant_cap(c, in->caps.items[i], SPAN_NONE);
    for (size_t i = 0; i < in->cap_map.count; i++)
        add_grant_cap(c, in->cap_map.items[i].name, in->cap_map.items[i].values);
    g->dst_count = r->grant_dst_count - g->dst_at;
    g->cap_count = r->grant_cap_count - g->cap_at;
}

static void compile_rule(struct compiler *c, const struct tailcfg_filter_rule *in)
{
    struct rule rule = { .cap_at = c->r->cap_count }, *out;

    c->r->skipped += in->skipped;
    c->r->ancient |= in->ancient;
    rule.sources = compile_sources(c, &in->sources);
    rule.cap_count = c->r->cap_count - rule.cap_at;
    compile_destinations(c, in, &rule);
    compile_protocols(in, &rule);
    for (size_t i = 0; i < in->grant_count; i++)
        compile_grant(c, &in->grants[i], &rule.sources);
    if (!rule.dst_count)
        return; /* only grants: no access by itself */
    out = PUSH(c, rules, rule, FILTER_RULES_MAX);
    if (out)
        *out = rule;
}

static int compile_all(struct compiler *c, struct span text)
{
    struct json_cursor cursor = json_cursor_of(text);
    struct tailcfg_filter_rule rule;
    struct span element;

    if (json_text_kind(text) != JSON_KIND_ARRAY)
        return FILTER_E_SYNTAX;
    while (json_cursor_next(&cursor, NULL, &element)) {
        int e = tailcfg_filter_rule_parse(element, &c->scratch, &rule);

        if (e < 0)
            return e;
        if (e)
            c->r->skipped++;
        else
            compile_rule(c, &rule);
        arena_deinit(&c->scratch);
        if (c->no_memory || c->r->texts.failed)
            return -ENOMEM;
        if (c->too_big)
            return FILTER_E_TOO_BIG;
    }
    return cursor.failed ? FILTER_E_SYNTAX : 0;
}

/* Gives back the room that growing by doubling left. */
#define TRIM(r, items, name)                                                                         \
    do {                                                                                             \
        void *less =                                                                                 \
            (r)->name##_count ? realloc((r)->items, (r)->name##_count * sizeof(*(r)->items)) : NULL; \
        if (less)                                                                                    \
            (r)->items = less;                                                                       \
    } while (0)

static void trim(struct filter_rules *r)
{
    TRIM(r, rules, rule);
    TRIM(r, dsts, dst);
    TRIM(r, v4, v4);
    TRIM(r, v6, v6);
    TRIM(r, caps, cap);
    TRIM(r, grants, grant);
    TRIM(r, grant_dsts, grant_dst);
    TRIM(r, grant_caps, grant_cap);
}

int filter_rules_compile(struct span text, struct filter_rules **out)
{
    struct compiler c = { .r = calloc(1, sizeof(*c.r)) };
    int e;

    *out = NULL;
    if (!c.r)
        return err_trace(-ENOMEM);
    arena_init(&c.scratch, 8 * TAILCFG_RULE_BYTES_MAX);
    arena_init(&c.r->texts, TAILCFG_MAP_RESPONSE_BYTES_MAX);
    e = compile_all(&c, text);
    arena_deinit(&c.scratch);
    if (e) {
        filter_rules_free(c.r);
        return e < 0 ? err_trace(e) : e;
    }
    trim(c.r);
    *out = c.r;
    return 0;
}

void filter_rules_free(struct filter_rules *r)
{
    if (!r)
        return;
    arena_deinit(&r->texts);
    free(r->rules);
    free(r->dsts);
    free(r->v4);
    free(r->v6);
    free(r->caps);
    free(r->grants);
    free(r->grant_dsts);
    free(r->grant_caps);
    free(r);
}

size_t filter_rules_bytes(const struct filter_rules *r)
{
    return sizeof(*r) + r->texts.held + r->rule_count * sizeof(*r->rules) + r->dst_count * sizeof(*r->dsts) +
           r->v4_count * sizeof(*r->v4) + r->v6_count * sizeof(*r->v6) + r->cap_count * sizeof(*r->caps) +
           r->grant_count * sizeof(*r->grants) + r->grant_dst_count * sizeof(*r->grant_dsts) +
           r->grant_cap_count * sizeof(*r->grant_caps);
}

uint32_t filter_rules_skipped(const struct filter_rules *r)
{
    return r->skipped;
}

bool filter_rules_ancient(const struct filter_rules *r)
{
    return r->ancient;
}

/* ---- looking up
 * ------------------------------------------------------------------------------------------------ */

static bool contains4(const struct range4 *items, uint32_t count, uint32_t a)
{
    uint32_t low = 0, high = count; /* the last range that begins at or before a is at high - 1 */

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (items[middle].first <= a)
            low = middle + 1;
        else
            high = middle;
    }
    return high && a <= items[high - 1].last;
}

static bool contains6(const struct range6 *items, uint32_t count, const struct ip *a)
{
    uint32_t low = 0, high = count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (memcmp(&items[middle].first, a, sizeof(*a)) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return high && memcmp(a, &items[high - 1].last, sizeof(*a)) <= 0;
}

bool rules_set_contains(const struct filter_rules *r, const struct address_set *set, const struct ip *a)
{
    if (ip_is_v4(a))
        return set->v4_count && contains4(r->v4 + set->v4_at, set->v4_count, v4_number(a));
    return set->v6_count && contains6(r->v6 + set->v6_at, set->v6_count, a);
}

static bool set_overlaps(const struct filter_rules *r, const struct address_set *set,
                         const struct range6 *with)
{
    if (ip_is_v4(&with->first)) {
        for (uint32_t i = 0; i < set->v4_count; i++) {
            const struct range4 *x = &r->v4[set->v4_at + i];

            if (x->first <= v4_number(&with->last) && v4_number(&with->first) <= x->last)
                return true;
        }
        return false;
    }
    for (uint32_t i = 0; i < set->v6_count; i++) {
        const struct range6 *x = &r->v6[set->v6_at + i];

        if (memcmp(&x->first, &with->last, sizeof(x->first)) <= 0 &&
            memcmp(&with->first, &x->last, sizeof(x->first)) <= 0)
            return true;
    }
    return false;
}

bool filter_rules_source_overlaps(const struct filter_rules *r, const struct ip_prefix *prefix)
{
    struct range6 with = prefix_range(prefix);

    for (uint32_t i = 0; i < r->rule_count; i++)
        if (set_overlaps(r, &r->rules[i].sources, &with))
            return true;
    return false;
}
