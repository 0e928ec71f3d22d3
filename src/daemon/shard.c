/* daemon/shard.c - the thread of a shard: its nodes, made, started and stopped on letters */
#include "daemon/internal.h"

#include "crypto/crypto.h"
#include "tls/tls.h"

#include <errno.h>
#include <stdlib.h>

struct letter *letter_new(enum letter_kind kind, struct span text)
{
    struct letter *l = calloc(1, sizeof(*l) + text.len + 1);

    if (!l)
        return NULL;
    l->kind = kind;
    l->len = text.len;
    if (text.len)
        memcpy(l->text, text.data, text.len);
    return l;
}

void shard_post(struct daemon_shard *s, struct letter *l)
{
    must(l);
    ev_mailbox_post(s->mailbox, &l->base);
}

void main_post(struct daemon *d, struct letter *l)
{
    must(l);
    ev_mailbox_post(d->mailbox, &l->base);
}

/* ---- what nodes say ------------------------------------------------------------------- */

static void tell(struct daemon_service *s, enum letter_kind kind, enum node_state state, const char *text)
{
    struct letter *l = letter_new(kind, span_from_str(text));

    must(l);
    l->service = s->index;
    l->state = state;
    main_post(s->daemon, l);
}

static void on_state(void *ctx, struct node *n, enum node_state state, const char *sentence)
{
    (void)n;
    tell(ctx, LETTER_STATE, state, sentence);
}

static void on_auth_url(void *ctx, struct node *n, const char *url)
{
    (void)n;
    tell(ctx, LETTER_AUTH_URL, NODE_NEEDS_LOGIN, url ? url : "");
}

static void on_stopped(void *ctx, struct node *n)
{
    (void)n;
    tell(ctx, LETTER_STOPPED, NODE_STOPPED, "");
}

static const struct node_ops node_ops = { .state_changed = on_state,
                                          .auth_url = on_auth_url,
                                          .stopped = on_stopped };

/* ---- services ---------------------------------------------------------------------------- */

/* The proxy's settings out of the service's; the names live as long as the call. */
struct proxy_settings {
    struct proxy_service_config config;
    struct proxy_header headers[PROXY_HEADERS_MAX];
    char *header_names[PROXY_HEADERS_MAX];
};

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static bool settings_fill(struct proxy_settings *out, const struct config_service *c)
{
    *out = (struct proxy_settings) { .config = {
                                         .name = c->name,
                                         .upstream = c->upstream,
                                         .upstream_tcp_addr = or_null(c->upstream_tcp_address),
                                         .upstream_unix_addr = or_null(c->upstream_unix_address),
                                         .insecure_https = c->insecure_https,
                                         .upstream_ca_file = getenv("SSL_CERT_FILE"),
                                         .keep_prefix = !c->strip_prefix,
                                         .plain_headers = !c->recommended_proxy_headers,
                                         .read_header_timeout = c->read_header_timeout,
                                     } };
    if (c->prefixes.count > PROXY_PREFIXES_MAX || c->upstream_headers.count > PROXY_HEADERS_MAX)
        return false;
    for (size_t i = 0; i < c->upstream_headers.count; i++) {
        const char *colon = strchr(c->upstream_headers.items[i], ':');
        char *name =
            text_dup(span_make(c->upstream_headers.items[i], (size_t)(colon - c->upstream_headers.items[i])));

        if (!name)
            return false;
        out->header_names[i] = name;
        out->headers[out->config.header_count++] =
            (struct proxy_header) { name, colon + (colon[1] == ' ' ? 2 : 1) };
    }
    out->config.prefixes = (const char *const *)c->prefixes.items;
    out->config.prefix_count = c->prefixes.count;
    out->config.headers = out->headers;
    return true;
}

static struct ip_port listen_of(const char *text)
{
    struct span s = span_from_str(text);
    struct ip_port out = { 0 };
    uint64_t port = 0;

    if (s.len && s.data[0] == ':' && text_parse_u64(span_slice(s, 1, s.len), UINT16_MAX, &port))
        out.port = (uint16_t)port;
    else
        must(ip_port_parse(s, &out)); /* the configuration's check has seen it */
    return out;
}

static int service_new(struct daemon_shard *shard, struct daemon_service *s, char why[NODE_WHY_BYTES])
{
    const struct config_service *c = s->config;
    struct proxy_settings settings;
    struct node_config config = {
        .name = c->name,
        .control_url = c->control_url,
        .auth_key = c->auth_key,
        .ephemeral = c->ephemeral,
        .tags = (const char *const *)c->tags.items,
        .tag_count = c->tags.count,
        .state_directory = c->state_directory,
        .listen = listen_of(c->listen_address),
        .certificate_file = or_null(c->certificate_file),
        .key_file = or_null(c->key_file),
        .suppress_whois = c->suppress_whois,
        .host_network_only = c->suppress_tailnet_dialer,
        .join_timeout = c->timeout,
    };
    int r = 1;

    if (settings_fill(&settings, c)) {
        config.proxy = settings.config;
        r = node_new(&s->node, shard->nodes, &config, &node_ops, s, why);
    } else {
        strcpy(why, "too many prefixes or headers");
    }
    for (size_t i = 0; i < PROXY_HEADERS_MAX; i++)
        free(settings.header_names[i]);
    return r;
}

static void service_start(struct daemon_shard *shard, struct daemon_service *s)
{
    char why[NODE_WHY_BYTES] = "";

    if (s->node)
        return;
    if (service_new(shard, s, why) == 0) {
        node_start(s->node);
        return;
    }
    s->node = NULL;
    tell(s, LETTER_STATE, NODE_FAILED, why);
    ev_timer_set(&s->retry, ev_now(shard->loop) + DAEMON_RETRY);
}

static void on_retry(struct ev_timer *t, time_ns now)
{
    struct daemon_service *s = CONTAINER_OF(t, struct daemon_service, retry);

    (void)now;
    service_start(&s->daemon->shards[s->shard], s);
}

static void stop_all(struct daemon_shard *shard, time_ns deadline)
{
    struct daemon *d = shard->daemon;

    for (size_t i = shard->index; i < d->service_count; i += d->shard_count) {
        struct daemon_service *s = &d->services[i];

        ev_timer_stop(&s->retry);
        if (s->node)
            node_stop(s->node, deadline);
        else
            tell(s, LETTER_STOPPED, NODE_STOPPED, "");
    }
}

/* Every node of the shard, and the shard, as members of the answer. */
static void answer(struct daemon_shard *shard, uint64_t id, time_ns now)
{
    struct daemon *d = shard->daemon;
    struct json_writer w;
    struct letter *l;
    struct buf text;

    buf_init(&text, DAEMON_STATUS_BYTES_MAX);
    w = json_writer_of(&text);
    json_object_begin(&w, NULL);
    json_object_begin(&w, "services");
    for (size_t i = shard->index; i < d->service_count; i += d->shard_count)
        if (d->services[i].node) {
            json_put_key(&w, span_from_str(d->services[i].config->name));
            node_status_write(d->services[i].node, &w, now);
        }
    json_object_end(&w);
    json_put_key(&w, span_from_str("shard"));
    node_shard_status_write(shard->nodes, &w);
    json_object_end(&w);
    l = letter_new(LETTER_ANSWER, json_writer_done(&w) ? SPAN_NONE : buf_span(&text));
    buf_deinit(&text);
    must(l);
    l->id = id;
    l->shard = shard->index;
    main_post(d, l);
}

static void pong(struct daemon_shard *shard)
{
    struct letter *l = letter_new(LETTER_PONG, SPAN_NONE);

    must(l);
    l->shard = shard->index;
    main_post(shard->daemon, l);
}

/* ---- thread --------------------------------------------------------------------------------- */

static void on_letter(void *owner, struct ev_letter *base, time_ns now)
{
    struct letter *l = CONTAINER_OF(base, struct letter, base);
    struct daemon_shard *shard = owner;

    switch (l->kind) {
    case LETTER_START:
        service_start(shard, &shard->daemon->services[l->service]);
        break;
    case LETTER_STOP:
        stop_all(shard, l->at);
        break;
    case LETTER_HOST:
        node_shard_set_host(shard->nodes, &l->view);
        break;
    case LETTER_ASK:
        answer(shard, l->id, now);
        break;
    case LETTER_PING:
        pong(shard);
        break;
    case LETTER_QUIT:
        ev_loop_stop(shard->loop);
        break;
    case LETTER_STATE:
    case LETTER_AUTH_URL:
    case LETTER_STOPPED:
    case LETTER_ANSWER:
    case LETTER_PONG:
        must(!"a letter to the main thread");
    }
    free(l);
}

static void *run(void *arg)
{
    struct daemon_shard *shard = arg;
    struct daemon *d = shard->daemon;

    if (ev_loop_run(shard->loop))
        log_error(NULL, "shard %zu: its event loop failed", shard->index);
    for (size_t i = shard->index; i < d->service_count; i += d->shard_count) {
        ev_timer_stop(&d->services[i].retry);
        node_free(d->services[i].node);
        d->services[i].node = NULL;
    }
    node_shard_free(shard->nodes);
    shard->nodes = NULL;
    tls_thread_end();
    crypto_thread_end();
    return NULL;
}

int shard_start(struct daemon_shard *shard)
{
    struct daemon *d = shard->daemon;
    int r = ev_loop_new(&shard->loop);

    if (!r)
        r = ev_mailbox_new(&shard->mailbox, shard->loop, on_letter, shard);
    if (!r)
        r = node_shard_new(&shard->nodes, d->process, (unsigned)shard->index, shard->loop);
    if (r)
        return r;
    for (size_t i = shard->index; i < d->service_count; i += d->shard_count)
        ev_timer_init(&d->services[i].retry, shard->loop, on_retry);
    r = -pthread_create(&shard->thread, NULL, run, shard);
    shard->running = r == 0;
    return r;
}

void shard_join(struct daemon_shard *shard)
{
    if (shard->running) {
        shard_post(shard, letter_new(LETTER_QUIT, SPAN_NONE));
        pthread_join(shard->thread, NULL);
    }
    shard->running = false;
    node_shard_free(shard->nodes);
    ev_mailbox_free(shard->mailbox);
    ev_loop_free(shard->loop);
}
