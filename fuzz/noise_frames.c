/* fuzz/noise_frames.c - what a hostile server or client may send on the control connection
 *
 * The first byte chooses: 0 the response, 1 the initiation, 2 records as they are, 3 records that
 * are sealed with the right key after the fuzzer chose their lengths, so that the stream goes on.
 */
#include <stdlib.h>
#include <string.h>

#include "noise/noise.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct secret_key key_from(uint8_t start)
{
    struct secret_key k;

    memset(k.bytes, start, sizeof(k.bytes));
    secret_key_clamp(&k);
    return k;
}

static void handshake(struct span in, bool server)
{
    struct secret_key ours = key_from(1), theirs = key_from(2), e = key_from(3);
    uint8_t out[NOISE_INITIATION_BYTES];
    struct noise_handshake hs;
    struct noise_session s;
    struct public_key p;
    struct span refusal = SPAN_NONE;
    uint16_t version;
    size_t used = 0;
    int r;

    secret_key_public(&theirs, &p);
    if (server) {
        r = noise_initiation_consume(&hs, &ours, in, &used, &version);
        must(r != 0 || used == NOISE_INITIATION_BYTES);
        must(r != NOISE_E_MORE || in.len < NOISE_INITIATION_BYTES);
        return;
    }
    must(noise_initiation_create(&hs, 130, &ours, &p, &e, out) == 0);
    r = noise_response_consume(&hs, in, &used, &s, &refusal);
    must(r != 0); /* nobody can answer without the server's key */
    must(r != NOISE_E_MORE || in.len < NOISE_FRAME_BYTES_MAX);
    must(r != NOISE_E_REFUSED || refusal.len + NOISE_HEADER_BYTES <= in.len);
}

static void records(struct mspan in)
{
    struct noise_session s = { 0 };
    struct mspan plain;
    size_t used;
    int r;

    while ((r = noise_open(&s, in, &used, &plain)) == 0) {
        must(used >= NOISE_OVERHEAD_BYTES && used <= in.len && plain.len == used - NOISE_OVERHEAD_BYTES);
        in = (struct mspan) { in.data + used, in.len - used };
    }
    must(r != NOISE_E_MORE || in.len < NOISE_FRAME_BYTES_MAX);
}

/* Each input byte is the size of one record. */
static void sealed_records(struct span in)
{
    static uint8_t plain[256], frame[256 + NOISE_OVERHEAD_BYTES];
    struct noise_session s = { 0 }, t = { 0 };
    struct mspan got;
    size_t used;

    for (size_t i = 0; i < in.len; i++) {
        size_t size = in.data[i];

        memset(plain, (int)i, sizeof(plain));
        must(noise_seal(&s, span_make(plain, size), frame) == 0);
        must(noise_open(&t, (struct mspan) { frame, size + NOISE_OVERHEAD_BYTES - 1 }, &used, &got) ==
             NOISE_E_MORE);
        must(noise_open(&t, (struct mspan) { frame, size + NOISE_OVERHEAD_BYTES }, &used, &got) == 0);
        must(got.len == size && memcmp(got.data, plain, size) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    uint8_t *copy;

    must(crypto_init() == 0);
    if (!len)
        return 0;
    copy = malloc(len);
    must(copy);
    memcpy(copy, data + 1, len - 1);
    if (data[0] % 4 < 2)
        handshake(span_make(copy, len - 1), data[0] % 4);
    else if (data[0] % 4 == 2)
        records((struct mspan) { copy, len - 1 });
    else
        sealed_records(span_make(data + 1, MIN(len - 1, (size_t)64)));
    free(copy);
    return 0;
}
