/* lab/relay.h - a relay (DERP server) on one loopback port
 *
 * Every client is known by the key that it proved; packets go from one to another by key, and nobody sees who
 * else is there. A key that connects twice is served on the newer connection. lab/guest.h is the protocol of
 * one connection, this file is their table and their streams.
 * Thread: the loop's.
 */
#ifndef MANYTAILS_LAB_RELAY_H
#define MANYTAILS_LAB_RELAY_H

#include "crypto/crypto.h"
#include "ev/ev.h"
#include "tls/tls.h"

#define LAB_RELAY_GUESTS_MAX 4096
#define LAB_RELAY_KEEP_ALIVE (60 * SEC)
#define LAB_RELAY_HEARD_MAX 64 /* peers of one client that are told when it leaves */

struct lab_relay;

struct lab_relay_config {
    struct ip_port at;             /* port 0: the kernel chooses */
    struct tls_server *tls;        /* NULL: plain */
    struct tls_identity *identity; /* with tls */
};

NODISCARD int lab_relay_new(struct lab_relay **out, struct ev_loop *loop,
                            const struct lab_relay_config *config);
void lab_relay_free(struct lab_relay *r); /* NULL is fine */
uint16_t lab_relay_port(const struct lab_relay *r);
size_t lab_relay_guests(const struct lab_relay *r); /* with a proven key */

/* Faults on cue. */
void lab_relay_cut(struct lab_relay *r);              /* every connection ends now */
void lab_relay_refuse(struct lab_relay *r, bool yes); /* 503 for whoever comes, while it is set */

struct lab_relay_counters {
    uint64_t packets, packets_nowhere, bytes, faults, dropped, upgrades;
};
const struct lab_relay_counters *lab_relay_counters(const struct lab_relay *r);

#endif
