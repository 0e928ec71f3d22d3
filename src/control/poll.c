/* The map stream: one long request whose answer never ends. */
#include "control/client.h"

#include <errno.h>
#include <stdio.h>

time_ns poll_deadline(const struct control_client *c)
{
    if (c->link != LINK_UP || !c->registered || c->logging_out)
        return TIME_NEVER;
    if (c->poll.running || c->poll.ended)
        return c->watchdog;
    return c->held ? MAX(c->poll_at, c->held_until) : c->poll_at;
}

void poll_stop(struct control_client *c)
{
    call_reset(&c->poll);
    frames_deinit(&c->frames);
    gate_stream_over(c->shard, c->server, &c->waiter, false);
    c->poll_has_map = false;
    c->status_changed = true;
}

/* ---- when to begin ----------------------------------------------------------------------------------
 *
 * Of N nodes that start together each is told to every stream that is open: when it registers, when its own
 * stream opens, when its home relay is known. So all of them register first, and the home relay is in the
 * request for the stream if it can be found out. One stream is not held: by the DERP map that it brings the
 * others find theirs. Nothing here takes longer than CLIENT_STREAM_HOLD. */

void poll_hold(struct control_client *c, time_ns now)
{
    c->held = true;
    c->held_until = now + CLIENT_STREAM_HOLD;
}

static bool home_known(struct control_client *c)
{
    struct control_report report = { 0 };

    c->ops->report(c->owner, &report);
    return report.hostinfo.netinfo && report.hostinfo.netinfo->preferred_derp;
}

static bool may_start(struct control_client *c, time_ns now)
{
    enum gate_stream turn;
    bool home_comes;

    if (!c->held || now >= c->held_until)
        return true;
    turn = gate_stream_ask(c->shard, c->server, &c->waiter);
    if (turn == GATE_STREAM_FIRST)
        return true;
    home_comes = c->ops->before_map && !home_known(c) && c->ops->before_map(c->owner, now);
    return turn == GATE_STREAM_OPEN && !home_comes;
}

static void start(struct control_client *c, time_ns now)
{
    struct call_config config = { .method = "POST",
                                  .authority = c->server->url.authority,
                                  .path = span_from_str("/machine/map"),
                                  .node_key = &c->registration.node_key,
                                  .streaming = true };
    struct buf body;
    int r;

    gate_unwait(c->shard, c->server, &c->waiter);
    r = request_map(c, true, &body, &c->stream_told);
    if (!r) {
        config.body = buf_span(&body);
        r = call_start(&c->poll, c->session, &config);
        request_deinit(&body);
    }
    c->held = false;
    c->watchdog = now + CLIENT_WATCHDOG;
    if (r)
        client_link_failed(c, r > 0 ? "the connection takes no more requests" : err_text(r), now);
}

/* ---- what a message says to the client itself ------------------------------------------------------ */

/* true: the stream was given up. */
static bool obey_debug(struct control_client *c, const struct tailcfg_debug *debug, time_ns now)
{
    if (debug->has_exit) { /* meant for a program with one node; the others go on */
        log_error(c->name, "control: the server told this node to exit with code %lld; it stops",
                  (long long)debug->exit_code);
        c->told_to_exit = true;
        c->wanted = false;
        client_set_reason(c, "the control server told this node to stop");
        client_again(c);
        return true;
    }
    if (debug->has_sleep && debug->sleep_seconds > 0) {
        time_ns pause = debug->sleep_seconds < (double)(CLIENT_SLEEP_MAX / SEC)
                            ? (time_ns)(debug->sleep_seconds * 1e9)
                            : CLIENT_SLEEP_MAX;

        log_warn(c->name, "control: the server asks to pause for %d s", (int)(pause / SEC));
        poll_stop(c);
        c->poll_at = now + pause;
        return true;
    }
    return false;
}

/* Only a clock that is far off is corrected, and no clock from before 2023 is believed. */
static void learn_clock(struct control_client *c, int64_t control_time)
{
    const int64_t earliest = 1673308800 * SEC;
    int64_t ahead = control_time - ev_wall_clock();

    if (control_time < earliest)
        return;
    c->clock_offset = ahead > MINUTE || ahead < -MINUTE ? ahead : 0;
}

static void learn_expiry(struct control_client *c, const struct tailcfg_node *self, time_ns now)
{
    int64_t left = self->key_expiry - (ev_wall_clock() + c->clock_offset);
    bool had = c->expires_at != TIME_NEVER || c->key_expiry;

    if (self->key_expiry == c->key_expiry && had && !self->expired)
        return;
    c->key_expiry = self->key_expiry;
    c->expires_at = TIME_NEVER;
    if (self->expired)
        c->expires_at = now;
    else if (self->key_expiry)
        c->expires_at = left > 0 ? now + MIN(left, TIME_NEVER / 2) : now;
    c->renew_at = c->expires_at;
    if (c->expires_at == TIME_NEVER || now < c->expires_at)
        login_cancel(c); /* somebody extended it */
    if (c->auth_key && !c->registration.auth_key_refused && c->expires_at != TIME_NEVER && left > 0) {
        c->renew_at = MAX(c->expires_at - CLIENT_RENEW_BEFORE, now + left / 4 * 3);
        c->renew_at = MIN(MAX(c->renew_at, now + CLIENT_RENEW_LEAST), c->expires_at);
    }
}

/* false: the node makes no sense. */
static bool learn_self(struct control_client *c, const struct tailcfg_map_response *m, time_ns now)
{
    struct tailcfg_node self;
    struct arena arena;
    int r;

    arena_init(&arena, TAILCFG_NODE_BYTES_MAX);
    r = tailcfg_node_parse(m->node, &arena, &self);
    if (!r) {
        learn_expiry(c, &self, now);
        if (c->approval_needed == self.machine_authorized)
            c->status_changed = true;
        c->approval_needed = !self.machine_authorized;
        if (!c->poll_has_map)
            update_saw_self(c, &self, now);
    }
    arena_deinit(&arena);
    return r == 0;
}

/* A complete netmap is in use: what went wrong before is over. */
static void first_map(struct control_client *c)
{
    if (c->failures || c->reason)
        log_info(c->name, "control: connected to %s", c->server->url.text);
    c->poll_has_map = c->have_netmap = true;
    c->failures = 0;
    client_set_reason(c, NULL);
    registration_found(&c->registration);
    gate_done(c->shard, c->server, &c->waiter);
    gate_stream_over(c->shard, c->server, &c->waiter, true);
}

/* ---- messages ----------------------------------------------------------------------------------------- */

static bool plain_keepalive(const struct tailcfg_map_response *m)
{
    return m->keep_alive && !m->ping && !m->pop_browser_url.len && !m->control_time;
}

static void remember_keepalive(struct control_shard *s, struct span message)
{
    if (message.len > sizeof(s->keepalive))
        return;
    memcpy(s->keepalive, message.data, message.len);
    s->keepalive_len = (uint8_t)message.len;
}

/* Once per link, though it may come with every message. */
static void show_url(struct control_client *c, struct span url)
{
    uint64_t hash = client_hash(url);

    if (hash != c->shown_url)
        log_warn(c->name, "control: the server asks to open %.*s", (int)MIN(url.len, 500u),
                 (const char *)url.data);
    c->shown_url = hash;
}

/* true: go on with the next one. */
static bool respond(struct control_client *c, const struct tailcfg_map_response *m, time_ns now)
{
    int r;

    if (m->control_time)
        learn_clock(c, m->control_time);
    if (m->ping)
        ping_received(c, m->ping, now);
    if (m->pop_browser_url.len)
        show_url(c, m->pop_browser_url);
    if (obey_debug(c, &m->debug, now))
        return false;
    if (m->keep_alive) {
        c->keepalives++;
        return true;
    }
    if (!c->poll_has_map && !m->node.len) {
        client_link_failed(c, "the map stream began without this node in it", now);
        return false;
    }
    if (m->node.len && !learn_self(c, m, now)) {
        client_link_failed(c, "the server describes this node in a way that makes no sense", now);
        return false;
    }
    c->maps++;
    r = c->ops->map(c->owner, m, !c->poll_has_map, now);
    if (c->dead)
        return false;
    if (r) {
        char text[96];

        snprintf(text, sizeof(text), "the netmap could not be applied: %s", err_text(r));
        client_link_failed(c, text, now);
        return false;
    }
    if (!c->poll_has_map)
        first_map(c);
    return true;
}

static bool take_message(struct control_client *c, struct span message, time_ns now)
{
    struct control_shard *s = c->shard;
    struct tailcfg_map_response response;
    struct buf room;
    struct span text;
    bool go_on = false;
    int r;

    c->last_message = now;
    c->watchdog = now + CLIENT_WATCHDOG;
    c->stream_bytes += 4 + message.len;
    if (message.len == s->keepalive_len && memcmp(message.data, s->keepalive, message.len) == 0) {
        c->keepalives++;
        return true;
    }
    r = shard_unzip(s, message, &room, &text, now);
    if (!r) {
        r = tailcfg_map_response_parse(text, &response);
        if (!r) {
            if (plain_keepalive(&response))
                remember_keepalive(s, message);
            go_on = respond(c, &response, now);
            tailcfg_map_response_deinit(&response);
        }
        buf_deinit(&room);
    }
    if (r)
        client_link_failed(c, r < 0 ? err_text(r) : "a message of the map stream makes no sense", now);
    return go_on;
}

/* false: the stream is over, one way or the other. */
static bool take_all(struct control_client *c, time_ns now)
{
    while (c->poll.status == 200) {
        struct span all = buf_span(&c->poll.body), in = all, message;
        uint32_t id = c->poll.id;
        int r = frames_next(&c->frames, &in, &message);

        if (r == 0) {
            bool go_on = take_message(c, message, now);

            if (!go_on || c->dead || c->poll.id != id)
                return false;
        }
        call_taken(&c->poll, all.len - in.len);
        if (r == FRAMES_E_MORE)
            return true;
        if (r) {
            client_link_failed(c, r < 0 ? err_text(r) : "the map stream lost its framing", now);
            return false;
        }
    }
    return true;
}

/* ---- the end of a stream ----------------------------------------------------------------------------------
 */

/* A 4xx. The connection is fine; once can be an accident (a server that restarts), twice is not. */
static void not_wanted(struct control_client *c, const char *why, time_ns now)
{
    poll_stop(c);
    if (c->keys_pending) { /* of course: it knows us by the key that is being written down */
        c->poll_at = TIME_NEVER;
        return;
    }
    client_set_reason(c, why);
    if (!registration_not_found(&c->registration)) {
        c->poll_at = now + backoff_delay(2, BACKOFF_STEP, BACKOFF_MAX, client_random());
        log_warn(c->name, "control: %s: %s; trying again in %d s", c->server->url.text, why,
                 (int)((c->poll_at - now + SEC - 1) / SEC));
        return;
    }
    log_error(c->name, "control: %s: %s; the node is gone there and is registered anew", c->server->url.text,
              why);
    c->registered = false;
    c->login_active = true;
    c->login_at = now;
    client_again(c);
}

static void over(struct control_client *c, time_ns now)
{
    char why[FETCH_FAILURE_BYTES];
    int status = c->poll.status;
    time_ns wait = retry_after_parse(span_from_str(c->poll.retry_after), ev_wall_clock());

    if (call_succeeded(&c->poll))
        snprintf(why, sizeof(why), "ended the map stream");
    else
        call_failure(&c->poll, "map stream", why);
    /* "node not found", and whatever else says that this node is not what the server wants. */
    if (status >= 400 && status < 500 && status != 429) {
        not_wanted(c, why, now);
        return;
    }
    client_link_failed(c, why, now);
    if (status == 429 && wait > 0 && wait <= REGISTRATION_RETRY_AFTER_MAX)
        c->retry_at = MAX(c->retry_at, now + wait);
}
void poll_step(struct control_client *c, time_ns now)
{
    if (c->link != LINK_UP || !c->registered || c->logging_out)
        return;
    if (!c->poll.running && !c->poll.ended) {
        if (now >= c->poll_at && may_start(c, now) && !c->dead)
            start(c, now);
        return;
    }
    if (!take_all(c, now) || c->dead || c->link != LINK_UP)
        return;
    if (c->poll.ended)
        over(c, now);
    else if (now >= c->watchdog)
        client_link_failed(c, "no message on the map stream for two minutes", now);
}
