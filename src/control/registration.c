#include "control/registration.h"

#include "control/backoff.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_zero(const struct secret_key *k)
{
    static const struct secret_key zero;

    return crypto_equal(k, &zero, sizeof(zero));
}

void registration_init(struct registration *r, const struct control_keys *keys)
{
    *r = (struct registration) { .keys = *keys };
    if (!is_zero(&keys->node))
        secret_key_public(&keys->node, &r->node_key);
}

static void drop_followup(struct registration *r)
{
    free(r->followup);
    r->followup = NULL;
}

void registration_deinit(struct registration *r)
{
    drop_followup(r);
    wipe(r, sizeof(*r));
}

void registration_begin(struct registration *r, bool renew)
{
    drop_followup(r);
    wipe(&r->pending, sizeof(r->pending));
    r->renew = renew && !is_zero(&r->keys.node);
    r->renewed_once = false;
    r->key_wanted = r->accepted = false;
    r->failures = 0;
}

void registration_auth_key_changed(struct registration *r)
{
    r->auth_key_refused = r->tags_refused = false;
    r->failures = 0;
}

/* ---- the call ------------------------------------------------------------------------------ */

bool registration_wants_key(const struct registration *r)
{
    if (!r->mints || r->followup)
        return false;
    /* A node key that the server knows needs none: a restart mints nothing. */
    return r->key_wanted || (!r->accepted && (r->renew || is_zero(&r->keys.node)));
}

void registration_call(struct registration *r, bool have_auth_key, random_fn *random, void *random_ctx,
                       struct registration_call *out)
{
    if (is_zero(&r->pending)) {
        if (r->renew || is_zero(&r->keys.node)) {
            random(random_ctx, &r->pending, sizeof(r->pending));
            secret_key_clamp(&r->pending);
        } else {
            r->pending = r->keys.node;
        }
    }
    *out = (struct registration_call) { .followup = r->followup };
    secret_key_public(&r->pending, &out->node_key);
    out->old_node_key = r->renew ? r->node_key : r->keys.old_node;
    out->with_auth_key = have_auth_key && !r->auth_key_refused;
    out->with_tags = !(out->with_auth_key && (r->tags_refused || r->mints));
}

void registration_pending_keys(const struct registration *r, struct control_keys *out)
{
    *out = r->keys;
    out->node = r->pending;
    if (r->renew)
        out->old_node = r->node_key;
}

void registration_commit(struct registration *r)
{
    struct control_keys keys;

    registration_pending_keys(r, &keys);
    registration_begin(r, false);
    r->keys = keys;
    secret_key_public(&keys.node, &r->node_key);
    wipe(&keys, sizeof(keys));
}

/* ---- the answer ------------------------------------------------------------------------------ */

/* The server's words for people: one line, printable, bounded. */
static void say(struct registration_verdict *v, const char *before, struct span text)
{
    size_t n = (size_t)snprintf(v->reason, sizeof(v->reason), "%s", before);

    n = MIN(n, sizeof(v->reason) - 1);
    text = text_trim(text);
    for (size_t i = 0; i < text.len && n + 1 < sizeof(v->reason); i++)
        v->reason[n++] = (char)(text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : text.data[i]);
    v->reason[n] = 0;
}

static void later(struct registration_verdict *v, time_ns delay)
{
    v->next = REGISTRATION_LATER;
    v->delay = delay;
}

static void back_off(struct registration *r, struct registration_verdict *v, uint64_t random)
{
    time_ns max = r->followup ? REGISTRATION_FOLLOWUP_MAX : REGISTRATION_SLOW;

    r->failures++;
    later(v, backoff_delay(r->failures, REGISTRATION_STEP, max, random));
}

/* Trying again cannot help until a person does something; a reload tries at once anyway. */
static void slow_down(struct registration *r, struct registration_verdict *v, uint64_t random)
{
    r->failures++;
    later(v, backoff_delay(1, REGISTRATION_SLOW, REGISTRATION_SLOW, random));
}

static bool contains(struct span text, const char *word)
{
    size_t len = strlen(word);

    for (size_t i = 0; i + len <= text.len; i++)
        if (text_equal_fold(span_slice(text, i, len), span_from_str(word)))
            return true;
    return false;
}

/* "invalid pre auth key", "authkey already used", "authkey expired" (headscale), "invalid key: ..." (hosted)
 */
static bool blames_auth_key(struct span error)
{
    static const char *const words[] = { "auth key", "authkey", "auth-key", "invalid key", "api key" };

    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (contains(error, words[i]))
            return true;
    return false;
}

/* The answer had an Error text. */
static void refused(struct registration *r, const struct registration_answer *a, uint64_t random,
                    struct registration_verdict *v)
{
    struct span error = a->response->error;

    if (a->with_auth_key && a->with_tags && !r->tags_refused && contains(error, "requested tags")) {
        r->tags_refused = true;
        v->next = REGISTRATION_AGAIN;
        say(v, "asking without tags, the auth key brings its own: ", error);
        return;
    }
    if (a->with_auth_key && r->mints) { /* whatever it is: no key is tried twice */
        v->key_spent = r->key_wanted = true;
        say(v, "registration with a minted key was refused: ", error);
        if (r->failures) /* each try costs the service a key */
            slow_down(r, v, random);
        else
            back_off(r, v, random);
        return;
    }
    if (a->with_auth_key && blames_auth_key(error)) {
        if (is_zero(&r->keys.node)) { /* a new node: a person must give a better key */
            say(v, "the auth key was refused: ", error);
            slow_down(r, v, random);
            return;
        }
        /* A node that exists: a person can let it in again. */
        r->auth_key_refused = true;
        v->next = REGISTRATION_AGAIN;
        say(v, "the auth key was refused, asking for a login: ", error);
        return;
    }
    say(v, "registration refused: ", error);
    back_off(r, v, random);
}

static void not_ok(struct registration *r, const struct registration_answer *a, uint64_t random,
                   struct registration_verdict *v)
{
    char before[64];

    if (a->http_status == 429) {
        bool usable = a->retry_after > 0 && a->retry_after <= REGISTRATION_RETRY_AFTER_MAX;

        v->rate_limited = true;
        say(v, "the server asks to wait (429)", SPAN_NONE);
        later(v, usable ? a->retry_after : 5 * SEC + (time_ns)(random % (uint64_t)(5 * SEC)));
        return;
    }
    if (r->followup && (a->http_status == 404 || a->http_status == 410)) { /* that login is used up */
        drop_followup(r);
        v->url_changed = true;
        say(v, "the login link is no longer valid", SPAN_NONE);
        back_off(r, v, random);
        return;
    }
    if (a->http_status == 200)
        say(v, "the answer to the registration makes no sense", SPAN_NONE);
    else {
        snprintf(before, sizeof(before), "registration answered with status %d: ", a->http_status);
        say(v, before, span_slice(a->text, 0, 200));
    }
    if (contains(a->text, "unsupported client version"))
        slow_down(r, v, random);
    else
        back_off(r, v, random);
}

/* AuthURL: show it, then wait at it. */
static int login_needed(struct registration *r, struct span url, uint64_t random,
                        struct registration_verdict *v)
{
    bool had_one = r->followup != NULL;
    char *copy;

    if (had_one && span_equal_str(url, r->followup)) { /* the same again: it did not wait */
        say(v, "the server did not wait for the login", SPAN_NONE);
        back_off(r, v, random);
        return 0;
    }
    if (url.len > REGISTRATION_URL_BYTES_MAX || memchr(url.data, 0, url.len)) {
        say(v, "the server sent a login link that is too long", SPAN_NONE);
        back_off(r, v, random);
        return 0;
    }
    copy = text_dup(url);
    if (!copy)
        return err_trace(-ENOMEM);
    drop_followup(r);
    r->followup = copy;
    v->url_changed = true;
    if (had_one) { /* expired, say; not in a hot loop */
        say(v, "the server replaced the login link", SPAN_NONE);
        back_off(r, v, random);
    } else {
        v->next = REGISTRATION_AGAIN;
    }
    return 0;
}

static void key_expired(struct registration *r, uint64_t random, struct registration_verdict *v)
{
    if (r->renewed_once) {
        say(v, "the server calls a fresh node key expired", SPAN_NONE);
        back_off(r, v, random);
        return;
    }
    /* A pending key that never was in use is not worth an OldNodeKey. */
    wipe(&r->pending, sizeof(r->pending));
    r->renew = !is_zero(&r->keys.node);
    r->renewed_once = true;
    v->next = REGISTRATION_AGAIN;
    say(v, "the node key has expired, making a new one", SPAN_NONE);
}

int registration_answer(struct registration *r, const struct registration_answer *a, uint64_t random,
                        struct registration_verdict *out)
{
    *out = (struct registration_verdict) { .next = REGISTRATION_DONE };
    if (!a->response) {
        not_ok(r, a, random, out);
        return 0;
    }
    if (a->response->error.len) {
        refused(r, a, random, out);
        return 0;
    }
    if (a->response->node_key_expired) {
        key_expired(r, random, out);
        return 0;
    }
    if (a->response->auth_url.len && r->mints && !a->with_auth_key) {
        r->key_wanted = true; /* no person is asked: a key opens as well */
        out->next = REGISTRATION_AGAIN;
        return 0;
    }
    if (a->response->auth_url.len)
        return login_needed(r, a->response->auth_url, random, out);
    r->accepted = true;
    r->key_wanted = false;
    out->key_spent = r->mints && a->with_auth_key;
    out->url_changed = r->followup != NULL;
    out->approval_needed = !a->response->machine_authorized;
    return 0;
}

void registration_no_key(struct registration *r, const char *why, time_ns delay, bool lasting,
                         uint64_t random, struct registration_verdict *out)
{
    *out = (struct registration_verdict) { 0 };
    say(out, "", span_from_str(why));
    if (delay > 0) {
        r->failures++;
        later(out, delay);
    } else if (lasting) {
        slow_down(r, out, random);
    } else {
        back_off(r, out, random);
    }
}

/* ---- the node is gone ------------------------------------------------------------------------- */

bool registration_not_found(struct registration *r)
{
    if (++r->not_found < REGISTRATION_NOT_FOUND_MAX)
        return false;
    r->not_found = 0;
    /* First with the key that it had: sessions with peers survive. If that did not help, with a new one. */
    registration_begin(r, r->recreated);
    r->recreated = true;
    return true;
}

void registration_found(struct registration *r)
{
    r->not_found = 0;
    r->recreated = false;
}
