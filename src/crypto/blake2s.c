/* BLAKE2s (RFC 7693) with its keyed mode, HMAC and KDF.
 *
 * Ours because no library that we link fits: OpenSSL offers the MAC only through objects on the
 * heap, and neither it nor libsodium can keep the state after the key block, which is what makes
 * trying one mac1 against a thousand nodes cheap. OpenSSL's is the oracle of the tests.
 */
#include "crypto/crypto.h"

static const uint32_t initial[8] = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19 };

static const uint8_t order[10][16] = {
    { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 },
    { 14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3 },
    { 11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4 },
    { 7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8 },
    { 9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13 },
    { 2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9 },
    { 12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11 },
    { 13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10 },
    { 6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5 },
    { 10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0 },
};

static inline uint32_t rotate_right(uint32_t v, int by)
{
    return v >> by | v << (32 - by);
}

static inline void mix(uint32_t v[16], int a, int b, int c, int d, uint32_t x, uint32_t y)
{
    v[a] += v[b] + x;
    v[d] = rotate_right(v[d] ^ v[a], 16);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 12);
    v[a] += v[b] + y;
    v[d] = rotate_right(v[d] ^ v[a], 8);
    v[c] += v[d];
    v[b] = rotate_right(v[b] ^ v[c], 7);
}

/* `total` counts the bytes up to the end of this block. */
static void compress(uint32_t h[8], const uint8_t block[BLAKE2S_BLOCK_BYTES], uint64_t total, bool last)
{
    uint32_t v[16], m[16];

    for (int i = 0; i < 16; i++)
        m[i] = load_le32(block + 4 * i);
    memcpy(v, h, 32);
    memcpy(v + 8, initial, 32);
    v[12] ^= (uint32_t)total;
    v[13] ^= (uint32_t)(total >> 32);
    if (last)
        v[14] = ~v[14];
#pragma GCC unroll 10
    for (int i = 0; i < 10; i++) {
        const uint8_t *s = order[i];

        mix(v, 0, 4, 8, 12, m[s[0]], m[s[1]]);
        mix(v, 1, 5, 9, 13, m[s[2]], m[s[3]]);
        mix(v, 2, 6, 10, 14, m[s[4]], m[s[5]]);
        mix(v, 3, 7, 11, 15, m[s[6]], m[s[7]]);
        mix(v, 0, 5, 10, 15, m[s[8]], m[s[9]]);
        mix(v, 1, 6, 11, 12, m[s[10]], m[s[11]]);
        mix(v, 2, 7, 8, 13, m[s[12]], m[s[13]]);
        mix(v, 3, 4, 9, 14, m[s[14]], m[s[15]]);
    }
    for (int i = 0; i < 8; i++)
        h[i] ^= v[i] ^ v[i + 8];
}

static void parameters(uint32_t h[8], size_t out_len, size_t key_len)
{
    must(out_len >= 1 && out_len <= BLAKE2S_BYTES && key_len <= BLAKE2S_BYTES);
    memcpy(h, initial, sizeof(initial));
    h[0] ^= 0x01010000 ^ (uint32_t)key_len << 8 ^ (uint32_t)out_len;
}

void blake2s_init(struct blake2s *s, size_t out_len, struct span key)
{
    *s = (struct blake2s) { .out_len = (uint8_t)out_len };
    parameters(s->h, out_len, key.len);
    if (key.len) {
        memcpy(s->block, key.data, key.len);
        s->held = BLAKE2S_BLOCK_BYTES; /* compressed when more comes, or as the last block */
    }
}

void blake2s_update(struct blake2s *s, struct span bytes)
{
    while (bytes.len) {
        size_t take = MIN(bytes.len, (size_t)(BLAKE2S_BLOCK_BYTES - s->held));

        if (!take) { /* full and more to come: so it is not the last block */
            s->fed += BLAKE2S_BLOCK_BYTES;
            compress(s->h, s->block, s->fed, false);
            s->held = 0;
            continue;
        }
        memcpy(s->block + s->held, bytes.data, take);
        s->held = (uint8_t)(s->held + take);
        bytes = span_slice(bytes, take, bytes.len);
    }
}

static void write_out(const uint32_t h[8], uint8_t *out, size_t out_len)
{
    uint8_t whole[BLAKE2S_BYTES];

    for (int i = 0; i < 8; i++)
        store_le32(whole + 4 * i, h[i]);
    memcpy(out, whole, out_len);
}

void blake2s_final(struct blake2s *s, uint8_t *out)
{
    memset(s->block + s->held, 0, BLAKE2S_BLOCK_BYTES - s->held);
    compress(s->h, s->block, s->fed + s->held, true);
    write_out(s->h, out, s->out_len);
    wipe(s, sizeof(*s));
}

void blake2s_hash(uint8_t out[BLAKE2S_BYTES], struct span a, struct span b)
{
    struct blake2s s;

    blake2s_init(&s, BLAKE2S_BYTES, SPAN_NONE);
    blake2s_update(&s, a);
    blake2s_update(&s, b);
    blake2s_final(&s, out);
}

void blake2s_mac(uint8_t *out, size_t out_len, struct span key, struct span message)
{
    struct blake2s s;

    blake2s_init(&s, out_len, key);
    blake2s_update(&s, message);
    blake2s_final(&s, out);
}

void blake2s_key_init(struct blake2s_key *k, size_t out_len, struct span key)
{
    uint8_t block[BLAKE2S_BLOCK_BYTES] = { 0 };

    must(key.len);
    parameters(k->h, out_len, key.len);
    k->out_len = (uint8_t)out_len;
    memcpy(block, key.data, key.len);
    compress(k->h, block, BLAKE2S_BLOCK_BYTES, false);
    wipe(block, sizeof(block));
}

void blake2s_key_mac(const struct blake2s_key *k, uint8_t *out, struct span message)
{
    uint8_t block[BLAKE2S_BLOCK_BYTES] = { 0 };
    uint64_t fed = BLAKE2S_BLOCK_BYTES;
    uint32_t h[8];

    must(message.len);
    memcpy(h, k->h, sizeof(h));
    for (; message.len > BLAKE2S_BLOCK_BYTES;
         message = span_slice(message, BLAKE2S_BLOCK_BYTES, message.len)) {
        fed += BLAKE2S_BLOCK_BYTES;
        compress(h, message.data, fed, false);
    }
    memcpy(block, message.data, message.len);
    compress(h, block, fed + message.len, true);
    write_out(h, out, k->out_len);
}

void hmac_blake2s(uint8_t out[BLAKE2S_BYTES], struct span key, struct span message)
{
    uint8_t pad[BLAKE2S_BLOCK_BYTES] = { 0 }, inner[BLAKE2S_BYTES];

    if (key.len > BLAKE2S_BLOCK_BYTES)
        blake2s_hash(pad, key, SPAN_NONE);
    else if (key.len)
        memcpy(pad, key.data, key.len);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36;
    blake2s_hash(inner, SPAN_OF(pad), message);
    for (size_t i = 0; i < sizeof(pad); i++)
        pad[i] ^= 0x36 ^ 0x5c;
    blake2s_hash(out, SPAN_OF(pad), SPAN_OF(inner));
    wipe(pad, sizeof(pad));
    wipe(inner, sizeof(inner));
}

void kdf_blake2s(uint8_t t1[BLAKE2S_BYTES], uint8_t *t2, uint8_t *t3, const uint8_t key[BLAKE2S_BYTES],
                 struct span input)
{
    uint8_t *outs[3] = { t1, t2, t3 };
    uint8_t prk[BLAKE2S_BYTES], step[BLAKE2S_BYTES + 1];
    size_t len = 0;

    hmac_blake2s(prk, span_make(key, BLAKE2S_BYTES), input);
    for (uint8_t i = 0; i < 3 && outs[i]; i++) {
        step[len] = (uint8_t)(i + 1);
        hmac_blake2s(outs[i], SPAN_OF(prk), span_make(step, len + 1));
        memcpy(step, outs[i], BLAKE2S_BYTES);
        len = BLAKE2S_BYTES;
    }
    wipe(prk, sizeof(prk));
    wipe(step, sizeof(step));
}
