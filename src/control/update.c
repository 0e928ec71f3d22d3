/* "Lite updates": what this node tells about itself beside the map stream.
 *
 * Hosted control takes endpoints and disco key only from them, headscale also takes them from the stream
 * request and turns each update, even one that says nothing new, into a message for every peer. So we look
 * which kind of server this is: if the self node in a stream's first message has the disco key that only that
 * stream's request told, the request was applied, and no update is needed for what it said. */
#include "control/client.h"

time_ns update_deadline(const struct control_client *c)
{
    if (c->link != LINK_UP || !c->poll_has_map || c->logging_out)
        return TIME_NEVER;
    if (c->update.running || c->update.ended)
        return c->update_deadline;
    return c->update_due ? c->update_at : TIME_NEVER;
}

static void due(struct control_client *c, time_ns at)
{
    c->update_at = c->update_due ? MIN(c->update_at, at) : at;
    c->update_due = true;
}

void update_reset(struct control_client *c)
{
    if (c->update.running || c->update.ended)
        c->update_due = true; /* who knows whether it arrived */
    call_reset(&c->update);
}

void update_registered(struct control_client *c)
{
    call_reset(&c->update);
    c->update_sent = 0;
    c->update_failures = 0;
    c->home_told = false;
    c->update_hurries = 0;
    c->disco_was_updated = false;
    c->update_due = false; /* update_saw_self decides */
}

void update_saw_self(struct control_client *c, const struct tailcfg_node *self, time_ns now)
{
    bool same = public_key_equal(&self->disco_key, &c->stream_told.disco_key);

    if (!c->disco_was_updated && !public_key_is_zero(&c->stream_told.disco_key))
        c->stream_applies = same;
    if (c->stream_applies) {
        c->update_sent = c->stream_told.hash;
        c->home_told = c->stream_told.home_known;
    } else if (!same) { /* it forgot, or never knew */
        c->update_sent = 0;
        c->home_told = false;
    }
    /* Only if it differs from what was sent; that is found out when the time has come. With nothing sent
     * yet, the home relay belongs into the first one: without it nobody can reach us. */
    due(c, c->update_sent || c->stream_told.home_known ? now + CLIENT_UPDATE_SETTLE
                                                       : now + CLIENT_UPDATE_HOME_WAIT);
}

void control_client_report_changed(struct control_client *c)
{
    unsigned nodes = gate_clients(c->shard, c->server);
    time_ns now = ev_now(c->shard->loop);
    time_ns spread = MIN((time_ns)nodes * CLIENT_UPDATE_SPREAD_PER_NODE, CLIENT_UPDATE_SPREAD_MAX);

    /* A node that nobody can reach yet does not wait for others; where no relay answers that may stay so. */
    if (nodes < 2 || (!c->home_told && c->update_hurries++ < CLIENT_UPDATE_HURRIES))
        spread = 0;
    if (c->update_failures && c->update_due)
        return;
    due(c, now + CLIENT_UPDATE_SETTLE + (spread ? (time_ns)(client_random() % (uint64_t)spread) : 0));
    client_again(c);
}

static void send_update(struct control_client *c, time_ns now)
{
    struct call_config config = { .method = "POST",
                                  .authority = c->server->url.authority,
                                  .path = span_from_str("/machine/map"),
                                  .node_key = &c->registration.node_key };
    struct buf body;
    int r = request_map(c, false, &body, &c->update_told);

    c->update_due = false;
    if (!r && c->update_told.hash == c->update_sent) {
        request_deinit(&body);
        return; /* the server knows all of it */
    }
    if (!r) {
        config.body = buf_span(&body);
        r = call_start(&c->update, c->session, &config);
        request_deinit(&body);
    }
    c->update_deadline = now + CLIENT_UPDATE_TIMEOUT;
    c->disco_was_updated |= !r && !public_key_is_zero(&c->update_told.disco_key);
    if (r)
        client_link_failed(c, r > 0 ? "the connection takes no more requests" : err_text(r), now);
}

static void failed(struct control_client *c, const char *why, time_ns now)
{
    int status = c->update.status;

    /* "node not found": a server may keep the stream of a deleted node open and silent. A new one shows. */
    if (c->update.ended && status >= 400 && status < 500 && status != 429) {
        poll_stop(c);
        c->poll_at = now;
        client_again(c);
    }
    c->update_failures++;
    if (c->update_failures == 1)
        log_warn(c->name, "control: %s", why);
    call_reset(&c->update);
    c->update_due = true;
    c->update_at = now + backoff_delay(c->update_failures, BACKOFF_STEP, BACKOFF_MAX, client_random());
}

void update_step(struct control_client *c, time_ns now)
{
    char why[FETCH_FAILURE_BYTES];

    if (c->link != LINK_UP || !c->registered || !c->poll_has_map || c->logging_out)
        return;
    if (call_succeeded(&c->update)) {
        call_reset(&c->update);
        c->update_sent = c->update_told.hash;
        c->home_told = c->update_told.home_known;
        c->update_failures = 0;
        c->updates++;
    } else if (c->update.ended) {
        failed(c, call_failure(&c->update, "update", why), now);
    } else if (c->update.running && now >= c->update_deadline) {
        failed(c, "update: no answer", now);
    }
    if (c->update_due && !c->update.running && now >= c->update_at)
        send_update(c, now);
}
