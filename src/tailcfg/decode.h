/* tailcfg/decode.h - reading members of a JSON object, tolerantly where it only informs, strictly where it
 * matters
 *
 * Texts are copied to the arena: the tree is gone when the parser returns. `bad` sticks: a strict member had
 * a type or value that makes the whole object unusable. Absent and null are the zero value everywhere.
 */
#ifndef MANYTAILS_TAILCFG_DECODE_H
#define MANYTAILS_TAILCFG_DECODE_H

#include "tailcfg/tailcfg.h"

struct decode {
    const struct json *object;
    struct arena *arena;
    bool bad;
};

/* json_parse with our outcomes; `kind` is what the text must be. */
int decode_parse(struct span text, size_t bytes_max, enum json_kind kind, struct json **out);
/* What a parser returns at its end. */
int decode_result(const struct decode *d);

/* Tolerant: another type counts as absent. */
struct span decode_text(struct decode *d, const char *key);
bool decode_loose_flag(struct decode *d, const char *key);
enum tailcfg_bool decode_bool(struct decode *d, const char *key);
int32_t decode_number(struct decode *d, const char *key); /* 0..INT32_MAX */
struct tailcfg_addresses decode_endpoints(struct decode *d, const char *key, bool *present);

/* Strict. */
bool decode_flag(struct decode *d, const char *key);
int64_t decode_id(struct decode *d, const char *key);
int64_t decode_time(struct decode *d, const char *key, bool *present);
struct ip decode_ip(struct decode *d, const char *key);
struct span decode_base64(struct decode *d, const char *key, bool *present);
void decode_key(struct decode *d, const char *key, const char *prefix, uint8_t out[KEY_BYTES], bool *present);
/* Elements that make no sense are left out; *present: neither absent nor null. Both may be NULL. */
struct tailcfg_prefixes decode_prefixes(struct decode *d, const char *key, bool *present);
struct tailcfg_texts decode_texts(struct decode *d, const char *key, bool *present);

/* The text of a CapMap. Only names count; values that are no list are none. Never NULL items if it fails:
 * `bad`. */
struct tailcfg_caps decode_caps(struct decode *d, struct span text);

/* One entry of PeersChangedPatch. */
int decode_peer_change(struct span text, struct arena *a, struct tailcfg_peer_change *out);

#endif
