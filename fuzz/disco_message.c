/* Disco: the envelope never points outside the datagram; a message that parses stays the same when it is
 * written and read again. */
#include "disco/disco.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_envelope(struct span s)
{
    struct disco_envelope e;

    if (disco_envelope_parse(s, &e))
        return;
    must(disco_is(s));
    must(e.nonce == s.data + DISCO_HEADER_BYTES - BOX_NONCE_BYTES);
    must(e.sealed.data + e.sealed.len == s.data + s.len && e.sealed.len >= BOX_TAG_BYTES + 2);
}

static void check_inner(struct span inner)
{
    static const uint8_t key[KEY_BYTES] = { 1 }, nonce[BOX_NONCE_BYTES] = { 2 };
    static const struct public_key sender = { { 3 } };
    uint8_t datagram[DISCO_DATAGRAM_BYTES_MAX], room[DISCO_DATAGRAM_BYTES_MAX];
    struct disco_message m, again;
    struct disco_envelope e;
    struct span opened;

    if (disco_message_parse(inner, &m))
        return;
    must(m.endpoint_count <= DISCO_ENDPOINTS_MAX);

    size_t len = disco_write(datagram, &m, &sender, nonce, key);

    must(len <= sizeof(datagram));
    must(disco_envelope_parse(span_make(datagram, len), &e) == 0);
    must(disco_open(&e, key, (struct mspan) { room, sizeof(room) }, &opened) == 0);
    must(disco_message_parse(opened, &again) == 0);
    must(again.type == m.type && disco_txid_equal(&again.txid, &m.txid));
    must(public_key_equal(&again.node_key, &m.node_key));
    must(ip_port_equal(&again.seen_from, &m.seen_from) && again.endpoint_count == m.endpoint_count);
    for (size_t i = 0; i < m.endpoint_count; i++)
        must(ip_port_equal(&m.endpoints[i], &again.endpoints[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    check_envelope(span_make(data, size));
    check_inner(span_make(data, size));
    return 0;
}
