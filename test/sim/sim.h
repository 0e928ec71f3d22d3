/* test/sim/sim.h - the symbols of ev/ that network code uses, over a simulated clock and network
 *
 * Link a test with sim.c and the module under test runs unchanged: its timers fire when simulated time
 * comes to them, its datagrams travel with a delay through NATs. One world per process, one thread (others
 * may post letters). IPv4 only, no descriptors; streams.c, linked beside it, refuses every connection.
 */
#ifndef MANYTAILS_TEST_SIM_H
#define MANYTAILS_TEST_SIM_H

#include "ev/ev.h"

#define SIM_SOCKETS_MAX 16
#define SIM_MAPPINGS_MAX 512
#define SIM_IN_FLIGHT_MAX 8192
#define SIM_DATAGRAM_BYTES_MAX 1600
#define SIM_WALL_START (1700000000 * SEC) /* the wall clock at simulated time 0 */

enum sim_nat {
    SIM_NAT_NONE, /* its address is public */
    SIM_NAT_EASY, /* one public port per local port; lets in whom it wrote to */
    SIM_NAT_HARD, /* another public port per destination; lets in only that */
};

struct sim_counters {
    uint64_t sent, delivered, filtered, lost, timers_fired, resolved, stun_requests, rebinds;
    uint64_t timer_instants; /* times at which a timer fired: wake-ups, if nothing else happened then */
};

void sim_start(time_ns now);
void sim_stop(void); /* asserts that nothing is left open or armed */

struct ev_loop *sim_loop(void);
time_ns sim_now(void);
void sim_run(time_ns duration); /* timers, arrivals and what they cause, in order of time */

/* Where the next ev_udp_open finds itself: its own address, and the one the world sees. */
void sim_next_host(const char *local_ip, const char *public_ip, enum sim_nat nat);
void sim_stun_server(const char *address); /* answers binding requests */
void sim_name(const char *name, const char *ip);

/* The network between public addresses. */
void sim_set_delay(time_ns one_way);
void sim_set_loss(unsigned percent);
void sim_cut(const char *ip, bool cut); /* nothing gets to or from this address, own or public */
void sim_send_error(int error);         /* every ev_udp_send answers this; 0: back to normal */

void sim_nat_forget(const char *public_ip); /* the NAT there restarts: every mapping gets another port */

/* Puts a datagram on the way to a public address, as if from outside. */
void sim_inject(const struct ip_port *from, const struct ip_port *to, struct span bytes);
/* Hands a batch to whoever holds this public address, now; false: nobody, or its NAT keeps `from` out. */
bool sim_batch(const struct ip_port *to, struct ev_datagram *datagrams, size_t count);
/* Runs fn after a delay. */
void sim_later(time_ns delay, void (*fn)(void *ctx), void *ctx);

const struct sim_counters *sim_counters(void);

#endif
