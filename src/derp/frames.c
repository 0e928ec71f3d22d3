#include "derp/frames.h"

#include <errno.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define PACKET_AT (DERP_HEADER_BYTES + KEY_BYTES)

const uint8_t derp_magic[8] = { 0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91 };

struct derp_queued {
    struct derp_queued *next;
    size_t len; /* whole frame */
    uint8_t bytes[];
};

/* ---- life ------------------------------------------------------------------------------------ */

void derp_out_init(struct derp_out *o, size_t control_bytes_max)
{
    *o = (struct derp_out) { 0 };
    o->last = &o->first;
    buf_init(&o->control, control_bytes_max);
}

static void drop_first(struct derp_out *o)
{
    struct derp_queued *q = o->first;

    o->first = q->next;
    if (!o->first)
        o->last = &o->first;
    o->count--;
    o->first_written = 0;
    free(q);
}

void derp_out_drop(struct derp_out *o)
{
    while (o->first)
        drop_first(o);
}

void derp_out_deinit(struct derp_out *o)
{
    derp_out_drop(o);
    buf_deinit(&o->control);
}

size_t derp_out_memory(const struct derp_out *o)
{
    size_t bytes = account_block(o->control.data);

    for (const struct derp_queued *q = o->first; q; q = q->next)
        bytes += account_block(q);
    return bytes;
}

/* ---- in -------------------------------------------------------------------------------------- */

bool derp_out_put(struct derp_out *o, enum derp_frame_type type, struct span a, struct span b)
{
    uint8_t header[DERP_HEADER_BYTES] = { (uint8_t)type };

    store_be32(header + 1, (uint32_t)(a.len + b.len));
    if (o->control.max - o->control.len < sizeof(header) + a.len + b.len)
        return false;
    return buf_append(&o->control, SPAN_OF(header)) == 0 && buf_append(&o->control, a) == 0 &&
           buf_append(&o->control, b) == 0;
}

/* The first one may be half out of the door; then the second is the oldest that can go. */
static void make_room(struct derp_out *o)
{
    struct derp_queued **at = o->first_written ? &o->first->next : &o->first;
    struct derp_queued *old = *at;

    *at = old->next;
    if (o->last == &old->next)
        o->last = at;
    o->count--;
    free(old);
}

int derp_out_packet(struct derp_out *o, enum derp_frame_type type, const struct public_key *key,
                    struct span packet, size_t packets_max)
{
    bool full = o->count >= packets_max;
    size_t len = PACKET_AT + packet.len;
    struct derp_queued *q;

    must(packets_max >= 2 && packet.len <= DERP_PACKET_BYTES_MAX);
    q = malloc(sizeof(*q) + len);
    if (!q)
        return -ENOMEM;
    if (full)
        make_room(o);
    q->next = NULL;
    q->len = len;
    q->bytes[0] = (uint8_t)type;
    store_be32(q->bytes + 1, (uint32_t)(KEY_BYTES + packet.len));
    memcpy(q->bytes + DERP_HEADER_BYTES, key->bytes, KEY_BYTES);
    if (packet.len)
        memcpy(q->bytes + PACKET_AT, packet.data, packet.len);
    *o->last = q;
    o->last = &q->next;
    o->count++;
    return full;
}

void derp_out_take(struct derp_out *o, struct derp_out *from)
{
    must(!o->first);
    if (from->first_written)
        drop_first(from);
    if (!from->first)
        return;
    o->first = from->first;
    o->last = from->last;
    o->count = from->count;
    from->first = NULL;
    from->last = &from->first;
    from->count = 0;
}

/* ---- out ------------------------------------------------------------------------------------- */

size_t derp_out_pending(const struct derp_out *o, bool packets, struct span *parts, size_t max)
{
    size_t count = 0, written = o->first_written;

    /* A packet that has begun must be finished before anything else. */
    if (written && count < max)
        parts[count++] = span_make(o->first->bytes + written, o->first->len - written);
    if (o->control.len && count < max)
        parts[count++] = buf_span(&o->control);
    if (!packets)
        return count;
    for (struct derp_queued *q = written ? o->first->next : o->first; q && count < max; q = q->next)
        parts[count++] = span_make(q->bytes, q->len);
    return count;
}

/* Takes off the first packet as much as went; what is left of bytes. */
static size_t packet_sent(struct derp_out *o, size_t bytes, struct derp_gone *gone)
{
    size_t n = MIN(bytes, o->first->len - o->first_written);

    o->first_written += n;
    if (o->first_written == o->first->len) {
        gone->packets++;
        gone->bytes += o->first->len - PACKET_AT;
        drop_first(o);
    }
    return bytes - n;
}

struct derp_gone derp_out_sent(struct derp_out *o, size_t bytes)
{
    struct derp_gone gone = { 0 };

    if (o->first_written)
        bytes = packet_sent(o, bytes, &gone);
    if (bytes && o->control.len) {
        size_t n = MIN(bytes, o->control.len);

        buf_consume(&o->control, n);
        buf_trim(&o->control);
        bytes -= n;
    }
    while (bytes) {
        must(o->first);
        bytes = packet_sent(o, bytes, &gone);
    }
    return gone;
}
