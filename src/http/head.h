/* http/head.h - the head of one HTTP/1 message: start line and fields (part of http.h)
 *
 * The text stands in one bounded buffer as it came; an index says where each field is. Removing a field
 * marks it; setting one appends text behind the head. So spans handed out live until the next http_head_set,
 * _add, _set_target or until the machine that fills the head is fed again.
 *
 * Memory: HTTP_FIELDS_MAX small index entries in the struct; the text on the heap, at most
 * HTTP_HEAD_TEXT_MAX, nothing while empty after http_head_clear with keep = 0.
 */
#ifndef MANYTAILS_HTTP_HEAD_H
#define MANYTAILS_HTTP_HEAD_H

#include "base/base.h"

#define HTTP_FIELDS_MAX 192                  /* with those set afterwards, and those removed */
#define HTTP_FIELDS_RECEIVED_MAX 128         /* of one message */
#define HTTP_HEAD_BYTES_MAX (48u << 10)      /* as received, with the empty line */
#define HTTP_HEAD_TEXT_MAX ((64u << 10) - 1) /* with what was set afterwards */
#define HTTP_METHOD_BYTES_MAX 32
#define HTTP_HOST_BYTES_MAX 261 /* a DNS name of 255, colon, port */

/* Fields that the machines look at by themselves, or that a proxy must know. One row: name on the wire. */
#define HTTP_KNOWN_FIELDS(X)                      \
    X(CONNECTION, "Connection")                   \
    X(CONTENT_LENGTH, "Content-Length")           \
    X(CONTENT_TYPE, "Content-Type")               \
    X(DATE, "Date")                               \
    X(EXPECT, "Expect")                           \
    X(FORWARDED, "Forwarded")                     \
    X(HOST, "Host")                               \
    X(HTTP2_SETTINGS, "HTTP2-Settings")           \
    X(KEEP_ALIVE, "Keep-Alive")                   \
    X(PROXY_AUTHENTICATE, "Proxy-Authenticate")   \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization") \
    X(PROXY_CONNECTION, "Proxy-Connection")       \
    X(TE, "TE")                                   \
    X(TRAILER, "Trailer")                         \
    X(TRANSFER_ENCODING, "Transfer-Encoding")     \
    X(UPGRADE, "Upgrade")

enum http_field {
    HTTP_FIELD_OTHER,
#define X(id, name) HTTP_FIELD_##id,
    HTTP_KNOWN_FIELDS(X)
#undef X
        HTTP_FIELD_COUNT
};

enum http_method {
    HTTP_METHOD_OTHER, /* any token; its text is in http_head_method */
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_PUT,
    HTTP_METHOD_DELETE,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_TRACE,
    HTTP_METHOD_CONNECT,
};

enum http_body {
    HTTP_BODY_NONE,
    HTTP_BODY_LENGTH,      /* content_length bytes, more than 0 */
    HTTP_BODY_CHUNKED,     /* until the last chunk */
    HTTP_BODY_UNTIL_CLOSE, /* responses only */
};

/* Where a piece of the text is. */
struct http_text {
    uint16_t at, len;
};

struct http_field_entry {
    struct http_text name, value;
    uint8_t id; /* enum http_field */
    bool removed;
};

struct http_head {
    struct buf text;
    struct http_text method, target; /* request; the method also fits enum http_method below */
    struct http_text reason;         /* response */
    uint16_t status;                 /* response; 0 in a request or in trailers */
    uint8_t minor;                   /* HTTP/1.minor: 0 or 1 */
    uint8_t method_id;               /* enum http_method */
    uint8_t body;                    /* enum http_body */
    bool keep_alive;                 /* the sender offers another message on this connection */
    bool expect_continue;            /* request: waits for 100 before it sends the body */
    bool upgrade;                    /* Connection names "upgrade" and there is an Upgrade field */
    uint16_t count;                  /* of fields, removed ones included */
    uint64_t content_length;         /* as the field says, also where there is no body (HEAD, 304) */
    struct http_field_entry fields[HTTP_FIELDS_MAX];
};

void http_head_init(struct http_head *h);
void http_head_deinit(struct http_head *h);
/* Empty again; text memory above `keep` bytes is given back. */
void http_head_clear(struct http_head *h, size_t keep);

static inline struct span http_head_text(const struct http_head *h, struct http_text t)
{
    return span_make(h->text.data + h->text.start + t.at, t.len);
}
static inline struct span http_head_method(const struct http_head *h)
{
    return http_head_text(h, h->method);
}
static inline struct span http_head_target(const struct http_head *h)
{
    return http_head_text(h, h->target);
}

/* ---- fields ------------------------------------------------------------------
 * Names compare without case. Removed fields are invisible to all of these.
 */

/* Which known field this name is, HTTP_FIELD_OTHER if none. */
enum http_field http_field_id(struct span name);
const char *http_field_name(enum http_field id);

/* Index of the first such field at or after `from`, or -1. */
int http_head_find(const struct http_head *h, enum http_field id, int from);
int http_head_find_name(const struct http_head *h, struct span name, int from);
/* Value of the first one; false and SPAN_NONE if there is none. */
bool http_head_get(const struct http_head *h, enum http_field id, struct span *value);
bool http_head_get_name(const struct http_head *h, const char *name, struct span *value);
/* Walk: start with *at = 0. */
bool http_head_next(const struct http_head *h, int *at, struct span *name, struct span *value);

void http_head_remove(struct http_head *h, enum http_field id);
void http_head_remove_name(struct http_head *h, struct span name);
void http_head_remove_at(struct http_head *h, int index);

/* `name` must be a token, `value` free of control characters but HTAB (our own nonsense otherwise).
 * -ENOBUFS: HTTP_FIELDS_MAX or HTTP_HEAD_TEXT_MAX reached; -ENOMEM. Nothing was changed then. */
NODISCARD int http_head_add(struct http_head *h, struct span name, struct span value);
NODISCARD int http_head_set(struct http_head *h, struct span name,
                            struct span value); /* instead of all of that name */
NODISCARD int http_head_set_target(struct http_head *h, struct span target);
/* A head of one's own. The start line of a request needs method and target, that of a response a status. */
NODISCARD int http_head_make_request(struct http_head *h, struct span method, struct span target);
NODISCARD int http_head_make_response(struct http_head *h, int status, struct span reason);

/* Is `token` one of the members of these comma-separated lists (all fields of that id)? Without case. */
bool http_head_lists(const struct http_head *h, enum http_field id, const char *token);
/* Next member of a comma-separated list, trimmed; false at the end. Empty members are skipped. */
bool http_list_next(struct span *list, struct span *member);

/* Start line (always HTTP/1.1), fields that remain, empty line. -ENOBUFS, -ENOMEM from out. */
NODISCARD int http_head_write(const struct http_head *h, struct buf *out);
/* The fields and the empty line only: trailers. */
NODISCARD int http_head_write_fields(const struct http_head *h, struct buf *out);

/* Letters for a status of our own: "Not Found"; "" if it has no name. */
const char *http_status_text(int status);
/* RFC 9110 5.6.2 and 5.5: can this be a field name, a field value? */
bool http_is_token(struct span s);
bool http_is_field_value(struct span s);

#endif
