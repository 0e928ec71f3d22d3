/* proxy/url.h - the destination of a service, from what a user wrote (internal to proxy/) */
#ifndef MANYTAILS_PROXY_URL_H
#define MANYTAILS_PROXY_URL_H

#include "base/base.h"

#define URL_BYTES_MAX 2048

struct destination {
    bool tls;
    uint16_t port;
    char *host;      /* name or address, without brackets: for TLS and the resolver */
    char *authority; /* as written, without a user: for Host */
    char *path;      /* escaped, "" if none; no query */
    char *query;     /* without "?"; "" if none */
    char *unix_path; /* dial this socket instead; NULL if none */
    char *dial_host; /* dial this host and dial_port; host and port unless upstream_tcp_addr says otherwise */
    uint16_t dial_port;
    char *text; /* whole, for the log */
};

/* http://host[:port][/path][?query], https://..., unix:/path (or unix:///path), host:port. Overrides may be
 * NULL. True; or false with a sentence, which also covers lack of memory. *out may be freed in both cases. */
bool destination_parse(struct destination *out, const char *url, const char *tcp_addr, const char *unix_addr,
                       char *why, size_t why_size);
void destination_free(struct destination *d);

#endif
