/* proxy/steps.h - the steps of an exchange, one file a state (inside proxy/)
 *
 *     HEAD      request.c   the head is collected, judged and routed
 *     AUTH      ask.c       the auth server is asked
 *     FORWARD   forward.c   to the upstream and back
 *     TUNNEL    tunnel.c    raw bytes both ways
 *     REPLY     exchange.c  an answer of our own is being written
 *
 * exchange.c has an exchange's life and its ends, failure.c what is told when something goes wrong. A step
 * says what becomes of the connection (enum step); where one leads into the next it calls it.
 */
#ifndef MANYTAILS_PROXY_STEPS_H
#define MANYTAILS_PROXY_STEPS_H

#include "proxy/internal.h"

/* ---- request.c ------------------------------------------------------------------------------ */

enum step request_step(struct exchange *x, struct span in, time_ns now);
/* It may pass. `granted`: the auth server's answer, NULL: nobody was asked. */
enum step request_pass(struct exchange *x, const struct http_head *granted, time_ns now);
/* An enum http1_fault or -errno, before anything was answered. */
enum step request_fault(struct exchange *x, int fault, time_ns now);

/* ---- ask.c, forward.c, tunnel.c --------------------------------------------------------------- */

enum step ask_begin(struct exchange *x, time_ns now);
enum step ask_step(struct exchange *x, time_ns now);
enum step forward_step(struct exchange *x, time_ns now);
enum step tunnel_begin(struct exchange *x);
enum step tunnel_step(struct exchange *x, time_ns now);

/* ---- exchange.c --------------------------------------------------------------------------------- */

/* Has the client gone, or only closed its side? It may send further requests meanwhile; they wait.
 * STEP_AGAIN: go on. */
enum step exchange_watch_client(struct exchange *x, time_ns now);
/* Nothing to do before the next event: STEP_WAIT. A response that takes its time holds as little as possible
 * meanwhile. */
enum step exchange_rest(struct exchange *x);
/* The response is written: what becomes of the connection? */
enum step exchange_leave(struct exchange *x, time_ns now);
/* The same, when it was an upstream's: its connection is kept if it can be. */
enum step exchange_complete(struct exchange *x, time_ns now);

/* ---- failure.c ------------------------------------------------------------------------------------ */

/* An answer of our own instead of the upstream's. */
enum step exchange_answer(struct exchange *x, int status, struct span location, const char *sentence,
                          time_ns now);
/* The same, the client being at fault. */
enum step exchange_refuse(struct exchange *x, int status, const char *sentence, time_ns now);
/* The upstream did not deliver; x->why says how. */
enum step exchange_upstream_failed(struct exchange *x, int status, time_ns now);
/* All connections that the service may have to its upstream are busy. */
enum step exchange_too_busy(struct exchange *x, int status, time_ns now);
/* Whether the request may pass could not be found out. */
enum step exchange_auth_failed(struct exchange *x, time_ns now);

#endif
