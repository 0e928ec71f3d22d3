/* Incoming datagrams. */
#include "wireguard/internal.h"

#include <stdlib.h>

/* The owner of a receiver index: a peer (its pending handshake) or a keypair. */
static int find_index(const struct wireguard *w, uint32_t index, enum index_kind *kind, void **owner)
{
    if (!index_is_here(&w->indices, index))
        return WIREGUARD_E_OTHER_SHARD;
    *owner = index_get(&w->indices, index, kind);
    return *owner ? 0 : WIREGUARD_E_NO_INDEX;
}

/* Over a relay only the peer itself can have sent it; which connection it came by does not matter. */
static bool relay_fits(const struct wireguard_source *source, const struct public_key *key)
{
    return !source->relayed || public_key_equal(&source->relay_key, key);
}

static void tell_ready(struct wireguard_peer *p)
{
    struct wireguard *w = wireguard_of(p);

    w->busy++;
    w->ops->session_ready(w->ctx, p);
    w->busy--;
}

/* ---- initiation ---------------------------------------------------------------- */

/* The peer of an initiation whose timestamp has been decrypted: then nobody but the holder of the
 * secret key can have made it. */
static int find_peer(struct wireguard_node *n, struct initiation *in, const uint8_t *message,
                     const struct wireguard_source *source, uint8_t shared[KEY_BYTES],
                     struct wireguard_peer **out)
{
    struct wireguard_peer *p = wireguard_peer_find(n, &in->initiator);
    int r = 0;

    if (p)
        r = static_shared_get(p, shared);
    else if (!x25519(shared, &n->identity.secret, &in->initiator))
        r = WIREGUARD_E_HOSTILE_KEY;
    if (!r)
        r = initiation_verify(in, message, shared);
    if (r)
        return r;
    if (!p) {
        n->w->busy++;
        p = n->w->ops->unknown_initiator(n->w->ctx, n, &in->initiator, source);
        n->w->busy--;
    }
    must(!p || (p->node == n && public_key_equal(&p->key, &in->initiator)));
    *out = p;
    return p ? 0 : WIREGUARD_E_UNKNOWN_PEER;
}

static int answer(struct wireguard_peer *p, const struct initiation *in, time_ns now,
                  uint8_t out[RESPONSE_BYTES])
{
    struct secret_key ephemeral;
    struct session_keys keys;
    struct keypair *kp = NULL;
    int r = keypair_new(&kp, p, false, now);

    if (r)
        return r;
    secret_key_draw(wireguard_of(p), &ephemeral);
    r = response_create(in, out, &ephemeral, kp->local_index, &keys);
    wipe(&ephemeral, sizeof(ephemeral));
    if (r) {
        keypair_free(&kp, now);
        return r;
    }
    memcpy(kp->send_key, keys.send, sizeof(kp->send_key));
    memcpy(kp->receive_key, keys.receive, sizeof(kp->receive_key));
    wipe(&keys, sizeof(keys));
    kp->remote_index = in->sender;
    session_install(p, kp, now);
    return 0;
}

static int accept_initiation(struct wireguard_peer *p, const struct initiation *in,
                             const uint8_t shared[KEY_BYTES], const struct wireguard_source *source,
                             time_ns now)
{
    struct active *a = p->active;
    uint8_t message[RESPONSE_BYTES];
    bool unheard; /* it has never used the key of our last response */
    int r;

    if (memcmp(in->timestamp, p->timestamp, TIMESTAMP_BYTES) <= 0)
        return WIREGUARD_E_OLD_INITIATION;
    if (a && now - a->initiation_received_at <= INITIATION_INTERVAL_MIN)
        return WIREGUARD_E_FLOOD;
    unheard = a && a->next && now - a->initiation_received_at < UNHEARD_WITHIN;
    r = active_get(p);
    if (!r)
        r = answer(p, in, now, message);
    if (r)
        return r;
    if (unheard)
        timers_unanswered(p);
    a = p->active;
    static_shared_set(p, shared);
    memcpy(p->timestamp, in->timestamp, TIMESTAMP_BYTES);
    a->initiation_received_at = a->handshake_sent_at = now;
    p->received_bytes += INITIATION_BYTES;
    macs_write(p, message, RESPONSE_AT_MACS, now);
    timers_received(p, false, now);
    timers_keys_derived(p, now);
    timers_sent(p, false, now);
    recent_note(wireguard_of(p), source, p->node);
    wireguard_of(p)->counters.responses_sent++;
    emit(p->node, p, source, SPAN_OF(message), WIREGUARD_RESPONSE);
    return 0;
}

static int receive_initiation(struct wireguard *w, struct wireguard_node *hint, const uint8_t *message,
                              const struct wireguard_source *source, time_ns now,
                              struct wireguard_received *out)
{
    uint8_t shared[KEY_BYTES];
    struct initiation in;
    struct wireguard_peer *p;
    int r = node_search(w, hint, message, source, now, &out->node);

    if (!r)
        r = load_check(out->node, message, INITIATION_AT_MACS, source, now);
    if (!r)
        r = initiation_open(&in, message, &out->node->identity);
    if (r)
        return r;
    if (!relay_fits(source, &in.initiator))
        return WIREGUARD_E_RELAY_SOURCE;
    r = find_peer(out->node, &in, message, source, shared, &p);
    if (!r) {
        out->peer = p;
        r = accept_initiation(p, &in, shared, source, now);
        settle(p, false);
    } else if (r == WIREGUARD_E_UNKNOWN_PEER) {
        out->initiator = in.initiator;
    }
    wipe(shared, sizeof(shared));
    wipe(&in, sizeof(in));
    return r;
}

/* ---- response -------------------------------------------------------------------- */

/* What the pending handshake of p becomes. 0, FORGED, HOSTILE_KEY, -ENOMEM; the pending handshake
 * outlives whatever fails here. */
static int complete(struct wireguard_peer *p, const uint8_t *message, time_ns now)
{
    struct active *a = p->active;
    struct session_keys keys;
    struct keypair *kp;
    int r = response_consume(&a->pending, message, &p->node->identity, &keys);

    if (!r)
        r = keypair_new(&kp, p, true, now);
    if (r)
        return r;
    memcpy(kp->send_key, keys.send, sizeof(kp->send_key));
    memcpy(kp->receive_key, keys.receive, sizeof(kp->receive_key));
    wipe(&keys, sizeof(keys));
    kp->remote_index = load_le32(message + AT_SENDER);
    kp->local_index = a->pending_index;
    index_set(&wireguard_of(p)->indices, kp->local_index, INDEX_KEYPAIR, kp); /* I1 */
    a->is_pending = false;
    wipe(&a->pending, sizeof(a->pending));
    session_install(p, kp, now);
    return 0;
}

static int receive_response(struct wireguard *w, const uint8_t *message,
                            const struct wireguard_source *source, time_ns now,
                            struct wireguard_received *out)
{
    struct wireguard_peer *p;
    enum index_kind kind;
    void *owner;
    int r = find_index(w, load_le32(message + RESPONSE_AT_RECEIVER), &kind, &owner);

    if (r)
        return r;
    if (kind != INDEX_HANDSHAKE)
        return WIREGUARD_E_NO_INDEX; /* answered already */
    p = owner;
    out->node = p->node;
    if (!mac1_matches(&w->doors[p->node->slot].mac1, message, RESPONSE_AT_MACS))
        return WIREGUARD_E_BAD_MAC;
    if (!relay_fits(source, &p->key))
        return WIREGUARD_E_RELAY_SOURCE;
    r = load_check(p->node, message, RESPONSE_AT_MACS, source, now);
    if (!r)
        r = complete(p, message, now);
    if (r)
        return r;
    out->peer = p;
    p->received_bytes += RESPONSE_BYTES;
    timers_received(p, false, now);
    timers_keys_derived(p, now);
    timers_handshake_done(p, now);
    recent_note(w, source, p->node);
    tell_ready(p);
    if (p->active->current->send_counter == 0)
        keepalive_send(p, now);
    settle(p, false);
    return 0;
}

/* ---- cookie reply ------------------------------------------------------------------ */

static int receive_cookie(struct wireguard *w, const uint8_t *message, const struct wireguard_source *source,
                          time_ns now, struct wireguard_received *out)
{
    struct wireguard_peer *p;
    enum index_kind kind;
    struct active *a;
    void *owner;
    int r = find_index(w, load_le32(message + COOKIE_AT_RECEIVER), &kind, &owner);

    if (r)
        return r;
    p = kind == INDEX_HANDSHAKE ? owner : ((struct keypair *)owner)->peer;
    out->node = p->node;
    if (!relay_fits(source, &p->key))
        return WIREGUARD_E_RELAY_SOURCE;
    a = p->active;
    if (!a->has_last_mac1 || !cookie_reply_consume(message, &p->key, a->last_mac1, a->cookie))
        return WIREGUARD_E_FORGED;
    a->cookie_at = now; /* shown with the next retransmission */
    out->peer = p;
    return 0;
}

/* ---- data ---------------------------------------------------------------------------- */

/* Length of the IP packet at the start of what was decrypted (padding follows it); 0: it is none. */
static size_t inner_length(struct span plain)
{
    size_t len;

    switch (plain.data[0] >> 4) {
    case 4:
        len = plain.len >= 20 ? load_be16(plain.data + 2) : 0;
        return len >= 20 && len <= plain.len ? len : 0;
    case 6:
        len = plain.len >= 40 ? (size_t)load_be16(plain.data + 4) + 40 : 0;
        return len <= plain.len ? len : 0;
    default:
        return 0;
    }
}

static int open_data(struct keypair *kp, struct mspan datagram, time_ns now, struct mspan *plain)
{
    uint64_t counter = load_le64(datagram.data + DATA_AT_COUNTER);
    uint8_t *body = datagram.data + WIREGUARD_HEADER_BYTES, nonce[AEAD_NONCE_BYTES];

    if (now - kp->created >= REJECT_AFTER_TIME || counter >= REPLAY_COUNTER_END)
        return WIREGUARD_E_EXPIRED;
    if (replay_refuses(&kp->replay, counter)) /* duplicates are normal: two paths; do not decrypt them */
        return WIREGUARD_E_REPLAY;
    aead_nonce_le(nonce, counter);
    if (!aead_open(body, span_make(body, datagram.len - WIREGUARD_HEADER_BYTES), SPAN_NONE, nonce,
                   kp->receive_key))
        return WIREGUARD_E_FORGED;
    *plain = (struct mspan) { body, datagram.len - WIREGUARD_OVERHEAD_BYTES };
    return replay_mark(&kp->replay, counter);
}

static int receive_data(struct wireguard *w, struct mspan datagram, const struct wireguard_source *source,
                        time_ns now, struct wireguard_received *out)
{
    struct wireguard_peer *p;
    struct keypair *kp;
    enum index_kind kind;
    struct mspan plain;
    bool confirmed;
    void *owner;
    int r = find_index(w, load_le32(datagram.data + DATA_AT_RECEIVER), &kind, &owner);

    if (r)
        return r;
    if (kind != INDEX_KEYPAIR)
        return WIREGUARD_E_NO_INDEX;
    kp = owner;
    p = kp->peer;
    out->node = p->node;
    if (!relay_fits(source, &p->key))
        return WIREGUARD_E_RELAY_SOURCE;
    r = open_data(kp, datagram, now, &plain);
    if (r)
        return r;
    out->peer = p;
    p->received_bytes += datagram.len;
    confirmed = session_confirm(p, kp, now);
    timers_received(p, plain.len > 0, now);
    if (confirmed) {
        timers_handshake_done(p, now);
        pending_drop(p, now); /* an initiation of ours that crossed this one is not needed any more */
        tell_ready(p);
    }
    settle(p, false);
    out->kind = plain.len ? WIREGUARD_RECEIVED_DATA : WIREGUARD_RECEIVED_KEEPALIVE;
    if (!plain.len)
        return 0;
    out->packet = (struct mspan) { plain.data, inner_length(span_make(plain.data, plain.len)) };
    return out->packet.len ? 0 : WIREGUARD_E_BAD_INNER;
}

/* ---- all -------------------------------------------------------------------------------- */

static int dispatch(struct wireguard *w, struct wireguard_node *hint, struct mspan datagram,
                    const struct wireguard_source *source, time_ns now, struct wireguard_received *out)
{
    uint32_t type = datagram.len >= 4 ? load_le32(datagram.data) : 0;

    if (type == TYPE_DATA && datagram.len >= DATA_BYTES_MIN)
        return receive_data(w, datagram, source, now, out);
    if (type == TYPE_INITIATION && datagram.len == INITIATION_BYTES)
        return receive_initiation(w, hint, datagram.data, source, now, out);
    if (type == TYPE_RESPONSE && datagram.len == RESPONSE_BYTES)
        return receive_response(w, datagram.data, source, now, out);
    if (type == TYPE_COOKIE_REPLY && datagram.len == COOKIE_REPLY_BYTES)
        return receive_cookie(w, datagram.data, source, now, out);
    return WIREGUARD_E_NO_MESSAGE;
}

int wireguard_receive(struct wireguard *w, struct wireguard_node *hint, struct mspan datagram,
                      const struct wireguard_source *source, time_ns now, struct wireguard_received *out)
{
    int r;

    must(!w->busy && (!hint || hint->w == w));
    w->now = now;
    *out = (struct wireguard_received) { .kind = WIREGUARD_RECEIVED_HANDSHAKE };
    r = dispatch(w, hint, datagram, source, now, out);
    if (r >= 0)
        w->counters.outcomes[r]++;
    return r;
}

bool wireguard_shard_of(struct span datagram, unsigned shard_bits, unsigned *shard)
{
    uint32_t type = datagram.len >= DATA_BYTES_MIN ? load_le32(datagram.data) : 0;
    size_t at;

    if (type == TYPE_DATA)
        at = DATA_AT_RECEIVER;
    else if (type == TYPE_RESPONSE && datagram.len == RESPONSE_BYTES)
        at = RESPONSE_AT_RECEIVER;
    else if (type == TYPE_COOKIE_REPLY && datagram.len == COOKIE_REPLY_BYTES)
        at = COOKIE_AT_RECEIVER;
    else
        return false;
    *shard = load_le32(datagram.data + at) & (BIT(shard_bits) - 1);
    return true;
}
