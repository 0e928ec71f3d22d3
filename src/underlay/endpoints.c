#include "underlay/endpoints.h"

/* ---- what was seen lately ----------------------------------------------------------- */

static void expire(struct endpoints *e, time_ns now)
{
    size_t kept = 0;

    for (size_t i = 0; i < e->tracked_count; i++)
        if (now - e->tracked[i].seen_at <= ENDPOINTS_TRACK)
            e->tracked[kept++] = e->tracked[i];
    e->tracked_count = kept;
}

/* To the front; the last one makes room. */
static void track(struct endpoints *e, const struct ip_port *address, enum underlay_endpoint_type type,
                  time_ns now)
{
    size_t at = 0;

    while (at < e->tracked_count && !ip_port_equal(&e->tracked[at].endpoint.address, address))
        at++;
    if (at == e->tracked_count) {
        if (e->tracked_count < ENDPOINTS_TRACKED_MAX)
            e->tracked_count++;
        else
            at--;
    }
    memmove(&e->tracked[1], &e->tracked[0], at * sizeof(e->tracked[0]));
    e->tracked[0] = (struct tracked) { .endpoint = { *address, (uint8_t)type }, .seen_at = now };
}

void endpoints_note_mapped(struct endpoints *e, const struct netcheck_mapped *mapped, size_t count,
                           time_ns now)
{
    bool first_v4 = true, first_v6 = true;

    /* From the back, so that the best stands in front at the end. */
    for (size_t i = count; i-- > 0;)
        if (mapped[i].seen > 1)
            track(e, &mapped[i].address, UNDERLAY_ENDPOINT_STUN, now);
    for (size_t i = 0; i < count; i++) {
        bool *first = ip_is_v4(&mapped[i].address.ip) ? &first_v4 : &first_v6;

        if (*first)
            track(e, &mapped[i].address, UNDERLAY_ENDPOINT_STUN, now);
        *first = false;
    }
}

void endpoints_note_guess(struct endpoints *e, uint16_t local_port, time_ns now)
{
    for (size_t i = 0; i < e->tracked_count; i++) {
        struct ip_port guess = e->tracked[i].endpoint.address;

        if (e->tracked[i].endpoint.type != UNDERLAY_ENDPOINT_STUN || !ip_is_v4(&guess.ip) ||
            guess.port == local_port)
            continue;
        guess.port = local_port;
        track(e, &guess, UNDERLAY_ENDPOINT_STUN_LOCAL_PORT, now);
        return;
    }
}

/* ---- the list ---------------------------------------------------------------------------- */

static bool holds(const struct underlay_endpoint *list, size_t count, const struct underlay_endpoint *want,
                  bool with_type)
{
    for (size_t i = 0; i < count; i++)
        if (ip_port_equal(&list[i].address, &want->address) && (!with_type || list[i].type == want->type))
            return true;
    return false;
}

struct building {
    struct underlay_endpoint list[UNDERLAY_ENDPOINTS_MAX];
    size_t count;
};

static void put(struct building *b, const struct ip_port *address, enum underlay_endpoint_type type)
{
    struct underlay_endpoint e = { *address, (uint8_t)type };

    if (b->count < UNDERLAY_ENDPOINTS_MAX && address->port && !holds(b->list, b->count, &e, false))
        b->list[b->count++] = e;
}

static size_t ports_of(const struct building *b, const struct ip *ip)
{
    size_t ports = 0;

    for (size_t i = 0; i < b->count; i++)
        ports += ip_equal(&b->list[i].address.ip, ip);
    return ports;
}

bool endpoints_build(struct endpoints *e, const struct host_view *host, uint16_t port_v4, uint16_t port_v6,
                     time_ns now)
{
    struct building b = { .count = 0 };
    bool changed;

    expire(e, now);
    for (size_t i = 0; i < e->tracked_count; i++)
        if (ports_of(&b, &e->tracked[i].endpoint.address.ip) < ENDPOINTS_PER_IP_MAX)
            put(&b, &e->tracked[i].endpoint.address, e->tracked[i].endpoint.type);
    for (uint32_t i = 0; i < host->count; i++) {
        struct ip_port local = { host->addresses[i], ip_is_v4(&host->addresses[i]) ? port_v4 : port_v6 };

        put(&b, &local, UNDERLAY_ENDPOINT_LOCAL);
    }
    changed = b.count != e->count;
    for (size_t i = 0; i < b.count && !changed; i++)
        changed = !holds(e->list, e->count, &b.list[i], true);
    memcpy(e->list, b.list, sizeof(b.list));
    e->count = b.count;
    return changed;
}
