/* node/sayings.c - the sentences of NODE_SAYINGS and NODE_REMARKS */
#include "node/internal.h"

const struct node_saying_text node_sayings[] = {
#define X(id, sentence, meaning, advice) [NODE_SAYS_##id] = { sentence, meaning, advice },
    NODE_SAYINGS(X)
#undef X
};

const struct node_remark_text node_remarks[] = {
#define X(id, member, reads, meaning, advice) [NODE_REMARK_##id] = { member, reads, meaning, advice },
    NODE_REMARKS(X)
#undef X
};

enum node_saying node_saying_of(enum node_state state)
{
    switch (state) {
    case NODE_STARTING:
        return NODE_SAYS_JOINING;
    case NODE_SERVING_STORED:
        return NODE_SAYS_CONNECTING;
    case NODE_NEEDS_LOGIN:
        return NODE_SAYS_LOGIN;
    case NODE_WAITING_APPROVAL:
        return NODE_SAYS_APPROVAL;
    case NODE_RUNNING:
        return NODE_SAYS_RUNNING;
    case NODE_EXPIRED:
        return NODE_SAYS_EXPIRED;
    case NODE_STOPPING:
        return NODE_SAYS_STOPPING;
    case NODE_STOPPED:
        return NODE_SAYS_STOPPED;
    case NODE_FAILED:
        break;
    }
    return NODE_SAYS_FAILED;
}
