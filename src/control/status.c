#include "control/client.h"

#include <stdarg.h>
#include <stdio.h>

const char *control_state_name(enum control_state state)
{
    static const char *const names[] = {
#define X(id, text) [CONTROL_##id] = text,
        CONTROL_STATES(X)
#undef X
    };

    return (size_t)state < COUNT_OF(names) ? names[state] : "unknown";
}

static enum control_state state_down(const struct control_client *c)
{
    if (!c->wanted)
        return c->told_to_exit ? CONTROL_FAILED : CONTROL_STOPPED;
    return c->failures && !list_linked(&c->waiter.link) ? CONTROL_FAILED : CONTROL_WAITING;
}

static enum control_state state_up(const struct control_client *c, time_ns now)
{
    if (!c->registered && c->minter && minter_running(c->minter))
        return CONTROL_MINTING;
    if (!c->registered)
        return c->login.running || !c->reason || c->login_at <= now ? CONTROL_REGISTERING : CONTROL_FAILED;
    if (!c->poll_has_map)
        return CONTROL_FETCHING_MAP;
    return c->approval_needed ? CONTROL_WAITING_APPROVAL : CONTROL_RUNNING;
}

static enum control_state derive(const struct control_client *c, time_ns now)
{
    if (c->logging_out)
        return CONTROL_REGISTERING;
    if (c->logged_out && !c->wanted)
        return CONTROL_LOGGED_OUT;
    if (c->wanted && c->registration.followup)
        return CONTROL_NEEDS_LOGIN;
    if (c->wanted && now >= c->expires_at)
        return CONTROL_EXPIRED;
    switch (c->link) {
    case LINK_DOWN:
        return state_down(c);
    case LINK_KEY_WAIT:
    case LINK_KEY_FETCH:
        return CONTROL_FETCHING_KEY;
    case LINK_CONNECTING:
        return CONTROL_CONNECTING;
    case LINK_UP:
        return state_up(c, now);
    }
    return CONTROL_STOPPED;
}

void status_refresh(struct control_client *c, time_ns now)
{
    enum control_state state = derive(c, now);

    if (state != c->state) {
        log_debug(c->name, "control: %s -> %s", control_state_name(c->state), control_state_name(state));
        c->state = state;
        c->since = now;
        c->status_changed = true;
    }
    if (!c->status_changed)
        return;
    c->status_changed = false;
    c->ops->state_changed(c->owner, c);
}

/* ---- sentences ---------------------------------------------------------------------------------------- */

struct text {
    char *at;
    size_t left;
};

PRINTF_LIKE(2, 3) static void add(struct text *t, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(t->at, t->left, fmt, args);
    va_end(args);
    n = n < 0 ? 0 : (int)MIN((size_t)n, t->left - 1);
    t->at += n;
    t->left -= (size_t)n;
}

static void add_where(struct text *t, const struct control_client *c)
{
    const char *url = c->server->url.text;

    switch (c->state) {
    case CONTROL_STOPPED:
        add(t, "not connected to %s", url);
        break;
    case CONTROL_WAITING:
        add(t, "waiting for its turn to connect to %s", url);
        break;
    case CONTROL_FETCHING_KEY:
        add(t, "asking %s for its key", url);
        break;
    case CONTROL_CONNECTING:
        add(t, "connecting to %s", url);
        break;
    case CONTROL_REGISTERING:
        add(t, c->logging_out ? "logging out of %s" : "registering with %s", url);
        break;
    case CONTROL_MINTING:
        add(t, "asking %s for an auth key", minter_base(c->minter));
        break;
    case CONTROL_NEEDS_LOGIN:
        add(t, "%sto log this node in, open %s", c->registered ? "the node key has expired; " : "",
            c->registration.followup);
        break;
    case CONTROL_FETCHING_MAP:
        add(t, "registered; waiting for the netmap from %s", url);
        break;
    case CONTROL_WAITING_APPROVAL:
        add(t, "an administrator of the tailnet must approve this node");
        break;
    case CONTROL_RUNNING:
        add(t, "connected to %s", url);
        break;
    case CONTROL_EXPIRED:
        add(t, "the node key has expired; asking %s for a new one", url);
        break;
    case CONTROL_LOGGED_OUT:
        add(t, "logged out of %s", url);
        break;
    case CONTROL_FAILED:
        if (!c->no_key || c->link != LINK_UP) /* else the reason is a whole sentence */
            add(t, "control server %s", url);
        break;
    case CONTROL_STATE_COUNT:
        break;
    }
}

static time_ns retry_at(const struct control_client *c)
{
    if (!c->wanted)
        return TIME_NEVER;
    if (c->link == LINK_DOWN)
        return c->failures && !list_linked(&c->waiter.link) ? c->retry_at : TIME_NEVER;
    if (c->link == LINK_UP && c->login_active && !c->login.running)
        return c->login_at;
    return TIME_NEVER;
}

static void write_sentence(const struct control_client *c, time_ns now, struct control_status *out)
{
    struct text t = { out->sentence, sizeof(out->sentence) };
    bool connected = c->state == CONTROL_RUNNING || c->state == CONTROL_WAITING_APPROVAL;

    add_where(&t, c);
    if (c->reason && !connected)
        add(&t, c->state == CONTROL_FAILED ? "%s%s" : " (before:%s%s)",
            c->state != CONTROL_FAILED        ? " "
            : c->no_key && c->link == LINK_UP ? ""
                                              : reason_glue(c->reason),
            c->reason);
    if (out->retry_at != TIME_NEVER)
        add(&t, "; trying again in %d s", (int)((MAX(out->retry_at - now, 0) + SEC - 1) / SEC));
    if (!connected && c->wanted && c->have_netmap)
        add(&t, "; serving from the stored netmap");
}

void control_client_status(const struct control_client *c, time_ns now, struct control_status *out)
{
    *out = (struct control_status) { .state = c->state,
                                     .auth_url = c->registration.followup,
                                     .reason = c->reason,
                                     .connected = c->link == LINK_UP,
                                     .no_auth_key = c->no_key && c->link == LINK_UP,
                                     .since = c->since,
                                     .retry_at = retry_at(c),
                                     .last_message = c->last_message,
                                     .key_expiry = c->key_expiry,
                                     .clock_error = c->clock_offset,
                                     .stream_open = c->poll_has_map,
                                     .failures = c->failures,
                                     .connects = c->connects,
                                     .registrations = c->registrations,
                                     .maps = c->maps,
                                     .keepalives = c->keepalives,
                                     .updates = c->updates,
                                     .pings = c->ping_total,
                                     .stream_bytes = c->stream_bytes };
    write_sentence(c, now, out);
}
