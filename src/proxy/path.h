/* proxy/path.h - request paths: cleaning, prefixes, joining (internal to proxy/)
 *
 * A raw path is what stands in the request target before "?", escapes and all. It is forwarded as it came,
 * but for bytes that a path may not contain; decisions are made on the decoded form, byte by byte, so nothing
 * is allocated for a path that needs no change. Pure functions. Rules: tsnsrv's (Go's ServeMux and reverse
 * proxy).
 */
#ifndef MANYTAILS_PROXY_PATH_H
#define MANYTAILS_PROXY_PATH_H

#include "base/base.h"

/* Every "%" is followed by two hex digits. All functions below expect that. */
bool path_escapes_valid(struct span raw);
/* Next decoded byte at *at; false at the end. */
bool path_next(struct span raw, size_t *at, uint8_t *c);

/* Decoded, does it begin with "/" and have no empty, "." or ".." segment (a "/" at the end aside)? */
bool path_is_clean(struct span raw);
/* Appends the clean form, escaped the way Go does. -ENOBUFS, -ENOMEM. */
NODISCARD int path_append_cleaned(struct span raw, struct buf *out);

enum prefix_match {
    PREFIX_NO,
    PREFIX_YES,
    PREFIX_INSIDE_SEGMENT, /* only by text: /api and /apifoo */
};

/* *matched: how much of raw the prefix took (also for PREFIX_INSIDE_SEGMENT). An empty prefix matches
 * nothing. */
enum prefix_match path_match_prefix(struct span raw, struct span prefix, size_t *matched);

/* base (escaped, may be empty) and rest with exactly one slash between them; an empty rest leaves base alone;
 * nothing at all becomes "/". Bytes of rest that a path may not contain are escaped. */
NODISCARD int path_append_joined(struct span base, struct span rest, struct buf *out);
/* Bytes above 0x7e are escaped, everything else stays as it is. */
NODISCARD int path_append_query(struct span query, struct buf *out);

#endif
