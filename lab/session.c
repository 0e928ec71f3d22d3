/* lab/session.c - one ts2021 connection: the Noise handshake, HTTP/2 inside, requests until they are whole */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/control.h"
#include "lab/internal.h"
#include "noise/noise.h"

#define READ_BYTES 16384

/* ---- requests -------------------------------------------------------------------------------------- */

static void request_free(struct request *q)
{
    if (q->poll)
        lab_poll_free(q->poll);
    list_remove(&q->link);
    q->session->request_count--;
    buf_deinit(&q->body);
    free(q);
}

static struct request *find(const struct session *s, uint32_t id)
{
    LIST_EACH (q, &s->requests, struct request, link)
        if (q->id == id)
            return q;
    return NULL;
}

void lab_request_answer(struct request *q, int status, const char *type, struct span body)
{
    struct session *s = q->session;
    struct h2_header header = { span_from_str("content-type"), span_from_str(type ? type : "text/plain") };

    if (h2_server_answer(s->h2, q->id, status, &header, 1, body))
        lab_request_reset(q);
    ev_task_post(&s->pump);
}

void lab_request_reset(struct request *q)
{
    struct session *s = q->session;

    h2_server_reset(s->h2, q->id, H2_CODE_INTERNAL_ERROR);
    request_free(q);
    ev_task_post(&s->pump);
}

void lab_request_limit(struct request *q)
{
    struct h2_header header = { span_from_str("retry-after"), span_from_str("1") };
    struct session *s = q->session;

    if (h2_server_answer(s->h2, q->id, 429, &header, 1, span_from_str("too many requests")))
        lab_request_reset(q);
    ev_task_post(&s->pump);
}

static enum request_kind kind_of(struct span path)
{
    if (span_equal_str(path, "/machine/register"))
        return REQUEST_REGISTER;
    return span_equal_str(path, "/machine/map") ? REQUEST_MAP : REQUEST_OTHER;
}

/* What clients report and nobody here reads. */
static bool is_report(struct span path)
{
    return span_equal_str(path, "/machine/update-health") || span_equal_str(path, "/machine/audit-log") ||
           span_equal_str(path, "/machine/set-device-attr");
}

static void dispatch(struct request *q)
{
    if (q->refuse) {
        lab_request_answer(q, q->refuse, "text/plain", SPAN_NONE);
        return;
    }
    switch (q->kind) {
    case REQUEST_REGISTER:
        lab_register_handle(q);
        break;
    case REQUEST_MAP:
        lab_map_handle(q);
        break;
    case REQUEST_OTHER:
        lab_request_answer(q, 200, "application/json", span_from_str("{}"));
        break;
    }
}

static void on_request(void *ctx, const struct h2_server_request *in)
{
    struct session *s = ctx;
    struct span path = web_path(in->path);
    struct request *q = s->request_count < LAB_REQUESTS_MAX ? calloc(1, sizeof(*q)) : NULL;

    if (!q) {
        h2_server_reset(s->h2, in->id, H2_CODE_REFUSED_STREAM);
        return;
    }
    q->session = s;
    q->id = in->id;
    q->kind = kind_of(path);
    buf_init(&q->body, LAB_REQUEST_BYTES_MAX);
    if (in->too_big)
        q->refuse = 431;
    else if (q->kind == REQUEST_OTHER && !is_report(path))
        q->refuse = 404;
    else if (!span_equal_str(in->method, "POST"))
        q->refuse = 405;
    list_push_back(&s->requests, &q->link);
    s->request_count++;
    if (in->bodiless)
        dispatch(q);
}

static void on_body(void *ctx, uint32_t id, struct span bytes)
{
    struct session *s = ctx;
    struct request *q = find(s, id);

    if (q && !q->refuse && buf_append(&q->body, bytes))
        q->refuse = 413;
    h2_server_consumed(s->h2, id, bytes.len);
}

static void on_body_end(void *ctx, uint32_t id, const struct h2_header *trailers, size_t count)
{
    struct request *q = find(ctx, id);

    (void)trailers;
    (void)count;
    if (q)
        dispatch(q);
}

static void on_writable(void *ctx, uint32_t id)
{
    struct session *s = ctx;
    struct request *q = find(s, id);

    if (q && q->poll)
        lab_poll_writable(q->poll);
    ev_task_post(&s->pump);
}

static void on_ended(void *ctx, uint32_t id, enum h2_server_end why, uint32_t code)
{
    struct request *q = find(ctx, id);

    (void)why;
    (void)code;
    if (q)
        request_free(q);
}

static const struct h2_server_ops h2_ops = {
    .request = on_request,
    .body = on_body,
    .body_end = on_body_end,
    .writable = on_writable,
    .ended = on_ended,
};

void lab_request_retry_logins(struct lab_control *c)
{
    LIST_EACH (s, &c->sessions, struct session, link)
        LIST_EACH (q, &s->requests, struct request, link)
            if (*q->token)
                lab_register_handle(q);
}

/* ---- the connection --------------------------------------------------------------------------------------
 */

void lab_session_free(struct session *s)
{
    struct h2_server *h2 = s->h2;

    ev_task_cancel(&s->pump);
    h2_server_free(h2); /* its requests end */
    while (!list_empty(&s->requests))
        request_free(LIST_FIRST(&s->requests, struct request, link));
    ev_task_cancel(&s->pump);
    list_remove(&s->link);
    s->control->session_count--;
    stream_close(s->stream);
    free(s);
}

/* False: it broke. */
static bool flush(struct session *s)
{
    struct span bytes;
    ssize_t n = 0;

    while ((bytes = h2_server_pending(s->h2)).len && (n = stream_write(s->stream, bytes)) > 0)
        h2_server_sent(s->h2, (size_t)n);
    return n >= 0 || n == -EAGAIN;
}

static void on_pump(struct ev_task *t, time_ns now)
{
    struct session *s = CONTAINER_OF(t, struct session, pump);

    (void)now;
    if (!flush(s))
        lab_session_free(s);
}

static void on_event(struct stream *stream, unsigned events, time_ns now)
{
    struct session *s = stream->owner;
    uint8_t bytes[READ_BYTES];
    ssize_t n = -EAGAIN;
    int fault = 0;

    if (events & STREAM_FAILED) {
        lab_session_free(s);
        return;
    }
    while (!fault && (n = stream_read(stream, bytes, sizeof(bytes))) > 0)
        fault = h2_server_feed(s->h2, span_make(bytes, (size_t)n), now);
    s->control->counters.faults += fault != 0;
    if (!flush(s) || fault || n != -EAGAIN)
        lab_session_free(s);
}

/* Headscale and the hosted service say this before HTTP/2 begins; nobody answers it. */
static int early_payload(struct buf *out)
{
    static const uint8_t magic[5] = { 0xff, 0xff, 0xff, 'T', 'S' };
    struct secret_key secret;
    struct public_key challenge;
    char text[KEY_TEXT_BYTES], json[KEY_TEXT_BYTES + 32];
    uint8_t length[4];
    int r;

    secret_key_generate(&secret);
    secret_key_public(&secret, &challenge);
    wipe(&secret, sizeof(secret));
    snprintf(json, sizeof(json), "{\"nodeKeyChallenge\":\"%s\"}",
             key_text(text, "chalpub:", challenge.bytes));
    store_be32(length, (uint32_t)strlen(json));
    r = buf_append(out, SPAN_OF(magic));
    if (!r)
        r = buf_append(out, SPAN_OF(length));
    return r ? r : buf_append_str(out, json);
}

static bool write_all(struct stream *s, struct span bytes)
{
    return stream_write(s, bytes) == (ssize_t)bytes.len; /* a few hundred bytes on a fresh connection */
}

/* 101 and the handshake. A wrong key gets 101 and then the end, as with Go's servers. */
static bool shake_hands(struct lab_control *c, struct stream *below, struct span initiation,
                        struct public_key *machine, struct noise_session *noise)
{
    static const char answer[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                 "Upgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n";
    uint8_t response[NOISE_RESPONSE_BYTES];
    struct noise_handshake hs;
    uint16_t version;
    size_t used;

    if (!write_all(below, span_make(answer, sizeof(answer) - 1)) ||
        noise_initiation_consume(&hs, &c->key, initiation, &used, &version))
        return false;
    *machine = hs.peer;
    return noise_response_create(&hs, NULL, response, noise) == 0 && write_all(below, SPAN_OF(response));
}

static int session_open(struct session *s, struct noise_session *noise, struct span leftover)
{
    struct stream *over;
    struct buf early;
    int r = h2_server_new(&s->h2, NULL, &h2_ops, s, s->control->scratch);

    if (!r)
        r = noise_stream_new(&over, s->stream, noise, leftover);
    if (r)
        return r;
    s->stream = over;
    stream_set_owner(over, s, on_event);
    buf_init(&early, 256);
    r = early_payload(&early);
    if (!r && !write_all(over, buf_span(&early)))
        r = -EPIPE;
    buf_deinit(&early);
    return r;
}

int lab_session_new(struct lab_control *c, struct stream *below, struct span initiation, struct span leftover)
{
    struct session *s = c->session_count < LAB_SESSIONS_MAX ? calloc(1, sizeof(*s)) : NULL;
    struct noise_session noise;
    int r;

    if (!s) {
        stream_close(below);
        return -ENOMEM;
    }
    s->control = c;
    s->stream = below;
    list_init(&s->requests);
    ev_task_init(&s->pump, c->loop, on_pump);
    list_push_back(&c->sessions, &s->link);
    c->session_count++;
    r = shake_hands(c, below, initiation, &s->machine, &noise) ? session_open(s, &noise, leftover) : -EPROTO;
    wipe(&noise, sizeof(noise));
    if (r) {
        c->counters.upgrades_refused++;
        lab_session_free(s);
        return r;
    }
    c->counters.upgrades++;
    on_event(s->stream, 0, ev_now(c->loop)); /* what came behind the head has no event any more */
    return 0;
}
