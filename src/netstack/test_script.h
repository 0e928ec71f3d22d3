/* netstack/test_script.h - a little language for what one TCP says to another
 *
 * One stack, one connection (port 80 here, port 5000 there), time that only the script moves. A script is
 * lines; numbers are relative to the first sequence number of whoever sent them (SYN is 0).
 *
 *   option NAME           before anything else: sack=off, timestamps=off, scaling=off, newreno, peer_isn=N,
 *                         keepalive=N (s), half_open=N, conns=N, v6
 *   policy VERDICT        what on_syn answers: accept (default), reset, drop, defer
 *   decide VERDICT        netstack_syn_decide
 *   connect               tcp_connect
 *   established           a handshake without options: SYN (mss 1240), SYN-ACK, ACK; quick ACKs used up is
 * `slow` in FLAGS seq N [ack N] [len N] [win N] [mss N] [scale N] [sackok] [ts V[/E]] [sack A-B,C-D] [port N]
 * [bad] batch / end           what stands between arrives in one netstack_input out FLAGS [seq N] [ack N]
 * [len N] [win N] [mss N] [scale N] [sackok] [ts] [tsecr N] [sack A-B,..] [xN] the next packet sent; what is
 * not named is not compared; xN: N of them, seq rising none                  nothing (more) was sent skip
 * whatever was sent is not looked at at +N                 N milliseconds pass write N [more], read N,
 * shutdown, close, abort      calls of the consumer; `read all` got N, end, open, writable, closed REASON
 * what the consumer was told or can read icmp too-big N | unreachable CODE     an ICMP error about the oldest
 * packet in flight path relay | direct state NAME            the connection's state; `gone`: there is none
 *   count COUNTER N       a counter of the stack
 *   cwnd OP N             OP is = < >; N in segments of the connection's MSS
 *   idle                  no deadline, no tx or rx part
 *
 * Output that no line asked for fails the script before the next `in` or `at`.
 */
#ifndef MANYTAILS_NETSTACK_TEST_SCRIPT_H
#define MANYTAILS_NETSTACK_TEST_SCRIPT_H

void run_script(const char *name, const char *script);

#endif
