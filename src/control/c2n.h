/* control/c2n.h - requests that the control server makes to this node (inside control/)
 *
 * "c2n": the payload of a PingRequest is a raw HTTP/1.x request, the answer is a raw HTTP/1.1 response. Only
 * /echo is served, which servers use to see whether a node lives; nothing that shows or changes our insides.
 * Pure.
 */
#ifndef MANYTAILS_CONTROL_C2N_H
#define MANYTAILS_CONTROL_C2N_H

#include "base/base.h"

#define C2N_REQUEST_BYTES_MAX (1u << 20)

enum c2n_outcome {
    C2N_E_BROKEN = 1, /* not an HTTP request: there is nothing to answer */
};

/* Appends the whole response. 0, C2N_E_BROKEN, -ENOBUFS, -ENOMEM. */
NODISCARD int c2n_answer(struct span request, struct buf *response);

#endif
