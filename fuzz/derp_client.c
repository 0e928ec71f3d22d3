/* What a relay sends, cut as the first bytes say: frames become events or faults, memory stays bounded. */
#include <stdlib.h>

#include "derp/derp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct secret_key secret = { { 8, [31] = 0x40 } };
    struct derp_config config = { .host = "h", .node_key = &secret, .home = true };
    struct derp_client *c;
    struct derp_event ev;
    /* The corpus has sessions with two keys; the high bit of the first byte says which. */
    size_t chunk = len ? (data[0] & 0x7fu) + 1u : 1, events = 0;
    int r = 0;

    if (len && data[0] & 0x80)
        for (uint8_t i = 0; i < KEY_BYTES; i++)
            secret.bytes[i] = i + 1;
    secret_key_clamp(&secret);
    if (crypto_init() || derp_client_new(&c, &config, 0))
        return 0;
    for (size_t at = 1; at < len && !r; at += chunk) {
        size_t n = MIN(chunk, len - at);
        uint8_t *piece = malloc(n);

        must(piece);
        memcpy(piece, data + at, n);
        r = derp_client_feed(c, (struct mspan) { piece, n }, (time_ns)at);
        while (!r && derp_client_next(c, &ev))
            must(++events <= len); /* every event took at least a frame header */
        r = derp_client_error(c);
        free(piece);
        struct span parts[2];
        if (derp_client_pending(c, parts, 2))
            derp_client_sent(c, parts[0].len);
    }
    derp_client_free(c);
    return 0;
}
