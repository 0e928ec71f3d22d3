/* control/call.h - one request on a session, as a place where its answer is recorded (inside control/)
 *
 * HTTP/2 callbacks only write here; the owner looks when session_ops.fed or lost says that something came.
 * Embedded in its owner, zeroed at first; holds memory only while a body is here.
 */
#ifndef MANYTAILS_CONTROL_CALL_H
#define MANYTAILS_CONTROL_CALL_H

#include "control/session.h"

#define CALL_BODY_BYTES_MAX (1u << 20)     /* of every answer but the map stream's */
#define CALL_STREAM_BYTES_MAX (128u << 10) /* of a streaming body that its owner has not taken yet */
#define CALL_ERROR_BYTES_MAX 1024          /* of a body with a status other than 200 */

struct call {
    struct session *session; /* NULL: nothing runs */
    uint32_t id;
    int status; /* 0: no head yet */
    bool running, ended;
    bool streaming;  /* the owner takes the body with call_taken; else it is collected */
    bool too_big;    /* more came than fits; the call was cancelled */
    enum h2_end why; /* valid when ended */
    uint32_t code;
    struct buf body;
    char retry_after[48];
};

struct call_config { /* read inside the call */
    const char *method, *authority;
    struct span path;
    const struct public_key *node_key, *old_node_key; /* ts-lb hints; NULL: none */
    struct span body;
    bool streaming;
};

/* Not while it runs. 0, H2_E_*, -ENOMEM: then nothing runs. */
NODISCARD int call_start(struct call *c, struct session *session, const struct call_config *config);
/* Stops it and frees the body; the call can be started again. Fine in any state, also when the session is
 * gone, as long as call_lost was told. */
void call_reset(struct call *c);
/* A streaming body: `n` bytes at its front were used. */
void call_taken(struct call *c, size_t n);
/* Ended, the whole answer is here, with this status. */
bool call_succeeded(const struct call *c);
/* Why it did not succeed, as a sentence without end mark. `what` names the request. */
const char *call_failure(const struct call *c, const char *what, char out[FETCH_FAILURE_BYTES]);

#endif
