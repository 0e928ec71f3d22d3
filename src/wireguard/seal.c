/* Outgoing data. */
#include "wireguard/internal.h"

static void header_write(uint8_t *at, const struct keypair *kp, uint64_t counter)
{
    store_le32(at, TYPE_DATA);
    store_le32(at + DATA_AT_RECEIVER, kp->remote_index);
    store_le64(at + DATA_AT_COUNTER, counter);
}

int wireguard_seal_batch(struct wireguard_peer *p, const struct wireguard_batch *b, time_ns now)
{
    struct keypair *kp = session_sending_key(p, b->count, now);
    size_t padded = wireguard_padded_bytes(b->len), last_padded = wireguard_padded_bytes(b->last_len);
    struct aead_batch records;

    if (!kp)
        return WIREGUARD_E_NO_SESSION;
    must(b->count && b->last_len &&
         (b->count == 1 || (b->len && b->stride >= padded + WIREGUARD_OVERHEAD_BYTES)));
    for (size_t i = 0; i < b->count; i++) {
        uint8_t *at = b->first + i * b->stride;
        bool last = i + 1 == b->count;
        size_t len = last ? b->last_len : b->len;

        header_write(at, kp, kp->send_counter + i);
        memset(at + WIREGUARD_HEADER_BYTES + len, 0, (last ? last_padded : padded) - len);
    }
    records = (struct aead_batch) {
        .first = b->first + WIREGUARD_HEADER_BYTES,
        .count = b->count,
        .stride = b->stride,
        .len = b->count == 1 ? last_padded : padded,
        .last_len = last_padded,
        .counter = kp->send_counter,
    };
    aead_seal_batch(&records, kp->send_key);
    kp->send_counter += b->count;
    p->sent_bytes +=
        (b->count - 1) * (padded + WIREGUARD_OVERHEAD_BYTES) + last_padded + WIREGUARD_OVERHEAD_BYTES;
    timers_sent(p, true, now);
    settle(p, false);
    return 0;
}

int wireguard_seal(struct wireguard_peer *p, struct mspan room, size_t plain_len, time_ns now,
                   size_t *out_len)
{
    struct wireguard_batch b = { .first = room.data, .count = 1, .last_len = plain_len };
    int r;

    must(room.len >= wireguard_sealed_bytes(plain_len));
    r = wireguard_seal_batch(p, &b, now);
    if (!r)
        *out_len = wireguard_sealed_bytes(plain_len);
    return r;
}

/* Nothing without a key: the next data will start a handshake. */
void keepalive_send(struct wireguard_peer *p, time_ns now)
{
    struct keypair *kp = session_sending_key(p, 1, now);
    uint8_t message[DATA_BYTES_MIN], nonce[AEAD_NONCE_BYTES];

    if (!kp)
        return;
    header_write(message, kp, kp->send_counter);
    aead_nonce_le(nonce, kp->send_counter++);
    aead_seal(message + WIREGUARD_HEADER_BYTES, SPAN_NONE, SPAN_NONE, nonce, kp->send_key);
    timers_sent(p, false, now);
    wireguard_of(p)->counters.keepalives_sent++;
    emit(p->node, p, NULL, SPAN_OF(message), WIREGUARD_KEEPALIVE);
}
