/* node/service.c - what a node serves: which SYNs are taken, TLS, the proxy behind, who is asking */
#include "node/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- who is asking --------------------------------------------------------------------- */

static void add_cap(void *ctx, struct span name, struct span values)
{
    struct proxy_identity *out = ctx;

    (void)values;
    for (uint8_t i = 0; i < out->cap_count; i++)
        if (span_equal(out->caps[i], name))
            return;
    if (out->cap_count < PROXY_IDENTITY_LIST_MAX)
        out->caps[out->cap_count++] = name;
}

/* The name without our suffix borrows from the full name: it is its beginning. */
static struct span display_name(const struct netmap *map, const struct netmap_peer *peer)
{
    struct span full = peer->node.name;
    char text[NETMAP_NAME_BYTES];
    size_t len = strlen(netmap_peer_display_name(map, peer, text));

    if (len <= full.len && memcmp(full.data, text, len) == 0)
        return span_slice(full, 0, len);
    return peer->node.hostname.len ? peer->node.hostname : full;
}

static bool whois(void *ctx, const struct ip_port *peer, struct proxy_identity *out)
{
    const struct node *n = ((struct front *)ctx)->node;
    struct netmap_whois who;

    if (n->suppress_whois || !netmap_whois(n->netmap, &peer->ip, &who))
        return false;
    *out = (struct proxy_identity) {
        .user_id = (uint64_t)who.user->id,
        .node_id = (uint64_t)who.peer->node.id,
        .login = who.user->login_name,
        .display_name = who.user->display_name,
        .profile_pic = who.user->picture_url,
        .node_name = display_name(n->netmap, who.peer),
        .node_fqdn = who.peer->node.name,
    };
    for (size_t i = 0; i < who.peer->node.tags.count && i < PROXY_IDENTITY_LIST_MAX; i++)
        out->tags[out->tag_count++] = who.peer->node.tags.items[i];
    for (size_t i = 0; i < who.peer->node.caps.count && i < PROXY_IDENTITY_LIST_MAX; i++)
        out->node_caps[out->node_cap_count++] = who.peer->node.caps.items[i].name;
    netmap_caps(n->netmap, who.peer, NULL, add_cap, out);
    return true;
}

/* ---- upstreams inside the tailnet -------------------------------------------------------- */

/* "web", "web.tailnet.example" and "web.tailnet.example." name the same node. */
static bool names_peer(const struct netmap *map, const struct netmap_peer *peer, struct span host)
{
    char shown[NETMAP_NAME_BYTES];
    struct span full = peer->node.name;

    if (full.len && full.data[full.len - 1] == '.')
        full.len--;
    return text_equal_fold(host, full) ||
           text_equal_fold(host, span_from_str(netmap_peer_display_name(map, peer, shown)));
}

static bool find_tailnet_host(const struct node *n, const char *host, struct ip *out)
{
    struct span name = span_from_str(host);

    if (ip_parse(name, out))
        return netmap_route(n->netmap, out) != NULL;
    if (name.len && name.data[name.len - 1] == '.')
        name.len--;
    for (size_t i = 0; i < netmap_peer_count(n->netmap); i++) {
        const struct netmap_peer *peer = netmap_peer_at(n->netmap, i);

        if (peer->node.addresses.count && names_peer(n->netmap, peer, name)) {
            *out = peer->node.addresses.items[0].ip;
            return true;
        }
    }
    return false;
}

int node_dial(struct node *n, const char *host, uint16_t port, struct stream **out)
{
    struct ip_port to = { .port = port };

    if (!find_tailnet_host(n, host, &to.ip))
        return 1;
    return inner_stream_connect(out, n, &to, ev_now(n->shard->loop));
}

static int dial(void *ctx, const char *host, uint16_t port, struct stream **out)
{
    struct node *n = ((struct front *)ctx)->node;

    return n->host_network_only ? 1 : node_dial(n, host, port, out);
}

/* ---- life ----------------------------------------------------------------------------------- */

static void front_free(struct front *f)
{
    if (!f)
        return;
    proxy_service_free(f->proxy);
    if (list_linked(&f->link))
        f->node->retired_count--;
    list_remove(&f->link);
    free(f);
}

/* What it counted since it was retired goes on with the one that has its place. */
static void retired_free(struct front *f)
{
    proxy_service_move_counters(f->node->proxy, f->proxy);
    front_free(f);
}

static void check_drained(struct node *n)
{
    if (!n->stopping || !n->front->drained || !list_empty(&n->retired))
        return;
    n->drained = true;
    ev_task_post(&n->stopped_task);
}

static void on_drained(void *ctx)
{
    struct front *f = ctx;
    struct node *n = f->node;

    f->drained = true;
    if (f != n->front)
        retired_free(f);
    check_drained(n);
}

static bool covered(const struct node *n, const char *name)
{
    struct tls_identity *identity = n->cert ? cert_entry_identity(n->cert) : NULL;

    return identity && tls_identity_covers(identity, name);
}

/* The name that was asked for, if the certificate is for it; else the node's own. */
static bool https_host(void *ctx, struct span asked, char out[PROXY_HOST_BYTES])
{
    const struct node *n = ((const struct front *)ctx)->node;
    const struct netmap_peer *self = netmap_self(n->netmap);
    char name[TLS_NAME_BYTES_MAX + 1], port[8] = "";

    if (!text_copy(name, sizeof(name), asked) || !covered(n, name)) {
        struct span full = self ? self->node.name : SPAN_NONE;

        if (full.len && full.data[full.len - 1] == '.')
            full.len--;
        if (!full.len || !text_copy(name, sizeof(name), full))
            return false;
    }
    if (n->listen.port != 443)
        snprintf(port, sizeof(port), ":%u", n->listen.port);
    snprintf(out, PROXY_HOST_BYTES, "%s%s", name, port);
    return true;
}

static const struct proxy_ops serving_ops = {
    .whois = whois, .dial = dial, .drained = on_drained, .https_host = https_host
};

/* A node that begins may wait for files that are not there yet; a new configuration of one that runs may not.
 */
static int certificate_open(struct node *n, struct cert_entry **out, const struct node_config *config,
                            char why[NODE_WHY_BYTES])
{
    struct node_shard *s = n->shard;
    char reason[CERT_WHY_BYTES];
    int r = 0;

    *out = NULL;
    if (!config->certificate_file)
        return 0;
    if (!s->certificates)
        r = cert_store_new(&s->certificates, s->loop);
    if (!r)
        r = cert_store_get(s->certificates, config->certificate_file, config->key_file, !n->front, out,
                           reason);
    if (r) {
        if (r > 0)
            snprintf(why, NODE_WHY_BYTES, "%s", reason);
        return r < 0 ? r : 1;
    }
    if (*reason)
        log_warn(n->name, "%s", reason);
    return 0;
}

static int front_new(struct front **out, struct node *n, const struct node_config *config,
                     char why[NODE_WHY_BYTES])
{
    struct front *f = calloc(1, sizeof(*f));
    char reason[PROXY_WHY_BYTES];
    int r;

    if (!f)
        return -ENOMEM;
    f->node = n;
    r = proxy_service_new(&f->proxy, n->shard->proxy, &config->proxy, &serving_ops, f, reason);
    if (r) {
        if (r > 0)
            snprintf(why, NODE_WHY_BYTES, "%s", reason);
        f->proxy = NULL;
        front_free(f);
        return r;
    }
    *out = f;
    return 0;
}

/* The settings of `config` are in force from here on. */
static void service_put(struct node *n, struct front *f, struct cert_entry *cert,
                        const struct node_config *config)
{
    cert_store_put(n->cert); /* connections that began with it hold what they need */
    n->cert = cert;
    n->front = f;
    n->proxy = f->proxy;
    n->listen = config->listen;
    n->redirect_http = config->redirect_http && config->certificate_file;
    n->suppress_whois = config->suppress_whois;
    n->host_network_only = config->host_network_only;
}

int service_open(struct node *n, const struct node_config *config, char why[NODE_WHY_BYTES])
{
    struct front *f;
    struct cert_entry *cert;
    int r = certificate_open(n, &cert, config, why);

    if (!r)
        r = front_new(&f, n, config, why);
    if (r) {
        cert_store_put(cert);
        return r;
    }
    service_put(n, f, cert, config);
    return 0;
}

static void retire(struct node *n, struct front *f)
{
    if (n->retired_count == NODE_RETIRED_MAX) {
        log_warn(n->name, "requests that began %u changes of the configuration ago are cut",
                 NODE_RETIRED_MAX);
        retired_free(LIST_FIRST(&n->retired, struct front, link));
    }
    proxy_service_move_counters(n->proxy, f->proxy);
    list_push_back(&n->retired, &f->link);
    n->retired_count++;
    LIST_EACH (r, &n->retired, struct front, link)
        proxy_service_replace(r->proxy, n->proxy);
}

int node_reconfigure(struct node *n, const struct node_config *config, char why[NODE_WHY_BYTES])
{
    struct front *before = n->front;
    int r;

    must(strcmp(n->name, config->name) == 0 && strcmp(n->state_directory, config->state_directory) == 0);
    if (n->stopping)
        return 0;
    why[0] = 0;
    r = service_open(n, config, why);
    if (r) {
        if (!*why)
            snprintf(why, NODE_WHY_BYTES, "%s", err_text(r));
        return r;
    }
    retire(n, before);
    n->join_timeout = config->join_timeout;
    if (control_client_set_auth_key(n->control, config->auth_key))
        log_warn(n->name, "the new auth key is not used: out of memory or out of bounds");
    return 0;
}

void service_drain(struct node *n)
{
    proxy_service_drain(n->proxy);
}

void service_cut(struct node *n)
{
    LIST_EACH (f, &n->retired, struct front, link)
        proxy_service_cut(f->proxy);
    proxy_service_cut(n->proxy);
}

void service_close(struct node *n)
{
    while (!list_empty(&n->retired))
        front_free(LIST_FIRST(&n->retired, struct front, link));
    front_free(n->front);
    n->front = NULL;
    n->proxy = NULL;
    cert_store_put(n->cert);
    n->cert = NULL;
}

#define REDIRECT_PORT 80

enum netstack_verdict service_on_syn(struct node *n, const struct netstack_flow *flow, void **user)
{
    if (n->stopping || !n->proxy ||
        (flow->local.port != n->listen.port && !(n->redirect_http && flow->local.port == REDIRECT_PORT)))
        return NETSTACK_RESET;
    if (!ip_is_none(&n->listen.ip) && !ip_equal(&n->listen.ip, &flow->local.ip))
        return NETSTACK_RESET;
    *user = NULL; /* the stream is made when the handshake is complete */
    return NETSTACK_ACCEPT;
}

static int tls_over(struct node *n, struct stream *below, struct stream **out)
{
    static const char *const protocols[] = { "h2", "http/1.1", NULL };
    struct tls_server_config config = { .identity = cert_entry_identity(n->cert), .alpn = protocols };

    if (!config.identity)
        return -ENOENT; /* its files are still missing */
    return tls_server_stream(out, n->shard->process->tls_server, below, &config);
}

void service_accept(struct node_shard *s, handle conn, const struct netstack_flow *flow)
{
    struct node *n = node_of_index(s, flow->node);
    struct proxy_arrival arrival = { .peer = flow->remote, .listen_port = flow->local.port };
    struct stream *inner = NULL, *outer;
    struct netstack_flow still;
    if (!n || !n->proxy || inner_stream_new(&inner, n, conn)) {
        tcp_abort(s->netstack, conn);
        return;
    }
    outer = inner;
    arrival.redirect = flow->local.port != n->listen.port;
    arrival.tls = n->cert && !arrival.redirect;
    if (arrival.tls && tls_over(n, inner, &outer)) {
        stream_abort(inner);
        return;
    }
    arrival.protocol = arrival.tls ? PROXY_BY_ALPN : PROXY_HTTP1;
    proxy_accept(n->proxy, outer, &arrival);
    if (tcp_flow(s->netstack, conn, &still)) /* the proxy may have closed it already */
        inner_stream_events(inner, STREAM_CONNECTED | STREAM_WRITABLE, 0, ev_now(s->loop));
}
