/* lab/lab.h - a private tailnet on loopback, from the program's own modules: for trials, demos and tests
 *
 *   control.h  the control server, with faults on cue; registry.h is who there is, map.h what a node is told
 *   web.h      HTTP/1 on a loopback port, the front of the servers below
 *   relay.h    relay (DERP); guest.h is the protocol of one connection
 *   stun.h     STUN
 *
 * Never a substitute for real servers: those are what test/interop runs.
 */
#ifndef MANYTAILS_LAB_LAB_H
#define MANYTAILS_LAB_LAB_H

#include "lab/control.h"
#include "lab/relay.h"
#include "lab/stun.h"
#include "lab/web.h"

#endif
