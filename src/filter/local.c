/* filter/local.c - what is ours */
#include "filter/filter.h"

#include <errno.h>
#include <stdlib.h>

#include "filter/flows.h"
#include "metrics/metrics.h"

void filter_local_init(struct filter_local *l, uint64_t seed)
{
    *l = (struct filter_local) { .seed = seed };
}

void filter_local_deinit(struct filter_local *l)
{
    free(l->more);
    flows_free(l->flows);
    filter_local_init(l, l->seed);
}

int filter_local_set(struct filter_local *l, const struct ip_prefix *prefixes, size_t count)
{
    struct ip_prefix *more = NULL;
    struct ip v4 = IP_NONE, v6 = IP_NONE;
    size_t more_count = 0;

    if (count > FILTER_LOCAL_MAX)
        return -ENOBUFS;
    for (size_t i = 0; i < count; i++) {
        struct ip *first = ip_is_v4(&prefixes[i].ip) ? &v4 : &v6;

        if (ip_is_none(first) && ip_prefix_is_single(&prefixes[i]) && !ip_is_none(&prefixes[i].ip)) {
            *first = prefixes[i].ip;
            continue;
        }
        if (!more)
            more = malloc((count - i) * sizeof(*more));
        if (!more)
            return err_trace(-ENOMEM);
        more[more_count++] = prefixes[i];
    }
    free(l->more);
    l->v4 = v4;
    l->v6 = v6;
    l->more = more;
    l->more_count = more_count;
    return 0;
}

bool filter_is_local(const struct filter_local *l, const struct ip *a)
{
    if (ip_equal(a, &l->v4) || ip_equal(a, &l->v6))
        return !ip_is_none(a);
    for (size_t i = 0; i < l->more_count; i++)
        if (ip_prefix_contains(&l->more[i], a))
            return true;
    return false;
}

size_t filter_flow_count(const struct filter_local *l)
{
    return flows_count(l->flows);
}

size_t filter_local_memory(const struct filter_local *l)
{
    return account_block(l->more) + flows_memory(l->flows);
}
