#include "host/interfaces.h"

#include <stdlib.h>

#define CAP_FIRST 16

void interfaces_init(struct interfaces *t)
{
    *t = (struct interfaces) { .count = 0 };
}

void interfaces_deinit(struct interfaces *t)
{
    free(t->list);
    free(t->addresses);
    interfaces_init(t);
}

void interfaces_clear(struct interfaces *t)
{
    t->count = t->address_count = 0;
}

/* ---- interfaces ------------------------------------------------------------------------- */

/* Position of this index, or where it belongs. */
static size_t lower_bound(const struct interfaces *t, uint32_t index)
{
    size_t low = 0, high = t->count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (t->list[middle].index < index)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct interface *find(const struct interfaces *t, uint32_t index)
{
    size_t at = lower_bound(t, index);

    return at < t->count && t->list[at].index == index ? &t->list[at] : NULL;
}

static bool has_address(const struct interfaces *t, uint32_t index)
{
    for (size_t i = 0; i < t->address_count; i++)
        if (t->addresses[i].interface == index)
            return true;
    return false;
}

/* An interface changed: what does that touch? */
static unsigned touched(const struct interfaces *t, uint32_t index)
{
    unsigned what = has_address(t, index) ? INTERFACES_VIEW : 0;

    if (index == t->default_v4.interface || index == t->default_v6.interface)
        what |= INTERFACES_ROUTE;
    return what;
}

/* Grows to hold one more; false: at its limit, or no memory. */
static bool room_for_one(void **array, size_t count, size_t *cap, size_t max, size_t size)
{
    size_t more = *cap ? *cap * 2 : CAP_FIRST;
    void *bigger;

    if (count < *cap)
        return true;
    if (count >= max)
        return false;
    bigger = realloc(*array, MIN(more, max) * size);
    if (!bigger)
        return false;
    *array = bigger;
    *cap = MIN(more, max);
    return true;
}

unsigned interfaces_link(struct interfaces *t, uint32_t index, bool up, enum interface_class class)
{
    struct interface *i = find(t, index);
    void *list = t->list;
    size_t at;

    if (i) {
        if (i->up == up && i->class == class)
            return 0;
        i->up = up;
        i->class = (uint8_t) class;
        return touched(t, index);
    }
    if (!room_for_one(&list, t->count, &t->cap, HOST_INTERFACES_MAX, sizeof(*t->list))) {
        t->counters.ignored++;
        return 0;
    }
    t->list = list;
    at = lower_bound(t, index);
    memmove(&t->list[at + 1], &t->list[at], (t->count - at) * sizeof(*t->list));
    t->list[at] = (struct interface) { .index = index, .class = (uint8_t) class, .up = up };
    t->count++;
    return touched(t, index);
}

unsigned interfaces_link_gone(struct interfaces *t, uint32_t index)
{
    struct interface *i = find(t, index);
    unsigned what = touched(t, index);
    size_t kept = 0;

    if (!i)
        return 0;
    t->count--;
    memmove(i, i + 1, (size_t)(&t->list[t->count] - i) * sizeof(*i));
    for (size_t k = 0; k < t->address_count; k++)
        if (t->addresses[k].interface != index)
            t->addresses[kept++] = t->addresses[k];
    t->address_count = kept;
    return what;
}

/* ---- addresses ---------------------------------------------------------------------------- */

static struct interface_address *find_address(const struct interfaces *t, uint32_t index, const struct ip *ip)
{
    for (size_t i = 0; i < t->address_count; i++)
        if (t->addresses[i].interface == index && ip_equal(&t->addresses[i].ip, ip))
            return &t->addresses[i];
    return NULL;
}

unsigned interfaces_address_set(struct interfaces *t, const struct interface_address *a)
{
    struct interface_address *old = find_address(t, a->interface, &a->ip);
    void *addresses = t->addresses;

    if (old) {
        if (old->usable == a->usable && old->prefix_bits == a->prefix_bits)
            return 0; /* lifetimes are renewed all the time */
        *old = *a;
        return INTERFACES_VIEW;
    }
    if (!room_for_one(&addresses, t->address_count, &t->address_cap, HOST_ADDRESSES_MAX,
                      sizeof(*t->addresses))) {
        t->counters.ignored++;
        return 0;
    }
    t->addresses = addresses;
    t->addresses[t->address_count++] = *a;
    return INTERFACES_VIEW | touched(t, a->interface);
}

unsigned interfaces_address_gone(struct interfaces *t, uint32_t index, const struct ip *ip)
{
    struct interface_address *a = find_address(t, index, ip);
    unsigned what = touched(t, index);

    if (!a)
        return 0;
    *a = t->addresses[--t->address_count];
    return INTERFACES_VIEW | what; /* routes with this source went too, and nobody says so */
}

/* ---- the rules ------------------------------------------------------------------------------- */

static bool starts_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static bool any_prefix(const char *name, const char *const *prefixes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (starts_with(name, prefixes[i]))
            return true;
    return false;
}

enum interface_class interfaces_classify(const char *name, const char *kind, bool loopback)
{
    static const char *const tunnels[] = { "zt", "tailscale" };
    static const char *const containers[] = { "docker", "br-",   "veth", "virbr",   "cni",    "podman",
                                              "lxcbr",  "lxdbr", "cali", "flannel", "nerdctl" };

    if (loopback)
        return INTERFACE_LOOPBACK;
    if (any_prefix(name, tunnels, COUNT_OF(tunnels)) || strcmp(name, "wt0") == 0)
        return INTERFACE_TUNNEL;
    if (any_prefix(name, containers, COUNT_OF(containers)))
        return INTERFACE_CONTAINER;
    if (kind && (strcmp(kind, "bridge") == 0 || strcmp(kind, "veth") == 0))
        return INTERFACE_CONTAINER;
    return INTERFACE_ORDINARY;
}

/* Better first; the view takes the best rank that has anybody. */
enum rank { RANK_REGULAR, RANK_LOCAL, RANK_CONTAINER, RANK_LOOPBACK, RANK_NONE };

static bool is_tailnet(const struct ip *ip)
{
    static const struct ip_prefix v6 = { { { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 } }, 48 };
    const uint8_t *v4 = ip_v4_bytes(ip);

    if (!ip_is_v4(ip))
        return ip_prefix_contains(&v6, ip);
    if (v4[0] != 100 || (v4[1] & 0xc0) != 64)
        return false;
    return !(v4[1] == 115 && (v4[2] & 0xfe) == 92); /* 100.115.92.0/23 belongs to ChromeOS guests */
}

/* Only if there is nothing better: 169.254/16 and fc00::/7. RFC 1918 is as good as any. */
static bool is_local_only(const struct ip *ip)
{
    return ip_is_v4(ip) ? ip_is_link_local(ip) : ip_is_private(ip);
}

static bool carries_default(const struct interfaces *t, uint32_t index)
{
    return index == t->default_v4.interface || index == t->default_v6.interface;
}

static enum rank rank_of(const struct interfaces *t, const struct interface_address *a)
{
    const struct interface *i = find(t, a->interface);

    if (!i || !i->up || !a->usable || i->class == INTERFACE_TUNNEL || is_tailnet(&a->ip))
        return RANK_NONE;
    if (ip_is_none(&a->ip) || ip_is_multicast(&a->ip) || (!ip_is_v4(&a->ip) && ip_is_link_local(&a->ip)))
        return RANK_NONE;
    if (i->class == INTERFACE_LOOPBACK || ip_is_loopback(&a->ip))
        return RANK_LOOPBACK;
    if (i->class == INTERFACE_CONTAINER && !carries_default(t, a->interface))
        return RANK_CONTAINER;
    return is_local_only(&a->ip) ? RANK_LOCAL : RANK_REGULAR;
}

struct choice {
    const struct interface_address *list[HOST_ADDRESSES_MAX];
    size_t count;
};

static int by_address(const void *a, const void *b)
{
    const struct interface_address *const *x = a, *const *y = b;

    return memcmp(&(*x)->ip, &(*y)->ip, sizeof((*x)->ip));
}

static void choose(const struct interfaces *t, enum rank rank, struct choice *c)
{
    c->count = 0;
    for (size_t i = 0; i < t->address_count; i++)
        if (rank_of(t, &t->addresses[i]) == rank)
            c->list[c->count++] = &t->addresses[i];
    qsort(c->list, c->count, sizeof(c->list[0]), by_address);
}

/* Temporary addresses pile up in one subnet; two are enough to be found. */
static bool crowded(const struct choice *c, size_t at)
{
    const struct interface_address *a = c->list[at];
    size_t same = 0;

    if (ip_is_v4(&a->ip))
        return false;
    for (size_t i = 0; i < at; i++)
        same += c->list[i]->interface == a->interface && memcmp(&c->list[i]->ip, &a->ip, 8) == 0;
    return same >= INTERFACES_GLOBAL_V6_PER_SUBNET;
}

void interfaces_view(const struct interfaces *t, struct host_view *out)
{
    struct choice c = { .count = 0 };

    memset(out, 0, sizeof(*out)); /* equal views are equal bytes */
    out->default_v4 = t->default_v4.interface != 0;
    out->default_v6 = t->default_v6.interface != 0;
    out->gateway_v4 = t->default_v4.gateway;
    for (enum rank rank = RANK_REGULAR; rank < RANK_NONE && !c.count; rank++)
        choose(t, rank, &c);
    for (size_t i = 0; i < c.count && out->count < HOST_USABLE_MAX; i++) {
        bool again = out->count && ip_equal(&out->addresses[out->count - 1], &c.list[i]->ip);

        if (!again && !crowded(&c, i))
            out->addresses[out->count++] = c.list[i]->ip;
    }
}

/* ---- patience -------------------------------------------------------------------------------- */

time_ns interfaces_settle(struct interfaces_patience *p, time_ns now)
{
    if (!p->settle || now - p->last >= HOST_CALM)
        p->settle = HOST_SETTLE;
    return p->settle;
}

void interfaces_settled(struct interfaces_patience *p, bool changed, time_ns now)
{
    p->settle = changed ? HOST_SETTLE : MIN(2 * p->settle, HOST_SETTLE_MAX);
    p->last = now;
}
