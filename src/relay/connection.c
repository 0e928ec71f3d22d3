/* One connection of a node to one region: dialing, bytes both ways, backing off.
 *
 * Timers: `timer` alone, set by connection_arm, which is asked again whenever something changed.
 * Memory: callbacks may free the connection they are about. Every way in from outside holds it with
 * enter/leave; the last leave frees what was freed meanwhile.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "relay/internal.h"

#define READ_BUDGET (256u << 10) /* bytes of one connection in one turn; then the others */
#define ROOM_AGAIN 8             /* packets that must fit before ops.room is worth a call */
#define PLAIN_PORT 3340          /* of test relays without TLS, where the map says 443 */

static void enter(struct relay_connection *c)
{
    account_charge was = account_switch(c->node->charge);

    if (!c->holds++)
        c->charged_before = was;
}

static void leave(struct relay_connection *c)
{
    if (--c->holds)
        return;
    account_switch(c->charged_before);
    if (!c->dead)
        return;
    derp_client_free(c->derp);
    free(c->why);
    free(c);
}

static void set_state(struct relay_connection *c, enum connection_state state, time_ns now)
{
    c->state = (uint8_t)state;
    c->since = now;
}

static void hang_up(struct relay_connection *c)
{
    stream_close(c->stream);
    c->stream = NULL;
    c->read_on = false;
    ev_task_cancel(&c->task);
}

static bool wanted(const struct relay_connection *c)
{
    return connection_is_home(c) || derp_client_queued(c->derp);
}

/* ---- words ------------------------------------------------------------------ */

static const char *label(const struct relay_connection *c, char out[64])
{
    const struct relay_region *region = relay_map_region(c->node->map, c->region);

    snprintf(out, 64, region && region->code[0] ? "%u (%.40s)" : "%u", c->region, region ? region->code : "");
    return out;
}

void connection_words(const struct relay_connection *c, time_ns now, char *out, size_t size)
{
    char region[64];
    int at;

    label(c, region);
    if (c->state == CONNECTION_UP) {
        snprintf(out, size, "connected to relay region %s", region);
        return;
    }
    if (!c->why) {
        snprintf(out, size, "connecting to relay region %s", region);
        return;
    }
    at = snprintf(out, size, "relay region %s: %s", region, c->why);
    if (at < 0 || (size_t)at >= size || c->retry_at == TIME_NEVER)
        return;
    if (c->state == CONNECTION_RESTING && c->retry_at > now + SEC / 2)
        snprintf(out + at, size - (size_t)at, "; trying again in %lld s",
                 (long long)((c->retry_at - now + SEC / 2) / SEC));
    else
        snprintf(out + at, size - (size_t)at, "; trying again");
}

static void log_failure(const struct relay_connection *c, time_ns now)
{
    char words[RELAY_SENTENCE_BYTES];

    connection_words(c, now, words, sizeof(words));
    if (c->attempts == 1)
        log_warn(c->node->name, "relay: %s", words);
    else
        log_debug(c->node->name, "relay: %s", words);
}

/* ---- failing ---------------------------------------------------------------------- */

static time_ns random_up_to(time_ns limit)
{
    uint32_t r;

    random_bytes(&r, sizeof(r));
    return (time_ns)((double)limit * r / UINT32_MAX);
}

/* n^2 * 10 ms, at most RELAY_BACKOFF_MAX, times 0.5 .. 1.5. */
static time_ns backoff(uint32_t attempts)
{
    time_ns n = MIN(attempts, 100u);
    time_ns base = MIN(n * n * 10 * MSEC, RELAY_BACKOFF_MAX);

    return base / 2 + random_up_to(base);
}

static void note_why(struct relay_connection *c, const char *why)
{
    char *copy = text_dup(span_from_str(why));

    free(c->why);
    c->why = copy;
}

/* The round is over: everything that waited is stale by the time the next one succeeds. */
static void round_failed(struct relay_connection *c, const char *why, time_ns now)
{
    struct relay_node *n = c->node;
    bool was_steady = c->state == CONNECTION_UP && now - c->since >= RELAY_STEADY;

    note_why(c, why);
    c->attempts = was_steady ? 1 : c->attempts + 1;
    c->host = 0;
    c->paced = false;
    c->retry_at = now + backoff(c->attempts);
    if (now < c->restart_until)
        c->retry_at = MAX(c->retry_at, now + c->restart_in + random_up_to(c->restart_in));
    n->counters.dropped_lost += derp_client_drop_queue(c->derp);
    routes_forget_region(&n->routes, c->region);
    set_state(c, CONNECTION_RESTING, now);
    connection_arm(c, now);
    log_failure(c, now);
    if (c->told_full)
        ev_task_post(&c->task); /* which says that there is room */
    if (n->ops->trouble)
        n->ops->trouble(n->ctx, c->region, now);
}

static void dial(struct relay_connection *c, time_ns now);

/* The stream ended. Before the relay has greeted us the region's next server is tried. */
static void failed(struct relay_connection *c, const char *why, time_ns now)
{
    const struct relay_region *region = relay_map_region(c->node->map, c->region);

    hang_up(c);
    c->node->counters.failures++;
    if (c->state == CONNECTION_DIALING && region && c->host + 1u < region->host_count && now < c->retry_at) {
        c->host++;
        dial(c, now);
        return;
    }
    round_failed(c, why, now);
}

static void stream_failed(struct relay_connection *c, time_ns now)
{
    char words[STREAM_FAILURE_BYTES];

    stream_failure(c->stream, words);
    failed(c, words, now);
}

/* ---- out ------------------------------------------------------------------------------ */

static void flush(struct relay_connection *c, time_ns now)
{
    struct span parts[DERP_QUEUE_PACKETS + 2];
    const struct derp_counters *counted = derp_client_counters(c->derp);
    uint64_t packets = counted->packets_out, bytes = counted->bytes_out;
    ssize_t n = 0;
    size_t count;

    while (c->stream && (count = derp_client_pending(c->derp, parts, COUNT_OF(parts)))) {
        n = account_moved(ACCOUNT_RELAY, ACCOUNT_OUT, stream_writev(c->stream, parts, count));
        if (n < 0)
            break;
        derp_client_sent(c->derp, (size_t)n);
    }
    account_count(ACCOUNT_RELAY, ACCOUNT_OUT, counted->packets_out - packets, 0);
    c->node->counters.packets_out += counted->packets_out - packets;
    c->node->counters.bytes_out += counted->bytes_out - bytes;
    if (n < 0 && n != -EAGAIN)
        stream_failed(c, now);
}

static void tell_room(struct relay_connection *c, time_ns now)
{
    if (!c->told_full || derp_client_room(c->derp) < ROOM_AGAIN)
        return;
    c->told_full = false;
    if (c->node->ops->room)
        c->node->ops->room(c->node->ctx, c->region, now);
}

void connection_send(struct relay_connection *c, const struct public_key *to, struct span packet, time_ns now)
{
    struct relay_counters *counters = &c->node->counters;
    uint64_t dropped = derp_client_counters(c->derp)->dropped_full;
    bool waited = derp_client_queued(c->derp) > 0;
    int r = derp_client_send(c->derp, to, packet, now);

    counters->dropped_full += derp_client_counters(c->derp)->dropped_full - dropped + (r == -ENOMEM);
    counters->dropped_rate += r == DERP_E_LIMITED;
    if (r)
        return;
    c->wrote_at = now;
    enter(c);
    if (c->state == CONNECTION_UP && derp_client_room(c->derp) < ROOM_AGAIN)
        flush(c, now); /* a long batch must not drop its own beginning */
    if (c->state == CONNECTION_UP)
        ev_task_post(&c->task);
    if (c->state == CONNECTION_RESTING && !waited) {
        if (c->paced && c->retry_at > now)
            c->retry_at = MIN(c->retry_at, pacer_reserve(c->node->shard->pacer, PACE_URGENT, now));
        connection_arm(c, now);
    }
    leave(c);
}

/* ---- in --------------------------------------------------------------------------------- */

static void on_ready(struct relay_connection *c, time_ns now)
{
    char words[RELAY_SENTENCE_BYTES];

    set_state(c, CONNECTION_UP, now);
    c->check_at = TIME_NEVER;
    c->fast_failed = false;
    c->node->counters.connects++;
    free(c->why);
    c->why = NULL;
    connection_words(c, now, words, sizeof(words));
    log_info(c->node->name, "relay: %s", words);
}

static void on_restarting(struct relay_connection *c, const struct derp_event *ev, time_ns now)
{
    c->restart_in = MIN(ev->reconnect_in, RELAY_RESTART_MAX);
    c->restart_until = now + MIN(ev->try_for, RELAY_RESTART_MAX);
}

static void on_derp(struct relay_connection *c, const struct derp_event *ev, time_ns now)
{
    struct relay_node *n = c->node;

    switch (ev->kind) {
    case DERP_READY:
        on_ready(c, now);
        return;
    case DERP_PACKET:
        account_count(ACCOUNT_RELAY, ACCOUNT_IN, 1, 0);
        n->counters.packets_in++;
        n->counters.bytes_in += ev->packet.len;
        routes_note(&n->routes, n->shard->hash_key, &ev->from, c->region);
        n->ops->received(n->ctx, c->region, &ev->from, ev->packet, now);
        return;
    case DERP_PEER_GONE:
        routes_forget(&n->routes, n->shard->hash_key, &ev->from, c->region);
        return;
    case DERP_HEALTH:
        if (ev->text.len)
            log_warn(n->name, "relay: region %u says: %.*s", c->region, (int)MIN(ev->text.len, (size_t)200),
                     (const char *)ev->text.data);
        return;
    case DERP_RESTARTING:
        on_restarting(c, ev, now);
        return;
    }
}

static const char *derp_words(const struct relay_connection *c, int r)
{
    switch (r) {
    case DERP_E_HTTP:
        return derp_client_failure(c->derp)[0] ? derp_client_failure(c->derp) : "it is no relay";
    case DERP_E_TOO_BIG:
        return "it sent a frame that is too long";
    case DERP_E_KEY:
        return "it does not have the key that it names";
    case -ENOMEM:
        return "out of memory";
    default:
        return "it does not keep to the relay protocol";
    }
}

/* One piece of bytes. False: the connection is over, or the callback ended it. */
static bool take(struct relay_connection *c, struct mspan bytes, time_ns now)
{
    const struct stream *stream = c->stream;
    struct derp_event ev;
    int r = derp_client_feed(c->derp, bytes, now);

    while (!r && c->stream == stream && derp_client_next(c->derp, &ev))
        on_derp(c, &ev, now);
    if (c->stream != stream)
        return false;
    r = r ? r : derp_client_error(c->derp);
    if (r)
        failed(c, derp_words(c, r), now);
    return !r;
}

static void tell_heard(struct relay_connection *c, time_ns now)
{
    if (!c->node->ops->heard || (c->heard_at && now - c->heard_at < RELAY_HEARD))
        return;
    c->heard_at = now;
    c->node->ops->heard(c->node->ctx, c->region, now);
}

static void read_all(struct relay_connection *c, time_ns now)
{
    struct relay_shard *s = c->node->shard;
    size_t taken = 0;
    ssize_t n;

    c->read_on = false;
    while ((n = stream_read(c->stream, s->buffer, sizeof(s->buffer))) > 0) {
        account_count(ACCOUNT_RELAY, ACCOUNT_IN, 0, (uint64_t)n);
        if (!take(c, (struct mspan) { s->buffer, (size_t)n }, now))
            return;
        taken += (size_t)n;
        if (taken >= READ_BUDGET) {
            c->read_on = true;
            ev_task_post(&c->task);
            break;
        }
    }
    if (taken && c->state == CONNECTION_UP)
        tell_heard(c, now);
    if (!c->stream)
        return; /* that callback ended it */
    if (n == 0)
        failed(c, c->state == CONNECTION_UP ? "it closed the connection" : "it closed the connection at once",
               now);
    else if (n < 0 && n != -EAGAIN)
        stream_failed(c, now);
}

/* The relay's certificates may name its key: then the hello goes out with the request, one round trip
 * earlier. */
static void try_fast_start(struct relay_connection *c)
{
    struct public_key key;

    if (c->node->plain_http || c->fast_failed || !tls_stream_key_in_chain(c->stream, "derpkey", key.bytes))
        return;
    c->fast_failed = true; /* until it has worked */
    if (!derp_client_fast_start(c->derp, &key))
        log_debug(c->node->name, "relay: region %u has a key in its certificate that cannot be one",
                  c->region);
}

static void on_stream(struct stream *stream, unsigned events, time_ns now)
{
    struct relay_connection *c = stream->owner;

    enter(c);
    if (events & STREAM_CONNECTED)
        try_fast_start(c);
    if (events & STREAM_FAILED) {
        stream_failed(c, now);
    } else {
        if (events & STREAM_READABLE)
            read_all(c, now);
        if (c->stream == stream)
            flush(c, now);
        if (c->stream == stream)
            connection_arm(c, now);
        tell_room(c, now);
    }
    leave(c);
}

static void on_task(struct ev_task *task, time_ns now)
{
    struct relay_connection *c = CONTAINER_OF(task, struct relay_connection, task);

    enter(c);
    if (c->stream && c->read_on)
        read_all(c, now);
    if (c->stream)
        flush(c, now);
    if (!c->dead)
        tell_room(c, now);
    leave(c);
}

/* ---- dialing ----------------------------------------------------------------------------- */

/* A machine for the host, with what waits in the one before. */
static int renew_machine(struct relay_connection *c, const struct relay_region *region,
                         const struct relay_host *host, time_ns now)
{
    struct derp_config config = { .host = host ? host->host_name : "",
                                  .ideal_node = host && host != region->hosts ? region->hosts->name : NULL,
                                  .node_key = &c->node->secret,
                                  .home = connection_is_home(c) };
    struct derp_client *derp;
    int r = derp_client_new(&derp, &config, now);

    if (r)
        return r;
    if (c->derp)
        derp_client_take_queue(derp, c->derp);
    derp_client_free(c->derp);
    c->derp = derp;
    return 0;
}

int relay_dial(struct stream **out, struct relay_node *n, const struct relay_host *host)
{
    struct stream_dial to = {
        .host = host->host_name,
        .addresses = host->addresses,
        .address_count = host->address_count,
        .port = n->plain_http && host->port == 443 ? PLAIN_PORT : host->port,
        .attempt = RELAY_DIAL_ATTEMPT,
        .timeout = host->address_count ? RELAY_DIAL_ATTEMPT : 2 * RELAY_DIAL_ATTEMPT,
        .without_v4 = host->without_v4,
        .without_v6 = host->without_v6,
        .proxies = n->shard->proxies,
        .tls = !n->plain_http,
    };
    struct tls_client_config tls = {
        .server_name = host->host_name,
        .verify_name = host->cert_name,
        .insecure = host->insecure,
    };
    struct stream *tcp = NULL;
    int r = stream_dial(&tcp, n->shard->loop, &to);

    if (r)
        return r;
    *out = tcp;
    if (!n->plain_http)
        r = n->shard->tls ? tls_client_stream(out, n->shard->tls, tcp, &tls) : -EPROTONOSUPPORT;
    if (r) {
        stream_close(tcp);
        *out = NULL;
    }
    return r;
}

static void dial(struct relay_connection *c, time_ns now)
{
    const struct relay_region *region = relay_map_region(c->node->map, c->region);
    const struct relay_host *host;
    int r;

    if (!region || !region->host_count) {
        round_failed(c, region ? "it has no servers" : "it is not on the relay map", now);
        c->retry_at = TIME_NEVER; /* a new map makes it try */
        connection_arm(c, now);
        return;
    }
    host = &region->hosts[MIN(c->host, region->host_count - 1)];
    if (c->host == 0)
        c->retry_at = now + RELAY_DIAL_TIMEOUT;
    set_state(c, CONNECTION_DIALING, now);
    r = renew_machine(c, region, host, now);
    if (!r)
        r = relay_dial(&c->stream, c->node, host);
    if (!r)
        stream_set_owner(c->stream, c, on_stream);
    if (r) {
        failed(c, r == -EINVAL ? "the map has a name for it that cannot be one" : err_text(r), now);
        return;
    }
    connection_arm(c, now);
}

/* ---- time ------------------------------------------------------------------------------------ */

static time_ns resting_deadline(struct relay_connection *c, time_ns now)
{
    if (!wanted(c))
        return c->wrote_at + RELAY_IDLE_CLOSE;
    if (!c->paced && now >= c->retry_at) {
        c->retry_at =
            pacer_reserve(c->node->shard->pacer, derp_client_queued(c->derp) ? PACE_URGENT : PACE_QUIET, now);
        c->paced = true;
    }
    return c->retry_at;
}

void connection_arm(struct relay_connection *c, time_ns now)
{
    time_ns at = TIME_NEVER;

    if (c->dead)
        return;
    switch ((enum connection_state)c->state) {
    case CONNECTION_RESTING:
        at = resting_deadline(c, now);
        break;
    case CONNECTION_DIALING:
        at = c->retry_at;
        break;
    case CONNECTION_UP:
        at = MIN(derp_client_deadline(c->derp), c->check_at);
        if (!connection_is_home(c))
            at = MIN(at, c->wrote_at + RELAY_IDLE_CLOSE);
        break;
    }
    ev_timer_set(&c->timer, at);
}

/* Nobody needs it any more. A stream that has taken nothing for so long is no better. */
static bool idle(const struct relay_connection *c, time_ns now)
{
    if (connection_is_home(c) || now - c->wrote_at < RELAY_IDLE_CLOSE)
        return false;
    return c->state == CONNECTION_UP || (c->state == CONNECTION_RESTING && !derp_client_queued(c->derp));
}

static void on_timer(struct ev_timer *timer, time_ns now)
{
    struct relay_connection *c = CONTAINER_OF(timer, struct relay_connection, timer);

    enter(c);
    if (idle(c, now)) {
        connection_free(c, now);
    } else if (c->state == CONNECTION_RESTING) {
        if (wanted(c) && c->paced && now >= c->retry_at)
            dial(c, now);
        else
            connection_arm(c, now);
    } else if (c->state == CONNECTION_DIALING) {
        if (now >= c->retry_at)
            failed(c, "no answer in time", now);
        else
            connection_arm(c, now);
    } else if (now >= c->check_at) {
        c->check_at = TIME_NEVER;
        derp_client_ping(c->derp, now);
        flush(c, now);
        if (c->stream)
            connection_arm(c, now);
    } else if (!derp_client_tick(c->derp, now)) {
        failed(c, "no sign of life", now);
    } else {
        flush(c, now);
        if (c->stream)
            connection_arm(c, now);
    }
    leave(c);
}

/* ---- life -------------------------------------------------------------------------------------- */

int connection_new(struct relay_connection **out, struct relay_node *n, uint16_t region, time_ns now)
{
    struct relay_connection *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->node = n;
    c->region = region;
    c->since = c->retry_at = c->wrote_at = now;
    r = renew_machine(c, NULL, NULL, now);
    if (r) {
        free(c);
        return r;
    }
    ev_timer_init(&c->timer, n->shard->loop, on_timer);
    ev_task_init(&c->task, n->shard->loop, on_task);
    list_push_back(&n->connections, &c->link);
    connection_arm(c, now);
    *out = c;
    return 0;
}

void connection_free(struct relay_connection *c, time_ns now)
{
    if (c->dead)
        return;
    enter(c);
    c->dead = true; /* from here on nothing is armed or written */
    hang_up(c);
    ev_timer_stop(&c->timer);
    list_remove(&c->link);
    routes_forget_region(&c->node->routes, c->region);
    if (c->told_full && c->node->ops->room)
        c->node->ops->room(c->node->ctx, c->region, now);
    leave(c);
}

void connection_redial(struct relay_connection *c, time_ns now)
{
    hang_up(c);
    c->host = 0;
    c->attempts = 0;
    c->paced = false;
    c->retry_at = now;
    set_state(c, CONNECTION_RESTING, now);
    connection_arm(c, now);
}

void connection_set_home(struct relay_connection *c, time_ns now)
{
    enter(c);
    c->wrote_at = now; /* the old home stays for a while */
    derp_client_set_home(c->derp, connection_is_home(c));
    if (c->state == CONNECTION_UP)
        flush(c, now);
    connection_arm(c, now);
    leave(c);
}

void connection_check(struct relay_connection *c, time_ns at, time_ns now)
{
    if (c->state == CONNECTION_UP) {
        c->check_at = at;
    } else if (c->state == CONNECTION_RESTING && !c->paced && c->retry_at != TIME_NEVER) {
        c->attempts = 0;
        c->retry_at = MIN(c->retry_at, at);
    }
    connection_arm(c, now);
}
