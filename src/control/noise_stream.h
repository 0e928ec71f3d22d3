/* control/noise_stream.h - a byte stream in Noise records, on top of another stream (part of control.h)
 *
 * The handshake is over; the owner of the session hands it in together with bytes that arrived behind it.
 * No STREAM_CONNECTED comes: the owner starts with a read and a write of its own.
 * Memory: about 200 bytes while idle; one record (4 KiB) while part of one has been received, up to 16 KiB
 * while sealed records wait for the stream below.
 */
#ifndef MANYTAILS_CONTROL_NOISE_STREAM_H
#define MANYTAILS_CONTROL_NOISE_STREAM_H

#include "noise/noise.h"
#include "stream/stream.h"

#define NOISE_STREAM_WRITE_RECORDS 4 /* sealed in one write */

/* Takes `below` and a copy of the session. -ENOMEM: `below` is still the caller's. `leftover` is copied. */
NODISCARD int noise_stream_new(struct stream **out, struct stream *below, const struct noise_session *session,
                               struct span leftover);

#endif
