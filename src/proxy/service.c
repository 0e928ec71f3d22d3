#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/h2.h"

#define OUT_BYTES_MAX (HTTP_HEAD_TEXT_MAX + 1024)

/* ---- shard -------------------------------------------------------------------- */

int proxy_shard_new(struct proxy_shard **out, struct ev_loop *loop)
{
    struct proxy_shard *shard = calloc(1, sizeof(*shard));

    if (!shard)
        return -ENOMEM;
    shard->in = malloc(READ_BYTES);
    if (!shard->in) {
        free(shard);
        return -ENOMEM;
    }
    shard->loop = loop;
    shard->date_second = -1;
    ev_task_init(&shard->run, loop, conn_run);
    access_log_init(&shard->access_log, loop);
    list_init(&shard->ready);
    list_init(&shard->services);
    list_init(&shard->idle);
    list_init(&shard->spare_exchanges);
    list_init(&shard->spare_heads);
    buf_init(&shard->out, 3 * OUT_BYTES_MAX);
    buf_init(&shard->pending, PENDING_BYTES_MAX);
    buf_init(&shard->text, 3 * OUT_BYTES_MAX); /* a path may triple when it is escaped */
    *out = shard;
    return 0;
}

void proxy_shard_free(struct proxy_shard *shard)
{
    struct list *node;

    if (!shard)
        return;
    must(list_empty(&shard->services) && list_empty(&shard->idle));
    ev_task_cancel(&shard->run);
    access_log_deinit(&shard->access_log);
    while ((node = list_pop_front(&shard->spare_exchanges)))
        exchange_free(LIST_ENTRY(node, struct exchange, link));
    while ((node = list_pop_front(&shard->spare_heads))) {
        struct spare_head *h = LIST_ENTRY(node, struct spare_head, link);

        http_head_deinit(&h->head);
        free(h);
    }
    tls_client_unref(shard->tls);
    buf_deinit(&shard->out);
    buf_deinit(&shard->text);
    buf_deinit(&shard->pending);
    free(shard->in);
    free(shard->h2_scratch);
    free(shard);
}

size_t proxy_shard_connections(const struct proxy_shard *shard)
{
    return shard->connections;
}

size_t proxy_shard_idle_upstreams(const struct proxy_shard *shard)
{
    return shard->idle_count;
}

struct http_head *head_take(struct proxy_shard *shard)
{
    struct list *node = list_pop_front(&shard->spare_heads);
    struct spare_head *h;

    if (node) {
        shard->spare_head_count--;
        return &LIST_ENTRY(node, struct spare_head, link)->head;
    }
    h = calloc(1, sizeof(*h));
    if (!h)
        return NULL;
    http_head_init(&h->head);
    return &h->head;
}

void head_give_back(struct proxy_shard *shard, struct http_head **head)
{
    struct spare_head *h;

    if (!*head)
        return;
    h = CONTAINER_OF(*head, struct spare_head, head);
    *head = NULL;
    if (shard->spare_head_count < 2 * SPARES_MAX) {
        http_head_clear(&h->head, SPARE_TEXT_BYTES);
        list_push_front(&shard->spare_heads, &h->link);
        shard->spare_head_count++;
        return;
    }
    http_head_deinit(&h->head);
    free(h);
}

struct span shard_date(struct proxy_shard *shard)
{
    static const char days[][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
    static const char months[][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    int64_t second = ev_wall_clock() / SEC;

    if (second != shard->date_second) {
        time_t t = (time_t)second;
        struct tm tm;

        gmtime_r(&t, &tm);
        snprintf(shard->date, sizeof(shard->date), "%s, %02d %s %04d %02d:%02d:%02d GMT",
                 days[tm.tm_wday % 7], tm.tm_mday % 100, months[tm.tm_mon % 12], (tm.tm_year + 1900) % 10000,
                 tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
        shard->date_second = second;
    }
    return span_from_str(shard->date);
}

/* ---- settings -------------------------------------------------------------------- */

static bool fail(char why[PROXY_WHY_BYTES], const char *setting, const char *value, const char *sentence)
{
    snprintf(why, PROXY_WHY_BYTES, "%s %.80s: %s", setting, value, sentence);
    return false;
}

static bool copy(char **out, const char *s)
{
    *out = text_dup(span_from_str(s));
    return *out;
}

static bool take_prefix(struct proxy_service *s, const char *text, char why[PROXY_WHY_BYTES])
{
    struct prefix *p = &s->prefixes[s->prefix_count];

    p->only = ORIGIN_ANY;
    if (text_starts_with(span_from_str(text), "tailnet:")) {
        p->only = ORIGIN_TAILNET;
        text += strlen("tailnet:");
    } else if (text_starts_with(span_from_str(text), "funnel:")) {
        p->only = ORIGIN_FUNNEL;
        text += strlen("funnel:");
    }
    if (*text != '/')
        return fail(why, "prefix", text, "has to begin with a slash, otherwise it matches nothing");
    if (!copy(&p->path, text))
        return false;
    s->prefix_count++;
    return true;
}

static bool take_header(struct proxy_service *s, const struct proxy_header *h, char why[PROXY_WHY_BYTES])
{
    struct set_header *out = &s->headers[s->header_count];
    struct span name = span_from_str(h->name), value = text_trim(span_from_str(h->value));
    enum http_field id = http_field_id(name);

    if (!http_is_token(name) || !http_is_field_value(value))
        return fail(why, "upstream header", h->name, "not a valid header; write 'Name: value'");
    if (header_is_reserved(name))
        return fail(why, "upstream header", h->name, "belongs to the connection and cannot be set");
    for (size_t i = 0; i < s->header_count; i++)
        if (text_equal_fold(span_from_str(s->headers[i].name), name))
            out->again = true;
    if (id == HTTP_FIELD_HOST && out->again)
        return fail(why, "upstream header", h->name, "can be set only once");
    s->header_count++;
    out->value = text_dup(value);
    return copy(&out->name, h->name) && out->value;
}

static bool make_tls(struct backend *b, const char *ca_file, char why[PROXY_WHY_BYTES])
{
    struct proxy_shard *shard = b->service->shard;
    char sentence[TLS_WHY_BYTES];

    if (!b->to.tls)
        return true;
    if (ca_file && *ca_file) {
        if (!tls_client_new(&b->tls, ca_file, sentence))
            return true;
        snprintf(why, PROXY_WHY_BYTES, "upstream CA file: %.170s", sentence);
        return false;
    }
    if (!shard->tls && tls_client_new(&shard->tls, NULL, sentence)) {
        snprintf(why, PROXY_WHY_BYTES, "the system's CA certificates: %.150s", sentence);
        return false;
    }
    b->tls = tls_client_ref(shard->tls);
    return true;
}

/* False: why has the sentence. */
static bool take_settings(struct proxy_service *s, const struct proxy_service_config *c,
                          char why[PROXY_WHY_BYTES])
{
    char reason[PROXY_WHY_BYTES - 100];

    snprintf(why, PROXY_WHY_BYTES, "out of memory");
    if (!copy(&s->name, c->name ? c->name : "proxy"))
        return false;
    if (!destination_parse(&s->backend.to, c->upstream, c->upstream_tcp_addr, c->upstream_unix_addr, reason,
                           sizeof(reason)))
        return fail(why, "upstream", c->upstream ? c->upstream : "", reason);
    if (c->prefix_count > PROXY_PREFIXES_MAX)
        return fail(why, "prefixes of", s->name, "too many, 64 are allowed");
    if (c->header_count > PROXY_HEADERS_MAX)
        return fail(why, "upstream headers of", s->name, "too many, 40 are allowed");
    for (size_t i = 0; i < c->prefix_count; i++)
        if (!take_prefix(s, c->prefixes[i], why))
            return false;
    for (size_t i = 0; i < c->header_count; i++)
        if (!take_header(s, &c->headers[i], why))
            return false;
    if (c->auth_url && *c->auth_url &&
        (!auth_new(s, c, why) || !make_tls(&s->auth->backend, c->upstream_ca_file, why)))
        return false;
    return make_tls(&s->backend, c->upstream_ca_file, why);
}

static void take_numbers(struct proxy_service *s, const struct proxy_service_config *c)
{
    s->strip_prefix = !c->keep_prefix;
    s->prefix_by_text = c->prefix_by_text;
    s->clean_paths = !c->keep_unclean_paths;
    s->recommended_headers = !c->plain_headers;
    s->suppress_whois = c->suppress_whois;
    s->access_log = c->access_log;
    s->head_bytes_max = c->head_bytes_max;
    s->read_header_timeout = c->read_header_timeout ? c->read_header_timeout : PROXY_HEAD_TIMEOUT;
    s->idle_timeout = c->idle_timeout ? c->idle_timeout : PROXY_IDLE_DOWNSTREAM_TIMEOUT;
    s->response_timeout = c->response_timeout;
}

static void take_limits(struct backend *b, const struct proxy_service_config *c)
{
    b->insecure_https = c->insecure_https;
    b->weak_ciphers = c->weak_ciphers;
    b->idle_max = c->idle_upstreams_max ? c->idle_upstreams_max : PROXY_IDLE_PER_SERVICE_DEFAULT;
    b->idle_timeout = c->idle_upstream_timeout ? c->idle_upstream_timeout : PROXY_IDLE_UPSTREAM_TIMEOUT;
    b->connect_timeout = c->connect_timeout ? c->connect_timeout : PROXY_CONNECT_TIMEOUT;
    b->keep_alive = c->keep_alive ? c->keep_alive : PROXY_KEEP_ALIVE;
    b->open_max = c->upstreams_max;
    b->queue_max = c->queue_max ? c->queue_max : PROXY_QUEUE_DEFAULT;
    b->queue_timeout = c->queue_timeout ? c->queue_timeout : PROXY_QUEUE_TIMEOUT;
}

/* ---- life ---------------------------------------------------------------------------- */

static void on_drained(struct ev_task *task, time_ns now)
{
    struct proxy_service *s = CONTAINER_OF(task, struct proxy_service, drained);

    (void)now;
    if (s->ops->drained)
        s->ops->drained(s->ctx); /* may free it */
}

int proxy_service_new(struct proxy_service **out, struct proxy_shard *shard,
                      const struct proxy_service_config *config, const struct proxy_ops *ops, void *ctx,
                      char why[PROXY_WHY_BYTES])
{
    struct proxy_service *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->shard = shard;
    s->charge = account_charge_here(ACCOUNT_PROXY);
    s->ops = ops;
    s->ctx = ctx;
    list_init(&s->conns);
    backend_init(&s->backend, s);
    ev_task_init(&s->drained, shard->loop, on_drained);
    list_push_back(&shard->services, &s->link);
    take_numbers(s, config);
    take_limits(&s->backend, config);
    if (!take_settings(s, config, why)) {
        proxy_service_free(s);
        return PROXY_E_CONFIG;
    }
    why[0] = '\0';
    *out = s;
    return 0;
}

void proxy_service_cut(struct proxy_service *s)
{
    struct conn *c;

    while ((c = LIST_FIRST(&s->conns, struct conn, link)))
        conn_close(c, c->state == CONN_REQUEST, ev_now(s->shard->loop));
}

void proxy_service_free(struct proxy_service *s)
{
    if (!s)
        return;
    proxy_service_cut(s);
    ev_task_cancel(&s->drained);
    list_remove(&s->link);
    for (size_t i = 0; i < s->prefix_count; i++)
        free(s->prefixes[i].path);
    for (size_t i = 0; i < s->header_count; i++) {
        free(s->headers[i].name);
        free(s->headers[i].value);
    }
    backend_deinit(&s->backend);
    auth_free(s->auth);
    free(s->timing);
    free(s->name);
    free(s);
}

void proxy_service_drain(struct proxy_service *s)
{
    time_ns now = ev_now(s->shard->loop);

    s->draining = true;
    backend_close_idle(&s->backend);
    if (s->auth)
        backend_close_idle(&s->auth->backend);
    LIST_EACH (c, &s->conns, struct conn, link)
        if (c->state == CONN_IDLE && service_for_next(s))
            conn_move(c, s->successor);
        else if (c->state == CONN_IDLE)
            conn_close(c, false, now);
        else if (c->state == CONN_H2)
            h2_drain(c);
    if (list_empty(&s->conns))
        ev_task_post(&s->drained);
}

void proxy_service_replace(struct proxy_service *old, struct proxy_service *by)
{
    bool drains = old->draining;

    old->successor = by;
    if (!drains)
        proxy_service_drain(old);
}

const struct proxy_counters *proxy_service_counters(const struct proxy_service *service)
{
    return &service->counters;
}
