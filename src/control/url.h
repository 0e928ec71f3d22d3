/* control/url.h - control server URLs (inside control/)
 *
 * `http://host[:port]` or `https://host[:port]`, trailing slashes allowed, nothing else: the upgrade path is
 * always /ts2021 at the root of the host, so a URL with a path could never work.
 */
#ifndef MANYTAILS_CONTROL_URL_H
#define MANYTAILS_CONTROL_URL_H

#include "control/control.h"

#define URL_HOST_BYTES 256
#define URL_TEXT_BYTES CONTROL_URL_BYTES /* "https://" + host + ":65535" + NUL */

struct control_url {
    bool tls;
    uint16_t port;
    char host[URL_HOST_BYTES];      /* lower case, no brackets: to resolve, and the TLS server name */
    char authority[URL_TEXT_BYTES]; /* for the Host header: brackets, the port unless it is the default */
    char text[URL_TEXT_BYTES];      /* normal form, equal for equal servers */
};

/* NULL, or what is wrong, in words (static); *out is then untouched. */
const char *control_url_parse(struct span text, struct control_url *out);

/* A URL that a server sends us in a PingRequest: as above, but with a path and query, which come in *target
 * ("/" if empty; borrowed from `text`). false: not usable. */
bool control_url_parse_target(struct span text, struct control_url *out, struct span *target);

#endif
