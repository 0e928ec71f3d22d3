#include "disco/disco.h"

#define MAGIC_BYTES 6
#define INNER_HEADER_BYTES 2
#define IS_DISCO_BYTES (MAGIC_BYTES + KEY_BYTES) /* the reference tells disco apart by this much */

static const uint8_t magic[MAGIC_BYTES] = {
    0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac
}; /* "TS" and a speech balloon */

/* ---- in ------------------------------------------------------------------------- */

bool disco_is(struct span datagram)
{
    return datagram.len >= IS_DISCO_BYTES && memcmp(datagram.data, magic, MAGIC_BYTES) == 0;
}

int disco_envelope_parse(struct span datagram, struct disco_envelope *out)
{
    struct reader r = reader_of(datagram);
    struct disco_envelope e;

    if (!disco_is(datagram))
        return DISCO_E_NOT_DISCO;
    reader_bytes(&r, MAGIC_BYTES);
    reader_copy(&r, e.sender.bytes, KEY_BYTES);
    e.nonce = reader_bytes(&r, BOX_NONCE_BYTES).data;
    e.sealed = r.rest;
    if (r.failed || e.sealed.len < BOX_TAG_BYTES + INNER_HEADER_BYTES ||
        e.sealed.len > BOX_TAG_BYTES + DISCO_INNER_BYTES_MAX)
        return DISCO_E_SHORT;
    *out = e;
    return 0;
}

int disco_open(const struct disco_envelope *e, const uint8_t box_key[KEY_BYTES], struct mspan room,
               struct span *inner)
{
    must(room.len >= e->sealed.len);
    if (!box_open(room.data, e->sealed, e->nonce, box_key))
        return DISCO_E_FORGED;
    *inner = span_make(room.data, e->sealed.len - BOX_TAG_BYTES);
    return 0;
}

static struct ip_port read_endpoint(struct reader *r)
{
    struct ip_port p;

    reader_copy(r, p.ip.bytes, sizeof(p.ip.bytes));
    p.port = reader_be16(r);
    return p;
}

/* What follows the known fields is ignored: pings are padded, and pongs may grow. */
static int parse_ping(struct reader *r, struct disco_message *m)
{
    reader_copy(r, m->txid.bytes, sizeof(m->txid.bytes));
    if (r->failed)
        return DISCO_E_SHORT;
    if (r->rest.len >= KEY_BYTES)
        reader_copy(r, m->node_key.bytes, KEY_BYTES);
    return 0;
}

static int parse_pong(struct reader *r, struct disco_message *m)
{
    reader_copy(r, m->txid.bytes, sizeof(m->txid.bytes));
    m->seen_from = read_endpoint(r);
    return r->failed ? DISCO_E_SHORT : 0;
}

static int parse_call_me_maybe(struct reader *r, uint8_t version, struct disco_message *m)
{
    if (version != 0)
        return DISCO_E_IGNORED;
    if (r->rest.len % DISCO_ENDPOINT_BYTES)
        return 0;
    while (r->rest.len && m->endpoint_count < DISCO_ENDPOINTS_MAX)
        m->endpoints[m->endpoint_count++] = read_endpoint(r);
    return 0;
}

int disco_message_parse(struct span inner, struct disco_message *out)
{
    struct disco_message m = { .endpoint_count = 0 };
    struct reader r = reader_of(inner);
    uint8_t type = reader_u8(&r);
    uint8_t version = reader_u8(&r);
    int outcome;

    if (r.failed)
        return DISCO_E_SHORT;
    if (type == DISCO_PING)
        outcome = parse_ping(&r, &m);
    else if (type == DISCO_PONG)
        outcome = parse_pong(&r, &m);
    else if (type == DISCO_CALL_ME_MAYBE)
        outcome = parse_call_me_maybe(&r, version, &m);
    else
        outcome = DISCO_E_IGNORED;
    if (outcome)
        return outcome;
    m.type = type;
    *out = m;
    return 0;
}

/* ---- out ------------------------------------------------------------------------ */

static void write_endpoint(struct writer *w, const struct ip_port *p)
{
    writer_bytes(w, SPAN_OF(p->ip.bytes));
    writer_be16(w, p->port);
}

static void write_inner(struct writer *w, const struct disco_message *m)
{
    writer_u8(w, (uint8_t)m->type);
    writer_u8(w, 0);
    switch (m->type) {
    case DISCO_PING:
        writer_bytes(w, SPAN_OF(m->txid.bytes));
        writer_bytes(w, SPAN_OF(m->node_key.bytes));
        break;
    case DISCO_PONG:
        writer_bytes(w, SPAN_OF(m->txid.bytes));
        write_endpoint(w, &m->seen_from);
        break;
    case DISCO_CALL_ME_MAYBE:
        must(m->endpoint_count <= DISCO_ENDPOINTS_MAX);
        for (size_t i = 0; i < m->endpoint_count; i++)
            write_endpoint(w, &m->endpoints[i]);
        break;
    }
    must(!w->failed);
}

size_t disco_write(uint8_t *room, const struct disco_message *m, const struct public_key *our_disco,
                   const uint8_t nonce[BOX_NONCE_BYTES], const uint8_t box_key[KEY_BYTES])
{
    uint8_t plain[DISCO_DATAGRAM_BYTES_MAX - DISCO_OVERHEAD_BYTES];
    struct writer inner = writer_of(plain, sizeof(plain));
    struct writer w = writer_of(room, DISCO_DATAGRAM_BYTES_MAX);

    write_inner(&inner, m);
    writer_bytes(&w, SPAN_OF(magic));
    writer_bytes(&w, SPAN_OF(our_disco->bytes));
    writer_bytes(&w, span_make(nonce, BOX_NONCE_BYTES));
    must(!w.failed && w.at == DISCO_HEADER_BYTES);
    box_seal(room + w.at, writer_done(&inner), nonce, box_key);
    return w.at + BOX_TAG_BYTES + inner.at;
}
