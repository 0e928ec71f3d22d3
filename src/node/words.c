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
    enum node_saying saying = stored ? NODE_SAYS_CONNECTING : NODE_SAYS_JOINING;

    if (control_in_trouble(c)) {
        saying = c->no_auth_key ? NODE_SAYS_NO_KEY : c->connected ? NODE_SAYS_REFUSED : NODE_SAYS_UNREACHABLE;
        put_trouble(c, stored, now, out->detail, sizeof(out->detail));
    } else {
        snprintf(out->detail, sizeof(out->detail), "%s", c->sentence);
    }
    snprintf(out->sentence, sizeof(out->sentence), "%s", node_sayings[saying].sentence);
}

static void say(struct node_words *out, enum node_state state, const char *detail)
{
    snprintf(out->sentence, sizeof(out->sentence), "%s", node_sayings[node_saying_of(state)].sentence);
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
    case NODE_WAITING_APPROVAL:
    case NODE_RUNNING:
        say(out, state, c->sentence);
        break;
    case NODE_EXPIRED:
        say(out, state, c->reason ? c->reason : c->sentence);
        break;
    case NODE_STOPPED:
        say(out, state, strcmp(said, "stopped") == 0 ? "" : said);
        break;
    case NODE_STOPPING:
    case NODE_FAILED:
        say(out, state, said);
        break;
    }
}
