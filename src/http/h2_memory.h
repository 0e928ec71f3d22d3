/* http/h2_memory.h - one block for all nghttp2 sessions of a thread (inside http/)
 *
 * nghttp2 keeps a 16 KB block per session in which it builds one frame at a time. It is dead as soon as
 * nghttp2 has no more to say, and both machines always go on until then: so that one block, the only big one
 * that creating a session asks for, may be the same for all sessions of a thread. Later blocks of that size
 * (a long header, say) live across calls and are never lent.
 */
#ifndef MANYTAILS_HTTP_H2_MEMORY_H
#define MANYTAILS_HTTP_H2_MEMORY_H

#include <nghttp2/nghttp2.h>

#include "http/h2.h"

struct h2_lender {
    uint8_t *scratch; /* borrowed, or NULL */
    size_t held;      /* bytes of the heap that the session has now */
    bool lending;     /* nghttp2 may have the scratch for its next big block: only while a session is made */
};

/* `l` must outlive the session. */
nghttp2_mem h2_lender_mem(struct h2_lender *l);

#endif
