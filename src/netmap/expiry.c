/* netmap/expiry.c - keys end by control's clock, which need not be ours */
#include "netmap/view.h"

#define CLOCKS_AGREE_NS MINUTE
/* 2023-01-10: a clock before it is wrong, and nothing expires by it. */
#define CLOCK_SANE_NS (INT64_C(1673308800) * SEC)

int64_t netmap_control_now(const struct netmap *n, int64_t wall_now)
{
    int64_t now;

    return __builtin_add_overflow(wall_now, n->clock_delta, &now) ? wall_now : now;
}

/* Control time by which keys may be judged; 0: the clock is not to be trusted. */
static int64_t judging_time(const struct netmap *n, int64_t wall_now)
{
    int64_t now = netmap_control_now(n, wall_now);

    return now >= CLOCK_SANE_NS ? now : 0;
}

bool netmap_peer_expired(const struct netmap *n, const struct netmap_peer *p, int64_t wall_now)
{
    return p->node.expired || (p->node.key_expiry && p->node.key_expiry <= judging_time(n, wall_now));
}

int64_t netmap_next_expiry(const struct netmap *n)
{
    int64_t ours;

    if (n->next_expiry == INT64_MAX || __builtin_sub_overflow(n->next_expiry, n->clock_delta, &ours))
        return INT64_MAX;
    return ours;
}

static bool expires_within(const struct stored_peer *p, int64_t after, int64_t until)
{
    return p->peer.node.key_expiry && p->peer.node.key_expiry > after && p->peer.node.key_expiry <= until;
}

int netmap_expire(struct netmap *n, int64_t wall_now, struct netmap_changes *out)
{
    int64_t until = judging_time(n, wall_now);

    *out = (struct netmap_changes) { .store = n->store };
    if (until < n->next_expiry)
        return 0;
    for (uint32_t i = 0; i < n->peer_count; i++) {
        struct stored_peer *p = view_peer(n, i);
        int r;

        if (!expires_within(p, n->expired_until, until))
            continue;
        r = changes_add(out, p, p);
        if (r) {
            netmap_changes_release(out);
            return r;
        }
        out->peers[out->count - 1].expired = true;
    }
    out->self = n->self && expires_within(n->self, n->expired_until, until);
    if (out->count || out->self)
        n->generation++;
    n->expired_until = until;
    n->next_expiry = INT64_MAX;
    for (uint32_t i = 0; i < n->peer_count; i++)
        view_note_expiry(n, view_peer(n, i));
    if (n->self)
        view_note_expiry(n, n->self);
    return 0;
}

void view_set_control_time(struct netmap *n, int64_t control_time, int64_t wall_now)
{
    int64_t delta;

    if (!control_time || __builtin_sub_overflow(control_time, wall_now, &delta))
        return;
    n->clock_delta = delta > CLOCKS_AGREE_NS || delta < -CLOCKS_AGREE_NS ? delta : 0;
}
