/* filter/rules.h - what compiled rules look like inside filter/ */
#ifndef MANYTAILS_FILTER_RULES_H
#define MANYTAILS_FILTER_RULES_H

#include "filter/filter.h"

/* Inclusive. Families never mix: ::/0 must not hold what is IPv4 in our one form of addresses. */
struct range4 {
    uint32_t first, last;
};
struct range6 {
    struct ip first, last;
};

/* Sorted ranges that do not overlap, somewhere in the arrays of the rules. */
struct address_set {
    uint32_t v4_at, v4_count, v6_at, v6_count;
};

struct destination {
    struct range6 range; /* either family */
    bool v4;
    struct tailcfg_port_range ports;
};

struct rule {
    struct address_set sources;
    uint32_t cap_at, cap_count; /* "cap:" sources */
    uint32_t dst_at, dst_count;
    bool has_v4, has_v6; /* among the destinations */
    uint32_t protocols[8];
};

/* Capabilities for these sources towards those destinations. */
struct grant {
    struct address_set sources;
    uint32_t dst_at, dst_count; /* in grant_dsts */
    uint32_t cap_at, cap_count; /* in grant_caps */
};

struct filter_rules {
    struct arena texts;
    struct rule *rules;
    struct destination *dsts;
    struct range4 *v4;
    struct range6 *v6;
    struct span *caps;
    struct grant *grants;
    struct ip_prefix *grant_dsts;
    struct tailcfg_cap *grant_caps;
    uint32_t rule_count, dst_count, v4_count, v6_count, cap_count, grant_count, grant_dst_count,
        grant_cap_count;
    uint32_t skipped;
    bool ancient;
};

bool rules_set_contains(const struct filter_rules *r, const struct address_set *set, const struct ip *a);

#endif
