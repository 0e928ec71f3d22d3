/* Handing a connection over: OpenSSL makes the handshake, records.c carries what follows.
 *
 * Until then the capture watches: the key-log callback tells the two traffic secrets and the moment from
 * which each is in use, and the records that go through the BIO from then on are counted, because their
 * numbers are the nonces. OpenSSL must not read ahead meanwhile, so between two records it holds no bytes.
 *
 * When: a server at once, its ticket is already out. A client when it has got a ticket or data (servers send
 * the ticket first) and finds nothing more to read. TLS 1.2, other suites, or anything unexpected: not at
 * all.
 */
#include <errno.h>
#include <stdlib.h>

#include "crypto/crypto.h"
#include "tls/internal.h"

#define ALPN_BYTES_MAX (sizeof(((struct tls_handed *)0)->alpn) - 1)

/* ---- watching -------------------------------------------------------------- */

static void take_secret(uint8_t *out, size_t *len, const char *hex)
{
    size_t digits = strcspn(hex, "\r\n ");

    *len = digits % 2 == 0 && digits / 2 <= RECORD_SECRET_BYTES_MAX ? digits / 2 : 0;
    if (*len && !hex_decode(span_make(hex, digits), out, *len))
        *len = 0;
}

/* "LABEL client_random secret": each comes when the keys are put in use. */
void tls_on_key_log(const SSL *ssl, const char *line)
{
    static const char client[] = "CLIENT_TRAFFIC_SECRET_0 ", server[] = "SERVER_TRAFFIC_SECRET_0 ";
    struct tls_stream *t = tls_stream_of(ssl);
    struct tls_capture *c = t->capture;
    bool of_client = strncmp(line, client, sizeof(client) - 1) == 0;
    const char *secret = strrchr(line, ' ');

    if (!c || !secret || (!of_client && strncmp(line, server, sizeof(server) - 1) != 0))
        return;
    struct tls_watched *way = of_client == (t->client != NULL) ? &c->out : &c->in;
    take_secret(way->secret, &way->secret_len, secret + 1);
    way->records = 0;
}

void tls_on_message(int write, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
    struct tls_stream *t = tls_stream_of(ssl);

    (void)version;
    (void)arg;
    if (type == SSL3_RT_HEADER)
        account_count(ACCOUNT_TLS, write ? ACCOUNT_OUT : ACCOUNT_IN, 1, 0);
    if (t->capture && type == SSL3_RT_HANDSHAKE && len && *(const uint8_t *)data == SSL3_MT_KEY_UPDATE)
        t->capture->spoiled = true; /* the secrets are no longer these */
}

void tls_watch(struct tls_watched *way, struct span bytes)
{
    while (bytes.len) {
        size_t n = MIN(way->body_left, bytes.len);

        if (n) {
            way->body_left -= n;
        } else {
            n = 1;
            way->header[way->header_len++] = bytes.data[0];
            if (way->header_len == RECORD_HEADER_BYTES) {
                way->body_left = load_be16(way->header + 3);
                way->header_len = 0;
                way->records++;
            }
        }
        bytes = span_slice(bytes, n, bytes.len);
    }
}

void tls_capture_free(struct tls_stream *t)
{
    if (t->capture)
        wipe(t->capture, sizeof(*t->capture));
    free(t->capture);
    t->capture = NULL;
}

/* ---- the hand-over ------------------------------------------------------------- */

static bool between_records(const struct tls_watched *way)
{
    return !way->header_len && !way->body_left;
}

static bool possible(const struct tls_stream *t, uint16_t suite)
{
    const struct tls_capture *c = t->capture;
    const size_t len = records_secret_bytes(suite);

    return SSL_version(t->ssl) == TLS1_3_VERSION && !c->spoiled && len && c->in.secret_len == len &&
           c->out.secret_len == len && !t->shutdown_sent && !SSL_get_shutdown(t->ssl) &&
           tls_stream_alpn(&t->base).len <= ALPN_BYTES_MAX;
}

void tls_hand_over(struct tls_stream *t)
{
    const SSL_CIPHER *cipher = SSL_get_current_cipher(t->ssl);
    uint16_t suite = cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0;
    struct tls_capture *c = t->capture;
    struct tls_handed *h;

    if (!possible(t, suite)) {
        tls_capture_free(t);
        SSL_set_read_ahead(t->ssl, 1); /* a record's head and body in one read of the stream below */
        return;
    }
    if (!between_records(&c->in) || !between_records(&c->out) || SSL_has_pending(t->ssl))
        return; /* later */
    h = calloc(1, sizeof(*h));
    if (!h)
        return;
    must(records_init(&h->records, suite, c->in.secret, c->out.secret, c->in.records, c->out.records));
    buf_init(&h->in, 2 * RECORD_BYTES_MAX + RECORD_BYTES_MAX);
    must(text_copy(h->alpn, sizeof(h->alpn), tls_stream_alpn(&t->base)));
    t->resumed = SSL_session_reused(t->ssl) == 1;
    tls_capture_free(t);
    tls_ssl_free(t);
    t->handed = h;
}

void tls_handed_free(struct tls_stream *t)
{
    if (!t->handed)
        return;
    buf_deinit(&t->handed->in);
    records_wipe(&t->handed->records);
    free(t->handed);
    t->handed = NULL;
}

/* ---- reading ----------------------------------------------------------------------- */

static ssize_t broken(struct tls_stream *t, int error)
{
    t->stage = TLS_BROKEN;
    t->error = error;
    return error;
}

/* A record that is no data, or none at all. 0: go on. */
static ssize_t take_control(struct tls_stream *t, int r, uint8_t type, struct span content)
{
    struct tls_handed *h = t->handed;

    if (!r)
        r = records_control(&h->records, type, content);
    switch (r) {
    case 0:
        return 0;
    case RECORD_E_END:
        h->ended = true;
        return 0;
    case RECORD_E_ALERT:
        t->alert = h->records.alert;
        return broken(t, -ECONNRESET);
    default:
        t->damaged = true;
        return broken(t, -EBADMSG);
    }
}

/* Opens the records at the front of bytes into out, while each fits whole. How many bytes of plaintext;
 * *taken of bytes are done with. */
static size_t open_into(struct tls_stream *t, struct span bytes, struct mspan out, size_t *taken)
{
    struct tls_handed *h = t->handed;
    size_t done = 0, whole, plain = 0;
    uint8_t type = 0;

    *taken = 0;
    while (!h->ended && t->stage == TLS_OPEN) {
        struct span rest = span_slice(bytes, *taken, bytes.len);
        int r = rest.len ? records_measure(rest, &whole) : RECORD_E_MORE;

        if (r == RECORD_E_MORE || (!r && whole - RECORD_HEADER_BYTES > out.len - done))
            break;
        if (!r)
            r = records_open(&h->records, span_slice(rest, 0, whole), out.data + done, &type, &plain);
        if (!r && type == RECORD_DATA && !h->records.skip)
            done += plain;
        else if (take_control(t, r, type, span_make(out.data + done, plain)))
            break;
        *taken += whole;
    }
    return done;
}

static ssize_t take_plain(struct tls_handed *h, void *out, size_t len)
{
    size_t n = MIN(len, h->plain_len);

    memcpy(out, h->in.data + h->in.start + h->plain_at, n);
    h->plain_at += n;
    h->plain_len -= n;
    if (!h->plain_len) {
        buf_consume(&h->in, h->plain_record);
        buf_trim(&h->in);
    }
    return (ssize_t)n;
}

/* Opens the record at the front of `in` where it lies. 0: none is whole; 1: done; -errno. */
static ssize_t open_held(struct tls_stream *t)
{
    struct tls_handed *h = t->handed;
    uint8_t *front = h->in.data + h->in.start, type = 0;
    size_t whole = 0, plain = 0;
    int r = records_measure(buf_span(&h->in), &whole);
    ssize_t control;

    if (r == RECORD_E_MORE)
        return 0;
    if (!r)
        r = records_open(&h->records, span_make(front, whole), front + RECORD_HEADER_BYTES, &type, &plain);
    if (!r && type == RECORD_DATA && !h->records.skip) {
        h->plain_at = RECORD_HEADER_BYTES;
        h->plain_len = plain;
        h->plain_record = whole;
        if (!plain)
            buf_consume(&h->in, whole);
        return 1;
    }
    control = take_control(t, r, type, span_make(front + RECORD_HEADER_BYTES, plain));
    if (control)
        return control;
    buf_consume(&h->in, whole);
    return 1;
}

static ssize_t end_of_below(struct tls_stream *t, ssize_t n)
{
    if (n < 0 && n != -EAGAIN) {
        t->below_failed = true;
        return broken(t, (int)n);
    }
    if (n == 0) {
        t->below_ended = true;
        return broken(t, -ECONNRESET);
    }
    return n;
}

/* Part of a record waits in `in`: get the rest of it. */
static ssize_t read_held(struct tls_stream *t, void *out, size_t len)
{
    struct tls_handed *h = t->handed;

    while (h->in.len) {
        ssize_t r = open_held(t);
        struct mspan room;

        if (r < 0)
            return r;
        if (h->ended)
            break;
        if (h->plain_len)
            return take_plain(h, out, len);
        if (r)
            continue;
        if (buf_reserve(&h->in, RECORD_BYTES_MAX - h->in.len, &room))
            return -ENOMEM;
        r = account_moved(ACCOUNT_TLS, ACCOUNT_IN,
                          stream_read(t->below, room.data, RECORD_BYTES_MAX - h->in.len));
        if (r <= 0)
            return end_of_below(t, r);
        buf_commit(&h->in, (size_t)r);
    }
    buf_deinit(&h->in); /* what follows an end is nothing */
    return -EAGAIN;     /* nothing is held: the caller goes on */
}

ssize_t tls_handed_read(struct tls_stream *t, void *out, size_t len)
{
    struct tls_handed *h = t->handed;
    uint8_t fresh[2 * RECORD_BYTES_MAX];
    size_t taken, done;
    ssize_t n;

    if (!len)
        return -EINVAL;
    if (h->plain_len)
        return take_plain(h, out, len);
    for (;;) {
        if (h->ended)
            return 0;
        if (h->in.len) {
            n = read_held(t, out, len);
            if (n != -EAGAIN || h->in.len)
                return n;
            continue;
        }
        n = account_moved(ACCOUNT_TLS, ACCOUNT_IN, stream_read(t->below, fresh, sizeof(fresh)));
        if (n <= 0)
            return end_of_below(t, n);
        done = open_into(t, span_make(fresh, (size_t)n), (struct mspan) { out, len }, &taken);
        if (t->stage == TLS_OPEN && !h->ended && taken < (size_t)n) {
            int r = buf_append(&h->in, span_make(fresh + taken, (size_t)n - taken));

            if (r)
                return broken(t, r);
        }
        if (done)
            return (ssize_t)done;
        if (t->stage == TLS_BROKEN)
            return t->error;
    }
}

/* ---- writing ------------------------------------------------------------------------ */

ssize_t tls_handed_write(struct tls_stream *t, const struct span *parts, size_t count)
{
    struct records *r = &t->handed->records;
    uint8_t record[RECORD_PLAIN_BYTES_MAX + RECORD_OVERHEAD_BYTES];
    size_t len = 0;

    if (records_update_due(r)) {
        uint8_t update[RECORD_OVERHEAD_BYTES + 5];

        if (!tls_put(t, span_make(update, records_update(r, update))))
            return broken(t, t->error);
        if (t->out.len)
            return -EAGAIN;
    }
    if (count == 1 && parts->len) { /* sealed straight from where it lies */
        len = MIN(parts->len, (size_t)RECORD_PLAIN_BYTES_MAX);
        records_seal(r, RECORD_DATA, span_make(parts->data, len), record);
    } else {
        for (size_t i = 0; i < count && len < RECORD_PLAIN_BYTES_MAX; i++) {
            size_t n = MIN(parts[i].len, RECORD_PLAIN_BYTES_MAX - len);

            if (n)
                memcpy(record + RECORD_HEADER_BYTES + len, parts[i].data, n);
            len += n;
        }
        if (!len)
            return -EAGAIN;
        records_seal(r, RECORD_DATA, span_make(record + RECORD_HEADER_BYTES, len), record);
    }
    if (!tls_put(t, span_make(record, len + RECORD_OVERHEAD_BYTES)))
        return broken(t, t->error);
    return (ssize_t)len;
}

void tls_handed_goodbye(struct tls_stream *t)
{
    static const uint8_t close_notify[2] = { 1, 0 };
    uint8_t record[RECORD_OVERHEAD_BYTES + sizeof(close_notify)];

    if (!tls_put(t, span_make(record, records_seal(&t->handed->records, RECORD_ALERT, SPAN_OF(close_notify),
                                                   record))))
        t->stage = TLS_BROKEN;
}

void tls_thread_end(void)
{
    tls_records_thread_end();
}
