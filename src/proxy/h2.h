/* proxy/h2.h - HTTP/2 from clients (inside proxy/)
 *
 *     conn of the connection, CONN_H2 - h2_link: the machine of http/h2_server.h and its streams
 *         conn of each stream, CONN_REQUEST - h2_side: the stream as a struct stream
 *             exchange, as with HTTP/1
 *
 * A stream is a connection with one request. Its exchange takes the same steps as one of HTTP/1; what differs
 * is in http2_client (client.h). Body bytes go through the struct stream as they are, without framing.
 * Closing the stream ends the response, aborting it resets it.
 *
 * Bytes: request bodies wait in the side's `body`, at most the stream's window (H2_SERVER_WINDOW_BYTES_MAX),
 * and the client may send more only as the upstream takes them. Response bytes wait in the exchange's way, as
 * with HTTP/1; 64 KiB of the connection wait in the machine.
 */
#ifndef MANYTAILS_PROXY_H2_H
#define MANYTAILS_PROXY_H2_H

#include "proxy/internal.h"

#define H2_REST_AFTER (10 * SEC) /* without a request: then the machine gives its memory back */

/* The connection turned out to speak HTTP/2. False: no memory. */
bool h2_begin(struct conn *c, time_ns now);
/* Reads, writes, closes. May free c. */
void h2_step(struct conn *c, time_ns now);
/* c->deadline has passed: nothing was asked for long enough. May free c. */
void h2_timeout(struct conn *c, time_ns now);
/* No new requests; closes itself when the last one is answered. */
void h2_drain(struct conn *c);
/* With all streams, at once; part of conn_close. */
void h2_free(struct h2_link *link, time_ns now);

#endif
