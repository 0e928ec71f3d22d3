#include "control/early.h"

static const uint8_t magic[5] = { 0xff, 0xff, 0xff, 'T', 'S' };

int early_feed(struct early *e, struct span *in, struct span *held)
{
    size_t n;

    *held = SPAN_NONE;
    if (e->done)
        return 0;
    while (e->head_len < sizeof(e->head)) {
        if (!in->len)
            return EARLY_E_MORE;
        if (e->head_len < sizeof(magic) && in->data[0] != magic[e->head_len]) {
            *held = span_make(e->head, e->head_len);
            e->done = true;
            return 0;
        }
        e->head[e->head_len++] = in->data[0];
        *in = span_slice(*in, 1, in->len);
        if (e->head_len == sizeof(e->head))
            e->skip = load_be32(e->head + sizeof(magic));
    }
    if (e->skip > EARLY_BYTES_MAX)
        return EARLY_E_TOO_BIG;
    n = MIN(e->skip, in->len);
    *in = span_slice(*in, n, in->len);
    e->skip -= (uint32_t)n;
    if (e->skip)
        return EARLY_E_MORE;
    e->done = true;
    return 0;
}
