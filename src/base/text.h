/* base/text.h - text forms: numbers, hex, base64, JSON escapes, times (part of base.h) */
#ifndef MANYTAILS_BASE_TEXT_H
#define MANYTAILS_BASE_TEXT_H

#include "base/span.h"

/* Copies with NUL; false and an empty string if it does not fit or holds a NUL. */
bool text_copy(char *out, size_t size, struct span s);
/* Heap copy with NUL; NULL when memory is out. */
char *text_dup(struct span s);

bool text_equal_fold(struct span a, struct span b); /* ASCII case ignored */
bool text_starts_with(struct span s, const char *prefix);
struct span text_trim(struct span s); /* spaces, tabs, CR, LF at both ends */

/* How many letters to change, add or leave out to get from a to b (Levenshtein), ASCII case ignored: for "did
 * you mean". SIZE_MAX when b is longer than TEXT_DISTANCE_MAX. */
#define TEXT_DISTANCE_MAX 63
size_t text_distance(struct span a, struct span b);
/* The nearest of several candidates. Set `name`, and `distance` to what is too far; `found` points into them.
 */
struct text_nearest {
    struct span name;
    size_t distance;
    const char *found;
};
void text_consider(struct text_nearest *n, const char *candidate); /* "" is none */

/* Decimal, the whole of s, no sign for the unsigned form; false if not or out of range. */
bool text_parse_u64(struct span s, uint64_t max, uint64_t *out);
bool text_parse_i64(struct span s, int64_t *out);

/* Hex is lower case when written, either case when read. `out` of hex_encode: 2 * len + 1. */
void hex_encode(char *out, struct span bytes);
bool hex_decode(struct span text, uint8_t *out, size_t out_len); /* exactly out_len bytes */

/* Standard base64 with padding. base64_encode writes BASE64_BYTES(len) with the NUL. */
#define BASE64_BYTES(len) (((len) + 2) / 3 * 4 + 1)
void base64_encode(char *out, struct span bytes);
bool base64_decode(struct span text, uint8_t *out, size_t size, size_t *out_len);

/* RFC 3339, the form control servers use; wall-clock nanoseconds since 1970.
 * "0001-01-01T00:00:00Z" (Go's zero time) parses as *out = 0. */
#define TIME_TEXT_BYTES 40
bool time_parse_rfc3339(struct span s, int64_t *wall_ns);
const char *time_text_rfc3339(int64_t wall_ns, char out[TIME_TEXT_BYTES]);

/* Go's duration syntax ("1m30s", "1.5s", "0"); used by the configuration. */
bool duration_parse(struct span s, time_ns *out);
#define DURATION_TEXT_BYTES 32
const char *duration_text(time_ns d, char out[DURATION_TEXT_BYTES]);

#endif
