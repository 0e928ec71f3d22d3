/* A TLS stream: OpenSSL's records go through our BIO straight into the stream below.
 *
 * The BIO never refuses bytes: what the stream below does not take waits in `out`. So a record is
 * either not made yet or taken for good, and an owner whose write said -EAGAIN may come back with
 * other bytes (OpenSSL alone would insist on the same ones). No record is made while `out` is not
 * empty, which is the back-pressure and the bound.
 */
#include <errno.h>
#include <stdlib.h>

#include "tls/internal.h"

#define GATHER_FROM 4096 /* a first piece of this size goes alone: copying would cost more than a record */

/* ---- the BIO ---------------------------------------------------------------- */

static void below_broke(struct tls_stream *t, ssize_t r)
{
    t->below_failed = true;
    t->error = (int)r;
}

/* Hands on as much as goes; false if the stream below is broken. */
static bool flush_out(struct tls_stream *t)
{
    while (t->out.len) {
        ssize_t n = account_moved(ACCOUNT_TLS, ACCOUNT_OUT, stream_write(t->below, buf_span(&t->out)));

        if (n == -EAGAIN)
            return true;
        if (n < 0) {
            below_broke(t, n);
            return false;
        }
        buf_consume(&t->out, (size_t)n);
    }
    buf_trim(&t->out);
    return true;
}

bool tls_put(struct tls_stream *t, struct span bytes)
{
    while (bytes.len && !t->out.len) {
        ssize_t n = account_moved(ACCOUNT_TLS, ACCOUNT_OUT, stream_write(t->below, bytes));

        if (n == -EAGAIN)
            break;
        if (n < 0) {
            below_broke(t, n);
            return false;
        }
        bytes = span_slice(bytes, (size_t)n, bytes.len);
    }
    if (bytes.len) {
        int r = buf_append(&t->out, bytes);

        if (r)
            t->error = r;
        return r == 0;
    }
    return true;
}

static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls_stream *t = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    t->spoke = true;
    if (t->capture)
        tls_watch(&t->capture->out, span_make(data, (size_t)len));
    return tls_put(t, span_make(data, (size_t)len)) ? len : -1;
}

static int bio_read(BIO *bio, char *out, int len)
{
    struct tls_stream *t = BIO_get_data(bio);
    ssize_t n = t->beginning && t->spoke ? -EAGAIN : stream_read(t->below, out, (size_t)len);

    BIO_clear_retry_flags(bio);
    account_moved(ACCOUNT_TLS, ACCOUNT_IN, n);
    if (n == -EAGAIN) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n < 0) {
        below_broke(t, n);
        return -1;
    }
    if (n == 0)
        t->below_ended = true;
    if (t->capture)
        tls_watch(&t->capture->in, span_make(out, (size_t)n));
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    const struct tls_stream *t = BIO_get_data(bio);

    (void)number;
    (void)pointer;
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return t->below_ended;
    default:
        return 0;
    }
}

BIO_METHOD *tls_bio_method_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

    if (m && (!BIO_meth_set_write(m, bio_write) || !BIO_meth_set_read(m, bio_read) ||
              !BIO_meth_set_ctrl(m, bio_ctrl))) {
        BIO_meth_free(m);
        return NULL;
    }
    return m;
}

/* ---- calls into OpenSSL --------------------------------------------------------- */

/* What a call that returned r <= 0 means: 0 the other side's end, -EAGAIN, or an error that stays. */
static ssize_t settle(struct tls_stream *t, int r)
{
    int kind = SSL_get_error(t->ssl, r);

    switch (kind) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
    case SSL_ERROR_WANT_CLIENT_HELLO_CB:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        break;
    }
    t->stage = TLS_BROKEN;
    t->ssl_error = ERR_peek_last_error();
    if (!t->error)
        t->error = t->below_ended ? -ECONNRESET : -EPROTO;
    ERR_clear_error();
    return t->error;
}

static void say_goodbye(struct tls_stream *t)
{
    t->shutdown_sent = true;
    if (t->handed) {
        tls_handed_goodbye(t);
        return;
    }
    ERR_clear_error();
    if (SSL_shutdown(t->ssl) < 0)
        ERR_clear_error(); /* reading will meet the reason */
}

/* close_notify once the handshake is done, the half-close below once it went. */
static void shutdown_go_on(struct tls_stream *t)
{
    if (!t->shutdown_wanted || t->stage != TLS_OPEN)
        return;
    if (!t->shutdown_sent)
        say_goodbye(t);
    if (!t->out.len)
        stream_shutdown(t->below);
}

/* One step of the handshake; the events it is worth. */
static unsigned handshake_go_on(struct tls_stream *t)
{
    account_charge was = account_switch_part(ACCOUNT_TLS);
    int r;

    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    account_switch(was);
    if (r != 1)
        return settle(t, r) == -EAGAIN ? 0 : STREAM_FAILED;
    t->stage = TLS_OPEN;
    t->connected = true;
    if (t->client) {
        free(t->name);
        t->name = NULL;
    } else if (t->capture) {
        tls_hand_over(t);
    }
    /* Bytes behind the handshake may already be here, with no edge to come for them. */
    return STREAM_CONNECTED | STREAM_WRITABLE | STREAM_READABLE;
}

/* Nothing is there to be read: the moment to let OpenSSL go, or at least its buffers. */
static void rest(struct tls_stream *t)
{
    /* A ticket that came meanwhile has left a write buffer of 16 KB behind, in spite of RELEASE_BUFFERS. */
    SSL_free_buffers(t->ssl);
    if (t->capture && (t->ticket_seen || t->data_seen))
        tls_hand_over(t);
}

static ssize_t read_records(struct stream *s, void *out, size_t len)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    size_t n = 0;
    ssize_t r;

    if (t->stage != TLS_OPEN)
        return t->stage == TLS_BROKEN ? t->error : -EAGAIN;
    if (t->handed)
        return tls_handed_read(t, out, len);
    ERR_clear_error();
    r = SSL_read_ex(t->ssl, out, len, &n);
    if (r == 1) {
        t->data_seen = true;
        return (ssize_t)n;
    }
    r = settle(t, (int)r);
    if (r == -EAGAIN)
        rest(t);
    return r;
}

/* Can a record be made now? 0, -EAGAIN, or what is wrong. */
static ssize_t writable(struct tls_stream *t)
{
    if (t->stage != TLS_OPEN)
        return t->stage == TLS_BROKEN ? t->error : -EAGAIN;
    if (t->shutdown_wanted)
        return -EPIPE;
    if (!flush_out(t)) {
        t->stage = TLS_BROKEN;
        return t->error;
    }
    return t->out.len ? -EAGAIN : 0;
}

static ssize_t write_record(struct stream *s, struct span bytes)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    ssize_t r = bytes.len ? writable(t) : -EAGAIN;
    size_t n = 0;

    if (r)
        return r;
    if (t->handed)
        return tls_handed_write(t, &bytes, 1);
    ERR_clear_error();
    r = SSL_write_ex(t->ssl, bytes.data, MIN(bytes.len, (size_t)RECORD_PLAIN_BYTES_MAX), &n);
    return r == 1 ? (ssize_t)n : settle(t, (int)r);
}

/* Several small pieces in one record. */
static ssize_t write_records(struct stream *s, const struct span *parts, size_t count)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    uint8_t record[RECORD_PLAIN_BYTES_MAX];
    size_t len = 0;
    ssize_t r;

    while (count && !parts->len)
        parts++, count--;
    if (!count)
        return -EAGAIN;
    if (count == 1 || parts->len >= GATHER_FROM)
        return write_record(s, *parts);
    if (t->handed) {
        r = writable(t);
        return r ? r : tls_handed_write(t, parts, count);
    }
    for (size_t i = 0; i < count && len < sizeof(record); i++) {
        size_t n = MIN(parts[i].len, sizeof(record) - len);

        if (n)
            memcpy(record + len, parts[i].data, n);
        len += n;
    }
    return write_record(s, span_make(record, len));
}

static void tls_shutdown(struct stream *s)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);

    t->shutdown_wanted = true;
    shutdown_go_on(t);
}

static void tls_close(struct stream *s, bool abort)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    struct stream *below = t->below;

    if (abort) {
        stream_abort(below);
    } else {
        t->shutdown_wanted = true;
        if (t->stage == TLS_OPEN && !t->shutdown_sent)
            say_goodbye(t); /* one try: what does not go now, goes never */
        stream_close(below);
    }
    tls_stream_free(t);
}

static void tls_failure(const struct stream *s, char *out, size_t size)
{
    tls_words(CONTAINER_OF(s, struct tls_stream, base), out, size);
}

/* ---- the same, charged to TLS --------------------------------------------------------------- */

static ssize_t tls_read(struct stream *s, void *out, size_t len)
{
    account_charge was = account_switch_part(ACCOUNT_TLS);
    ssize_t n = read_records(s, out, len);

    account_switch(was);
    return n;
}

static ssize_t tls_write(struct stream *s, struct span bytes)
{
    account_charge was = account_switch_part(ACCOUNT_TLS);
    ssize_t n = write_record(s, bytes);

    account_switch(was);
    return n;
}

static ssize_t tls_writev(struct stream *s, const struct span *parts, size_t count)
{
    account_charge was = account_switch_part(ACCOUNT_TLS);
    ssize_t n = write_records(s, parts, count);

    account_switch(was);
    return n;
}

static void tls_memory(const struct stream *s, enum account_part part, struct account_memory *m)
{
    const struct tls_stream *t = CONTAINER_OF((struct stream *)(uintptr_t)s, struct tls_stream, base);

    account_hold_block(m, ACCOUNT_TLS, t);
    account_hold_block(m, ACCOUNT_TLS, t->capture);
    account_hold_block(m, ACCOUNT_TLS, t->name);
    account_hold_block(m, ACCOUNT_TLS, t->out.data);
    account_hold_block(m, ACCOUNT_TLS, t->handed);
    if (t->handed)
        account_hold_block(m, ACCOUNT_TLS, t->handed->in.data);
    if (t->ssl)
        account_hold(m, ACCOUNT_TLS, TLS_OPENSSL_BYTES);
    stream_memory(t->below, part, m);
}

static const struct stream_ops tls_ops = {
    .read = tls_read,
    .write = tls_write,
    .writev = tls_writev,
    .shutdown = tls_shutdown,
    .close = tls_close,
    .failure = tls_failure,
    .memory = tls_memory,
};

/* ---- events --------------------------------------------------------------------- */

static void report(struct tls_stream *t, unsigned events, time_ns now)
{
    if (events && t->base.on_event)
        t->base.on_event(&t->base, events, now); /* may free t: nothing after this */
}

static void on_below(struct stream *below, unsigned events, time_ns now)
{
    struct tls_stream *t = below->owner;
    unsigned up = 0;

    if (t->stage == TLS_BROKEN)
        return;
    if ((events & STREAM_FAILED) || !flush_out(t)) {
        uint8_t byte;

        if (!t->error) { /* it knows by which number it failed */
            ssize_t r = stream_read(below, &byte, 1);

            below_broke(t, r < 0 && r != -EAGAIN ? r : -ECONNRESET);
        }
        t->stage = TLS_BROKEN;
        report(t, STREAM_FAILED, now);
        return;
    }
    if (t->stage == TLS_HANDSHAKE)
        up = handshake_go_on(t);
    else
        up = (events & STREAM_READABLE) | (t->out.len ? 0 : events & STREAM_WRITABLE);
    shutdown_go_on(t);
    report(t, up, now);
}

void tls_server_resume(struct stream *s, time_ns now)
{
    struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);

    if (t->stage == TLS_HANDSHAKE)
        on_below(t->below, STREAM_READABLE, now);
}

/* ---- life ------------------------------------------------------------------------ */

int tls_stream_new(struct tls_stream **out, SSL_CTX *ctx, BIO_METHOD *method, struct stream *below)
{
    struct tls_stream *t = calloc(1, sizeof(*t));
    BIO *bio;

    if (!t)
        return -ENOMEM;
    t->base.ops = &tls_ops;
    t->below = below;
    t->capture = calloc(1, sizeof(*t->capture));
    buf_init(&t->out, TLS_OUT_BYTES_MAX);
    t->ssl = SSL_new(ctx);
    bio = BIO_new(method);
    if (!t->ssl || !bio || !t->capture) {
        BIO_free(bio);
        tls_stream_free(t);
        return -ENOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    *out = t;
    return 0;
}

/* OpenSSL takes a session whose connection did not end with close_notify for spoiled. That was SSL 3.0's
 * rule; a relay that was killed is exactly what we want to come back to quickly. */
void tls_ssl_free(struct tls_stream *t)
{
    if (t->ssl && t->connected)
        SSL_set_shutdown(t->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(t->ssl);
    t->ssl = NULL;
}

void tls_stream_free(struct tls_stream *t)
{
    if (!t)
        return;
    tls_ssl_free(t);
    tls_handed_free(t);
    tls_capture_free(t);
    buf_deinit(&t->out);
    free(t->name);
    tls_client_unref(t->client);
    tls_server_unref(t->server);
    free(t);
}

/* The first words, not more: another process may answer them before we look again, and a handshake that
 * were done in here would have nobody yet to be told of it. The answer has an edge of its own. */
int tls_stream_begin(struct stream **out, struct tls_stream *t)
{
    struct stream *below = t->below;
    const struct stream before = *below;
    bool failed;

    stream_set_owner(below, t, on_below);
    t->beginning = true;
    failed = handshake_go_on(t) & STREAM_FAILED;
    t->beginning = false;
    if (failed) {
        int r = t->error;

        stream_set_owner(below, before.owner, before.on_event);
        tls_stream_free(t);
        return r;
    }
    *out = &t->base;
    return 0;
}

/* The other side has the first word. What it has said already is read with the first event, so that a fault
 * in it reaches the owner as any other does. */
void tls_stream_listen(struct stream **out, struct tls_stream *t)
{
    stream_set_owner(t->below, t, on_below);
    *out = &t->base;
}

SSL_CTX *tls_context_new(const SSL_METHOD *method)
{
    SSL_CTX *ctx = SSL_CTX_new(method);

    if (!ctx)
        return NULL;
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_keylog_callback(ctx, tls_on_key_log);
    SSL_CTX_set_msg_callback(ctx, tls_on_message);
    return ctx;
}

/* ---- questions -------------------------------------------------------------------- */

struct span tls_stream_alpn(const struct stream *s)
{
    const struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    const unsigned char *name = NULL;
    unsigned len = 0;

    if (t->handed)
        return span_from_str(t->handed->alpn);
    SSL_get0_alpn_selected(t->ssl, &name, &len);
    return span_make(name, len);
}

const char *tls_stream_version(const struct stream *s)
{
    const struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);

    return t->handed ? "TLSv1.3" : SSL_get_version(t->ssl);
}

const char *tls_stream_server_name(const struct stream *s)
{
    const struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);

    return t->server && t->name ? t->name : "";
}

bool tls_stream_resumed(const struct stream *s)
{
    const struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);

    return t->handed ? t->resumed : SSL_session_reused(t->ssl) == 1;
}
