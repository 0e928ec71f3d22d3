/* filter/verdict.c - the decision about one packet; first reason wins */
#include "filter/rules.h"

#include "filter/flows.h"

static const char *const texts[] = {
#define X(id, text) [FILTER_##id] = text,
    FILTER_VERDICTS(X)
#undef X
};

const char *filter_verdict_text(enum filter_verdict v)
{
    must(v < FILTER_VERDICT_COUNT);
    return texts[v];
}

/* ---- rules
 * -------------------------------------------------------------------------------------------------- */

static bool lists(const struct rule *rule, uint8_t protocol)
{
    return rule->protocols[protocol / 32] & BIT(protocol % 32);
}

static bool cap_matches(const struct filter_rules *r, const struct rule *rule, const struct ip *src,
                        const struct filter_source *from)
{
    for (uint32_t i = 0; i < rule->cap_count && from->has_cap; i++)
        if (from->has_cap(from->peer, src, r->caps[rule->cap_at + i]))
            return true;
    return false;
}

static bool holds(const struct destination *d, const struct ip *a, bool v4)
{
    return d->v4 == v4 && memcmp(a, &d->range.first, sizeof(*a)) >= 0 &&
           memcmp(a, &d->range.last, sizeof(*a)) <= 0;
}

/* Is (dst, port) among the rule's destinations? Without `port` only the address counts; `whole` asks for one
 * with all ports. */
static bool destination_matches(const struct filter_rules *r, const struct rule *rule, const struct ip *dst,
                                const uint16_t *port, bool whole)
{
    bool v4 = ip_is_v4(dst);

    for (uint32_t i = 0; i < rule->dst_count; i++) {
        const struct destination *d = &r->dsts[rule->dst_at + i];

        if (port && (*port < d->ports.first || *port > d->ports.last))
            continue;
        if (whole && (d->ports.first != 0 || d->ports.last != UINT16_MAX))
            continue;
        if (holds(d, dst, v4))
            return true;
    }
    return false;
}

static bool rule_allows(const struct filter_rules *r, const struct rule *rule, uint8_t protocol,
                        const struct ip *src, const struct ip *dst, uint16_t port,
                        const struct filter_source *from)
{
    return lists(rule, protocol) && destination_matches(r, rule, dst, &port, false) &&
           (rules_set_contains(r, &rule->sources, src) || cap_matches(r, rule, src, from));
}

/* The protocol list is not asked. Where a capability is the source, the destination is not asked either, if
 * only the rule has one of the family: so does the reference. */
static bool rule_allows_icmp(const struct filter_rules *r, const struct rule *rule, const struct ip *src,
                             const struct ip *dst, const struct filter_source *from)
{
    if (!(ip_is_v4(dst) ? rule->has_v4 : rule->has_v6))
        return false;
    if (rules_set_contains(r, &rule->sources, src) && destination_matches(r, rule, dst, NULL, false))
        return true;
    return cap_matches(r, rule, src, from);
}

static bool rule_allows_other(const struct filter_rules *r, const struct rule *rule, uint8_t protocol,
                              const struct ip *src, const struct ip *dst)
{
    return lists(rule, protocol) && rules_set_contains(r, &rule->sources, src) &&
           destination_matches(r, rule, dst, NULL, true);
}

static bool allows(const struct filter *f, const struct packet_info *p, const struct filter_source *from,
                   bool icmp, bool other)
{
    for (size_t c = 0; c < f->count; c++) {
        const struct filter_rules *r = f->chunks[c];

        for (uint32_t i = 0; i < r->rule_count; i++) {
            const struct rule *rule = &r->rules[i];

            if (icmp    ? rule_allows_icmp(r, rule, &p->src, &p->dst, from)
                : other ? rule_allows_other(r, rule, p->protocol, &p->src, &p->dst)
                        : rule_allows(r, rule, p->protocol, &p->src, &p->dst, p->dst_port, from))
                return true;
        }
    }
    return false;
}

/* ---- verdict
 * -------------------------------------------------------------------------------------------------- */

/* Rules say nothing for it; why not is for people. */
static enum filter_verdict refusal(const struct filter *f, const struct filter_local *l,
                                   const struct filter_source *from)
{
    if (from->jailed)
        return FILTER_DROP_JAILED;
    if (l->shields_up)
        return FILTER_DROP_SHIELDS_UP;
    return f->refused || !f->count ? FILTER_DROP_NO_FILTER : FILTER_DROP_NO_RULE;
}

static bool is_icmp_answer(const struct packet_info *p)
{
    switch (p->icmp_type) {
    case 0: /* echo reply */
        return p->version == 4 && !p->icmp_code;
    case 1: /* unreachable */
    case 2: /* too big */
    case 4: /* parameter problem */
        return p->version == 6;
    case 3: /* unreachable; time exceeded */
        return true;
    case 11: /* time exceeded */
    case 12: /* parameter problem; the reference has 18 for it, by mistake */
        return p->version == 4;
    case 129: /* echo reply */
        return p->version == 6 && !p->icmp_code;
    default:
        return false;
    }
}

static enum filter_verdict judge(const struct filter *f, struct filter_local *l, const struct packet_info *p,
                                 const struct filter_source *from)
{
    bool ask = !from->jailed && !l->shields_up && !f->refused;
    bool icmp = p->protocol == (p->version == 4 ? PACKET_ICMP : PACKET_ICMPV6);

    if (icmp) {
        if (is_icmp_answer(p))
            return FILTER_ACCEPT_ICMP_REPLY;
        return ask && allows(f, p, from, true, false) ? FILTER_ACCEPT_ICMP : refusal(f, l, from);
    }
    switch (p->protocol) {
    case PACKET_TCP:
        if ((p->tcp_flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) != PACKET_TCP_SYN)
            return FILTER_ACCEPT_TCP_CONTINUES;
        break;
    case PACKET_UDP:
    case PACKET_SCTP:
        if (l->flows && flows_touch(l->flows, p, l->seed))
            return FILTER_ACCEPT_FLOW;
        break;
    case PACKET_TSMP:
        return FILTER_ACCEPT_TSMP;
    default:
        return ask && allows(f, p, from, false, true) ? FILTER_ACCEPT_OTHER : refusal(f, l, from);
    }
    return ask && allows(f, p, from, false, false) ? FILTER_ACCEPT_RULE : refusal(f, l, from);
}

static bool is_metadata_server(const struct ip *a)
{
    static const struct ip server = { { [10] = 0xff, 0xff, 169, 254, 169, 254 } };

    return ip_equal(a, &server);
}

/* What holds in both directions: an accepting verdict, a drop, or FILTER_VERDICT_COUNT for "go on". */
static enum filter_verdict precheck(size_t packet_len, const struct packet_info *p)
{
    if (!packet_len)
        return FILTER_ACCEPT_KEEPALIVE;
    if (packet_len < 20)
        return FILTER_DROP_SHORT;
    if (p->protocol == PACKET_UNKNOWN)
        return FILTER_DROP_UNKNOWN;
    if (ip_is_multicast(&p->dst))
        return FILTER_DROP_MULTICAST;
    if (ip_is_link_local(&p->dst) && !is_metadata_server(&p->dst))
        return FILTER_DROP_LINK_LOCAL;
    if (p->protocol == PACKET_FRAGMENT)
        return FILTER_ACCEPT_FRAGMENT;
    return FILTER_VERDICT_COUNT;
}

static bool is_peerapi(const struct filter_local *l, const struct packet_info *p)
{
    for (size_t i = 0; i < COUNT_OF(l->peerapi); i++)
        if (l->peerapi[i].port && l->peerapi[i].port == p->dst_port && ip_equal(&l->peerapi[i].ip, &p->dst))
            return true;
    return false;
}

/* Nearly every packet: a TCP segment that is no first one, to our first address. */
static bool is_plain_tcp(const struct filter_local *l, const struct packet_info *p)
{
    return p->protocol == PACKET_TCP &&
           (p->tcp_flags & (PACKET_TCP_SYN | PACKET_TCP_ACK)) != PACKET_TCP_SYN &&
           (ip_equal(&p->dst, &l->v4) || ip_equal(&p->dst, &l->v6)) && !ip_is_none(&p->dst);
}

enum filter_verdict filter_inbound(const struct filter *f, struct filter_local *l, size_t packet_len,
                                   const struct packet_info *info, const struct filter_source *from)
{
    enum filter_verdict v;

    if (is_plain_tcp(l, info))
        return FILTER_ACCEPT_TCP_CONTINUES;
    v = precheck(packet_len, info);
    if (v != FILTER_VERDICT_COUNT)
        return v;
    v = filter_is_local(l, &info->dst) ? judge(f, l, info, from) : FILTER_DROP_NOT_LOCAL;
    if (!filter_accepts(v) && info->protocol == PACKET_TCP && is_peerapi(l, info))
        return FILTER_ACCEPT_PEERAPI;
    return v;
}

enum filter_verdict filter_check(const struct filter *f, const struct filter_local *l, uint8_t protocol,
                                 const struct ip *src, const struct ip_port *dst,
                                 const struct filter_source *from)
{
    struct packet_info p = {
        .version = ip_is_v4(src) ? 4 : 6,
        .protocol = protocol,
        .tcp_flags = PACKET_TCP_SYN,
        .dst_port = dst->port,
        .src = *src,
        .dst = dst->ip,
    };
    struct filter_local without_flows = *l;

    if (ip_is_v4(src) != ip_is_v4(&dst->ip))
        return FILTER_DROP_NO_RULE;
    without_flows.flows = NULL;
    return filter_inbound(f, &without_flows, 20, &p, from);
}

void filter_caps(const struct filter *f, const struct ip *src, const struct ip *dst, filter_cap_fn *each,
                 void *ctx)
{
    for (size_t c = 0; c < f->count && !f->refused; c++) {
        const struct filter_rules *r = f->chunks[c];

        for (uint32_t i = 0; i < r->grant_count; i++) {
            const struct grant *g = &r->grants[i];

            if (!rules_set_contains(r, &g->sources, src))
                continue;
            for (uint32_t d = 0; d < g->dst_count; d++)
                for (uint32_t k = 0;
                     k < g->cap_count && ip_prefix_contains(&r->grant_dsts[g->dst_at + d], dst); k++)
                    each(ctx, r->grant_caps[g->cap_at + k].name, r->grant_caps[g->cap_at + k].values);
        }
    }
}

enum filter_verdict filter_outbound(struct filter_local *l, size_t packet_len, const struct packet_info *info)
{
    enum filter_verdict v = precheck(packet_len, info);

    if (v != FILTER_VERDICT_COUNT)
        return v;
    if (info->protocol == PACKET_UDP || info->protocol == PACKET_SCTP)
        flows_remember(&l->flows, info, l->seed);
    return FILTER_ACCEPT_RULE;
}
