/* base/json.h - JSON in and out: the one door to jansson (part of base.h)
 *
 * Three ways in and out:
 *   - a cursor that walks the members of one object or array and hands out the text of each, so that a large
 *     message is never a tree as a whole and one bad entry spoils only itself;
 *   - a tree (jansson's) of a small text, with getters that tell absent, null and "of another type" apart;
 *   - a writer that appends to a struct buf.
 * Field names are compared exactly. Of a member that stands twice the last one counts, as in Go.
 * Thread: any; nothing is shared.
 */
#ifndef MANYTAILS_BASE_JSON_H
#define MANYTAILS_BASE_JSON_H

#include "base/arena.h"
#include "base/buf.h"

#define JSON_DEPTH_MAX 100 /* arrays and objects inside each other */

/* Outcomes of parsing. */
enum json_outcome {
    JSON_E_SYNTAX =
        1,           /* not JSON (RFC 8259), not UTF-8, or a number that no 64-bit integer or double holds */
    JSON_E_TOO_BIG,  /* longer than the caller allowed, or more values than JSON_VALUES_MAX */
    JSON_E_TOO_DEEP, /* more than JSON_DEPTH_MAX */
};

/* A tree of so many values is ~64 MB: longer texts are for the cursor. */
#define JSON_VALUES_MAX (1 << 20)

/* ---- in: the cursor ------------------------------------------------------------------------- */

/* Spans point into the text. The text of a value is complete and balanced, but only json_parse says whether
 * it is good. */
struct json_cursor {
    struct span rest;
    uint8_t close; /* '}' or ']' */
    bool started;  /* the opening bracket was eaten */
    bool failed;   /* the text is not JSON here; what came before is good */
};

/* The kind of value that the text begins with; JSON_KIND_ABSENT if none. */
enum json_kind {
    JSON_KIND_ABSENT,
    JSON_KIND_NULL,
    JSON_KIND_BOOL,
    JSON_KIND_INTEGER,
    JSON_KIND_REAL, /* json_text_kind says so for every number */
    JSON_KIND_STRING,
    JSON_KIND_ARRAY,
    JSON_KIND_OBJECT,
};

enum json_kind json_text_kind(struct span text);
/* A cursor over an object or array; it fails at once for anything else. */
struct json_cursor json_cursor_of(struct span text);
/* Next member or element; `key` (without the quotes, escapes as they are) may be NULL. False at the end, and
 * on failure: then `failed` is set. After the closing bracket only blanks may follow. */
bool json_cursor_next(struct json_cursor *c, struct span *key, struct span *value);
/* The text of one member (the last of that name); empty if it is not there or the text is no object. */
struct span json_text_member(struct span object_text, const char *key);
/* How many there are, SIZE_MAX if the text is broken. */
size_t json_text_count(struct span text);
/* A key or string as JSON has it between its quotes, decoded: borrowed if it has no escapes, else in the
 * arena. */
NODISCARD int json_unescape(struct span raw, struct arena *a,
                            struct span *out); /* 0, JSON_E_SYNTAX, -ENOMEM */

/* ---- in: the tree ----------------------------------------------------------------------------- */

struct json; /* a value; borrowed from the root that json_parse returned */

/* Exactly one value of at most `bytes_max` bytes. 0, JSON_E_*, -ENOMEM. The caller frees *out. */
NODISCARD int json_parse(struct span text, size_t bytes_max, struct json **out);
void json_free(struct json *root);   /* NULL is fine */
void json_freep(struct json **root); /* for OWNED */

enum json_kind json_kind(const struct json *v); /* NULL: JSON_KIND_ABSENT */
/* Member of an object; NULL if it is not there or v is no object. */
const struct json *json_member(const struct json *v, const char *key);

/* What a getter found. *out is written only for JSON_GOT, so that a default may stand there before. */
enum json_got {
    JSON_GOT,
    JSON_GOT_ABSENT,
    JSON_GOT_NULL,
    JSON_GOT_OTHER, /* another type, or a number outside the range */
};

enum json_got json_get_string(const struct json *v, const char *key,
                              struct span *out);                                 /* borrowed; may hold NULs */
enum json_got json_get_i64(const struct json *v, const char *key, int64_t *out); /* 3.0 is not an integer */
enum json_got json_get_int(const struct json *v, const char *key, int64_t min, int64_t max, int64_t *out);
enum json_got json_get_real(const struct json *v, const char *key, double *out); /* integers too */
enum json_got json_get_bool(const struct json *v, const char *key, bool *out);
/* GOT: *out is an object (an array). */
enum json_got json_get_object(const struct json *v, const char *key, const struct json **out);
enum json_got json_get_array(const struct json *v, const char *key, const struct json **out);

/* Of a value itself. */
bool json_as_string(const struct json *v, struct span *out);
bool json_as_i64(const struct json *v, int64_t *out);
bool json_as_bool(const struct json *v, bool *out);

/* Arrays; anything else has no elements. */
size_t json_array_count(const struct json *v);
const struct json *json_array_at(const struct json *v, size_t index);

/* Objects; anything else has no members. Start with a zeroed iterator. */
struct json_iter {
    void *at;
    bool started;
};
bool json_object_next(const struct json *v, struct json_iter *it, struct span *key,
                      const struct json **value);

/* ---- out ---------------------------------------------------------------------------------------- */

#define JSON_WRITER_DEPTH_MAX 32

/* Appends to `out`. A failure (no room, out of memory) sticks; json_writer_done tells it, and what was
 * appended until then is the caller's to drop. Nesting that does not fit together is our own nonsense:
 * must(). */
struct json_writer {
    struct buf *out;
    uint32_t used, object; /* one bit a level: something stands there already; it is an object */
    uint8_t depth;
    bool keyed; /* json_put_key was called, its value is due */
    int error;
};

struct json_writer json_writer_of(struct buf *out);
NODISCARD int json_writer_done(const struct json_writer *w); /* 0, -ENOBUFS, -ENOMEM */

/* `key` is NULL inside an array and for the outermost value. */
void json_object_begin(struct json_writer *w, const char *key);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w, const char *key);
void json_array_end(struct json_writer *w);
void json_put_str(struct json_writer *w, const char *key, const char *s); /* NULL: null */
/* Escaped; bytes that are not UTF-8 become U+FFFD. */
void json_put_span(struct json_writer *w, const char *key, struct span s);
void json_put_i64(struct json_writer *w, const char *key, int64_t v);
void json_put_u64(struct json_writer *w, const char *key, uint64_t v);
void json_put_real(struct json_writer *w, const char *key, double v); /* not finite: 0 */
void json_put_bool(struct json_writer *w, const char *key, bool v);
void json_put_null(struct json_writer *w, const char *key);
void json_put_raw(struct json_writer *w, const char *key, struct span json); /* one value, as it stands */
/* In an object: the next value's key where it is no C string. Then put the value with key NULL. */
void json_put_key(struct json_writer *w, struct span key);

#endif
