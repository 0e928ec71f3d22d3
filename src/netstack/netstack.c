#include "netstack/netstack.h"

const char *netstack_reason_text(enum netstack_reason reason)
{
    static const char *const texts[] = {
#define X(name, text) [NETSTACK_CLOSED_##name] = text,
        NETSTACK_REASONS(X)
#undef X
    };

    return (size_t)reason < COUNT_OF(texts) ? texts[reason] : "unknown";
}
