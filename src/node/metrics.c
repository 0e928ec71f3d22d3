/* node/metrics.c - what a node and its shard count, as families of metrics
 *
 * tsnsrv's names first: whoever has dashboards for them keeps them. Ours begin with manytails_; a duration is
 * in seconds, a size in bytes. docs/protocol/metrics.md lists them.
 */
#include "node/internal.h"

#include <stdio.h>

#define FAMILY(id, type, name, help) static const struct metrics_family id = { name, METRICS_##type, help };

/* ---- tsnsrv's -------------------------------------------------------------------------------- */

FAMILY(tsnsrv_duration, SUMMARY, "tsnsrv_request_duration_ns",
       "From the choice of an upstream to the head of its response, in nanoseconds.")
FAMILY(tsnsrv_classes, COUNTER, "tsnsrv_response_status_classes", "Answers of upstreams by class of status.")
FAMILY(tsnsrv_errors, COUNTER, "tsnsrv_proxy_errors", "Requests that failed by the upstream's fault.")
FAMILY(tsnsrv_auth, COUNTER, "tsnsrv_auth_requests_total", "Questions to the auth server by result.")
FAMILY(tsnsrv_auth_duration, SUMMARY, "tsnsrv_auth_duration_ns",
       "Of a question to the auth server, in nanoseconds.")

static const char *const class_names[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };

static void put_summary(struct metrics_page *p, const struct metrics_family *f, const char *name,
                        const struct proxy_durations *d)
{
    static const struct {
        const char *text;
        double share;
    } quantiles[] = { { "0.5", 0.5 }, { "0.9", 0.9 }, { "0.99", 0.99 } };
    static const struct proxy_durations none;

    if (!d)
        d = &none;
    for (size_t i = 0; i < COUNT_OF(quantiles) && d->count; i++)
        metrics_put(p, f, "", METRICS_LABELS("service_name", name, "quantile", quantiles[i].text),
                    (double)proxy_duration_quantile(d, quantiles[i].share));
    metrics_put(p, f, "_sum", METRICS_LABELS("service_name", name), (double)d->sum_ns);
    metrics_put(p, f, "_count", METRICS_LABELS("service_name", name), (double)d->count);
}

static void put_tsnsrv(const struct proxy_counters *c, const char *name, struct metrics_page *p)
{
    const struct proxy_timing *t = c->timing;

    put_summary(p, &tsnsrv_duration, name, t ? &t->upstream : NULL);
    for (size_t i = 1; i < COUNT_OF(c->answers); i++)
        metrics_put_u64(p, &tsnsrv_classes,
                        METRICS_LABELS("service_name", name, "status_code_class", class_names[i]),
                        c->answers[i]);
    metrics_put_u64(p, &tsnsrv_errors, METRICS_LABELS("service_name", name), c->proxy_errors);
    for (size_t i = 0; i < PROXY_AUTH_COUNT; i++)
        if (c->auth[i])
            metrics_put_u64(p, &tsnsrv_auth,
                            METRICS_LABELS("service_name", name, "status",
                                           proxy_auth_result_name((enum proxy_auth_result)i)),
                            c->auth[i]);
    if (t && t->auth.count)
        put_summary(p, &tsnsrv_auth_duration, name, &t->auth);
}

/* ---- requests -------------------------------------------------------------------------------- */

FAMILY(requests, COUNTER, "manytails_requests_total",
       "Requests that ended, by the status that the client got; code \"none\": it got none.")
FAMILY(request_duration, HISTOGRAM, "manytails_request_duration_seconds",
       "From the first byte of a request to the end of its response.")

/* Row: field of struct proxy_counters, type, name behind manytails_, help. */
#define PROXY_METRICS(X)                                                                                \
    X(connections, COUNTER, "connections_total", "Connections of clients that were accepted.")          \
    X(open, GAUGE, "connections", "Connections of clients now.")                                        \
    X(active, GAUGE, "requests_active", "Requests under way now.")                                      \
    X(waiting, GAUGE, "requests_waiting", "Requests that wait for an upstream connection now.")         \
    X(bytes_in, COUNTER, "request_bytes_total", "Bytes of request bodies and upgraded connections.")    \
    X(bytes_out, COUNTER, "response_bytes_total", "Bytes of response bodies and upgraded connections.") \
    X(upgrades, COUNTER, "upgrades_total", "Connections that changed their protocol (101).")            \
    X(upstream_connects, COUNTER, "upstream_connects_total", "New connections to the upstream.")        \
    X(upstream_retries, COUNTER, "upstream_retries_total",                                              \
      "Kept upstream connections that turned out dead: the request went out again.")                    \
    X(upstream_waits, COUNTER, "upstream_waits_total",                                                  \
      "Requests that had to wait for an upstream connection (upstreamMaxConnections).")                 \
    X(upstream_refusals, COUNTER, "upstream_refusals_total",                                            \
      "Requests refused since the queue for the upstream was full or the wait too long.")               \
    X(client_aborts, COUNTER, "client_aborts_total", "Requests whose client went away in the middle.")  \
    X(refused, COUNTER, "refused_total", "Requests answered here: malformed, limits, prefixes.")        \
    X(not_allowed, COUNTER, "not_allowed_total", "Of these, requests that no prefix fits (404).")       \
    X(log_lines_dropped, COUNTER, "log_lines_dropped_total",                                            \
      "Lines of the access log that were dropped since its reader is too slow.")

#define X(field, type, name, help) FAMILY(proxy_##field, type, "manytails_" name, help)
PROXY_METRICS(X)
#undef X

FAMILY(tls_failed, COUNTER, "manytails_tls_failures_total",
       "TLS handshakes with clients that came to nothing, by reason.")

FAMILY(h2_connections, COUNTER, "manytails_http2_connections_total", "Connections of clients over HTTP/2.")
FAMILY(h2_open, GAUGE, "manytails_http2_connections", "Of these, now.")
FAMILY(by_protocol, COUNTER, "manytails_protocol_requests_total",
       "Requests that ended, by the protocol that the client spoke.")
FAMILY(h2_resets, COUNTER, "manytails_http2_resets_total",
       "Requests over HTTP/2 that the client took back, or spoiled.")
FAMILY(h2_given_up, COUNTER, "manytails_http2_given_up_total",
       "Connections over HTTP/2 that were given up, by what the client did.")

static void put_tls(const struct proxy_counters *c, const char *name, struct metrics_page *p)
{
    for (size_t i = 0; i < PROXY_TLS_FAULT_COUNT; i++)
        metrics_put_u64(
            p, &tls_failed,
            METRICS_LABELS("service_name", name, "reason", proxy_tls_fault_name((enum proxy_tls_fault)i)),
            c->tls_failed[i]);
}

static void put_h2(const struct proxy_counters *c, const char *name, struct metrics_page *p)
{
    const char *const *labels = METRICS_LABELS("service_name", name);
    uint64_t all = 0;

    for (size_t i = 0; i < COUNT_OF(c->requests); i++)
        all += c->requests[i];
    metrics_put_u64(p, &by_protocol, METRICS_LABELS("service_name", name, "protocol", "http1"),
                    all - c->h2.requests);
    metrics_put_u64(p, &by_protocol, METRICS_LABELS("service_name", name, "protocol", "http2"),
                    c->h2.requests);
    metrics_put_u64(p, &h2_connections, labels, c->h2.connections);
    metrics_put_u64(p, &h2_open, labels, c->h2.open);
    metrics_put_u64(p, &h2_resets, labels, c->h2.resets);
    for (size_t i = 0; i < PROXY_H2_FAULT_COUNT; i++)
        metrics_put_u64(
            p, &h2_given_up,
            METRICS_LABELS("service_name", name, "reason", proxy_h2_fault_name((enum proxy_h2_fault)i)),
            c->h2.given_up[i]);
}

/* Every fourth bound, a factor of four: 12 lines a service instead of 42. */
static void put_histogram(const struct proxy_durations *d, const char *name, struct metrics_page *p)
{
    uint64_t below = 0;
    char bound[32];

    for (size_t i = 0; i < PROXY_DURATION_BUCKETS; i++) {
        time_ns high = proxy_duration_bound(i);

        below += d->buckets[i];
        if (high == TIME_NEVER)
            snprintf(bound, sizeof(bound), "+Inf");
        else if (i % 4 == 1)
            snprintf(bound, sizeof(bound), "%.6g", (double)high / (double)SEC);
        else
            continue;
        metrics_put(p, &request_duration, "_bucket", METRICS_LABELS("service_name", name, "le", bound),
                    (double)below);
    }
    metrics_put(p, &request_duration, "_sum", METRICS_LABELS("service_name", name),
                (double)d->sum_ns / (double)SEC);
    metrics_put(p, &request_duration, "_count", METRICS_LABELS("service_name", name), (double)d->count);
}

static void put_requests(const struct proxy_counters *c, const char *name, struct metrics_page *p)
{
    char code[8];

    for (size_t i = 0; i < PROXY_CODES_MAX && c->codes[i].code; i++) {
        snprintf(code, sizeof(code), "%u", c->codes[i].code);
        metrics_put_u64(p, &requests, METRICS_LABELS("service_name", name, "code", code), c->codes[i].count);
    }
    metrics_put_u64(p, &requests, METRICS_LABELS("service_name", name, "code", "none"), c->requests[0]);
    if (c->timing)
        put_histogram(&c->timing->request, name, p);
#define X(field, type, metric, help) \
    metrics_put_u64(p, &proxy_##field, METRICS_LABELS("service_name", name), c->field);
    PROXY_METRICS(X)
#undef X
}

/* ---- the node -------------------------------------------------------------------------------- */

FAMILY(state, GAUGE, "manytails_service_state", "1 for the state that the service is in.")
FAMILY(control_up, GAUGE, "manytails_control_connected", "1 while the map stream of the node is open.")
FAMILY(control_connects, COUNTER, "manytails_control_connects_total", "Connections to the control server.")
FAMILY(control_maps, COUNTER, "manytails_control_maps_total", "Netmaps and changes to them that came.")
FAMILY(relay_up, GAUGE, "manytails_relay_connected", "1 while the home relay is connected.")
FAMILY(relay_packets, COUNTER, "manytails_relay_packets_total", "Packets through relays.")
FAMILY(relay_bytes, COUNTER, "manytails_relay_bytes_total", "Bytes of these.")
FAMILY(relay_dropped, COUNTER, "manytails_relay_dropped_total",
       "Packets for relays that were dropped: queue full, rate limit, no region, connection lost.")
FAMILY(packets, COUNTER, "manytails_tunnel_packets_total", "Packets inside the tunnel.")
FAMILY(bytes, COUNTER, "manytails_tunnel_bytes_total",
       "Bytes of packets that came in, payload that went out.")
FAMILY(blocked, COUNTER, "manytails_tunnel_blocked_total", "Packets that the policy of the tailnet refused.")
FAMILY(peers_known, GAUGE, "manytails_peers_known", "Peers that the node may talk to.")
FAMILY(peers, GAUGE, "manytails_peers", "Peers in use now, by the way to them.")
FAMILY(cpu, COUNTER, "manytails_cpu_seconds_total",
       "CPU time by service and part of the program; all add up to that of the shards' threads.")
FAMILY(wakeups, COUNTER, "manytails_wakeups_total", "Times that a sleeping thread was woken, and for what.")

FAMILY(traffic_bytes, COUNTER, "manytails_part_bytes_total",
       "Bytes that a part of the program received and sent, headers of its own included, by service.")
FAMILY(traffic_packets, COUNTER, "manytails_part_packets_total",
       "Packets, datagrams, messages or records of these; parts that have none are not listed.")

FAMILY(memory_held, GAUGE, "manytails_memory_bytes",
       "Heap that is held, by service and part of the program; without a name: what services share.")

static void put_memory(const struct account_memory *m, const char *name, unsigned index,
                       struct metrics_page *p)
{
    char shard[12];

    snprintf(shard, sizeof(shard), "%u", index);
    for (int part = 0; part < ACCOUNT_PART_COUNT; part++)
        if (m->bytes[part])
            metrics_put_u64(
                p, &memory_held,
                METRICS_LABELS("service_name", name, "part", account_part_texts[part].label, "shard", shard),
                m->bytes[part]);
}

static void put_traffic(const struct account_traffic *traffic, enum account_part part, const char *name,
                        const char *shard, struct metrics_page *p)
{
    static const char *const ways[] = { [ACCOUNT_IN] = "in", [ACCOUNT_OUT] = "out" };
    const struct account_part_text *text = &account_part_texts[part];

    for (int way = 0; way < ACCOUNT_DIRECTION_COUNT; way++) {
        const char *const *labels =
            METRICS_LABELS("service_name", name, "part", text->label, "direction", ways[way], "shard", shard);

        if (text->bytes)
            metrics_put_u64(p, &traffic_bytes, labels, traffic[way].bytes);
        if (text->packets)
            metrics_put_u64(p, &traffic_packets, labels, traffic[way].packets);
    }
}

static void put_cost(struct node_shard *s, uint32_t account, const char *name, struct metrics_page *p,
                     time_ns now)
{
    const struct account_reading *r = node_shard_reading(s, now);
    char shard[12];

    snprintf(shard, sizeof(shard), "%u", s->index);
    for (int part = 0; part < ACCOUNT_PART_COUNT; part++) {
        const char *const *labels =
            METRICS_LABELS("service_name", name, "part", account_part_texts[part].label, "shard", shard);
        struct account_cost cost;

        account_cost_get(r, account, (enum account_part)part, &cost);
        if (!cost.cpu && !cost.wakeups)
            continue;
        metrics_put(p, &cpu, "", labels, (double)cost.cpu / (double)SEC);
        metrics_put_u64(p, &wakeups, labels, cost.wakeups);
        put_traffic(cost.traffic, (enum account_part)part, name, shard, p);
    }
}

static void put_peers(const struct node *n, struct metrics_page *p, time_ns now)
{
    unsigned direct = 0, relay = 0, local = 0;

    LIST_EACH (peer, &n->peers, struct node_peer, link) {
        struct underlay_peer_status status = { 0 };

        if (!peer->local_shard)
            underlay_peer_status_get(peer->underlay, now, &status);
        local += peer->local_shard != NULL;
        direct += !peer->local_shard && status.path == UNDERLAY_PATH_DIRECT;
        relay += !peer->local_shard && status.path != UNDERLAY_PATH_DIRECT;
    }
    metrics_put_u64(p, &peers_known, METRICS_LABELS("service_name", n->name), netmap_peer_count(n->netmap));
    metrics_put_u64(p, &peers, METRICS_LABELS("service_name", n->name, "path", "direct"), direct);
    metrics_put_u64(p, &peers, METRICS_LABELS("service_name", n->name, "path", "relay"), relay);
    metrics_put_u64(p, &peers, METRICS_LABELS("service_name", n->name, "path", "process"), local);
}

static void put_relay(const struct node *n, struct metrics_page *p, time_ns now)
{
    const struct relay_counters *c = relay_node_counters(n->relay);
    struct relay_status status;

    relay_node_status(n->relay, now, &status);
    metrics_put_u64(p, &relay_up, METRICS_LABELS("service_name", n->name), status.home_connected);
    metrics_put_u64(p, &relay_packets, METRICS_LABELS("service_name", n->name, "direction", "in"),
                    c->packets_in);
    metrics_put_u64(p, &relay_packets, METRICS_LABELS("service_name", n->name, "direction", "out"),
                    c->packets_out);
    metrics_put_u64(p, &relay_bytes, METRICS_LABELS("service_name", n->name, "direction", "in"), c->bytes_in);
    metrics_put_u64(p, &relay_bytes, METRICS_LABELS("service_name", n->name, "direction", "out"),
                    c->bytes_out);
    metrics_put_u64(p, &relay_dropped, METRICS_LABELS("service_name", n->name),
                    c->dropped_full + c->dropped_rate + c->dropped_no_region + c->dropped_lost);
}

static void put_tunnel(const struct node *n, struct metrics_page *p)
{
    metrics_put_u64(p, &packets, METRICS_LABELS("service_name", n->name, "direction", "in"), n->packets_in);
    metrics_put_u64(p, &packets, METRICS_LABELS("service_name", n->name, "direction", "out"), n->packets_out);
    metrics_put_u64(p, &bytes, METRICS_LABELS("service_name", n->name, "direction", "in"), n->bytes_in);
    metrics_put_u64(p, &bytes, METRICS_LABELS("service_name", n->name, "direction", "out"), n->bytes_out);
    metrics_put_u64(p, &blocked, METRICS_LABELS("service_name", n->name), n->filtered);
}

void node_metrics_write(const struct node *n, struct metrics_page *p, time_ns now)
{
    const struct proxy_counters *c = proxy_service_counters(n->proxy);
    struct account_memory memory = { 0 };
    struct control_status control;

    put_tsnsrv(c, n->name, p);
    put_requests(c, n->name, p);
    if (n->cert)
        put_tls(c, n->name, p);
    put_h2(c, n->name, p);
    metrics_put_u64(p, &state, METRICS_LABELS("service_name", n->name, "state", node_state_text(n->state)),
                    1);
    control_client_status(n->control, now, &control);
    metrics_put_u64(p, &control_up, METRICS_LABELS("service_name", n->name), control.stream_open);
    metrics_put_u64(p, &control_connects, METRICS_LABELS("service_name", n->name), control.connects);
    metrics_put_u64(p, &control_maps, METRICS_LABELS("service_name", n->name), control.maps);
    if (n->relay)
        put_relay(n, p, now);
    put_tunnel(n, p);
    put_peers(n, p, now);
    if (n->account)
        put_cost(n->shard, n->account, n->name, p, now);
    node_memory(n, &memory);
    put_memory(&memory, n->name, n->shard->index, p);
}

/* ---- the process ----------------------------------------------------------------------------- */

void node_process_metrics_write(const struct node_process *p, struct metrics_page *page)
{
    metrics_put_u64(
        page, &memory_held,
        METRICS_LABELS("service_name", "", "part", account_part_texts[ACCOUNT_CONTROL].label, "shard", ""),
        node_process_memory(p));
}

/* ---- the shard ------------------------------------------------------------------------------- */

#define X(name, text) FAMILY(shard_##name, COUNTER, "manytails_shard_" #name "_total", text)
SHARD_COUNTERS(X)
#undef X

#define X(name, text) FAMILY(stack_##name, COUNTER, "manytails_netstack_" #name "_total", text)
NETSTACK_COUNTERS(X)
#undef X

FAMILY(stack_connections, GAUGE, "manytails_netstack_connections", "TCP connections inside the tunnels now.")
FAMILY(stack_memory, GAUGE, "manytails_netstack_memory_bytes", "What the stack holds for them.")
FAMILY(loop_wakeups, COUNTER, "manytails_shard_wakeups_total", "Times that the shard slept and woke.")
FAMILY(thread_cpu, COUNTER, "manytails_shard_cpu_seconds_total", "CPU time of the shard's thread.")

/* Row: field of struct underlay_counters, help. */
#define UNDERLAY_METRICS(X)                                                               \
    X(datagrams_in, "datagrams that came in on the UDP sockets")                          \
    X(wireguard_in, "of these, WireGuard's")                                              \
    X(disco_in, "of these, of disco")                                                     \
    X(stun_in, "of these, answers of STUN servers")                                       \
    X(disco_unknown_sender, "disco messages of keys that nobody here knows")              \
    X(disco_forged, "disco messages that opened for none of the nodes that know the key") \
    X(pings_out, "disco pings sent")                                                      \
    X(pongs_in, "disco pongs received")                                                   \
    X(sent_direct, "packets sent straight to a peer")                                     \
    X(sent_relay, "packets sent through a relay")                                         \
    X(sent_both, "packets sent both ways")                                                \
    X(send_failed, "packets that the kernel did not take")                                \
    X(paths_won, "times that a direct path was found")                                    \
    X(paths_lost, "times that a direct path was given up")                                \
    X(surveys, "runs in which relay regions were measured")                               \
    X(out_of_memory, "things not done for want of memory")

#define X(name, text) FAMILY(paths_##name, COUNTER, "manytails_underlay_" #name "_total", text)
UNDERLAY_METRICS(X)
#undef X

/* Row: field of struct wireguard_counters, type, help. */
#define WIREGUARD_METRICS(X)                                                     \
    X(initiations_sent, COUNTER, "_total", "handshakes begun")                   \
    X(responses_sent, COUNTER, "_total", "handshakes answered")                  \
    X(handshakes_done, COUNTER, "_total", "handshakes completed")                \
    X(handshakes_given_up, COUNTER, "_total", "handshakes that nobody answered") \
    X(cookies_sent, COUNTER, "_total", "cookies sent: we were under load")       \
    X(keepalives_sent, COUNTER, "_total", "keepalives sent")                     \
    X(peers, GAUGE, "", "peers with state now")                                  \
    X(peers_active, GAUGE, "", "peers with a session now")

#define X(name, type, suffix, text) FAMILY(wg_##name, type, "manytails_wireguard_" #name suffix, text)
WIREGUARD_METRICS(X)
#undef X

static void put_machines(const struct node_shard *s, struct metrics_page *p, const char *const *labels)
{
    const struct netstack_counters *stack = netstack_counters(s->netstack);
    const struct underlay_counters *paths = underlay_counters_get(s->underlay);
    const struct wireguard_counters *wg = wireguard_counters(s->wireguard);
    struct netstack_usage usage = netstack_usage(s->netstack);

#define X(name, text) metrics_put_u64(p, &stack_##name, labels, stack->name);
    NETSTACK_COUNTERS(X)
#undef X
#define X(name, text) metrics_put_u64(p, &paths_##name, labels, paths->name);
    UNDERLAY_METRICS(X)
#undef X
#define X(name, type, suffix, text) metrics_put_u64(p, &wg_##name, labels, wg->name);
    WIREGUARD_METRICS(X)
#undef X
    metrics_put_u64(p, &stack_connections, labels, usage.conns);
    metrics_put_u64(p, &stack_memory, labels, usage.memory_bytes);
}

void node_shard_metrics_write(struct node_shard *s, struct metrics_page *p, time_ns now)
{
    struct account_memory memory = { 0 };
    const char *const *labels;
    char index[12];

    snprintf(index, sizeof(index), "%u", s->index);
    labels = METRICS_LABELS("shard", index);
#define X(name, text) metrics_put_u64(p, &shard_##name, labels, s->counters.name);
    SHARD_COUNTERS(X)
#undef X
    put_machines(s, p, labels);
    metrics_put_u64(p, &loop_wakeups, labels, ev_loop_wakeups(s->loop));
    metrics_put(p, &thread_cpu, "", labels, (double)node_shard_reading(s, now)->thread_cpu / (double)SEC);
    put_cost(s, 0, "", p, now); /* what no service asked for */
    node_shard_memory(s, &memory);
    put_memory(&memory, "", s->index, p);
}
