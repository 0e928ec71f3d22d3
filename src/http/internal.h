/* http/internal.h - between the files of http/ */
#ifndef MANYTAILS_HTTP_INTERNAL_H
#define MANYTAILS_HTTP_INTERNAL_H

#include "http/http1.h"

enum http_method method_id(struct span method);

/* ---- start.c: first lines and what a head means ------------------------------------ */

/* `line` without CR LF; positions are relative to the head's text. */
enum http1_fault parse_request_line(struct http_head *h, struct http_text line);
enum http1_fault parse_status_line(struct http_head *h, struct http_text line);
/* After the fields: what they say about framing and the connection. Sets body, keep_alive, ... */
enum http1_fault judge_request(struct http_head *h);
enum http1_fault judge_response(struct http_head *h, bool answers_head, bool asked_upgrade);
/* Absolute form becomes origin form and Host (RFC 9112 3.2.2). -errno or fault. */
int normalise_target(struct http_head *h);

/* ---- fields.c: lines to index, checked against llhttp -------------------------------- */

/* The text from `section` to its end: `lines` field lines and the empty line, shapes already checked. */
enum http1_fault parse_fields(struct http_head *h, size_t section, size_t lines);
/* Does llhttp read the same fields? Asked last: what it alone objects to has no better word than FIELD. */
bool fields_confirmed(const struct http_head *h, size_t section);

/* ---- chunks.c ------------------------------------------------------------------------ */

void chunks_start(struct http1 *m);
/* Takes framing bytes until chunk data begins, the last chunk's line has ended, or input is out. */
enum http1_fault chunks_framing(struct http1 *m, struct span *in);
/* Chunk data: takes bytes, gives the same back in *bytes. */
enum http1_fault chunks_data(struct http1 *m, struct span *in, struct span *bytes);

enum http1_state {
    HTTP1_IDLE,       /* nothing of the message yet; the head is the previous one's */
    HTTP1_IN_HEAD,    /* collecting */
    HTTP1_IN_LENGTH,  /* `left` bytes to come */
    HTTP1_CHUNK_SIZE, /* chunk framing: first digit of a size line */
    HTTP1_CHUNK_DIGITS,
    HTTP1_CHUNK_EXTENSION,
    HTTP1_CHUNK_LINE_LF,
    HTTP1_CHUNK_DATA, /* `left` bytes of this chunk */
    HTTP1_CHUNK_DATA_CR,
    HTTP1_CHUNK_DATA_LF,
    HTTP1_LAST_CHUNK,    /* after the line of the last chunk: trailers or the end */
    HTTP1_LAST_CHUNK_LF, /* no trailers: the LF of the last CR LF */
    HTTP1_IN_TRAILERS,   /* collecting */
    HTTP1_TRAILERS_DONE, /* END is next */
    HTTP1_UNTIL_CLOSE,
    HTTP1_TUNNEL,
    HTTP1_AT_END, /* END is next */
    HTTP1_FAILED,
};

#endif
