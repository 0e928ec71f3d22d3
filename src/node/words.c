#include "node/internal.h"

#include <stdio.h>

/* "connection refused; trying again in 3 s" */
static void put_trouble(const struct control_status *c, bool stored, time_ns now, char *out, size_t size)
{
    size_t at = 0;

    if (stored)
        at = (size_t)snprintf(out, size, "serving from the stored netmap; ");
    snprintf(out + at, size - at, "%s", c->reason ? c->reason : c->sentence);
    at = strlen(out);
    if (c->reason && c->retry_at != TIME_NEVER)
        snprintf(out + at, size - at, "; trying again in %d s",
                 (int)((MAX(c->retry_at - now, 0) + SEC - 1) / SEC));
}

/* Not yet with the control server, or no longer. */
static void away(const struct control_status *c, bool stored, time_ns now, struct node_words *out)
{
    const char *sentence = stored ? "connecting to the control server" : "joining the tailnet";

    if (control_in_trouble(c)) {
        sentence = c->connected ? "turned away by the control server" : "control server unreachable";
        put_trouble(c, stored, now, out->detail, sizeof(out->detail));
    } else {
        snprintf(out->detail, sizeof(out->detail), "%s", c->sentence);
    }
    snprintf(out->sentence, sizeof(out->sentence), "%s", sentence);
}

static void say(struct node_words *out, const char *sentence, const char *detail)
{
    snprintf(out->sentence, sizeof(out->sentence), "%s", sentence);
    snprintf(out->detail, sizeof(out->detail), "%s", detail);
}

void node_words(enum node_state state, const char *said, const struct control_status *c, bool stored,
                time_ns now, struct node_words *out)
{
    *out = (struct node_words) { 0 };
    switch (state) {
    case NODE_STARTING:
    case NODE_SERVING_STORED:
        away(c, stored, now, out);
        break;
    case NODE_NEEDS_LOGIN:
        say(out, "waiting for somebody to log this node in", c->sentence);
        break;
    case NODE_WAITING_APPROVAL:
        say(out, "waiting for approval in the admin console", c->sentence);
        break;
    case NODE_RUNNING:
        say(out, "connected to the tailnet", c->sentence);
        break;
    case NODE_EXPIRED:
        say(out, "the node key has expired", c->reason ? c->reason : c->sentence);
        break;
    case NODE_STOPPING:
        say(out, "stopping", said);
        break;
    case NODE_STOPPED:
        say(out, "stopped", strcmp(said, "stopped") == 0 ? "" : said);
        break;
    case NODE_FAILED:
        say(out, "cannot work as configured", said);
        break;
    }
}
