#include "lab/guest.h"

#include <errno.h>
#include <stdlib.h>

struct guest {
    struct secret_key server;
    struct public_key key;
    bool known, home;
    int error;
    struct buf in;
    size_t taken; /* bytes at the front of `in` that the last event lies in */
    struct derp_out out;
    uint64_t dropped;
};

/* ---- out ------------------------------------------------------------------------------------- */

/* What is told and not asked for is left out when the client does not read. */
void guest_tell_gone(struct guest *g, const struct public_key *peer, bool never_here)
{
    uint8_t reason = never_here;

    (void)derp_out_put(&g->out, DERP_FRAME_PEER_GONE, SPAN_OF(peer->bytes), span_make(&reason, 1));
}

void guest_keep_alive(struct guest *g)
{
    (void)derp_out_put(&g->out, DERP_FRAME_KEEP_ALIVE, SPAN_NONE, SPAN_NONE);
}

int guest_deliver(struct guest *g, const struct public_key *from, struct span packet)
{
    int r = derp_out_packet(&g->out, DERP_FRAME_RECV_PACKET, from, packet, GUEST_QUEUE_PACKETS);

    g->dropped += r == 1;
    return MIN(r, 0);
}

size_t guest_pending(const struct guest *g, struct span *parts, size_t max)
{
    return derp_out_pending(&g->out, true, parts, max);
}

void guest_sent(struct guest *g, size_t bytes)
{
    derp_out_sent(&g->out, bytes);
}

/* ---- life -------------------------------------------------------------------------------------- */

int guest_new(struct guest **out, const struct secret_key *server)
{
    struct guest *g = calloc(1, sizeof(*g));
    struct public_key ours;

    if (!g)
        return -ENOMEM;
    g->server = *server;
    buf_init(&g->in, DERP_HEADER_BYTES + DERP_FRAME_BYTES_MAX + GUEST_FEED_BYTES_MAX);
    derp_out_init(&g->out, GUEST_CONTROL_BYTES_MAX);
    secret_key_public(server, &ours);
    if (!derp_out_put(&g->out, DERP_FRAME_SERVER_KEY, SPAN_OF(derp_magic), SPAN_OF(ours.bytes))) {
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
    buf_deinit(&g->in);
    derp_out_deinit(&g->out);
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
    uint8_t shared[KEY_BYTES], opened[DERP_INFO_BYTES_MAX];
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
    told = derp_out_put(&g->out, DERP_FRAME_SERVER_INFO, SPAN_OF(nonce), SPAN_OF(sealed));
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
    if (!g->known && type != DERP_FRAME_CLIENT_INFO)
        return fail(g, GUEST_E_PROTOCOL);
    switch (type) {
    case DERP_FRAME_CLIENT_INFO:
        *told = true;
        ev->kind = GUEST_HELLO;
        return on_client_info(g, body);
    case DERP_FRAME_SEND_PACKET:
        *told = true;
        return on_send_packet(g, body, ev);
    case DERP_FRAME_NOTE_PREFERRED:
        return on_note_preferred(g, body, ev, told);
    case DERP_FRAME_PING:
        if (body.len < 8)
            return fail(g, GUEST_E_PROTOCOL);
        return derp_out_put(&g->out, DERP_FRAME_PONG, span_slice(body, 0, 8), SPAN_NONE) ||
               fail(g, GUEST_E_STUCK);
    case DERP_FRAME_FORWARD_PACKET: /* these need a mesh key, which nobody has here */
    case DERP_FRAME_WATCH_CONNS:
    case DERP_FRAME_CLOSE_PEER:
        return fail(g, GUEST_E_PROTOCOL);
    default: /* pongs, and later inventions */
        return true;
    }
}

static uint32_t length_max(const struct guest *g)
{
    return g->known ? DERP_FRAME_BYTES_MAX
                    : KEY_BYTES + BOX_NONCE_BYTES + BOX_TAG_BYTES + DERP_INFO_BYTES_MAX;
}

bool guest_next(struct guest *g, struct guest_event *ev)
{
    bool told = false;

    *ev = (struct guest_event) { 0 };
    while (!g->error && !told) {
        struct span held;
        struct derp_header h;

        buf_consume(&g->in, g->taken);
        g->taken = 0;
        held = buf_span(&g->in);
        if (!derp_header_read(held, &h))
            break;
        if (h.len > length_max(g))
            return fail(g, GUEST_E_TOO_BIG);
        if (held.len - DERP_HEADER_BYTES < h.len)
            break;
        g->taken = DERP_HEADER_BYTES + h.len;
        if (!on_frame(g, h.type, span_slice(held, DERP_HEADER_BYTES, h.len), ev, &told))
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
