/* Rates: one for a thing, and one for each of many sources in bounded memory. */
#ifndef MANYTAILS_WIREGUARD_LIMIT_H
#define MANYTAILS_WIREGUARD_LIMIT_H

#include "base/base.h"

/* A token bucket in one number: the time at which it will be full again. Zero is a full bucket. */
struct rate {
    time_ns full_at;
};

struct rate_terms {
    time_ns interval; /* between tokens */
    uint32_t burst;   /* tokens that it holds */
};

/* false: not that many are left, none was taken. */
bool rate_take(struct rate *r, const struct rate_terms *terms, uint32_t tokens, time_ns now);

/* By hash of the source; with more sources than fit, those that used least are forgotten. */
#define SOURCE_SETS 512
#define SOURCE_WAYS 4

struct source_rates {
    struct {
        uint64_t hash;
        struct rate rate;
    } ways[SOURCE_SETS][SOURCE_WAYS];
};

struct rate *source_rate(struct source_rates *s, uint64_t hash); /* borrowed until the next call */

#endif
