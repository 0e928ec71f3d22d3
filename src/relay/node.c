/* A node's connections together: which one a packet takes, and which have to exist */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/internal.h"

int relay_node_new(struct relay_node **out, struct relay_shard *s, const struct relay_config *config)
{
    struct relay_node *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    n->name = text_dup(span_from_str(config->name));
    if (!n->name) {
        free(n);
        return -ENOMEM;
    }
    n->shard = s;
    n->charge = account_charge_here(ACCOUNT_RELAY);
    n->secret = *config->node_key;
    n->ops = config->ops;
    n->ctx = config->ctx;
    n->plain_http = config->plain_http;
    list_init(&n->connections);
    list_init(&n->probes);
    routes_init(&n->routes);
    *out = n;
    return 0;
}

void relay_node_free(struct relay_node *n)
{
    if (!n)
        return;
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        must(!c->holds); /* inside one of its callbacks */
        c->told_full = false;
        connection_free(c, 0);
    }
    probes_end(n);
    routes_deinit(&n->routes);
    relay_map_unref(n->map);
    free(n->name);
    wipe(n, sizeof(*n));
    free(n);
}

static struct relay_connection *find(const struct relay_node *n, uint16_t region)
{
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        if (c->region == region)
            return c;
    }
    return NULL;
}

static void go_home(struct relay_node *n, time_ns now)
{
    struct relay_connection *c = n->home ? find(n, n->home) : NULL;

    if (c)
        connection_set_home(c, now);
    else if (n->home && connection_new(&c, n, n->home, now))
        log_error(n->name, "relay: no memory for the connection to the home region");
}

int relay_node_set_map(struct relay_node *n, const struct tailcfg_derp_map *map, time_ns now)
{
    struct relay_map *old = n->map, *new;
    int r = relay_map_get(&new, n->shard, map);

    if (r)
        return err_trace(r);
    n->map = new;
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        const struct relay_region *before = relay_map_region(old, c->region);
        const struct relay_region *after = relay_map_region(new, c->region);

        if (!after && !connection_is_home(c))
            connection_free(c, now);
        else if (!before != !after || (before && !relay_region_equal(before, after)))
            connection_redial(c, now);
    }
    relay_map_unref(old);
    if (n->home && !find(n, n->home))
        go_home(n, now);
    return 0;
}

void relay_node_set_home(struct relay_node *n, uint16_t region, time_ns now)
{
    struct relay_connection *old = n->home ? find(n, n->home) : NULL;

    if (n->home == region)
        return;
    n->home = region;
    go_home(n, now); /* first the new one is told, then the old one */
    if (old)
        connection_set_home(old, now);
}

void relay_node_check(struct relay_node *n, time_ns at, time_ns now)
{
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        connection_check(c, at, now);
    }
}

/* ---- packets ------------------------------------------------------------------ */

/* The connection that a packet takes; NULL: the one to *region has to be made (0: there is none). */
static struct relay_connection *choose(const struct relay_node *n, uint16_t *region,
                                       const struct public_key *to)
{
    struct relay_connection *c = *region ? find(n, *region) : NULL, *heard;

    if (c && c->state == CONNECTION_UP)
        return c;
    heard = find(n, routes_find(&n->routes, n->shard->hash_key, to));
    if (heard && heard->state == CONNECTION_UP)
        return heard;
    if (!relay_map_region(n->map, *region)) {
        *region = n->home;
        c = *region ? find(n, *region) : NULL;
    }
    return c;
}

void relay_node_send(struct relay_node *n, uint16_t region, const struct public_key *to, struct span packet,
                     time_ns now)
{
    struct relay_connection *c = choose(n, &region, to);

    if (!c && (!region || connection_new(&c, n, region, now))) {
        n->counters.dropped_no_region++;
        return;
    }
    connection_send(c, to, packet, now);
}

size_t relay_node_room(struct relay_node *n, uint16_t region, const struct public_key *to)
{
    struct relay_connection *c = choose(n, &region, to);
    size_t room = c ? derp_client_room(c->derp) : DERP_QUEUE_PACKETS;

    if (!room)
        c->told_full = true;
    return room;
}

/* ---- questions ------------------------------------------------------------------ */

void relay_node_status(const struct relay_node *n, time_ns now, struct relay_status *out)
{
    const struct relay_connection *home = n->home ? find(n, n->home) : NULL;

    *out = (struct relay_status) { .home_region = n->home };
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        out->connections += c->state == CONNECTION_UP;
    }
    if (!home) {
        snprintf(out->sentence, sizeof(out->sentence), "no home relay yet");
        return;
    }
    out->home_connected = home->state == CONNECTION_UP;
    connection_words(home, now, out->sentence, sizeof(out->sentence));
}

void relay_node_memory(const struct relay_node *n, struct account_memory *m)
{
    if (!n)
        return;
    account_hold_block(m, ACCOUNT_RELAY, n);
    account_hold_block(m, ACCOUNT_RELAY, n->name);
    account_hold(m, ACCOUNT_RELAY, routes_memory(&n->routes));
    LIST_EACH (c, &n->connections, struct relay_connection, link) {
        account_hold_block(m, ACCOUNT_RELAY, c);
        account_hold_block(m, ACCOUNT_RELAY, c->why);
        if (c->derp)
            account_hold(m, ACCOUNT_RELAY, derp_client_memory(c->derp));
        stream_memory(c->stream, ACCOUNT_RELAY, m);
    }
}

const struct relay_counters *relay_node_counters(const struct relay_node *n)
{
    return &n->counters;
}
