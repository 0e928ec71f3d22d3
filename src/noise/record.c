#include "noise/noise.h"

#define TYPE_RECORD 4

/* Big-endian, unlike the Noise specification: a library made for that agrees on record 0 only. */
static void record_nonce(uint8_t nonce[AEAD_NONCE_BYTES], uint64_t counter)
{
    struct writer w = writer_of(nonce, AEAD_NONCE_BYTES);

    writer_zero(&w, 4);
    writer_be64(&w, counter);
}

int noise_seal(struct noise_session *s, struct span plain, uint8_t *out)
{
    uint8_t nonce[AEAD_NONCE_BYTES];

    must(plain.len <= NOISE_PLAIN_BYTES_MAX);
    if (s->send_counter == UINT64_MAX)
        return NOISE_E_EXHAUSTED;
    record_nonce(nonce, s->send_counter++);
    aead_seal(out + NOISE_HEADER_BYTES, plain, SPAN_NONE, nonce, s->send_key);
    out[0] = TYPE_RECORD;
    store_be16(out + 1, (uint16_t)(plain.len + AEAD_TAG_BYTES));
    return 0;
}

int noise_open(struct noise_session *s, struct mspan bytes, size_t *used, struct mspan *plain)
{
    struct reader r = reader_of(span_make(bytes.data, bytes.len));
    uint8_t type = reader_u8(&r), nonce[AEAD_NONCE_BYTES];
    uint8_t *at;
    uint16_t len;

    if (!r.failed && type != TYPE_RECORD)
        return NOISE_E_FORMAT;
    len = reader_be16(&r);
    if (!r.failed && (len < AEAD_TAG_BYTES || len > NOISE_FRAME_BYTES_MAX - NOISE_HEADER_BYTES))
        return NOISE_E_FORMAT; /* before we wait for bytes that we would refuse */
    (void)reader_bytes(&r, len);
    if (r.failed)
        return NOISE_E_MORE;
    if (s->receive_counter == UINT64_MAX)
        return NOISE_E_EXHAUSTED;
    record_nonce(nonce, s->receive_counter);
    at = bytes.data + NOISE_HEADER_BYTES;
    if (!aead_open(at, span_make(at, len), SPAN_NONE, nonce, s->receive_key))
        return NOISE_E_FORGED;
    s->receive_counter++;
    *used = NOISE_HEADER_BYTES + (size_t)len;
    *plain = (struct mspan) { at, len - (size_t)AEAD_TAG_BYTES };
    return 0;
}

void noise_session_wipe(struct noise_session *s)
{
    wipe(s, sizeof(*s));
}
