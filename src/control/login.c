/* Registration on a session: what registration.h decides, carried out. And the way out: log-out. */
#include "control/client.h"

#include <errno.h>
#include <stdio.h>

time_ns login_deadline(const struct control_client *c)
{
    bool running = c->login.running || c->login.ended;
    bool minting = c->minter && minter_running(c->minter);
    time_ns at = c->registered && !c->login_active ? c->renew_at : TIME_NEVER;

    if (!c->login_active || c->link != LINK_UP || c->logging_out || c->keys_pending || minting)
        return at;
    return MIN(at, running ? c->login_deadline : c->login_at);
}

void login_begin(struct control_client *c, bool renew, time_ns now)
{
    call_reset(&c->login);
    if (c->registration.followup)
        c->ops->auth_url(c->owner, NULL);
    registration_begin(&c->registration, renew);
    c->login_active = true;
    c->login_at = now;
}

void login_cancel(struct control_client *c)
{
    if (!c->login_active || !c->registered ||
        c->keys_pending) /* pending: the server has the new key already */
        return;
    call_reset(&c->login);
    if (c->registration.followup)
        c->ops->auth_url(c->owner, NULL);
    registration_begin(&c->registration, false);
    if (c->minter)
        minter_stop(c->minter);
    c->login_active = c->renewing_early = c->no_key = false;
    c->status_changed = true;
}

/* ---- the call ----------------------------------------------------------------------------------- */

/* True: there is another key than the one that failed, and the registration begins anew with it. */
static bool has_better_key(struct control_client *c)
{
    char key[CONTROL_AUTH_KEY_BYTES_MAX + 1];
    bool known;

    if (!c->auth_key_now || !(c->registration.failures || c->registration.auth_key_refused))
        return false;
    known = c->auth_key_now(c->owner, key);
    if (!c->dead && known && control_client_set_auth_key(c, key))
        log_warn(c->name, "control: the new auth key is not used: out of memory");
    wipe(key, sizeof(key));
    return c->dead || c->restart_login;
}

static void send_call(struct control_client *c, time_ns now)
{
    struct registration_call *call = &c->login_call;
    struct call_config config = { .method = "POST",
                                  .authority = c->server->url.authority,
                                  .path = span_from_str("/machine/register"),
                                  .node_key = &call->node_key,
                                  .old_node_key = &call->old_node_key };
    time_ns after = gate_registrations_after(c->shard, c->server);
    struct buf body;
    int r;

    if (has_better_key(c))
        return;
    if (now < after && !c->registration.followup) { /* somebody else's 429: not all at its very end */
        c->login_at = after + backoff_spread(gate_clients(c->shard, c->server), client_random());
        return;
    }
    if (!c->auth_key && registration_wants_key(&c->registration)) {
        minter_start(c->minter, now);
        c->status_changed = true;
        return;
    }
    registration_call(&c->registration, c->auth_key != NULL, client_random_bytes, NULL, call);
    r = request_register(c, call, &body);
    if (!r) {
        config.body = buf_span(&body);
        r = call_start(&c->login, c->session, &config);
        request_deinit(&body); /* nghttp2 has its copy until it is sent */
    }
    c->login_deadline = call->followup ? TIME_NEVER : now + CLIENT_LOGIN_TIMEOUT;
    if (call->followup)
        gate_leave(c->shard, c->server, &c->waiter);
    c->status_changed = true;
    if (r)
        client_link_failed(c, r > 0 ? "the connection takes no more requests" : err_text(r), now);
}

/* ---- the answer ------------------------------------------------------------------------------------- */

static bool keys_equal(const struct control_keys *a, const struct control_keys *b)
{
    return crypto_equal(&a->node, &b->node, sizeof(a->node)) && public_key_equal(&a->old_node, &b->old_node);
}

/* The key is not on disk: the same registration is repeated later, with the same pending key. */
static void not_stored(struct control_client *c, int error, time_ns now)
{
    char text[128];

    snprintf(text, sizeof(text), "the new node key cannot be stored: %s", err_text(error));
    log_error(c->name, "control: %s", text);
    client_set_reason(c, text);
    c->login_at = now + backoff_delay(4, BACKOFF_STEP, BACKOFF_MAX, client_random());
    c->poll_at = MIN(c->poll_at, c->login_at);
    gate_leave(c->shard, c->server, &c->waiter);
}

/* Registered, and the keys are on disk. */
static void finish(struct control_client *c, bool changed, time_ns now)
{
    if (c->pending_url_over)
        c->ops->auth_url(c->owner, NULL);
    if (c->dead)
        return;
    registration_commit(&c->registration);
    log_info(c->name, "control: registered with %s%s", c->server->url.text, changed ? " (new node key)" : "");
    c->registered = true;
    c->login_active = c->renewing_early = c->no_key = false;
    c->approval_needed = c->pending_approval;
    c->registrations++;
    c->expires_at = c->renew_at = TIME_NEVER;
    c->key_expiry = 0;
    update_registered(c);
    poll_stop(c);
    c->poll_at = now;
    poll_hold(c, now);
    gate_done(c->shard, c->server, &c->waiter);
}

/* Registered. The keys are stored before anything uses them. */
static void done(struct control_client *c, const struct registration_verdict *v, time_ns now)
{
    struct control_keys keys;
    bool changed;
    int r = 0;

    registration_pending_keys(&c->registration, &keys);
    changed = !keys_equal(&keys, &c->registration.keys);
    c->pending_url_over = v->url_changed;
    c->pending_approval = v->approval_needed;
    if (changed)
        r = c->ops->keys_changed(c->owner, &keys);
    wipe(&keys, sizeof(keys));
    if (c->dead)
        return;
    c->keys_pending = r == CONTROL_KEYS_LATER;
    if (r < 0)
        not_stored(c, r, now);
    else if (r == 0)
        finish(c, changed, now);
}

void control_client_keys_stored(struct control_client *c, int result)
{
    time_ns now = ev_now(c->shard->loop);

    if (!c->keys_pending)
        return; /* that registration was given up meanwhile */
    c->keys_pending = false;
    c->depth++;
    if (result)
        not_stored(c, result, now);
    else
        finish(c, true, now);
    c->depth--;
    client_again(c);
}

/* A link to show, or one that is over. Those who wait for a person need no slot. */
static void url_changed(struct control_client *c)
{
    const char *url = c->registration.followup;

    if (url)
        log_warn(c->name, "control: to log this node in, open %s", url);
    gate_leave(c->shard, c->server, &c->waiter);
    c->ops->auth_url(c->owner, url);
}

static void later(struct control_client *c, const struct registration_verdict *v, time_ns now)
{
    bool news = !c->reason || strcmp(c->reason, v->reason) != 0;

    c->login_at = now + v->delay;
    if (v->rate_limited)
        gate_postpone_registrations(c->shard, c->server, c->login_at);
    if (news)
        log_warn(c->name, "control: %s; trying again in %d s", v->reason, (int)((v->delay + SEC - 1) / SEC));
    client_set_reason(c, v->reason);
    gate_leave(c->shard, c->server, &c->waiter);
}

/* The minter has ended: with a key, and the registration goes on; or without. */
static void minted(struct control_client *c, time_ns now)
{
    char why[REGISTRATION_TEXT_BYTES + CONTROL_URL_BYTES];
    char *key = minter_take_key(c->minter);
    const struct token_failure *failure = key ? NULL : minter_take_failure(c->minter);
    struct registration_verdict v;

    if (key) {
        log_info(c->name, "control: got an auth key from %s", minter_base(c->minter));
        c->auth_key = key;
        c->no_key = false;
        c->login_at = now;
        c->status_changed = true;
    } else if (failure) {
        snprintf(why, sizeof(why), "no auth key from %s: %s", minter_base(c->minter), failure->why);
        registration_no_key(&c->registration, why, MAX(failure->until - now, 0), failure->lasting,
                            client_random(), &v);
        c->no_key = true;
        later(c, &v, now);
    }
}

static void act(struct control_client *c, const struct registration_verdict *v, time_ns now)
{
    if (v->next == REGISTRATION_DONE) {
        done(c, v, now);
        return;
    }
    if (v->url_changed)
        url_changed(c);
    if (c->dead)
        return;
    if (v->next == REGISTRATION_LATER) {
        later(c, v, now);
        return;
    }
    if (v->reason[0])
        log_warn(c->name, "control: %s", v->reason);
    c->login_at = now;
    /* Before the key has expired nobody is asked to come and log in. */
    if (c->renewing_early && c->registration.auth_key_refused) {
        login_cancel(c);
        c->renew_at = c->expires_at;
    }
}

static void answered(struct control_client *c, time_ns now)
{
    struct registration_answer a = { .http_status = c->login.status,
                                     .text = buf_span(&c->login.body),
                                     .with_auth_key = c->login_call.with_auth_key,
                                     .with_tags = c->login_call.with_tags };
    struct tailcfg_register_response response;
    struct registration_verdict verdict;
    char why[FETCH_FAILURE_BYTES];
    int r;

    if (c->login.why != H2_END_DONE) { /* nothing was said: the same call again, on a new connection */
        client_link_failed(c, call_failure(&c->login, "registration", why), now);
        return;
    }
    if (a.http_status == 200 && tailcfg_register_response_parse(a.text, &response) == 0)
        a.response = &response;
    a.retry_after = retry_after_parse(span_from_str(c->login.retry_after), ev_wall_clock());
    r = registration_answer(&c->registration, &a, client_random(), &verdict);
    if (a.response) {
        if (response.node_key_signature.len)
            log_warn(c->name, "control: this tailnet is locked; the node must be signed by an administrator");
        tailcfg_register_response_deinit(&response);
    }
    call_reset(&c->login);
    c->status_changed = true;
    if (!r && verdict.key_spent)
        client_drop_auth_key(c);
    if (r)
        client_link_failed(c, err_text(r), now);
    else
        act(c, &verdict, now);
}

/* ---- when ------------------------------------------------------------------------------------------------
 */

static void begin_if_due(struct control_client *c, time_ns now)
{
    if (c->keys_pending)
        return;
    if (c->restart_login) {
        login_begin(c, c->renew_login || c->registration.renew, now);
        c->restart_login = c->renew_login = false;
    } else if (c->registered && !c->login_active && now >= c->renew_at) {
        c->renewing_early = now < c->expires_at;
        log_warn(c->name, "control: the node key %s, making a new one",
                 c->renewing_early ? "expires soon" : "has expired");
        login_begin(c, true, now);
    }
}

void login_step(struct control_client *c, time_ns now)
{
    begin_if_due(c, now);
    if (c->dead || c->link != LINK_UP || c->logging_out || !c->login_active || c->keys_pending)
        return;
    if (c->minter && minter_running(c->minter))
        minted(c, now);
    if (c->login.ended)
        answered(c, now);
    if (c->dead || (c->minter && minter_running(c->minter)) || c->link != LINK_UP || !c->login_active ||
        c->keys_pending)
        return;
    if (c->login.running && now >= c->login_deadline)
        client_link_failed(c, "no answer to the registration", now);
    else if (!c->login.running && now >= c->login_at)
        send_call(c, now);
}

/* ---- log-out
 * ------------------------------------------------------------------------------------------------- */

static void logout_finish(struct control_client *c, bool confirmed)
{
    static const struct control_keys none;

    c->logging_out = c->wanted = c->registered = c->login_active = false;
    c->logged_out = true;
    c->status_changed = true;
    if (confirmed) {
        registration_deinit(&c->registration);
        registration_init(&c->registration, &none);
        c->keys_pending = false;
        if (c->ops->keys_changed(c->owner, &none) < 0)
            log_warn(c->name, "control: logged out, but the old node key cannot be removed from the store");
        if (c->dead)
            return;
    }
    client_again(c); /* closes the link */
    c->ops->logged_out(c->owner, confirmed);
}

static void logout_send(struct control_client *c)
{
    struct call_config config = { .method = "POST",
                                  .authority = c->server->url.authority,
                                  .path = span_from_str("/machine/register"),
                                  .node_key = &c->registration.node_key };
    struct buf body;
    int r;

    poll_stop(c);
    call_reset(&c->login);
    if (c->minter)
        minter_stop(c->minter);
    r = request_logout(c, &body);
    if (!r) {
        config.body = buf_span(&body);
        r = call_start(&c->login, c->session, &config);
        request_deinit(&body);
    }
    if (r)
        logout_finish(c, false);
    else
        c->logout_sent = true;
}

void logout_step(struct control_client *c, time_ns now)
{
    if (!c->logging_out)
        return;
    if (public_key_is_zero(&c->registration.node_key)) /* never was in */
        logout_finish(c, true);
    else if (now >= c->logout_deadline)
        logout_finish(c, false);
    else if (c->link != LINK_UP)
        c->logout_sent = false; /* again when it is up */
    else if (!c->logout_sent)
        logout_send(c);
    else if (c->login.ended)
        logout_finish(c, call_succeeded(&c->login));
}
