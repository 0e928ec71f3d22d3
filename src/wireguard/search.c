/* What a handshake message costs us, and who may cost it: finding the node, and load. */
#include "wireguard/internal.h"

#include <errno.h>
#include <stdlib.h>

/* A failed search over all nodes: 50 a second from one network, and together as many trials as take
 * about a tenth of a core (one takes 0.18 us). */
static const struct rate_terms search_terms = { 20 * MSEC, 50 };
static const struct rate_terms trial_terms = { 2 * USEC, 500000 };

/* Handshakes that cost Curve25519 (0.2 ms each): beyond these we are under load. */
static const struct rate_terms load_terms = { 2 * MSEC, 256 };
/* Under load, for one source that has shown its cookie. */
static const struct rate_terms source_terms = { 50 * MSEC, 5 };

static uint64_t hash_of(const struct wireguard *w, struct span bytes)
{
    return siphash(w->hash_key, bytes.data, bytes.len);
}

/* The whole source: where answers would go. */
static uint64_t source_hash(const struct wireguard *w, const struct wireguard_source *source)
{
    uint8_t bytes[18];

    if (source->relayed)
        return hash_of(w, SPAN_OF(source->relay_key.bytes));
    memcpy(bytes, source->address.ip.bytes, 16);
    store_be16(bytes + 16, source->address.port);
    return hash_of(w, SPAN_OF(bytes));
}

/* The network that a source can send from at will. */
static uint64_t network_hash(const struct wireguard *w, const struct wireguard_source *source,
                             size_t v4_bytes, size_t v6_bytes)
{
    const struct ip *ip = &source->address.ip;

    if (source->relayed)
        return hash_of(w, SPAN_OF(source->relay_key.bytes));
    return hash_of(w, span_make(ip->bytes, ip_is_v4(ip) ? 12 + v4_bytes : v6_bytes));
}

static int rates_get(struct source_rates **rates)
{
    if (!*rates)
        *rates = calloc(1, sizeof(**rates));
    return *rates ? 0 : err_trace(-ENOMEM);
}

/* ---- the node ------------------------------------------------------------------ */

static struct recent *recent_of(const struct wireguard *w, uint64_t hash)
{
    return &w->recent[hash % RECENT_SOURCES];
}

void recent_note(struct wireguard *w, const struct wireguard_source *source, struct wireguard_node *n)
{
    uint64_t hash = source_hash(w, source);
    struct recent *e;
    size_t at = 0;

    if (!w->recent)
        w->recent = calloc(RECENT_SOURCES, sizeof(*w->recent));
    if (!w->recent)
        return; /* it only saves searching */
    e = recent_of(w, hash);
    if (e->hash != hash)
        *e = (struct recent) { .hash = hash };
    while (at < RECENT_NODES - 1 && e->nodes[at] && e->nodes[at] != n)
        at++;
    memmove(e->nodes + 1, e->nodes, at * sizeof(e->nodes[0]));
    e->nodes[0] = n;
}

void recent_forget(struct wireguard *w, const struct wireguard_node *n)
{
    for (size_t i = 0; w->recent && i < RECENT_SOURCES; i++)
        for (size_t j = 0; j < RECENT_NODES; j++)
            if (w->recent[i].nodes[j] == n) {
                w->recent[i] = (struct recent) { 0 };
                break;
            }
}

static bool is_for(const struct wireguard *w, const struct wireguard_node *n, const uint8_t *initiation)
{
    return mac1_matches(&w->doors[n->slot].mac1, initiation, INITIATION_AT_MACS);
}

static struct wireguard_node *try_likely(const struct wireguard *w, struct wireguard_node *hint,
                                         const uint8_t *initiation, const struct wireguard_source *source)
{
    uint64_t hash = source_hash(w, source);
    struct recent *e = w->recent ? recent_of(w, hash) : NULL;

    if (hint && is_for(w, hint, initiation))
        return hint;
    for (size_t i = 0; e && e->hash == hash && i < RECENT_NODES && e->nodes[i]; i++)
        if (e->nodes[i] != hint && is_for(w, e->nodes[i], initiation))
            return e->nodes[i];
    return NULL;
}

static struct wireguard_node *try_all(const struct wireguard *w, const uint8_t *initiation)
{
    for (uint32_t i = 0; i < w->door_count; i++)
        if (mac1_matches(&w->doors[i].mac1, initiation, INITIATION_AT_MACS))
            return w->doors[i].node;
    return NULL;
}

int node_search(struct wireguard *w, struct wireguard_node *hint, const uint8_t *initiation,
                const struct wireguard_source *source, time_ns now, struct wireguard_node **out)
{
    struct rate all_before, source_before, *of_source;
    int r;

    *out = try_likely(w, hint, initiation, source);
    if (*out)
        return 0;
    r = rates_get(&w->searchers);
    if (r)
        return r;
    of_source = source_rate(w->searchers, network_hash(w, source, 3, 7));
    source_before = *of_source;
    all_before = w->searches;
    if (!rate_take(of_source, &search_terms, 1, now))
        return WIREGUARD_E_SEARCH_LIMIT;
    if (!rate_take(&w->searches, &trial_terms, w->door_count, now)) {
        *of_source = source_before;
        return WIREGUARD_E_SEARCH_LIMIT;
    }
    *out = try_all(w, initiation);
    if (!*out)
        return WIREGUARD_E_NO_NODE;
    *of_source = source_before; /* only failures are charged */
    w->searches = all_before;
    return 0;
}

/* ---- load ---------------------------------------------------------------------- */

static void cookie_send(struct wireguard_node *n, const uint8_t *message, size_t macs_at,
                        const struct wireguard_source *source, const uint8_t cookie[COOKIE_BYTES])
{
    struct wireguard *w = n->w;
    uint8_t nonce[XAEAD_NONCE_BYTES], reply[COOKIE_REPLY_BYTES];

    w->random(w->random_ctx, nonce, sizeof(nonce));
    cookie_reply_create(reply, &n->identity.public, load_le32(message + AT_SENDER), nonce, cookie,
                        message + macs_at);
    w->counters.cookies_sent++;
    emit(n, NULL, source, SPAN_OF(reply), WIREGUARD_COOKIE_REPLY);
}

int load_check(struct wireguard_node *n, const uint8_t *message, size_t macs_at,
               const struct wireguard_source *source, time_ns now)
{
    struct wireguard *w = n->w;
    bool loaded = now < w->loaded_until;
    uint8_t cookie[COOKIE_BYTES];
    int r;

    if (!rate_take(&w->handshakes, &load_terms, 1, now))
        w->loaded_until = now + UNDER_LOAD_HOLD;
    if (!loaded)
        return 0; /* a mac2 that nobody asked for is not looked at */
    cookie_make(cookie, w->process_secret, now, source);
    if (!mac2_matches(cookie, message, macs_at)) {
        cookie_send(n, message, macs_at, source, cookie);
        return WIREGUARD_E_COOKIE_SENT;
    }
    r = rates_get(&w->handshakers);
    if (r)
        return r;
    return rate_take(source_rate(w->handshakers, network_hash(w, source, 4, 8)), &source_terms, 1, now)
               ? 0
               : WIREGUARD_E_RATE_LIMIT;
}
