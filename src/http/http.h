/* http/http.h - HTTP messages as machines without I/O
 *
 * HTTP/1.1, both roles, over llhttp behind our own strict checks (head.h, http1.h); HTTP/2, both roles, over
 * nghttp2 (h2_client.h, h2_server.h). Bytes come in, heads and body spans go out; no socket, no clock, no
 * body is ever buffered here.
 */
#ifndef MANYTAILS_HTTP_HTTP_H
#define MANYTAILS_HTTP_HTTP_H

#include "http/h2_client.h"
#include "http/h2_server.h"
#include "http/head.h"
#include "http/http1.h"

#endif
