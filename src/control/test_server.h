/* control/test_server.h - a control server in this process, for test_client.c
 *
 * Listens on loopback in the test's own loop, speaks plain HTTP, Noise and HTTP/2 (nghttp2's server side).
 * What it answers is up to the test: each request is handed to `handle`. Nothing here is lenient: what a
 * client must not do fails the test.
 */
#ifndef MANYTAILS_CONTROL_TEST_SERVER_H
#define MANYTAILS_CONTROL_TEST_SERVER_H

#include "check.h"
#include "crypto/crypto.h"
#include "ev/ev.h"

struct test_server;
struct test_plain;   /* a request in plain HTTP/1.1; valid until answered, its connection lives as long */
struct test_request; /* one HTTP/2 stream; valid until answered, or closed for map streams */

struct test_server_config {
    void (*handle)(void *ctx, struct test_request *request, const char *method, const char *path,
                   const char *body);
    /* Whatever is asked in plain and is neither a key, an upgrade nor a ping. NULL: that fails the test. */
    void (*plain)(void *ctx, struct test_plain *request, const char *head, const char *body);
    void *ctx;
    bool early_payload;
};

struct test_server *test_server_new(struct ev_loop *loop, const struct test_server_config *config);
void test_server_free(struct test_server *s);
const char *test_server_url(const struct test_server *s);
void test_server_new_key(struct test_server *s);  /* as after a restart without state */
void test_server_drop_all(struct test_server *s); /* closes every connection */
unsigned test_server_keys_served(const struct test_server *s);
unsigned test_server_connections(const struct test_server *s); /* Noise ones, in total */

/* A whole answer. */
void test_answer(struct test_request *r, int status, const char *body);
void test_plain_answer(struct test_plain *p, int status, const char *headers, const char *body);
/* A map stream: the head now, messages (framed here) as they are sent, the end if asked. */
void test_stream_open(struct test_request *r);
void test_stream_send(struct test_request *r, const char *json);
void test_stream_end(struct test_request *r);

#endif
