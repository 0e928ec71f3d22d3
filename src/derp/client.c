#include "derp/derp.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define FAILURE_BYTES 160

/* One line per state. */
enum client_state {
    WANT_HTTP,        /* the answer to the upgrade */
    WANT_SERVER_KEY,  /* first frame */
    WANT_SERVER_INFO, /* ours is out; packets may be sent already */
    STEADY,
};

struct derp_client {
    enum client_state state;
    struct secret_key node_key;
    struct public_key public_key, server_key;
    uint8_t shared[KEY_BYTES];
    bool home, ready_told;
    int error;
    char failure[FAILURE_BYTES];

    struct mspan input;  /* what feed was given and next has not looked at */
    struct buf held;     /* the beginning of a frame or head that has not arrived whole */
    uint32_t held_taken; /* bytes of `held` that the event in hand lies in */
    uint32_t skip;       /* rest of a frame that is skipped */

    struct derp_out out; /* requests, infos, pongs; packets */

    uint64_t rate, burst; /* of ServerInfo; bytes a second, 0: no limit */
    uint64_t tokens;
    time_ns tokens_at;

    time_ns heard_at;
    time_ns answer_due; /* of derp_client_ping */
    bool pinged;
    struct derp_counters counters;
};

/* ---- life ------------------------------------------------------------------------------------ */

int derp_client_new(struct derp_client **out, const struct derp_config *config, time_ns now)
{
    struct derp_client *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->node_key = *config->node_key;
    secret_key_public(&c->node_key, &c->public_key);
    c->home = config->home;
    c->heard_at = now;
    c->answer_due = TIME_NEVER;
    buf_init(&c->held, DERP_HEADER_BYTES + DERP_FRAME_BYTES_MAX);
    derp_out_init(&c->out, DERP_CONTROL_BYTES_MAX);
    r = buf_printf(
        &c->out.control,
        "GET /derp HTTP/1.1\r\nHost: %.255s\r\nUpgrade: DERP\r\nConnection: Upgrade\r\n%s%.64s%s\r\n",
        config->host, config->ideal_node ? "Ideal-Node: " : "", config->ideal_node ? config->ideal_node : "",
        config->ideal_node ? "\r\n" : "");
    if (r) {
        derp_client_free(c);
        return r == -ENOBUFS ? -ENOMEM : r;
    }
    *out = c;
    return 0;
}

void derp_client_free(struct derp_client *c)
{
    if (!c)
        return;
    buf_deinit(&c->held);
    derp_out_deinit(&c->out);
    wipe(c, sizeof(*c));
    free(c);
}

static bool fail(struct derp_client *c, int outcome)
{
    c->error = outcome;
    return false;
}

int derp_client_error(const struct derp_client *c)
{
    return c->error;
}

const char *derp_client_failure(const struct derp_client *c)
{
    return c->failure;
}

/* ---- out --------------------------------------------------------------------------------------- */

/* Our key in clear, and a box that proves it. */
static bool put_client_info(struct derp_client *c)
{
    static const char json[] = "{\"version\":2,\"CanAckPings\":true}";
    uint8_t body[KEY_BYTES + BOX_NONCE_BYTES + BOX_TAG_BYTES + sizeof(json) - 1];

    if (!box_key_make(c->shared, &c->node_key, &c->server_key))
        return fail(c, DERP_E_KEY);
    memcpy(body, c->public_key.bytes, KEY_BYTES);
    random_bytes(body + KEY_BYTES, BOX_NONCE_BYTES);
    box_seal(body + KEY_BYTES + BOX_NONCE_BYTES, span_make(json, sizeof(json) - 1), body + KEY_BYTES,
             c->shared);
    return derp_out_put(&c->out, DERP_FRAME_CLIENT_INFO, SPAN_OF(body), SPAN_NONE) ||
           fail(c, DERP_E_PROTOCOL);
}

void derp_client_set_home(struct derp_client *c, bool home)
{
    uint8_t flag = home;

    if (c->home == home)
        return;
    c->home = home;
    if (c->state >= WANT_SERVER_INFO &&
        !derp_out_put(&c->out, DERP_FRAME_NOTE_PREFERRED, span_make(&flag, 1), SPAN_NONE))
        c->error = DERP_E_PROTOCOL; /* a stream that takes not even this is no home */
}

/* The server's token bucket: what is above it would be dropped there. */
static bool take_tokens(struct derp_client *c, size_t bytes, time_ns now)
{
    uint64_t gained;

    if (!c->rate)
        return true;
    gained = (uint64_t)((double)(now - c->tokens_at) / (double)SEC * (double)c->rate);
    c->tokens = MIN(c->burst, c->tokens + gained);
    if (gained)
        c->tokens_at = now;
    if (c->tokens < bytes)
        return false;
    c->tokens -= bytes;
    return true;
}

int derp_client_send(struct derp_client *c, const struct public_key *to, struct span packet, time_ns now)
{
    int r;

    if (packet.len > DERP_PACKET_BYTES_MAX)
        return DERP_E_BAD_PACKET;
    if (!take_tokens(c, DERP_HEADER_BYTES + KEY_BYTES + packet.len, now)) {
        c->counters.dropped_rate++;
        return DERP_E_LIMITED;
    }
    r = derp_out_packet(&c->out, DERP_FRAME_SEND_PACKET, to, packet, DERP_QUEUE_PACKETS);
    c->counters.dropped_full += r == 1;
    return MIN(r, 0);
}

size_t derp_client_room(const struct derp_client *c)
{
    return DERP_QUEUE_PACKETS - c->out.count;
}

size_t derp_client_queued(const struct derp_client *c)
{
    return c->out.count;
}

size_t derp_client_drop_queue(struct derp_client *c)
{
    size_t count = c->out.count;

    derp_out_drop(&c->out);
    return count;
}

void derp_client_take_queue(struct derp_client *c, struct derp_client *from)
{
    derp_out_take(&c->out, &from->out);
}

/* Our hello goes before packets, and is not made until the server's key is known. */
size_t derp_client_pending(const struct derp_client *c, struct span *parts, size_t max)
{
    return derp_out_pending(&c->out, c->state >= WANT_SERVER_INFO, parts, max);
}

void derp_client_sent(struct derp_client *c, size_t bytes)
{
    struct derp_gone gone = derp_out_sent(&c->out, bytes);

    c->counters.packets_out += gone.packets;
    c->counters.bytes_out += gone.bytes;
}

/* ---- in: HTTP -------------------------------------------------------------------------------------- */

static void note_refusal(struct derp_client *c, struct span head)
{
    const uint8_t *end = memchr(head.data, '\r', head.len);
    size_t len = end ? (size_t)(end - head.data) : head.len;

    snprintf(c->failure, sizeof(c->failure), "it answered \"%.*s\"", (int)MIN(len, (size_t)100),
             (const char *)head.data);
}

static bool upgraded(struct span head)
{
    static const char *const lines[] = { "\r\nupgrade: derp\r\n" };

    if (!text_starts_with(head, "HTTP/1.1 101 "))
        return false;
    for (size_t at = 0; at + strlen(lines[0]) <= head.len; at++)
        if (text_equal_fold(span_slice(head, at, strlen(lines[0])), span_from_str(lines[0])))
            return true;
    return false;
}

/* Takes the head off the front of the input. False: not whole yet, or refused. */
static bool read_http(struct derp_client *c)
{
    const uint8_t *end;
    size_t held = c->held.len, head,
           take = MIN(c->input.len, DERP_HEAD_BYTES_MAX - MIN(held, (size_t)DERP_HEAD_BYTES_MAX));

    if (take && buf_append(&c->held, (struct span) { c->input.data, take }))
        return fail(c, -ENOMEM);
    end = memmem(buf_span(&c->held).data, c->held.len, "\r\n\r\n", 4);
    if (!end) {
        if (c->held.len >= DERP_HEAD_BYTES_MAX) {
            note_refusal(c, buf_span(&c->held));
            return fail(c, DERP_E_HTTP);
        }
        c->input.len = 0;
        return false;
    }
    head = (size_t)(end - buf_span(&c->held).data) + 4;
    if (!upgraded(span_slice(buf_span(&c->held), 0, head))) {
        note_refusal(c, buf_span(&c->held));
        return fail(c, DERP_E_HTTP);
    }
    c->input.data += head - held;
    c->input.len -= head - held;
    buf_deinit(&c->held);
    c->state = WANT_SERVER_KEY;
    return true;
}

/* ---- in: frames --------------------------------------------------------------------------------------- */

static bool known(uint8_t type)
{
    return (type >= DERP_FRAME_SERVER_KEY && type <= DERP_FRAME_PEER_PRESENT) ||
           (type >= DERP_FRAME_PING && type <= DERP_FRAME_RESTARTING);
}

/* The key is known: who we are, and whether this is our home. */
static bool say_hello(struct derp_client *c)
{
    uint8_t flag = 1;

    c->state = WANT_SERVER_INFO;
    if (!put_client_info(c))
        return false;
    return !c->home || derp_out_put(&c->out, DERP_FRAME_NOTE_PREFERRED, span_make(&flag, 1), SPAN_NONE) ||
           fail(c, DERP_E_PROTOCOL);
}

static bool on_server_key(struct derp_client *c, struct mspan body)
{
    if (body.len < sizeof(derp_magic) + KEY_BYTES || memcmp(body.data, derp_magic, sizeof(derp_magic)) != 0)
        return fail(c, DERP_E_PROTOCOL);
    if (c->state != WANT_SERVER_KEY) /* after a fast start we know it already */
        return memcmp(c->server_key.bytes, body.data + sizeof(derp_magic), KEY_BYTES) == 0 ||
               fail(c, DERP_E_KEY);
    memcpy(c->server_key.bytes, body.data + sizeof(derp_magic), KEY_BYTES);
    return say_hello(c);
}

bool derp_client_fast_start(struct derp_client *c, const struct public_key *server_key)
{
    must(c->state == WANT_HTTP && !c->held.len);
    c->out.control.len -= 2; /* the empty line that ends the request */
    if (buf_append_str(&c->out.control, "Derp-Fast-Start: 1\r\n\r\n"))
        return false;
    c->server_key = *server_key;
    return say_hello(c);
}

static void read_limits(struct derp_client *c, struct span json)
{
    OWNED(json_freep) struct json *root = NULL;
    int64_t rate = 0, burst = 0;

    if (json_parse(json, DERP_INFO_BYTES_MAX, &root))
        return; /* nothing in it is needed */
    json_get_int(root, "TokenBucketBytesPerSecond", 0, INT64_MAX, &rate);
    json_get_int(root, "TokenBucketBytesBurst", 0, INT64_MAX, &burst);
    c->rate = (uint64_t)rate;
    c->burst = c->tokens = (uint64_t)MAX(burst, (int64_t)0);
    if (c->rate && c->burst < DERP_FRAME_BYTES_MAX)
        c->burst = c->tokens = DERP_FRAME_BYTES_MAX;
}

static bool on_server_info(struct derp_client *c, struct mspan body, struct derp_event *ev)
{
    uint8_t json[DERP_INFO_BYTES_MAX];

    if (c->state != WANT_SERVER_INFO || body.len < BOX_NONCE_BYTES + BOX_TAG_BYTES ||
        body.len > BOX_NONCE_BYTES + BOX_TAG_BYTES + sizeof(json))
        return fail(c, DERP_E_PROTOCOL);
    struct span sealed = { body.data + BOX_NONCE_BYTES, body.len - BOX_NONCE_BYTES };

    if (!box_open(json, sealed, body.data, c->shared))
        return fail(c, DERP_E_KEY);
    read_limits(c, span_make(json, sealed.len - BOX_TAG_BYTES));
    wipe(c->shared, sizeof(c->shared));
    c->state = STEADY;
    ev->kind = DERP_READY;
    return true;
}

static bool on_packet(struct derp_client *c, struct mspan body, struct derp_event *ev)
{
    if (body.len < KEY_BYTES)
        return fail(c, DERP_E_PROTOCOL);
    ev->kind = DERP_PACKET;
    memcpy(ev->from.bytes, body.data, KEY_BYTES);
    ev->packet = (struct mspan) { body.data + KEY_BYTES, body.len - KEY_BYTES };
    c->counters.packets_in++;
    c->counters.bytes_in += ev->packet.len;
    return true;
}

static bool on_restarting(struct derp_client *c, struct mspan body, struct derp_event *ev)
{
    if (body.len < 8)
        return fail(c, DERP_E_PROTOCOL);
    ev->kind = DERP_RESTARTING;
    ev->reconnect_in = (time_ns)load_be32(body.data) * MSEC;
    ev->try_for = (time_ns)load_be32(body.data + 4) * MSEC;
    return true;
}

/* Looks at one whole frame. *told: there is an event in *ev. False: a fault. */
static bool on_frame(struct derp_client *c, uint8_t type, struct mspan body, struct derp_event *ev,
                     bool *told)
{
    *told = false;
    if (c->state == WANT_SERVER_KEY && type != DERP_FRAME_SERVER_KEY)
        return fail(c, DERP_E_PROTOCOL);
    switch (type) {
    case DERP_FRAME_SERVER_KEY:
        return on_server_key(c, body);
    case DERP_FRAME_SERVER_INFO:
        *told = true;
        return on_server_info(c, body, ev);
    case DERP_FRAME_RECV_PACKET:
        *told = true;
        return on_packet(c, body, ev);
    case DERP_FRAME_PEER_GONE:
        if (body.len < KEY_BYTES)
            return fail(c, DERP_E_PROTOCOL);
        *told = true;
        ev->kind = DERP_PEER_GONE;
        memcpy(ev->from.bytes, body.data, KEY_BYTES);
        ev->not_here = body.len > KEY_BYTES && body.data[KEY_BYTES] == 1;
        return true;
    case DERP_FRAME_PING: /* a stream that has no room for the answer is not alive anyway */
        if (body.len >= 8)
            derp_out_put(&c->out, DERP_FRAME_PONG, span_make(body.data, 8), SPAN_NONE);
        c->counters.pings++;
        return true;
    case DERP_FRAME_KEEP_ALIVE:
        c->counters.keepalives++;
        return true;
    case DERP_FRAME_HEALTH:
        *told = true;
        ev->kind = DERP_HEALTH;
        ev->text = span_make(body.data, body.len);
        return true;
    case DERP_FRAME_RESTARTING:
        *told = true;
        return on_restarting(c, body, ev);
    default: /* pongs, watchers' frames, later inventions */
        return true;
    }
}

int derp_client_feed(struct derp_client *c, struct mspan bytes, time_ns now)
{
    must(c->input.len == 0 || c->error);
    c->heard_at = now;
    c->tokens_at = c->tokens_at ? c->tokens_at : now;
    c->pinged = false;
    c->answer_due = TIME_NEVER;
    c->input = bytes;
    if (c->state == WANT_HTTP && !c->error)
        read_http(c);
    return c->error;
}

/* The header that bytes begin with. False: not whole, or a fault. */
static bool read_header(struct derp_client *c, struct span bytes, struct derp_header *out)
{
    if (!derp_header_read(bytes, out))
        return false;
    if (out->len > (known(out->type) ? DERP_FRAME_BYTES_MAX : DERP_UNKNOWN_BYTES_MAX))
        return fail(c, DERP_E_TOO_BIG);
    return true;
}

/* Moves input to `held` until that has `want` bytes. False: the input ended before. */
static bool hold(struct derp_client *c, size_t want)
{
    size_t n = MIN(want - MIN(want, c->held.len), c->input.len);

    if (n && buf_append(&c->held, (struct span) { c->input.data, n }))
        return fail(c, -ENOMEM);
    c->input.data += n;
    c->input.len -= n;
    return c->held.len >= want;
}

/* The next whole frame, in the input if it lies there in one piece, else in `held`. */
static bool next_frame(struct derp_client *c, uint8_t *type, struct mspan *body)
{
    struct derp_header h;

    if (!c->held.len && c->input.len >= DERP_HEADER_BYTES) {
        if (!read_header(c, (struct span) { c->input.data, c->input.len }, &h))
            return false;
        if (known(h.type) && c->input.len - DERP_HEADER_BYTES >= h.len) {
            *type = h.type;
            *body = (struct mspan) { c->input.data + DERP_HEADER_BYTES, h.len };
            c->input.data += DERP_HEADER_BYTES + h.len;
            c->input.len -= DERP_HEADER_BYTES + h.len;
            return true;
        }
    }
    if (!hold(c, DERP_HEADER_BYTES) || !read_header(c, buf_span(&c->held), &h))
        return false;
    *type = h.type;
    if (!known(h.type)) {
        c->skip = h.len;
        c->counters.skipped++;
        buf_clear(&c->held);
        *body = (struct mspan) { NULL, 0 };
        return true;
    }
    if (!hold(c, DERP_HEADER_BYTES + h.len))
        return false;
    *body = (struct mspan) { c->held.data + c->held.start + DERP_HEADER_BYTES, h.len };
    c->held_taken = DERP_HEADER_BYTES + h.len;
    return true;
}

static void skip_input(struct derp_client *c)
{
    size_t n = MIN((size_t)c->skip, c->input.len);

    c->skip -= (uint32_t)n;
    c->input.data += n;
    c->input.len -= n;
}

bool derp_client_next(struct derp_client *c, struct derp_event *ev)
{
    bool told = false;

    *ev = (struct derp_event) { 0 };
    while (!c->error && c->state != WANT_HTTP && !told) {
        struct mspan body;
        uint8_t type;

        if (c->held_taken) { /* the event before lay there */
            buf_consume(&c->held, c->held_taken);
            c->held_taken = 0;
        }
        skip_input(c);
        if (!c->held.len && !c->input.len) {
            buf_trim(&c->held);
            return false;
        }
        if (!next_frame(c, &type, &body) || !on_frame(c, type, body, ev, &told))
            return false;
    }
    return told;
}

/* ---- time -------------------------------------------------------------------------------------------- */

static bool put_ping(struct derp_client *c)
{
    uint8_t data[8];

    random_bytes(data, sizeof(data));
    return derp_out_put(&c->out, DERP_FRAME_PING, SPAN_OF(data), SPAN_NONE);
}

time_ns derp_client_deadline(const struct derp_client *c)
{
    time_ns silence = c->heard_at + (c->pinged || c->state != STEADY ? DERP_SILENCE : DERP_PING_AFTER);

    return MIN(silence, c->answer_due);
}

bool derp_client_tick(struct derp_client *c, time_ns now)
{
    if (now - c->heard_at >= DERP_SILENCE || now >= c->answer_due)
        return false;
    if (c->state == STEADY && !c->pinged && now - c->heard_at >= DERP_PING_AFTER) {
        c->pinged = true;
        return put_ping(c);
    }
    return true;
}

void derp_client_ping(struct derp_client *c, time_ns now)
{
    if (c->state != STEADY || c->answer_due != TIME_NEVER)
        return;
    c->answer_due = now + DERP_PING_WAIT;
    if (!put_ping(c))
        c->answer_due = now; /* a stream that takes not even this is dead */
}

const struct derp_counters *derp_client_counters(const struct derp_client *c)
{
    return &c->counters;
}

struct public_key derp_client_server_key(const struct derp_client *c)
{
    return c->server_key;
}

size_t derp_client_memory(const struct derp_client *c)
{
    return account_block(c) + account_block(c->held.data) + derp_out_memory(&c->out);
}
