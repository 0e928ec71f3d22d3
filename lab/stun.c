#include "lab/stun.h"

#include <errno.h>
#include <stdlib.h>

#define HEADER_BYTES 20
#define MAGIC_COOKIE 0x2112a442u
#define TYPE_BINDING_REQUEST 0x0001
#define TYPE_BINDING_SUCCESS 0x0101
#define ATTRIBUTE_XOR_MAPPED_ADDRESS 0x0020
#define ATTRIBUTE_FINGERPRINT 0x8028
#define FINGERPRINT_XOR 0x5354554eu
#define REQUEST_BYTES_MAX 1500

/* ---- codec --------------------------------------------------------------------------------- */

/* The last attribute: a checksum of everything before it (RFC 8489 14.7). */
static bool fingerprint_good(struct span datagram)
{
    struct span body, last;

    if (datagram.len < HEADER_BYTES + 8)
        return false;
    body = span_slice(datagram, 0, datagram.len - 8);
    last = span_slice(datagram, datagram.len - 8, 8);
    return load_be16(last.data) == ATTRIBUTE_FINGERPRINT && load_be16(last.data + 2) == 4 &&
           load_be32(last.data + 4) == (crc32_ieee(body) ^ FINGERPRINT_XOR);
}

bool lab_stun_request_parse(struct span datagram, struct stun_txid *txid)
{
    struct reader r = reader_of(datagram);
    uint16_t type = reader_be16(&r);
    uint16_t len = reader_be16(&r);
    uint32_t cookie = reader_be32(&r);
    struct stun_txid id;

    reader_copy(&r, id.bytes, sizeof(id.bytes));
    if (r.failed || type != TYPE_BINDING_REQUEST || cookie != MAGIC_COOKIE || r.rest.len != len ||
        !fingerprint_good(datagram))
        return false;
    *txid = id;
    return true;
}

size_t lab_stun_response_write(uint8_t out[LAB_STUN_RESPONSE_BYTES_MAX], const struct stun_txid *txid,
                               const struct ip_port *from)
{
    bool v4 = ip_is_v4(&from->ip);
    size_t address_len = v4 ? 4 : 16;
    const uint8_t *address = v4 ? ip_v4_bytes(&from->ip) : from->ip.bytes;
    struct writer w = writer_of(out, LAB_STUN_RESPONSE_BYTES_MAX);
    uint8_t mask[16];

    store_be32(mask, MAGIC_COOKIE);
    memcpy(mask + 4, txid->bytes, sizeof(txid->bytes));
    writer_be16(&w, TYPE_BINDING_SUCCESS);
    writer_be16(&w, (uint16_t)(8 + address_len));
    writer_be32(&w, MAGIC_COOKIE);
    writer_bytes(&w, SPAN_OF(txid->bytes));
    writer_be16(&w, ATTRIBUTE_XOR_MAPPED_ADDRESS);
    writer_be16(&w, (uint16_t)(4 + address_len));
    writer_u8(&w, 0);
    writer_u8(&w, v4 ? 1 : 2);
    writer_be16(&w, from->port ^ load_be16(mask));
    for (size_t i = 0; i < address_len; i++)
        writer_u8(&w, address[i] ^ mask[i]);
    must(!w.failed);
    return w.at;
}

/* ---- the port ------------------------------------------------------------------------------- */

struct lab_stun {
    struct ev_io io;
    int fd;
    uint16_t port;
    struct lab_stun_counters counters;
};

static void on_datagrams(struct ev_io *io, unsigned events, time_ns now)
{
    struct lab_stun *s = CONTAINER_OF(io, struct lab_stun, io);
    uint8_t request[REQUEST_BYTES_MAX], response[LAB_STUN_RESPONSE_BYTES_MAX];
    struct ip_port from;
    struct stun_txid txid;
    ssize_t n;

    (void)events;
    (void)now;
    while ((n = ev_receive_from(s->fd, request, sizeof(request), &from)) >= 0) {
        size_t len;

        if (!lab_stun_request_parse(span_make(request, (size_t)n), &txid)) {
            s->counters.ignored++;
            continue;
        }
        len = lab_stun_response_write(response, &txid, &from);
        if (ev_send_to(s->fd, &from, span_make(response, len)) == 0)
            s->counters.answered++;
    }
}

int lab_stun_new(struct lab_stun **out, struct ev_loop *loop, const struct ip_port *at)
{
    struct lab_stun *s = calloc(1, sizeof(*s));
    int r;

    if (!s)
        return -ENOMEM;
    ev_io_init(&s->io, loop, on_datagrams);
    s->fd = -1;
    r = ev_udp_listen(at, &s->fd, &s->port);
    if (!r)
        r = ev_io_start_reader(&s->io, s->fd);
    if (r) {
        lab_stun_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void lab_stun_free(struct lab_stun *s)
{
    if (!s)
        return;
    ev_io_stop(&s->io);
    ev_close(&s->fd);
    free(s);
}

uint16_t lab_stun_port(const struct lab_stun *s)
{
    return s->port;
}

const struct lab_stun_counters *lab_stun_counters(const struct lab_stun *s)
{
    return &s->counters;
}
