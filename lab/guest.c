#include "lab/guest.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_BYTES 5

enum frame_type {
    FRAME_SERVER_KEY = 0x01,
    FRAME_CLIENT_INFO = 0x02,
    FRAME_SERVER_INFO = 0x03,
    FRAME_SEND_PACKET = 0x04,
    FRAME_RECV_PACKET = 0x05,
    FRAME_KEEP_ALIVE = 0x06,
    FRAME_NOTE_PREFERRED = 0x07,
    FRAME_PEER_GONE = 0x08,
    FRAME_FORWARD_PACKET = 0x0a, /* this and the next two need a mesh key, which nobody has here */
    FRAME_WATCH_CONNS = 0x10,
    FRAME_CLOSE_PEER = 0x11,
    FRAME_PING = 0x12,
    FRAME_PONG = 0x13,
};

static const uint8_t magic[8] = { 0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91 };

struct queued {
    struct queued *next;
    size_t len; /* whole frame */
    uint8_t bytes[];
};

struct guest {
    struct secret_key server;
    struct public_key key;
    bool known, home;
    int error;
    struct buf in;
    size_t taken; /* bytes at the front of `in` that the last event lies in */
    struct buf control;
    struct queued *first, **last;
    size_t queue_count, first_written;
    uint64_t dropped;
};

/* ---- out ------------------------------------------------------------------------------------- */

static bool put_control(struct guest *g, enum frame_type type, struct span a, struct span b)
{
    uint8_t header[HEADER_BYTES] = { (uint8_t)type };

    store_be32(header + 1, (uint32_t)(a.len + b.len));
    if (g->control.max - g->control.len < sizeof(header) + a.len + b.len)
        return false;
    return buf_append(&g->control, SPAN_OF(header)) == 0 && buf_append(&g->control, a) == 0 &&
           buf_append(&g->control, b) == 0;
}

/* What is told and not asked for is left out when the client does not read. */
void guest_tell_gone(struct guest *g, const struct public_key *peer, bool never_here)
{
    uint8_t reason = never_here;

    (void)put_control(g, FRAME_PEER_GONE, SPAN_OF(peer->bytes), span_make(&reason, 1));
}

void guest_keep_alive(struct guest *g)
{
    (void)put_control(g, FRAME_KEEP_ALIVE, SPAN_NONE, SPAN_NONE);
}

static void drop_first(struct guest *g)
{
    struct queued *q = g->first;

    g->first = q->next;
    if (!g->first)
        g->last = &g->first;
    g->queue_count--;
    g->first_written = 0;
    free(q);
}

/* The first one may be half out of the door; then the second is the oldest that can go. */
static void make_room(struct guest *g)
{
    struct queued **at = g->first_written ? &g->first->next : &g->first;
    struct queued *old = *at;

    *at = old->next;
    if (g->last == &old->next)
        g->last = at;
    g->queue_count--;
    g->dropped++;
    free(old);
}

int guest_deliver(struct guest *g, const struct public_key *from, struct span packet)
{
    size_t len = HEADER_BYTES + KEY_BYTES + packet.len;
    struct queued *q = malloc(sizeof(*q) + len);

    if (!q)
        return -ENOMEM;
    if (g->queue_count >= GUEST_QUEUE_PACKETS)
        make_room(g);
    q->next = NULL;
    q->len = len;
    q->bytes[0] = FRAME_RECV_PACKET;
    store_be32(q->bytes + 1, (uint32_t)(KEY_BYTES + packet.len));
    memcpy(q->bytes + HEADER_BYTES, from->bytes, KEY_BYTES);
    if (packet.len)
        memcpy(q->bytes + HEADER_BYTES + KEY_BYTES, packet.data, packet.len);
    *g->last = q;
    g->last = &q->next;
    g->queue_count++;
    return 0;
}

size_t guest_pending(const struct guest *g, struct span *parts, size_t max)
{
    size_t count = 0, written = g->first_written;

    if (written && count < max)
        parts[count++] = span_make(g->first->bytes + written, g->first->len - written);
    if (g->control.len && count < max)
        parts[count++] = buf_span(&g->control);
    for (struct queued *q = written ? g->first->next : g->first; q && count < max; q = q->next)
        parts[count++] = span_make(q->bytes, q->len);
    return count;
}

static size_t packet_sent(struct guest *g, size_t bytes)
{
    size_t n = MIN(bytes, g->first->len - g->first_written);

    g->first_written += n;
    if (g->first_written == g->first->len)
        drop_first(g);
    return bytes - n;
}

void guest_sent(struct guest *g, size_t bytes)
{
    if (g->first_written)
        bytes = packet_sent(g, bytes);
    if (bytes && g->control.len) {
        size_t n = MIN(bytes, g->control.len);

        buf_consume(&g->control, n);
        buf_trim(&g->control);
        bytes -= n;
    }
    while (bytes) {
        must(g->first);
        bytes = packet_sent(g, bytes);
    }
}

/* ---- life -------------------------------------------------------------------------------------- */

int guest_new(struct guest **out, const struct secret_key *server)
{
    struct guest *g = calloc(1, sizeof(*g));
    struct public_key ours;

    if (!g)
        return -ENOMEM;
    g->server = *server;
    g->last = &g->first;
    buf_init(&g->in, HEADER_BYTES + GUEST_FRAME_BYTES_MAX + GUEST_FEED_BYTES_MAX);
    buf_init(&g->control, GUEST_CONTROL_BYTES_MAX);
    secret_key_public(server, &ours);
    if (!put_control(g, FRAME_SERVER_KEY, SPAN_OF(magic), SPAN_OF(ours.bytes))) {
        guest_free(g);
        return -ENOMEM;
    }
    *out = g;
    return 0;
}

void guest_free(struct guest *g)
{
    if (!g)
        return;
    while (g->first)
        drop_first(g);
    buf_deinit(&g->in);
    buf_deinit(&g->control);
    wipe(g, sizeof(*g));
    free(g);
}

/* ---- in ------------------------------------------------------------------------------------------ */

static bool fail(struct guest *g, int outcome)
{
    g->error = outcome;
    return false;
}

int guest_feed(struct guest *g, struct span bytes)
{
    must(bytes.len <= GUEST_FEED_BYTES_MAX);
    if (g->error)
        return 0;
    buf_consume(&g->in, g->taken);
    g->taken = 0;
    return buf_append(&g->in, bytes);
}

/* Its key in clear, then a box made with it. Sealed the same way, our answer. */
static bool on_client_info(struct guest *g, struct span body)
{
    static const char info[] = "{\"version\":2}";
    uint8_t shared[KEY_BYTES], opened[GUEST_INFO_BYTES_MAX];
    uint8_t nonce[BOX_NONCE_BYTES], sealed[BOX_TAG_BYTES + sizeof(info) - 1];
    struct reader r = reader_of(body);
    struct public_key key;
    struct span their_nonce, box;
    bool told;

    reader_copy(&r, key.bytes, KEY_BYTES);
    their_nonce = reader_bytes(&r, BOX_NONCE_BYTES);
    box = r.rest;
    if (g->known || r.failed || box.len < BOX_TAG_BYTES || box.len > sizeof(opened))
        return fail(g, GUEST_E_PROTOCOL);
    if (!box_key_make(shared, &g->server, &key) || !box_open(opened, box, their_nonce.data, shared))
        return fail(g, GUEST_E_KEY);
    g->key = key;
    g->known = true;
    random_bytes(nonce, sizeof(nonce));
    box_seal(sealed, span_make(info, sizeof(info) - 1), nonce, shared);
    wipe(shared, sizeof(shared));
    told = put_control(g, FRAME_SERVER_INFO, SPAN_OF(nonce), SPAN_OF(sealed));
    return told || fail(g, GUEST_E_STUCK);
}

static bool on_send_packet(struct guest *g, struct span body, struct guest_event *ev)
{
    if (body.len < KEY_BYTES)
        return fail(g, GUEST_E_PROTOCOL);
    ev->kind = GUEST_PACKET;
    memcpy(ev->to.bytes, body.data, KEY_BYTES);
    ev->packet = span_slice(body, KEY_BYTES, body.len);
    return true;
}

static bool on_note_preferred(struct guest *g, struct span body, struct guest_event *ev, bool *told)
{
    bool home = body.len == 1 && body.data[0];

    if (body.len != 1)
        return fail(g, GUEST_E_PROTOCOL);
    *told = home != g->home;
    g->home = home;
    ev->kind = GUEST_HOME;
    return true;
}

/* Looks at one whole frame. *told: there is an event. False: the connection has to end. */
static bool on_frame(struct guest *g, uint8_t type, struct span body, struct guest_event *ev, bool *told)
{
    *told = false;
    if (!g->known && type != FRAME_CLIENT_INFO)
        return fail(g, GUEST_E_PROTOCOL);
    switch (type) {
    case FRAME_CLIENT_INFO:
        *told = true;
        ev->kind = GUEST_HELLO;
        return on_client_info(g, body);
    case FRAME_SEND_PACKET:
        *told = true;
        return on_send_packet(g, body, ev);
    case FRAME_NOTE_PREFERRED:
        return on_note_preferred(g, body, ev, told);
    case FRAME_PING:
        if (body.len < 8)
            return fail(g, GUEST_E_PROTOCOL);
        return put_control(g, FRAME_PONG, span_slice(body, 0, 8), SPAN_NONE) || fail(g, GUEST_E_STUCK);
    case FRAME_FORWARD_PACKET:
    case FRAME_WATCH_CONNS:
    case FRAME_CLOSE_PEER:
        return fail(g, GUEST_E_PROTOCOL);
    default: /* pongs, and later inventions */
        return true;
    }
}

static uint32_t length_max(const struct guest *g)
{
    return g->known ? GUEST_FRAME_BYTES_MAX
                    : KEY_BYTES + BOX_NONCE_BYTES + BOX_TAG_BYTES + GUEST_INFO_BYTES_MAX;
}

bool guest_next(struct guest *g, struct guest_event *ev)
{
    bool told = false;

    *ev = (struct guest_event) { 0 };
    while (!g->error && !told) {
        struct span held;
        uint32_t len;

        buf_consume(&g->in, g->taken);
        g->taken = 0;
        held = buf_span(&g->in);
        if (held.len < HEADER_BYTES)
            break;
        len = load_be32(held.data + 1);
        if (len > length_max(g))
            return fail(g, GUEST_E_TOO_BIG);
        if (held.len - HEADER_BYTES < len)
            break;
        g->taken = HEADER_BYTES + len;
        if (!on_frame(g, held.data[0], span_slice(held, HEADER_BYTES, len), ev, &told))
            return false;
    }
    if (!told)
        buf_trim(&g->in);
    return told;
}

int guest_error(const struct guest *g)
{
    return g->error;
}

const struct public_key *guest_key(const struct guest *g)
{
    return &g->key;
}

bool guest_is_home(const struct guest *g)
{
    return g->home;
}

uint64_t guest_dropped(const struct guest *g)
{
    return g->dropped;
}
