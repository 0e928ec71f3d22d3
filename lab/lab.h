/* lab/lab.h - a private tailnet on loopback, from the program's own modules: for trials, demos and tests
 *
 *   web.h      HTTP/1 on a loopback port, the front of the servers below
 *   relay.h    relay (DERP); guest.h is the protocol of one connection
 *   stun.h     STUN
 *
 * Never a substitute for real servers: those are what test/interop runs.
 */
#ifndef MANYTAILS_LAB_LAB_H
#define MANYTAILS_LAB_LAB_H

#include "lab/relay.h"
#include "lab/stun.h"
#include "lab/web.h"

#endif
