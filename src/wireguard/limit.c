#include "wireguard/limit.h"

bool rate_take(struct rate *r, const struct rate_terms *terms, uint32_t tokens, time_ns now)
{
    time_ns full_at = MAX(r->full_at, now) + (time_ns)tokens * terms->interval;

    if (full_at - now > (time_ns)terms->burst * terms->interval)
        return false;
    r->full_at = full_at;
    return true;
}

struct rate *source_rate(struct source_rates *s, uint64_t hash)
{
    size_t set = hash % SOURCE_SETS, least = 0;

    for (size_t i = 0; i < SOURCE_WAYS; i++) {
        if (s->ways[set][i].hash == hash)
            return &s->ways[set][i].rate;
        if (s->ways[set][i].rate.full_at < s->ways[set][least].rate.full_at)
            least = i;
    }
    s->ways[set][least].hash = hash;
    s->ways[set][least].rate = (struct rate) { 0 };
    return &s->ways[set][least].rate;
}
