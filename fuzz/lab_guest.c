/* What a client sends to the lab's relay, cut as the first byte says: events or a fault, memory bounded. */
#include "lab/guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct secret_key secret; /* of the published vector that the corpus begins with */
    struct public_key from = { { 5 } };
    size_t chunk = len ? data[0] + 1u : 1, events = 0;
    struct guest_event ev;
    struct span part;
    struct guest *g;

    for (uint8_t i = 0; i < KEY_BYTES; i++)
        secret.bytes[i] = 0xe0 + i;
    secret_key_clamp(&secret);
    if (crypto_init() || guest_new(&g, &secret))
        return 0;
    for (size_t at = 1; at < len && !guest_error(g); at += chunk) {
        must(guest_feed(g, span_make(data + at, MIN(chunk, len - at))) == 0);
        while (guest_next(g, &ev)) {
            must(++events <= len); /* every event took at least a frame header */
            if (ev.kind == GUEST_PACKET && guest_deliver(g, &from, ev.packet))
                break;
        }
        if (at % 3 == 0 && guest_pending(g, &part, 1))
            guest_sent(g, 1 + at % part.len);
    }
    guest_free(g);
    return 0;
}
