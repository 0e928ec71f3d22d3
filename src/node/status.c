/* node/status.c - what a node can say about itself, as JSON */
#include "node/internal.h"

static void put_addresses(const struct node *n, struct json_writer *w)
{
    const struct netmap_peer *self = netmap_self(n->netmap);
    char text[IP_TEXT_BYTES];

    json_array_begin(w, "addresses");
    for (size_t i = 0; self && i < self->node.addresses.count; i++)
        json_put_str(w, NULL, ip_text(&self->node.addresses.items[i].ip, text));
    json_array_end(w);
}

static void put_peer(const struct node_peer *p, struct json_writer *w, time_ns now)
{
    char name[NETMAP_NAME_BYTES], address[IP_PORT_TEXT_BYTES];
    struct underlay_peer_status status;

    json_object_begin(w, NULL);
    json_put_str(w, "name", netmap_peer_display_name(p->node->netmap, p->info, name));
    if (p->local_shard) {
        json_put_str(w, "path", "this process");
    } else {
        underlay_peer_status_get(p->underlay, now, &status);
        json_put_str(w, "path", status.path == UNDERLAY_PATH_DIRECT ? "direct" : "relay");
        if (status.path == UNDERLAY_PATH_DIRECT) {
            json_put_str(w, "address", ip_port_text(&status.address, address));
            json_put_real(w, "latencyMs", status.latency_us / 1000.0);
        } else {
            json_put_i64(w, "region", p->info->node.home_derp);
        }
    }
    json_put_u64(w, "bytesIn", p->bytes_in);
    json_put_u64(w, "bytesOut", p->bytes_out);
    json_put_real(w, "secondsSinceHeard", p->last_seen ? (double)(now - p->last_seen) / (double)SEC : -1);
    json_object_end(w);
}

static void put_peers(const struct node *n, struct json_writer *w, time_ns now)
{
    json_put_u64(w, "peersKnown", netmap_peer_count(n->netmap));
    json_array_begin(w, "peers");
    LIST_EACH (p, &n->peers, struct node_peer, link) {
        put_peer(p, w, now);
    }
    json_array_end(w);
}

static void put_proxy(const struct node *n, struct json_writer *w)
{
    const struct proxy_counters *c = proxy_service_counters(n->proxy);
    uint64_t requests = 0;

    for (size_t i = 0; i < COUNT_OF(c->requests); i++)
        requests += c->requests[i];
    json_object_begin(w, "requests");
    json_put_u64(w, "total", requests);
    json_put_u64(w, "active", c->active);
    json_put_u64(w, "waiting", c->waiting);
    json_put_u64(w, "connections", c->open);
    json_put_u64(w, "status2xx", c->requests[2]);
    json_put_u64(w, "status3xx", c->requests[3]);
    json_put_u64(w, "status4xx", c->requests[4]);
    json_put_u64(w, "status5xx", c->requests[5]);
    json_put_u64(w, "proxyErrors", c->proxy_errors);
    json_put_u64(w, "bytesIn", c->bytes_in);
    json_put_u64(w, "bytesOut", c->bytes_out);
    json_object_end(w);
}

static void put_h2(const struct proxy_h2_counters *c, struct json_writer *w)
{
    json_object_begin(w, "http2");
    json_put_u64(w, "connectionsTotal", c->connections);
    json_put_u64(w, "connections", c->open);
    json_put_u64(w, "requests", c->requests);
    json_put_u64(w, "resets", c->resets);
    json_object_begin(w, "givenUp");
    for (size_t i = 0; i < PROXY_H2_FAULT_COUNT; i++)
        json_put_u64(w, proxy_h2_fault_name((enum proxy_h2_fault)i), c->given_up[i]);
    json_object_end(w);
    json_object_end(w);
}

static void put_tls(const struct proxy_counters *c, struct json_writer *w)
{
    json_object_begin(w, "tlsFailed");
    for (size_t i = 0; i < PROXY_TLS_FAULT_COUNT; i++)
        json_put_u64(w, proxy_tls_fault_name((enum proxy_tls_fault)i), c->tls_failed[i]);
    json_object_end(w);
}

static void put_time(struct json_writer *w, const char *name, int64_t wall)
{
    char time[TIME_TEXT_BYTES];

    json_put_str(w, name, time_text_rfc3339(wall / SEC * SEC, time));
}

/* A server behind the service that failed, for people. */
static void put_trouble(const char *name, const struct proxy_trouble *t, struct json_writer *w, time_ns now)
{
    int64_t wall = ev_wall_clock() - now; /* of the loop's zero */

    if (!t)
        return;
    json_object_begin(w, name);
    json_put_str(w, "url", t->where);
    json_put_str(w, "trouble", t->why);
    json_put_u64(w, "times", t->times);
    put_time(w, "since", wall + t->first);
    put_time(w, "last", wall + t->last);
    if (t->answers_since)
        put_time(w, "answersSince", wall + t->answers_since);
    json_object_end(w);
}

/* Where the node stands, for people: `sentence` "since" `since`, and `detail`. */
static void put_words(const struct node *n, struct json_writer *w, time_ns now)
{
    struct control_status control;
    struct node_words words;
    int64_t since = n->state_since;
    char time[TIME_TEXT_BYTES];

    control_client_status(n->control, now, &control);
    node_words(n->state, n->sentence, &control, netmap_self(n->netmap) != NULL, now, &words);
    if (n->trouble_since && (n->state == NODE_STARTING || n->state == NODE_SERVING_STORED))
        since = n->trouble_since;
    json_put_str(w, "state", node_state_text(n->state));
    json_put_str(w, "sentence", words.sentence);
    json_put_str(w, "since", time_text_rfc3339(since / SEC * SEC, time));
    json_put_str(w, "detail", words.detail);
    if (n->auth_url)
        json_put_str(w, "authURL", n->auth_url);
    notices_write(&n->notices, w);
}

static void put_certificate(const struct cert_entry *c, struct json_writer *w)
{
    char time[TIME_TEXT_BYTES], name[TLS_NAME_BYTES_MAX + 1];

    if (!c)
        return;
    json_object_begin(w, "certificate");
    if (cert_entry_identity(c)) {
        json_put_str(w, "name", tls_identity_name(cert_entry_identity(c), name));
        json_put_str(w, "notAfter", time_text_rfc3339(cert_entry_not_after(c) / SEC * SEC, time));
    }
    json_put_str(w, "trouble", cert_entry_trouble(c));
    json_object_end(w);
}

static void put_control(const struct node *n, struct json_writer *w, time_ns now)
{
    struct control_status status;

    control_client_status(n->control, now, &status);
    json_object_begin(w, "control");
    json_put_str(w, "url", n->control_url);
    json_put_str(w, "state", control_state_name(status.state));
    json_put_u64(w, "connects", status.connects);
    json_put_u64(w, "registrations", status.registrations);
    json_put_u64(w, "maps", status.maps);
    json_put_u64(w, "updates", status.updates);
    json_object_end(w);
}

const struct account_reading *node_shard_reading(struct node_shard *s, time_ns now)
{
    if (s->reading_at != now)
        account_read(&s->reading);
    s->reading_at = now;
    return &s->reading;
}

static void put_memory(const struct account_memory *m, struct json_writer *w)
{
    json_object_begin(w, "memoryBytes");
    for (int part = 0; part < ACCOUNT_PART_COUNT; part++)
        json_put_u64(w, account_part_texts[part].label, m->bytes[part]);
    json_object_end(w);
    json_put_u64(w, "memoryBytesTotal", account_memory_sum(m));
}

static void put_traffic(const struct account_reading *r, uint32_t account, struct json_writer *w)
{
    json_object_begin(w, "traffic");
    for (int part = 0; part < ACCOUNT_PART_COUNT; part++) {
        const struct account_part_text *text = &account_part_texts[part];
        struct account_cost cost;

        if (!text->bytes)
            continue;
        account_cost_get(r, account, part, &cost);
        json_object_begin(w, text->label);
        json_put_u64(w, "bytesIn", cost.traffic[ACCOUNT_IN].bytes);
        json_put_u64(w, "bytesOut", cost.traffic[ACCOUNT_OUT].bytes);
        if (text->packets) {
            json_put_u64(w, "packetsIn", cost.traffic[ACCOUNT_IN].packets);
            json_put_u64(w, "packetsOut", cost.traffic[ACCOUNT_OUT].packets);
        }
        json_object_end(w);
    }
    json_object_end(w);
}

/* CPU in microseconds, wake-ups, traffic and memory, by part of the program. */
static void put_cost(struct node_shard *s, uint32_t account, const struct account_memory *m,
                     struct json_writer *w, time_ns now)
{
    const struct account_reading *r = node_shard_reading(s, now);
    uint64_t wakeups = 0;
    time_ns cpu = 0;

    json_object_begin(w, "cost");
    json_object_begin(w, "cpuMicroseconds");
    for (int part = 0; part < ACCOUNT_PART_COUNT; part++) {
        struct account_cost cost;

        account_cost_get(r, account, part, &cost);
        cpu += cost.cpu;
        wakeups += cost.wakeups;
        json_put_u64(w, account_part_texts[part].label, (uint64_t)(cost.cpu / USEC));
    }
    json_object_end(w);
    json_put_u64(w, "cpuMicrosecondsTotal", (uint64_t)(cpu / USEC));
    json_put_u64(w, "wakeups", wakeups);
    put_traffic(r, account, w);
    put_memory(m, w);
    json_object_end(w);
}

void node_status_write(const struct node *n, struct json_writer *w, time_ns now)
{
    const struct netmap_peer *self = netmap_self(n->netmap);
    char time[TIME_TEXT_BYTES], key[KEY_TEXT_BYTES];
    struct account_memory memory = { 0 };

    json_object_begin(w, NULL);
    json_put_str(w, "name", n->name);
    put_words(n, w, now);
    if (self)
        json_put_span(w, "fullName", self->node.name);
    if (!public_key_is_zero(&n->public_key))
        json_put_str(w, "nodeKey", key_text(key, "nodekey:", n->public_key.bytes));
    if (self && self->node.key_expiry)
        json_put_str(w, "keyExpiry", time_text_rfc3339(self->node.key_expiry / SEC * SEC, time));
    put_addresses(n, w);
    put_certificate(n->cert, w);
    json_put_u64(w, "udpPort", underlay_port(node_underlay(n), true));
    relay_status_write(n, w, now);
    put_control(n, w, now);
    put_peers(n, w, now);
    put_proxy(n, w);
    put_h2(&proxy_service_counters(n->proxy)->h2, w);
    if (n->cert)
        put_tls(proxy_service_counters(n->proxy), w);
    put_trouble("upstream", proxy_service_trouble(n->proxy), w, now);
    put_trouble("authServer", proxy_service_auth_trouble(n->proxy), w, now);
    json_put_u64(w, "packetsIn", n->packets_in);
    json_put_u64(w, "packetsOut", n->packets_out);
    json_put_u64(w, "bytesIn", n->bytes_in);
    json_put_u64(w, "bytesOut", n->bytes_out);
    json_put_u64(w, "blockedByPolicy", n->filtered);
    node_memory(n, &memory);
    if (n->account)
        put_cost(n->shard, n->account, &memory, w, now);
    json_object_end(w);
}

static void put_netstack(const struct node_shard *s, struct json_writer *w)
{
    const struct netstack_counters *c = netstack_counters(s->netstack);
    struct netstack_usage usage = netstack_usage(s->netstack);

    json_object_begin(w, "netstack");
#define X(name, text) json_put_u64(w, #name, c->name);
    NETSTACK_COUNTERS(X)
#undef X
    json_put_u64(w, "connections", usage.conns);
    json_put_u64(w, "timeWait", usage.time_wait);
    json_put_u64(w, "memoryBytes", usage.memory_bytes);
    json_object_end(w);
}

void node_shard_status_write(struct node_shard *s, struct json_writer *w, time_ns now)
{
    struct account_memory memory = { 0 };

    json_object_begin(w, NULL);
    json_put_u64(w, "shard", s->index);
    json_put_u64(w, "udpPort", underlay_port(s->underlay, true));
    json_put_u64(w, "surveys", underlay_counters_get(s->underlay)->surveys);
    json_put_u64(w, "rebinds", underlay_counters_get(s->underlay)->rebinds);
    json_put_u64(w, "mappings", underlay_counters_get(s->underlay)->mappings);
    json_put_u64(w, "wakeups", ev_loop_wakeups(s->loop));
#define X(name, text) json_put_u64(w, #name, s->counters.name);
    SHARD_COUNTERS(X)
#undef X
    node_shard_memory(s, &memory);
    put_cost(s, 0, &memory, w, now); /* what no node asked for */
    json_put_u64(w, "cpuMicroseconds", (uint64_t)(node_shard_reading(s, now)->thread_cpu / USEC));
    put_netstack(s, w);
    json_object_end(w);
}
