/* http/http1.h - reading HTTP/1 messages, either role (part of http.h)
 *
 * One machine reads one direction of one connection, message after message. It takes bytes from the front of
 * a span and tells one event at a time: so an owner whose other side is full simply stops asking, and the
 * bytes it did not take are still its own. Body bytes come out as spans of the input, never copied, never
 * kept.
 *
 * What could be read in two ways is refused, whatever RFC 9112 would let a lenient reader do (the table in
 * test_http1_smuggling.c): lines end in CR LF and nothing else, no folding, one Content-Length of digits
 * only, Transfer-Encoding exactly "chunked", never both, one valid Host. Fields and chunk framing are parsed
 * by llhttp in strict mode; our own checks run in front of it, and both have to agree.
 *
 * Thread: any one at a time.  Memory: HTTP1_BYTES in the owner, plus the head that the owner lends; a trailer
 * section allocates one head of its own until HTTP1_END was taken.
 */
#ifndef MANYTAILS_HTTP_HTTP1_H
#define MANYTAILS_HTTP_HTTP1_H

#include "http/head.h"

#define HTTP1_TRAILER_BYTES_MAX (8u << 10)
#define HTTP1_CHUNK_LINE_MAX 256 /* size and extensions of one chunk */
#define HTTP1_BLANK_LINES_MAX 4  /* in front of a request (RFC 9112 2.2) */
#define HTTP1_BODY_BYTES_MAX INT64_MAX

/* Why a message was refused; row: name, status that answers such a request, words. */
#define HTTP1_FAULTS(X)                                                               \
    X(LINE, 400, "line that does not end in CR LF, or a control character")           \
    X(START, 400, "malformed start line")                                             \
    X(TARGET, 400, "request target that is not allowed")                              \
    X(CONNECT, 405, "CONNECT is not served")                                          \
    X(VERSION, 505, "HTTP version is not 1.0 or 1.1")                                 \
    X(FIELD, 400, "malformed header field")                                           \
    X(FOLD, 400, "folded header field")                                               \
    X(HOST, 400, "missing, repeated or invalid Host")                                 \
    X(LENGTH, 400, "invalid or repeated Content-Length")                              \
    X(CODING, 400, "Transfer-Encoding that is not chunked, repeated, or in HTTP/1.0") \
    X(BOTH, 400, "both Content-Length and Transfer-Encoding")                         \
    X(EXPECT, 417, "Expect is not 100-continue")                                      \
    X(LINE_TOO_LONG, 414, "request line longer than the limit")                       \
    X(TOO_BIG, 431, "head or trailer section larger than the limit")                  \
    X(TOO_MANY, 431, "more header fields than the limit")                             \
    X(CHUNK, 400, "malformed chunk")                                                  \
    X(TRUNCATED, 400, "connection ended in the middle of a message")                  \
    X(UPGRADE, 400, "upgrade that was not asked for")

enum http1_fault {
    HTTP1_OK,
#define X(name, status, words) HTTP1_E_##name,
    HTTP1_FAULTS(X)
#undef X
        HTTP1_FAULT_COUNT
};

int http1_fault_status(enum http1_fault f); /* 400 ... 505 */
const char *http1_fault_text(enum http1_fault f);

enum http1_role { HTTP1_READS_REQUESTS, HTTP1_READS_RESPONSES };

enum http1_event_kind {
    HTTP1_MORE,     /* all input is taken; feed more */
    HTTP1_HEAD,     /* the lent head is filled. A 1xx (not 101) is followed by another HTTP1_HEAD */
    HTTP1_BODY,     /* bytes of the body, or raw bytes in a tunnel */
    HTTP1_TRAILERS, /* trailers: only if there are any */
    HTTP1_END,      /* the message is complete. Bytes that remain belong to the next one */
};

struct http1_event {
    enum http1_event_kind kind;
    struct span bytes;          /* HTTP1_BODY: inside the input */
    struct http_head *trailers; /* HTTP1_TRAILERS: until HTTP1_END is taken; may be changed */
};

struct http1_limits {
    uint32_t head_bytes; /* 0: HTTP_HEAD_BYTES_MAX; larger is cut down to it */
    uint16_t fields;     /* 0: HTTP_FIELDS_RECEIVED_MAX; larger is cut down to it */
};

#define HTTP1_CHUNK_PARSER_BYTES 128 /* room for llhttp's own state; its header is not included here */

struct http1 {
    struct http_head *head; /* lent */
    struct http_head *trailers;
    uint64_t left;       /* body bytes of this message or chunk still to come */
    uint32_t line_start; /* while a head is collected: where its current line begins */
    uint32_t section;    /* and where its fields begin */
    uint32_t head_limit;
    uint16_t field_limit, lines;
    uint16_t chunk_line; /* bytes of the current chunk line */
    uint8_t role, state, fault, blank_lines;
    bool cr;            /* the last byte collected was a CR */
    bool started;       /* the first line is parsed */
    bool answers_head;  /* the response to a HEAD */
    bool asked_upgrade; /* a 101 is fine */
    alignas(8) uint8_t chunk_parser[HTTP1_CHUNK_PARSER_BYTES];
};

#define HTTP1_BYTES sizeof(struct http1)

/* For a request head that came in another form (HTTP/2) and was put together with http_head_make_request and
 * http_head_add: the same rules for method, target, Host and framing, and what they mean for the body and the
 * connection. 0 or an enum http1_fault. */
NODISCARD int http1_judge_request(struct http_head *h);

/* `head` is lent until http1_deinit or http1_lend; it is filled anew with every message. */
void http1_init(struct http1 *m, enum http1_role role, struct http_head *head,
                const struct http1_limits *limits);
void http1_deinit(struct http1 *m);
/* After HTTP1_HEAD the head is not needed for the body: the owner may take it away (NULL), and must lend one
 * again before the next message. */
void http1_lend(struct http1 *m, struct http_head *head);

/* Responses: what the request was, before its response is fed. */
void http1_expect(struct http1 *m, bool answers_head, bool asked_upgrade);
/* From here on all bytes are HTTP1_BODY, without end: the connection changed its protocol. A response of 101
 * does this by itself. Allowed after the head of a message without body. */
void http1_tunnel(struct http1 *m);

/* Takes bytes from the front of *in and tells one event. 0, or an enum http1_fault (for good: the same again
 * ever after), or -ENOMEM. */
NODISCARD int http1_next(struct http1 *m, struct span *in, struct http1_event *ev);
/* The stream ended. 0: fine (between messages, or the end of a body that lasts until close: then *ev is
 * HTTP1_END, else HTTP1_MORE); HTTP1_E_TRUNCATED. */
NODISCARD int http1_finish(struct http1 *m, struct http1_event *ev);

/* Nothing of a message was taken yet (blank lines aside). */
bool http1_between_messages(const struct http1 *m);
/* Bytes of a body of known length that are still to come, and nothing else before them. 0: not in one. */
uint64_t http1_body_left(const struct http1 *m);
/* The head of a message has begun to arrive and is not complete. */
bool http1_in_head(const struct http1 *m);

#endif
