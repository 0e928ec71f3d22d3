#include "control/test_server.h"

#include "control/noise_stream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct test_server {
    struct ev_loop *loop;
    struct test_server_config config;
    struct ev_io io;
    int fd;
    char url[64];
    struct secret_key key;
    struct list connections;
    unsigned keys_served, upgrades;
};

struct connection {
    struct list link;
    struct test_server *server;
    struct stream *stream;
    struct buf in;
    nghttp2_session *h2;
    struct ev_task pump;
};

struct test_request {
    struct connection *connection;
    int32_t id;
    char method[16], path[128];
    struct buf body, out;
    bool ending, open;
};

/* ---- HTTP/2 ------------------------------------------------------------------------------------ */

static int on_begin(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
    struct test_request *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->connection = user;
    r->id = frame->hd.stream_id;
    buf_init(&r->body, 1 << 20);
    buf_init(&r->out, 1 << 24);
    nghttp2_session_set_stream_user_data(h2, r->id, r);
    return 0;
}

static int on_header(nghttp2_session *h2, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user)
{
    struct test_request *r = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);

    (void)flags;
    (void)user;
    if (span_equal_str(span_make(name, name_len), ":method"))
        text_copy(r->method, sizeof(r->method), span_make(value, value_len));
    if (span_equal_str(span_make(name, name_len), ":path"))
        text_copy(r->path, sizeof(r->path), span_make(value, value_len));
    return 0;
}

static int on_data(nghttp2_session *h2, uint8_t flags, int32_t id, const uint8_t *data, size_t len,
                   void *user)
{
    struct test_request *r = nghttp2_session_get_stream_user_data(h2, id);

    (void)flags;
    (void)user;
    assert_int_equal(buf_append(&r->body, span_make(data, len)), 0);
    return 0;
}

static int on_frame(nghttp2_session *h2, const nghttp2_frame *frame, void *user)
{
    struct connection *c = user;
    struct test_request *r;

    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    r = nghttp2_session_get_stream_user_data(h2, frame->hd.stream_id);
    r->open = true;
    assert_int_equal(buf_append(&r->body, span_make("", 1)), 0);
    c->server->config.handle(c->server->config.ctx, r, r->method, r->path,
                             (const char *)buf_span(&r->body).data);
    return 0;
}

static int on_close(nghttp2_session *h2, int32_t id, uint32_t code, void *user)
{
    struct test_request *r = nghttp2_session_get_stream_user_data(h2, id);

    (void)code;
    (void)user;
    if (!r)
        return 0;
    if (r->open) /* the test is told that it may forget it */
        r->connection->server->config.handle(r->connection->server->config.ctx, r, "", r->path, "");
    buf_deinit(&r->body);
    buf_deinit(&r->out);
    free(r);
    return 0;
}

static ssize_t read_out(nghttp2_session *h2, int32_t id, uint8_t *out, size_t len, uint32_t *flags,
                        nghttp2_data_source *source, void *user)
{
    struct test_request *r = source->ptr;

    (void)h2;
    (void)id;
    (void)user;
    len = MIN(len, r->out.len);
    if (len)
        memcpy(out, buf_span(&r->out).data, len);
    buf_consume(&r->out, len);
    if (!r->out.len && r->ending)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return len || r->ending ? (ssize_t)len : NGHTTP2_ERR_DEFERRED;
}

static void start_http2(struct connection *c)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings[] = { { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 100 } };

    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    assert_int_equal(nghttp2_session_server_new(&c->h2, callbacks, c), 0);
    nghttp2_session_callbacks_del(callbacks);
    assert_int_equal(nghttp2_submit_settings(c->h2, 0, settings, 1), 0);
}

/* ---- connections ----------------------------------------------------------------------------------- */

static void connection_free(struct connection *c)
{
    list_remove(&c->link);
    ev_task_cancel(&c->pump);
    if (c->h2) {
        /* nghttp2 does not close streams when a session is deleted: the requests must go first. */
        for (int32_t id = 1; id < 2000; id += 2)
            if (nghttp2_session_get_stream_user_data(c->h2, id))
                on_close(c->h2, id, 0, c);
        nghttp2_session_del(c->h2);
    }
    stream_close(c->stream);
    buf_deinit(&c->in);
    free(c);
}

static void write_all(struct connection *c, struct span bytes)
{
    assert_int_equal(stream_write(c->stream, bytes), bytes.len); /* small: the kernel takes it */
}

static void on_pump(struct ev_task *t, time_ns now)
{
    struct connection *c = CONTAINER_OF(t, struct connection, pump);
    const uint8_t *data;
    ssize_t n;

    (void)now;
    while (c->h2 && (n = nghttp2_session_mem_send(c->h2, &data)) > 0)
        write_all(c, span_make(data, (size_t)n));
}

static void on_noise(struct stream *s, unsigned events, time_ns now)
{
    struct connection *c = s->owner;
    uint8_t bytes[16384];
    ssize_t n;

    (void)events;
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        assert_int_equal(nghttp2_session_mem_recv(c->h2, bytes, (size_t)n), n);
    if (n != -EAGAIN) {
        connection_free(c);
        return;
    }
    on_pump(&c->pump, now);
}

static void upgrade(struct connection *c, const char *head)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n";
    static const char early[] = "\xff\xff\xffTS\0\0\0\x1a{\"nodeKeyChallenge\":\"none\"}";
    const char *at = strstr(head, "X-Tailscale-Handshake: ");
    uint8_t initiation[NOISE_INITIATION_BYTES], response[NOISE_RESPONSE_BYTES];
    struct noise_handshake hs;
    struct noise_session session;
    struct stream *noise;
    size_t len, used;
    uint16_t version;

    assert_non_null(at);
    at += strlen("X-Tailscale-Handshake: ");
    assert_true(base64_decode(span_make(at, strcspn(at, "\r")), initiation, sizeof(initiation), &len));
    assert_int_equal(len, sizeof(initiation));
    if (noise_initiation_consume(&hs, &c->server->key, SPAN_OF(initiation), &used, &version)) {
        write_all(c, span_from_str(answer)); /* as Go servers do with a wrong key: 101, then the end */
        connection_free(c);
        return;
    }
    assert_int_equal(version, 130);
    assert_int_equal(noise_response_create(&hs, NULL, response, &session), 0);
    write_all(c, span_from_str(answer));
    write_all(c, SPAN_OF(response));
    c->server->upgrades++;
    start_http2(c);
    assert_int_equal(noise_stream_new(&noise, c->stream, &session, SPAN_NONE), 0);
    c->stream = noise;
    stream_set_owner(noise, c, on_noise);
    if (c->server->config.early_payload)
        write_all(c, span_make(early, sizeof(early) - 2)); /* the length says 26 */
    on_noise(noise, 0, 0);
}

static void serve_key(struct connection *c)
{
    struct public_key public;
    char text[KEY_TEXT_BYTES], body[256], answer[512];

    secret_key_public(&c->server->key, &public);
    snprintf(body, sizeof(body), "{\"publicKey\":\"%s\"}", key_text(text, "mkey:", public.bytes));
    snprintf(answer, sizeof(answer), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    c->server->keys_served++;
    write_all(c, span_from_str(answer));
}

struct test_plain {
    struct connection connection; /* is one: its connection */
};

void test_plain_answer(struct test_plain *p, int status, const char *headers, const char *body)
{
    char answer[2048];

    snprintf(answer, sizeof(answer), "HTTP/1.1 %d X\r\n%sContent-Length: %zu\r\n\r\n%s", status, headers,
             strlen(body), body);
    write_all(&p->connection, span_from_str(answer));
}

/* Head and body are here. */
static bool whole(const char *text)
{
    const char *end = strstr(text, "\r\n\r\n"), *length = strstr(text, "Content-Length: ");

    return end && strlen(end + 4) >= (length && length < end ? (size_t)atoi(length + 16) : 0);
}

static void on_plain(struct stream *s, unsigned events, time_ns now)
{
    struct connection *c = s->owner;
    uint8_t bytes[4096];
    ssize_t n;
    char head[4096], *body;

    (void)events;
    (void)now;
    while ((n = stream_read(s, bytes, sizeof(bytes))) > 0)
        assert_int_equal(buf_append(&c->in, span_make(bytes, (size_t)n)), 0);
    if (n != -EAGAIN) {
        connection_free(c);
        return;
    }
    if (!c->in.len)
        return;
    assert_true(text_copy(head, sizeof(head), buf_span(&c->in)));
    if (!whole(head))
        return;
    buf_deinit(&c->in);
    body = strstr(head, "\r\n\r\n") + 4;
    if (strncmp(head, "GET /key?v=130 ", 15) == 0)
        serve_key(c);
    else if (strncmp(head, "POST /ts2021 ", 13) == 0)
        upgrade(c, head);
    else if (strncmp(head, "HEAD /outside ", 14) == 0)
        write_all(c, span_from_str("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"));
    else if (c->server->config.plain)
        c->server->config.plain(c->server->config.ctx, (struct test_plain *)c, head, body);
    else
        fail_msg("unexpected request: %s", head);
}

static void on_accept(struct ev_io *io, unsigned events, time_ns now)
{
    struct test_server *s = CONTAINER_OF(io, struct test_server, io);
    int fd;

    (void)events;
    (void)now;
    while (ev_accept(io->fd, &fd) == 0) {
        struct connection *c = calloc(1, sizeof(*c));

        assert_non_null(c);
        c->server = s;
        buf_init(&c->in, 8192);
        ev_task_init(&c->pump, s->loop, on_pump);
        assert_int_equal(stream_tcp_accept(&c->stream, s->loop, fd), 0);
        stream_set_owner(c->stream, c, on_plain);
        list_push_back(&s->connections, &c->link);
    }
}

/* ---- what the test uses ---------------------------------------------------------------------------------
 */

struct test_server *test_server_new(struct ev_loop *loop, const struct test_server_config *config)
{
    struct test_server *s = calloc(1, sizeof(*s));
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(at);

    assert_non_null(s);
    s->loop = loop;
    s->config = *config;
    list_init(&s->connections);
    secret_key_generate(&s->key);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(s->fd, 64), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&at, &len), 0);
    snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%u", ntohs(at.sin_port));
    ev_io_init(&s->io, loop, on_accept);
    assert_int_equal(ev_io_start(&s->io, s->fd), 0);
    return s;
}

void test_server_drop_all(struct test_server *s)
{
    while (!list_empty(&s->connections))
        connection_free(LIST_FIRST(&s->connections, struct connection, link));
}

void test_server_free(struct test_server *s)
{
    test_server_drop_all(s);
    ev_io_stop(&s->io);
    close(s->fd);
    free(s);
}

const char *test_server_url(const struct test_server *s)
{
    return s->url;
}

void test_server_new_key(struct test_server *s)
{
    secret_key_generate(&s->key);
}

unsigned test_server_keys_served(const struct test_server *s)
{
    return s->keys_served;
}

unsigned test_server_connections(const struct test_server *s)
{
    return s->upgrades;
}

static void submit(struct test_request *r, int status)
{
    char text[8];
    nghttp2_nv head = { .name = (uint8_t *)":status", .namelen = 7, .value = (uint8_t *)text, .valuelen = 3 };
    nghttp2_data_provider data = { .source.ptr = r, .read_callback = read_out };

    snprintf(text, sizeof(text), "%d", status);
    assert_int_equal(nghttp2_submit_response(r->connection->h2, r->id, &head, 1, &data), 0);
    ev_task_post(&r->connection->pump);
}

void test_answer(struct test_request *r, int status, const char *body)
{
    assert_int_equal(buf_append_str(&r->out, body), 0);
    r->ending = true;
    r->open = false;
    submit(r, status);
}

void test_stream_open(struct test_request *r)
{
    submit(r, 200);
}

void test_stream_send(struct test_request *r, const char *json)
{
    uint8_t head[4];

    store_le32(head, (uint32_t)strlen(json));
    assert_int_equal(buf_append(&r->out, SPAN_OF(head)), 0);
    assert_int_equal(buf_append_str(&r->out, json), 0);
    (void)nghttp2_session_resume_data(r->connection->h2, r->id);
    ev_task_post(&r->connection->pump);
}

void test_stream_end(struct test_request *r)
{
    r->ending = true;
    (void)nghttp2_session_resume_data(r->connection->h2, r->id);
    ev_task_post(&r->connection->pump);
}
