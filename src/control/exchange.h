/* control/exchange.h - the answer to one small HTTP/1.1 request of ours (inside control/)
 *
 * For `GET /key`, the upgrade and a ping's HEAD: one request on a fresh connection, one bounded answer. The
 * interesting part is the end: after a 101 the very next byte belongs to Noise, and servers send it in the
 * same segment, so feed says how many bytes were ours. Pure. Reading is lax where servers differ (bare LF,
 * case), strict where a length is concerned.
 */
#ifndef MANYTAILS_CONTROL_EXCHANGE_H
#define MANYTAILS_CONTROL_EXCHANGE_H

#include "base/base.h"

#define EXCHANGE_HEAD_BYTES_MAX (16u << 10)
#define EXCHANGE_BODY_BYTES_MAX (64u << 10)
#define EXCHANGE_INTERIM_MAX 8 /* 1xx answers before the real one */

enum exchange_outcome {
    EXCHANGE_E_MORE = 1, /* everything taken, the answer goes on */
    EXCHANGE_E_BROKEN,   /* not HTTP, or it contradicts itself */
    EXCHANGE_E_TOO_BIG,
};

enum exchange_state { EXCHANGE_LINE, EXCHANGE_BODY, EXCHANGE_CHUNK_SIZE, EXCHANGE_CHUNK_END, EXCHANGE_DONE };

struct exchange {
    enum exchange_state state;
    bool no_body;             /* the request was HEAD */
    bool status_seen;         /* the status line of this head was read */
    bool chunked, has_length; /* how the body ends; neither: with the connection */
    bool trailer;             /* header lines after the last chunk are skipped */
    unsigned interim;
    int status;
    uint64_t body_left;
    size_t head_bytes;
    struct buf line, body;
    char upgrade[64];     /* value of the Upgrade header, "" if none */
    char retry_after[48]; /* likewise */
};

void exchange_init(struct exchange *e, bool head_request);
void exchange_deinit(struct exchange *e);

/* 0: complete, `status` and `body` hold; *used tells how much of `in` belonged to the answer. EXCHANGE_E_*;
 * -ENOMEM. */
NODISCARD int exchange_feed(struct exchange *e, struct span in, size_t *used);
/* The connection ended: 0 if that completes the answer, else EXCHANGE_E_BROKEN. */
NODISCARD int exchange_finish(struct exchange *e);

/* Retry-After: seconds or an HTTP date, as a delay; 0 if there is none or it is nonsense. */
time_ns retry_after_parse(struct span value, int64_t now_wall_ns);

#endif
