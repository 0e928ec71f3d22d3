#include "control/client.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- small things --------------------------------------------------------------------------- */

void client_again(struct control_client *c)
{
    ev_task_post(&c->task);
}

void client_set_reason(struct control_client *c, const char *reason)
{
    char *copy = reason ? text_dup(span_from_str(reason)) : NULL;

    free(c->reason);
    c->reason = copy; /* without memory there is no text: the state says enough */
    c->status_changed = true;
}

static time_ns earliest(time_ns a, time_ns b)
{
    return MIN(a, b);
}

static void arm(struct control_client *c)
{
    time_ns at = TIME_NEVER;

    if (c->link == LINK_DOWN && (c->wanted || c->logging_out) && !list_linked(&c->waiter.link))
        at = c->retry_at;
    if (c->logging_out)
        at = earliest(at, c->logout_deadline);
    at = earliest(at, login_deadline(c));
    at = earliest(at, poll_deadline(c));
    at = earliest(at, update_deadline(c));
    at = earliest(at, ping_deadline(c));
    ev_timer_set(&c->timer, at);
}

/* ---- link ---------------------------------------------------------------------------------------- */

/* Whatever its state, it is down afterwards and nothing of it is left. */
static void link_close(struct control_client *c)
{
    poll_stop(c);
    call_reset(&c->login);
    update_reset(c);
    ping_reset(c);
    session_free(c->session);
    c->session = NULL;
    fetch_free(c->key_fetch);
    c->key_fetch = NULL;
    if (c->link == LINK_KEY_FETCH)
        gate_key_done(c->shard, c->server, NULL, NULL);
    gate_unwait(c->shard, c->server, &c->waiter);
    gate_leave(c->shard, c->server, &c->waiter);
    c->link = LINK_DOWN;
    c->lost = false;
}

const char *reason_glue(const char *reason)
{
    return strncmp(reason, "unreachable", 11) == 0 ? " " : ": ";
}

void client_link_failed(struct control_client *c, const char *reason, time_ns now)
{
    unsigned nodes = gate_clients(c->shard, c->server);
    bool news = !c->failures || !c->reason || strcmp(reason, c->reason) != 0;

    c->failures++;
    c->retry_at = now + backoff_delay(c->failures, BACKOFF_STEP, BACKOFF_MAX, client_random()) +
                  backoff_spread(nodes, client_random());
    if (news)
        log_warn(c->name, "control: %s%s%s; trying again in %d s", c->server->url.text, reason_glue(reason),
                 reason, (int)((c->retry_at - now + SEC - 1) / SEC));
    if (reason != c->reason)
        client_set_reason(c, reason);
    link_close(c);
}

static void on_ready(void *ctx, time_ns now)
{
    struct control_client *c = ctx;

    c->link = LINK_UP;
    c->connects++;
    client_run(c, now);
}

static void on_fed(void *ctx, time_ns now)
{
    client_run(ctx, now);
}

static void on_lost(void *ctx, enum session_loss loss, const char *reason, time_ns now)
{
    struct control_client *c = ctx;
    char text[FETCH_FAILURE_BYTES];

    c->lost = true;
    c->loss = loss;
    snprintf(text, sizeof(text), "%s", reason);
    if (loss == SESSION_KEY)
        gate_key_forget(c->shard, c->server, &c->server_key);
    if (c->depth) {
        client_set_reason(c, text);
        client_again(c);
        return;
    }
    client_link_failed(c, text, now);
    client_run(c, now);
}

static const struct session_ops session_ops = { .ready = on_ready, .fed = on_fed, .lost = on_lost };

static void link_connect(struct control_client *c, time_ns now)
{
    struct session_config config = { .url = &c->server->url,
                                     .tls = c->tls,
                                     .proxies = c->shard->gate->proxies,
                                     .server_key = c->server_key,
                                     .machine_key = &c->machine_key,
                                     .version = c->version,
                                     .scratch = c->shard->scratch };
    int r;

    c->link = LINK_CONNECTING;
    r = session_start(&c->session, c->shard->loop, &config, &session_ops, c);
    if (r == -EKEYREJECTED) {
        gate_key_forget(c->shard, c->server, &c->server_key);
        client_link_failed(c, "the server's Noise key is not a usable key", now);
    } else if (r) {
        client_link_failed(c, err_text(r), now);
    }
}

/* The answer to GET /key: NULL, or why it is none. */
static const char *parse_key(const struct exchange *e, struct public_key *key, char *why, size_t size)
{
    if (e->status != 200) {
        snprintf(why, size, "GET /key answered with status %d: is this a control server?", e->status);
        return why;
    }
    if (!e->body.len)
        return "GET /key is empty: the server wants a newer capability version";
    if (tailcfg_server_key_parse(buf_span(&e->body), key))
        return "GET /key has no usable key in it: is this a control server?";
    return NULL;
}

static void on_key(void *ctx, const char *failure, time_ns now)
{
    struct control_client *c = ctx;
    char why[GATE_REASON_BYTES], text[GATE_REASON_BYTES];

    if (!failure)
        failure = parse_key(fetch_answer(c->key_fetch), &c->server_key, why, sizeof(why));
    if (failure)
        snprintf(text, sizeof(text), "%s", failure);
    fetch_free(c->key_fetch);
    c->key_fetch = NULL;
    gate_key_done(c->shard, c->server, failure ? NULL : &c->server_key, failure ? text : NULL);
    c->link = LINK_KEY_WAIT;
    if (failure)
        client_link_failed(c, text, now);
    client_run(c, now);
}

static void link_fetch_key(struct control_client *c, time_ns now)
{
    char target[24];
    struct fetch_config config = { .url = &c->server->url,
                                   .tls = c->tls,
                                   .proxies = c->shard->gate->proxies,
                                   .method = "GET",
                                   .headers = "Accept: application/json\r\nConnection: close\r\n" };
    int r;

    snprintf(target, sizeof(target), "/key?v=%u", c->version);
    config.target = span_from_str(target);
    c->link = LINK_KEY_FETCH;
    r = fetch_start(&c->key_fetch, c->shard->loop, &config, on_key, c);
    if (r)
        client_link_failed(c, err_text(r), now);
}

/* A slot is there; go on with the key. */
static void link_key(struct control_client *c, time_ns now)
{
    char why[GATE_REASON_BYTES];

    if (c->link == LINK_KEY_WAIT && gate_key_failed(c->server, c->shard, c->key_failures_seen, why)) {
        client_link_failed(c, why, now);
        return;
    }
    switch (gate_key_get(c->shard, c->server, &c->waiter, &c->server_key, &c->key_failures_seen)) {
    case GATE_KEY_KNOWN:
        link_connect(c, now);
        break;
    case GATE_KEY_NONE:
        link_fetch_key(c, now);
        break;
    case GATE_KEY_FETCHING:
        c->link = LINK_KEY_WAIT;
        break;
    }
}

static void link_step(struct control_client *c, time_ns now)
{
    if (c->lost) {
        char text[FETCH_FAILURE_BYTES];

        snprintf(text, sizeof(text), "%s", c->reason ? c->reason : "connection lost");
        client_link_failed(c, text, now);
    }
    if (!c->wanted && !c->logging_out) {
        if (c->minter)
            minter_stop(c->minter);
        if (c->link != LINK_DOWN || list_linked(&c->waiter.link))
            link_close(c);
        return;
    }
    if (list_linked(&c->waiter.link)) /* still in a queue */
        return;
    c->waiter.newcomer = !c->registered && !c->logging_out;
    if (c->link == LINK_DOWN && now >= c->retry_at && gate_enter(c->shard, c->server, &c->waiter))
        link_key(c, now);
    else if (c->link == LINK_KEY_WAIT)
        link_key(c, now);
}

/* ---- running --------------------------------------------------------------------------------------- */

static void release(struct control_client *c)
{
    link_close(c);
    ev_timer_stop(&c->timer);
    ev_task_cancel(&c->task);
    if (c->server)
        shard_server_put(c->shard, c->server);
    minter_free(c->minter);
    registration_deinit(&c->registration);
    frames_deinit(&c->frames);
    tls_client_unref(c->tls);
    free(c->reason);
    free(c->name);
    free(c->hostname);
    client_drop_auth_key(c);
    for (size_t i = 0; i < c->tag_count; i++)
        free(c->tags[i]);
    free(c->tags);
    wipe(c, sizeof(*c));
    free(c);
}

void client_run(struct control_client *c, time_ns now)
{
    static void (*const steps[])(struct control_client *, time_ns) = {
        link_step, login_step, poll_step, update_step, ping_step, logout_step, status_refresh,
    };

    if (c->depth) {
        client_again(c);
        return;
    }
    c->depth++;
    for (size_t i = 0; i < COUNT_OF(steps) && !c->dead; i++)
        steps[i](c, now);
    c->depth--;
    if (c->dead)
        release(c);
    else
        arm(c);
}

static void on_task(struct ev_task *t, time_ns now)
{
    struct control_client *c = CONTAINER_OF(t, struct control_client, task);

    account_switch(c->charge); /* the gate posts it from another's time */
    client_run(c, now);
}

static void on_timer(struct ev_timer *t, time_ns now)
{
    struct control_client *c = CONTAINER_OF(t, struct control_client, timer);

    account_switch(c->charge);
    client_run(c, now);
}

/* ---- life --------------------------------------------------------------------------------------------- */

const char *control_url_check(struct span url)
{
    struct control_url parsed;

    return control_url_parse(url, &parsed);
}

/* "tag:" letter [A-Za-z0-9-]* */
static bool tag_valid(const char *tag)
{
    if (strncmp(tag, "tag:", 4) != 0 || !isalpha((unsigned char)tag[4]) || strlen(tag) > 250)
        return false;
    for (tag += 4; *tag; tag++)
        if (!isalnum((unsigned char)*tag) && *tag != '-')
            return false;
    return true;
}

static bool config_valid(const struct control_config *config)
{
    for (size_t i = 0; i < config->request_tag_count; i++)
        if (!tag_valid(config->request_tags[i]))
            return false;
    return config->hostname && strlen(config->hostname) <= 253 && config->request_tag_count <= 100 &&
           (!config->auth_key || strlen(config->auth_key) <= CONTROL_AUTH_KEY_BYTES_MAX);
}

static void secret_free(char *key)
{
    if (key)
        wipe(key, strlen(key));
    free(key);
}

void client_drop_auth_key(struct control_client *c)
{
    secret_free(c->auth_key);
    c->auth_key = NULL;
}

static void on_minted(void *ctx, time_ns now)
{
    client_run(ctx, now);
}

/* A pre-signed key has our tailnet-lock credential behind "--TL"; the server wants what is before it. */
static char *auth_key_dup(const char *auth_key)
{
    struct span key = span_from_str(auth_key);
    const char *suffix = auth_key ? strstr(auth_key, "--TL") : NULL;

    if (suffix)
        key.len = (size_t)(suffix - auth_key);
    return text_dup(key);
}

/* A key, a secret to mint keys with, or (NULL, "") neither. A failure changes nothing. */
static int take_auth_key(struct control_client *c, const char *text)
{
    struct minter_config config = { .shard = c->shard,
                                    .text = text,
                                    .control_url = c->server->url.text,
                                    .tls = c->tls,
                                    .tags = (const char *const *)c->tags,
                                    .tag_count = c->tag_count };
    struct minter *minter = NULL;
    char *key = NULL;
    int r = 0;

    if (text && control_oauth_is(text)) {
        r = minter_new(&minter, &config, on_minted, c);
    } else if (text && text[0]) {
        key = auth_key_dup(text);
        r = key ? 0 : err_trace(-ENOMEM);
    }
    if (r)
        return r;
    minter_free(c->minter);
    client_drop_auth_key(c);
    c->minter = minter;
    c->auth_key = key;
    c->no_key = false;
    c->registration.mints = minter != NULL;
    return 0;
}

static int copy_config(struct control_client *c, const struct control_config *config)
{
    c->name = text_dup(span_from_str(config->name ? config->name : config->hostname));
    c->hostname = text_dup(span_from_str(config->hostname));
    c->tags = calloc(config->request_tag_count + 1, sizeof(*c->tags));
    if (!c->name || !c->hostname || !c->tags)
        return err_trace(-ENOMEM);
    for (size_t i = 0; i < config->request_tag_count; i++) {
        c->tags[i] = text_dup(span_from_str(config->request_tags[i]));
        if (!c->tags[i])
            return err_trace(-ENOMEM);
        c->tag_count++;
    }
    if (config->tls)
        c->tls = tls_client_ref(config->tls);
    c->machine_key = config->machine_key;
    c->version = config->version ? config->version : CONTROL_CAPABILITY_VERSION;
    c->ephemeral = config->ephemeral;
    return 0;
}

static void init(struct control_client *c, struct control_shard *shard, const struct control_config *config,
                 const struct control_ops *ops, void *owner)
{
    c->shard = shard;
    c->charge = account_charge_here(ACCOUNT_CONTROL);
    c->ops = ops;
    c->owner = owner;
    c->waiter.task = &c->task;
    c->waiter.place = config->place;
    c->auth_key_now = config->auth_key_now;
    c->expires_at = c->renew_at = TIME_NEVER;
    c->since = ev_now(shard->loop);
    list_init(&c->pings);
    frames_init(&c->frames);
    ev_task_init(&c->task, shard->loop, on_task);
    ev_timer_init(&c->timer, shard->loop, on_timer);
    registration_init(&c->registration, &config->keys);
}

int control_client_new(struct control_client **out, struct control_shard *shard,
                       const struct control_config *config, const struct control_ops *ops, void *owner)
{
    struct control_client *c;
    struct control_url url;
    int r;

    if (!config->control_url || control_url_parse(span_from_str(config->control_url), &url))
        return CONTROL_E_URL;
    if (!config_valid(config))
        return CONTROL_E_CONFIG;
    c = calloc(1, sizeof(*c));
    if (!c)
        return err_trace(-ENOMEM);
    init(c, shard, config, ops, owner);
    r = copy_config(c, config);
    if (!r)
        r = shard_server_get(shard, &url, &c->server);
    if (!r)
        r = take_auth_key(c, config->auth_key);
    if (r) {
        release(c);
        return r < 0 ? err_trace(r) : r;
    }
    *out = c;
    return 0;
}

void control_client_free(struct control_client *c)
{
    if (!c)
        return;
    c->dead = true;
    if (!c->depth)
        release(c);
}

/* ---- what the owner asks for ------------------------------------------------------------------------------
 */

void control_client_start(struct control_client *c)
{
    time_ns now = ev_now(c->shard->loop);

    if (c->wanted)
        return;
    c->wanted = true;
    c->logged_out = c->told_to_exit = c->registered = false;
    c->failures = 0;
    c->retry_at = now;
    client_set_reason(c, NULL);
    c->restart_login = true;
    client_again(c);
}

void control_client_stop(struct control_client *c)
{
    c->wanted = false;
    client_again(c);
}

static bool same_text(const char *a, const char *b)
{
    if (!a || !b)
        return a == b;
    return strlen(a) == strlen(b) && crypto_equal(a, b, strlen(a));
}

void control_client_have_netmap(struct control_client *c)
{
    c->have_netmap = true;
}

int control_client_set_auth_key(struct control_client *c, const char *auth_key)
{
    char *copy = NULL;
    bool same;
    int r;

    if (auth_key && auth_key[0]) {
        copy = control_oauth_is(auth_key) ? text_dup(span_from_str(auth_key)) : auth_key_dup(auth_key);
        if (!copy)
            return err_trace(-ENOMEM);
    }
    same = same_text(copy, c->minter ? minter_text(c->minter) : c->auth_key);
    secret_free(copy);
    if (same)
        return 0; /* a person may be looking at the login URL: it stays */
    r = take_auth_key(c, auth_key);
    if (r)
        return r;
    registration_auth_key_changed(&c->registration);
    c->restart_login |= c->login_active; /* whoever waits for a better key, or a person, tries this one now */
    client_again(c);
    return 0;
}

void control_client_login(struct control_client *c)
{
    control_client_start(c);
    c->restart_login = c->renew_login = true;
    c->retry_at = 0;
    client_again(c);
}

void control_client_logout(struct control_client *c)
{
    time_ns now = ev_now(c->shard->loop);

    if (c->logging_out)
        return;
    c->logging_out = true;
    c->logout_deadline = now + CONTROL_LOGOUT_NS;
    c->retry_at = now;
    client_again(c);
}

struct public_key control_client_node_key(const struct control_client *c)
{
    return c->registration.node_key;
}

void control_client_memory(const struct control_client *c, struct account_memory *m)
{
    const void *const blocks[] = {
        c,
        c->name,
        c->hostname,
        c->auth_key,
        c->tags,
        c->reason,
        c->registration.followup,
        c->login.body.data,
        c->poll.body.data,
        c->update.body.data,
        c->frames.body.data,
    };

    for (size_t i = 0; i < COUNT_OF(blocks); i++)
        account_hold_block(m, ACCOUNT_CONTROL, blocks[i]);
    for (size_t i = 0; i < c->tag_count; i++)
        account_hold_block(m, ACCOUNT_CONTROL, c->tags[i]);
    fetch_memory(c->key_fetch, m);
    session_memory(c->session, m);
}
