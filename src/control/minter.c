#include "control/minter.h"

#include "control/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum state { MINTER_IDLE, MINTER_RUNNING, MINTER_KEY, MINTER_FAILED };

struct minter {
    account_charge charge;
    struct control_shard *shard;
    struct tls_client *tls;
    char *text, *base;
    size_t secret_len;
    struct mint_wish wish;
    struct token *token;
    struct token_waiter waiter;
    struct ev_task task; /* its turn has come, or it ended */
    minter_fn *ended;
    void *ctx;

    enum state state;
    struct fetch *fetch;
    bool fetches_token; /* others wait for it */
    bool mints;         /* it has one of the TOKEN_MINTS_MAX places */
    bool token_renewed; /* once in an attempt */
    unsigned generation;
    char *key; /* secret */
    struct token_failure failure;
};

static void step(struct minter *m, time_ns now);

/* ---- how it ends ------------------------------------------------------------------------------ */

/* What it holds of the shared token is given back. */
static void let_go(struct minter *m)
{
    fetch_free(m->fetch);
    m->fetch = NULL;
    token_unwait(&m->waiter);
    if (m->fetches_token)
        token_given_up(m->shard, m->token);
    if (m->mints)
        token_leave(m->shard, m->token);
    m->fetches_token = m->mints = false;
}

static void end(struct minter *m, enum state state)
{
    let_go(m);
    m->state = state;
    ev_task_post(&m->task);
}

static void fail(struct minter *m, const char *why)
{
    m->failure = (struct token_failure) { 0 };
    snprintf(m->failure.why, sizeof(m->failure.why), "%s", why);
    end(m, MINTER_FAILED);
}

/* ---- requests ----------------------------------------------------------------------------------- */

static int send_request(struct minter *m, const struct mint_request *request, fetch_fn *answered)
{
    struct control_url url;
    struct fetch_config config = { .url = &url,
                                   .tls = m->tls,
                                   .proxies = m->shard->gate->proxies,
                                   .method = "POST",
                                   .target = span_from_str(request->target),
                                   .headers = (const char *)buf_span(&request->headers).data,
                                   .body = buf_span(&request->body),
                                   .secret = true };

    must(!control_url_parse(span_from_str(m->base), &url));
    return fetch_start(&m->fetch, m->shard->loop, &config, answered, m);
}

/* When the service asks to wait: as long as it says, if that is believable. */
static time_ns wait_until(const struct minter *m, time_ns now)
{
    const char *said = fetch_answer(m->fetch)->retry_after;
    time_ns delay = retry_after_parse(span_from_str(said), ev_wall_clock());

    return now + (delay > 0 && delay <= HOUR ? delay : 10 * SEC);
}

/* The words and times of a failed answer. */
static void note(struct minter *m, int outcome, const char *why, time_ns now)
{
    m->failure = (struct token_failure) { .lasting = outcome == MINT_E_REFUSED || outcome == MINT_E_TOKEN };
    snprintf(m->failure.why, sizeof(m->failure.why), "%s", why);
    if (outcome == MINT_E_WAIT)
        m->failure.until = wait_until(m, now);
}

static void on_token(void *ctx, const char *failure, time_ns now)
{
    struct minter *m = ctx;
    const struct exchange *e = fetch_answer(m->fetch);
    struct mint_token token;
    char why[MINT_WHY_BYTES];
    int r = failure ? MINT_E_LATER : mint_token_answer(e->status, buf_span(&e->body), &token, why);

    m->fetches_token = false;
    if (r) {
        note(m, r, failure ? failure : why, now);
        token_failed(m->shard, m->token, &m->failure, now);
        end(m, MINTER_FAILED);
        return;
    }
    fetch_free(m->fetch);
    m->fetch = NULL;
    token_done(m->shard, m->token, &token, now);
    wipe(&token, sizeof(token));
    step(m, now);
}

static void ask_token(struct minter *m)
{
    struct mint_request request;
    int r = mint_token_request(&request, span_make(m->text, m->secret_len));

    m->fetches_token = true;
    if (!r)
        r = send_request(m, &request, on_token);
    mint_request_deinit(&request);
    if (r)
        fail(m, err_text(r));
}

/* false: the token was the fault, and another one is tried. */
static bool key_failed(struct minter *m, int outcome, const char *why, time_ns now)
{
    if (outcome == MINT_E_TOKEN) {
        token_forget(m->shard, m->token, m->generation);
        if (!m->token_renewed) {
            m->token_renewed = true;
            let_go(m);
            step(m, now);
            return false;
        }
    }
    note(m, outcome, why, now);
    if (outcome == MINT_E_WAIT)
        token_postpone(m->shard, m->token, &m->failure);
    return true;
}

static void on_key(void *ctx, const char *failure, time_ns now)
{
    struct minter *m = ctx;
    const struct exchange *e = fetch_answer(m->fetch);
    char key[CONTROL_AUTH_KEY_BYTES_MAX + 1], why[MINT_WHY_BYTES];
    int r = MINT_E_LATER;

    if (!failure)
        r = mint_key_answer(e->status, buf_span(&e->body), &m->wish, key, why);
    if (r) {
        if (key_failed(m, r, failure ? failure : why, now))
            end(m, MINTER_FAILED);
        return;
    }
    m->key = text_dup(span_from_str(key));
    wipe(key, sizeof(key));
    if (m->key)
        end(m, MINTER_KEY);
    else
        fail(m, err_text(-ENOMEM));
}

static void ask_key(struct minter *m, const struct token_use *use)
{
    struct mint_request request;
    int r = mint_key_request(&request, use->text, &m->wish);

    m->mints = true;
    m->generation = use->generation;
    if (!r)
        r = send_request(m, &request, on_key);
    mint_request_deinit(&request);
    if (r)
        fail(m, err_text(r));
}

static void step(struct minter *m, time_ns now)
{
    struct token_use use;

    switch (token_enter(m->shard, m->token, &m->waiter, now, &use, &m->failure)) {
    case TOKEN_GO:
        ask_key(m, &use);
        wipe(&use, sizeof(use));
        break;
    case TOKEN_FETCH:
        ask_token(m);
        break;
    case TOKEN_WAIT:
        break;
    case TOKEN_LATER:
        end(m, MINTER_FAILED);
        break;
    }
}

static void on_task(struct ev_task *t, time_ns now)
{
    struct minter *m = CONTAINER_OF(t, struct minter, task);

    account_switch(m->charge); /* the gate posts it from another's time */
    if (m->state == MINTER_RUNNING && !m->fetch && !list_linked(&m->waiter.link))
        step(m, now);
    else if (m->state == MINTER_KEY || m->state == MINTER_FAILED)
        m->ended(m->ctx, now);
}

/* ---- life ----------------------------------------------------------------------------------------- */

static char *secret_dup(const char *text)
{
    return text_dup(span_from_str(text));
}

int minter_new(struct minter **out, const struct minter_config *config, minter_fn *ended, void *ctx)
{
    char base[CONTROL_URL_BYTES];
    struct control_oauth parts;
    struct minter *m;
    unsigned parameter;
    int r;

    if (control_oauth_parse(config->text, &parts, &parameter) || !config->tag_count)
        return CONTROL_E_CONFIG;
    control_oauth_base(config->text, &parts, config->control_url, base);
    m = calloc(1, sizeof(*m));
    if (!m)
        return err_trace(-ENOMEM);
    m->charge = account_charge_here(ACCOUNT_CONTROL);
    m->shard = config->shard;
    m->tls = config->tls;
    m->text = secret_dup(config->text);
    m->base = text_dup(span_from_str(base));
    m->secret_len = parts.secret_len;
    m->wish = (struct mint_wish) { config->tags, config->tag_count, parts.ephemeral, parts.preauthorized };
    m->ended = ended;
    m->ctx = ctx;
    m->waiter.task = &m->task;
    ev_task_init(&m->task, m->shard->loop, on_task);
    r = m->text && m->base ? 0 : -ENOMEM;
    if (!r)
        r = token_get(&m->token, m->shard, m->base, span_make(m->text, m->secret_len));
    if (r) {
        minter_free(m);
        return err_trace(r);
    }
    *out = m;
    return 0;
}

static void secret_free(char *text)
{
    if (text)
        wipe(text, strlen(text));
    free(text);
}

void minter_free(struct minter *m)
{
    if (!m)
        return;
    minter_stop(m);
    token_put(m->shard, m->token);
    secret_free(m->text);
    free(m->base);
    free(m);
}

void minter_start(struct minter *m, time_ns now)
{
    must(m->state == MINTER_IDLE);
    m->state = MINTER_RUNNING;
    m->token_renewed = false;
    step(m, now);
}

void minter_stop(struct minter *m)
{
    let_go(m);
    ev_task_cancel(&m->task);
    secret_free(m->key);
    m->key = NULL;
    m->state = MINTER_IDLE;
}

bool minter_running(const struct minter *m)
{
    return m->state != MINTER_IDLE;
}

char *minter_take_key(struct minter *m)
{
    char *key = m->key;

    if (m->state != MINTER_KEY)
        return NULL;
    m->key = NULL;
    m->state = MINTER_IDLE;
    return key;
}

const struct token_failure *minter_take_failure(struct minter *m)
{
    if (m->state != MINTER_FAILED)
        return NULL;
    m->state = MINTER_IDLE;
    return &m->failure;
}

const char *minter_text(const struct minter *m)
{
    return m->text;
}

const char *minter_base(const struct minter *m)
{
    return m->base;
}
