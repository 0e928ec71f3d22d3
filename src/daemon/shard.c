/* daemon/shard.c - the thread of a shard: its nodes, made, changed and stopped on letters */
#include "daemon/internal.h"

#include "crypto/crypto.h"
#include "tls/tls.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* A service as its shard has it, while there is a node. */
struct shard_service {
    struct table_node by_id;
    handle id;
    struct daemon_shard *shard;
    struct node *node;
    struct config_key_source key_source;
    struct ev_task gone; /* the node has stopped */
};

struct letter *letter_new(enum letter_kind kind, struct span text)
{
    struct letter *l = calloc(1, sizeof(*l) + text.len + 1);

    must(l);
    l->kind = kind;
    l->len = text.len;
    if (text.len)
        memcpy(l->text, text.data, text.len);
    return l;
}

void letter_free(struct letter *l)
{
    loaded_unref(l->loaded);
    metrics_page_free(l->page);
    free(l);
}

void shard_post(struct daemon_shard *s, struct letter *l)
{
    ev_mailbox_post(s->mailbox, &l->base);
}

void main_post(struct daemon *d, struct letter *l)
{
    ev_mailbox_post(d->mailbox, &l->base);
}

/* ---- what nodes say ------------------------------------------------------------------- */

static void tell(struct daemon_shard *shard, handle service, enum letter_kind kind, enum node_state state,
                 const char *text)
{
    struct letter *l = letter_new(kind, span_from_str(text));

    l->service = service;
    l->state = state;
    main_post(shard->daemon, l);
}

static void on_state(void *ctx, struct node *n, enum node_state state, const char *sentence)
{
    struct shard_service *s = ctx;

    (void)n;
    tell(s->shard, s->id, LETTER_STATE, state, sentence);
}

static void on_auth_url(void *ctx, struct node *n, const char *url)
{
    struct shard_service *s = ctx;

    (void)n;
    tell(s->shard, s->id, LETTER_AUTH_URL, NODE_NEEDS_LOGIN, url ? url : "");
}

static void on_stopped(void *ctx, struct node *n)
{
    struct shard_service *s = ctx;

    (void)n;
    ev_task_post(&s->gone); /* the node is still in this call */
}

/* Whoever was refused may have put another key there meanwhile. */
static bool on_auth_key(void *ctx, struct node *n, char out[NODE_AUTH_KEY_BYTES])
{
    struct shard_service *s = ctx;

    (void)n;
    return config_key_now(&s->key_source, out, NODE_AUTH_KEY_BYTES);
}

static const struct node_ops node_ops = {
    .state_changed = on_state, .auth_url = on_auth_url, .stopped = on_stopped, .auth_key = on_auth_key
};

/* ---- services ---------------------------------------------------------------------------- */

static uint64_t hash_of(handle id)
{
    return id * 0x9e3779b97f4a7c15u;
}

static struct shard_service *find(const struct daemon_shard *shard, handle id)
{
    for (struct table_node *t = table_first(&shard->services, hash_of(id)); t; t = table_next_same(t)) {
        struct shard_service *s = TABLE_ENTRY(t, struct shard_service, by_id);

        if (s->id == id)
            return s;
    }
    return NULL;
}

static void service_free(struct shard_service *s)
{
    table_remove(&s->shard->services, &s->by_id);
    ev_task_cancel(&s->gone);
    node_free(s->node);
    config_key_source_deinit(&s->key_source);
    free(s);
}

static void on_gone(struct ev_task *task, time_ns now)
{
    struct shard_service *s = CONTAINER_OF(task, struct shard_service, gone);
    struct daemon_shard *shard = s->shard;
    handle id = s->id;

    (void)now;
    service_free(s); /* the lock of its folder too: only then may another one have it */
    tell(shard, id, LETTER_STOPPED, NODE_STOPPED, "");
}

static struct shard_service *service_new(struct daemon_shard *shard, handle id)
{
    struct shard_service *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->id = id;
    s->shard = shard;
    ev_task_init(&s->gone, shard->loop, on_gone);
    if (table_insert(&shard->services, &s->by_id, hash_of(id)) == 0)
        return s;
    free(s);
    return NULL;
}

/* Without memory the key that it has is used until a reload. */
static void note_auth_key(struct shard_service *s, const struct config_service *c)
{
    config_key_source_deinit(&s->key_source);
    (void)!config_key_source_init(&s->key_source, c);
}

static void service_start(struct daemon_shard *shard, const struct letter *l)
{
    struct shard_service *s = service_new(shard, l->service);
    char why[NODE_WHY_BYTES] = "out of memory";
    struct settings settings;
    int r = 1;

    if (settings_fill(&settings, l->config, why) && s) {
        note_auth_key(s, l->config);
        settings.node.place = (uint32_t)(l->config - l->loaded->config.services);
        r = node_new(&s->node, shard->nodes, &settings.node, &node_ops, s, why);
    }
    settings_release(&settings);
    if (r == 0) {
        node_start(s->node);
        return;
    }
    if (s) {
        s->node = NULL;
        service_free(s);
    }
    tell(shard, l->service, LETTER_REFUSED, NODE_FAILED, why);
}

static void service_change(struct daemon_shard *shard, const struct letter *l)
{
    struct shard_service *s = find(shard, l->service);
    char why[NODE_WHY_BYTES] = "";
    struct settings settings;

    if (s) { /* else it was refused, and is tried again with these settings */
        note_auth_key(s, l->config);
        if (settings_fill(&settings, l->config, why) && node_reconfigure(s->node, &settings.node, why) < 0 &&
            !*why)
            strcpy(why, "out of memory");
        settings_release(&settings);
    }
    tell(shard, l->service, LETTER_CHANGED, NODE_RUNNING, why);
}

static void service_stop(struct daemon_shard *shard, const struct letter *l)
{
    struct shard_service *s = find(shard, l->service);

    if (s)
        node_stop(s->node, l->at);
    else
        tell(shard, l->service, LETTER_STOPPED, NODE_STOPPED, "");
}

static void service_end(struct daemon_shard *shard, const struct letter *l)
{
    struct shard_service *s = find(shard, l->service);

    if (s) /* else it has stopped, and that was said */
        node_end(s->node);
}

/* Every node of the shard by its handle, and the shard, as members of the answer. */
static void answer(struct daemon_shard *shard, uint64_t id, time_ns now)
{
    struct json_writer w;
    struct letter *l;
    struct buf text;
    size_t bucket = 0;

    buf_init(&text, DAEMON_STATUS_BYTES_MAX);
    w = json_writer_of(&text);
    json_object_begin(&w, NULL);
    json_object_begin(&w, "services");
    for (struct table_node *t = NULL; (t = table_walk(&shard->services, t, &bucket));) {
        const struct shard_service *s = TABLE_ENTRY(t, struct shard_service, by_id);
        char key[24];

        snprintf(key, sizeof(key), "%llu", (unsigned long long)s->id);
        json_put_key(&w, span_from_str(key));
        node_status_write(s->node, &w, now);
    }
    json_object_end(&w);
    json_put_key(&w, span_from_str("shard"));
    node_shard_status_write(shard->nodes, &w, now);
    json_object_end(&w);
    l = letter_new(LETTER_ANSWER, json_writer_done(&w) ? SPAN_NONE : buf_span(&text));
    buf_deinit(&text);
    l->id = id;
    l->shard = shard->index;
    main_post(shard->daemon, l);
}

static void write_page(struct daemon_shard *shard, uint64_t id, time_ns now)
{
    struct letter *l = letter_new(LETTER_PAGE, SPAN_NONE);
    size_t bucket = 0;

    l->id = id;
    must(metrics_page_new(&l->page) == 0);
    for (struct table_node *t = NULL; (t = table_walk(&shard->services, t, &bucket));)
        node_metrics_write(TABLE_ENTRY(t, struct shard_service, by_id)->node, l->page, now);
    node_shard_metrics_write(shard->nodes, l->page, now);
    main_post(shard->daemon, l);
}

static void pong(struct daemon_shard *shard)
{
    struct letter *l = letter_new(LETTER_PONG, SPAN_NONE);

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
        service_start(shard, l);
        break;
    case LETTER_CHANGE:
        service_change(shard, l);
        break;
    case LETTER_STOP:
        service_stop(shard, l);
        break;
    case LETTER_END:
        service_end(shard, l);
        break;
    case LETTER_HOST:
        node_shard_set_host(shard->nodes, &l->view);
        break;
    case LETTER_ASK:
        answer(shard, l->id, now);
        break;
    case LETTER_METRICS:
        write_page(shard, l->id, now);
        break;
    case LETTER_PING:
        pong(shard);
        break;
    case LETTER_QUIT:
        ev_loop_stop(shard->loop);
        break;
    case LETTER_STATE:
    case LETTER_AUTH_URL:
    case LETTER_REFUSED:
    case LETTER_CHANGED:
    case LETTER_STOPPED:
    case LETTER_ANSWER:
    case LETTER_PONG:
    case LETTER_PAGE:
        must(!"a letter to the main thread");
    }
    letter_free(l);
}

static void free_all(struct daemon_shard *shard)
{
    size_t bucket = 0;

    for (struct table_node *t; (t = table_walk(&shard->services, NULL, &bucket)); bucket = 0)
        service_free(TABLE_ENTRY(t, struct shard_service, by_id));
    table_deinit(&shard->services);
}

static void *run(void *arg)
{
    struct daemon_shard *shard = arg;

    if (ev_loop_run(shard->loop))
        log_error(NULL, "shard %zu: its event loop failed", shard->index);
    free_all(shard);
    node_shard_free(shard->nodes);
    shard->nodes = NULL;
    tls_thread_end();
    crypto_thread_end();
    account_thread_end();
    return NULL;
}

int shard_start(struct daemon_shard *shard)
{
    struct daemon *d = shard->daemon;
    int r = ev_loop_new(&shard->loop);

    table_init(&shard->services);
    if (!r)
        r = ev_mailbox_new(&shard->mailbox, shard->loop, on_letter, shard);
    if (!r)
        r = node_shard_new(&shard->nodes, d->process, (unsigned)shard->index, shard->loop);
    if (r)
        return r;
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
