/* derp/frames.h - what both sides of a relay connection have in common: frames, and what waits to be written
 *
 * The client (derp/derp.h) is one side; whoever plays the server is the other. Part of the door of derp/.
 * Frames and their sources: docs/protocol/derp.md.
 */
#ifndef MANYTAILS_DERP_FRAMES_H
#define MANYTAILS_DERP_FRAMES_H

#include "base/base.h"
#include "crypto/crypto.h"

#define DERP_VERSION 2
#define DERP_HEADER_BYTES 5                                      /* type, length */
#define DERP_PACKET_BYTES_MAX 65536                              /* payload of one packet */
#define DERP_FRAME_BYTES_MAX (DERP_PACKET_BYTES_MAX + KEY_BYTES) /* of a known type, without its header */
#define DERP_INFO_BYTES_MAX 4096 /* of the JSON that each side says of itself */

enum derp_frame_type {
    DERP_FRAME_SERVER_KEY = 0x01,
    DERP_FRAME_CLIENT_INFO = 0x02,
    DERP_FRAME_SERVER_INFO = 0x03,
    DERP_FRAME_SEND_PACKET = 0x04,
    DERP_FRAME_RECV_PACKET = 0x05,
    DERP_FRAME_KEEP_ALIVE = 0x06,
    DERP_FRAME_NOTE_PREFERRED = 0x07,
    DERP_FRAME_PEER_GONE = 0x08,
    DERP_FRAME_PEER_PRESENT = 0x09,
    DERP_FRAME_FORWARD_PACKET = 0x0a, /* this and the next two are for relays among themselves */
    DERP_FRAME_WATCH_CONNS = 0x10,
    DERP_FRAME_CLOSE_PEER = 0x11,
    DERP_FRAME_PING = 0x12,
    DERP_FRAME_PONG = 0x13,
    DERP_FRAME_HEALTH = 0x14,
    DERP_FRAME_RESTARTING = 0x15,
};

extern const uint8_t derp_magic[8]; /* in front of the server's key */

struct derp_header {
    uint8_t type;
    uint32_t len; /* of what follows; as the other side says, unchecked */
};

/* False: not whole yet. */
static inline bool derp_header_read(struct span bytes, struct derp_header *out)
{
    if (bytes.len < DERP_HEADER_BYTES)
        return false;
    *out = (struct derp_header) { bytes.data[0], load_be32(bytes.data + 1) };
    return true;
}

/* ---- out -----------------------------------------------------------------------------------
 *
 * Small frames go before packets, except that a packet which has begun to leave is finished first. Packets
 * are copied, and the oldest that has not begun makes room for a new one.
 */
struct derp_queued;

struct derp_out {
    struct buf control; /* small frames, and what stands in front of the first */
    struct derp_queued *first, **last;
    size_t count;         /* packets that have not left whole */
    size_t first_written; /* bytes of the first packet that went */
};

void derp_out_init(struct derp_out *o, size_t control_bytes_max);
void derp_out_deinit(struct derp_out *o);
size_t derp_out_memory(const struct derp_out *o);

/* A small frame of two pieces. False: no room, so the stream is stuck; nothing was added. */
bool derp_out_put(struct derp_out *o, enum derp_frame_type type, struct span a, struct span b);
/* A frame of a key and a packet (at most DERP_PACKET_BYTES_MAX). 1: it took the place of the oldest, since
 * there were packets_max (two or more); 0; -ENOMEM. */
NODISCARD int derp_out_packet(struct derp_out *o, enum derp_frame_type type, const struct public_key *key,
                              struct span packet, size_t packets_max);
void derp_out_drop(struct derp_out *o); /* all packets */
/* What had not begun to leave by `from` moves here. o has no packets. */
void derp_out_take(struct derp_out *o, struct derp_out *from);

/* Pieces to write now, in order, at most `max`; without `packets` only what is small or has begun. */
size_t derp_out_pending(const struct derp_out *o, bool packets, struct span *parts, size_t max);

struct derp_gone {
    size_t packets, bytes; /* that have left whole; bytes of payload */
};
/* `bytes` of what was pending were written. */
struct derp_gone derp_out_sent(struct derp_out *o, size_t bytes);

#endif
