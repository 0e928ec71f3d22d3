#include "stun/stun.h"

/* RFC 8489: section 5 (header), 14 (attributes). */
#define HEADER_BYTES 20
#define MAGIC_COOKIE 0x2112a442u
#define MAGIC_COOKIE_HIGH 0x2112u
#define TYPE_BINDING_REQUEST 0x0001
#define TYPE_BINDING_SUCCESS 0x0101
#define ATTRIBUTE_MAPPED_ADDRESS 0x0001
#define ATTRIBUTE_XOR_MAPPED_ADDRESS 0x0020
#define ATTRIBUTE_XOR_MAPPED_ADDRESS_OLD 0x8020 /* of the drafts; servers that send it are still there */
#define ATTRIBUTE_SOFTWARE 0x8022
#define ATTRIBUTE_FINGERPRINT 0x8028
#define FINGERPRINT_XOR 0x5354554eu
#define FAMILY_V4 1
#define FAMILY_V6 2

#define SOFTWARE "tailnode" /* relay servers answer nobody else */
#define SOFTWARE_BYTES 8

bool stun_is(struct span datagram)
{
    return datagram.len >= HEADER_BYTES && (datagram.data[0] & 0xc0) == 0 && datagram.data[1] == 0x01 &&
           load_be32(datagram.data + 4) == MAGIC_COOKIE;
}

void stun_request_write(uint8_t out[STUN_REQUEST_BYTES], const struct stun_txid *txid)
{
    struct writer w = writer_of(out, STUN_REQUEST_BYTES);

    writer_be16(&w, TYPE_BINDING_REQUEST);
    writer_be16(&w, STUN_REQUEST_BYTES - HEADER_BYTES);
    writer_be32(&w, MAGIC_COOKIE);
    writer_bytes(&w, SPAN_OF(txid->bytes));
    writer_be16(&w, ATTRIBUTE_SOFTWARE);
    writer_be16(&w, SOFTWARE_BYTES);
    writer_bytes(&w, span_make(SOFTWARE, SOFTWARE_BYTES));
    uint32_t fingerprint = crc32_ieee(writer_done(&w)) ^ FINGERPRINT_XOR;

    writer_be16(&w, ATTRIBUTE_FINGERPRINT);
    writer_be16(&w, sizeof(fingerprint));
    writer_be32(&w, fingerprint);
    must(!w.failed && w.at == STUN_REQUEST_BYTES);
}

/* mask: cookie and txid, what an address is XORed with; zeroes for the plain attribute. */
static bool parse_address(struct span value, const uint8_t mask[16], struct ip_port *out)
{
    struct reader r = reader_of(value);
    uint8_t address[16] = { 0 };
    struct ip_port got;

    reader_u8(&r); /* reserved, not checked */
    uint8_t family = reader_u8(&r);
    size_t len = family == FAMILY_V4 ? 4 : 16;

    if (family != FAMILY_V4 && family != FAMILY_V6)
        return false;
    got.port = reader_be16(&r) ^ load_be16(mask);
    reader_copy(&r, address, len);
    if (r.failed)
        return false;
    for (size_t i = 0; i < len; i++)
        address[i] ^= mask[i];
    got.ip = family == FAMILY_V4 ? ip_from_v4(address) : ip_from_v6(address);
    *out = got;
    return true;
}

struct found {
    struct ip_port plain, masked;
    bool has_plain, has_masked;
};

/* The first of each kind counts. False: lengths do not add up. */
static bool walk_attributes(struct span attributes, const uint8_t mask[16], struct found *f)
{
    static const uint8_t no_mask[16];
    struct reader r = reader_of(attributes);

    while (r.rest.len) {
        uint16_t type = reader_be16(&r);
        uint16_t len = reader_be16(&r);
        struct span value = reader_bytes(&r, len);

        if (r.failed)
            return false;
        if ((type == ATTRIBUTE_XOR_MAPPED_ADDRESS || type == ATTRIBUTE_XOR_MAPPED_ADDRESS_OLD) &&
            !f->has_masked)
            f->has_masked = parse_address(value, mask, &f->masked);
        else if (type == ATTRIBUTE_MAPPED_ADDRESS && !f->has_plain)
            f->has_plain = parse_address(value, no_mask, &f->plain);
        reader_bytes(&r, MIN((size_t)(-len & 3), r.rest.len)); /* the last one may lack its padding */
    }
    return true;
}

int stun_response_parse(struct span datagram, struct stun_txid *txid, struct ip_port *mapped)
{
    struct reader r = reader_of(datagram);
    struct found found = { .has_plain = false };
    uint16_t type = reader_be16(&r);
    uint16_t len = reader_be16(&r);
    struct span mask = span_slice(r.rest, 0, 4 + STUN_TXID_BYTES);
    uint32_t cookie = reader_be32(&r);
    struct stun_txid id;

    reader_copy(&r, id.bytes, sizeof(id.bytes));
    if (r.failed || type != TYPE_BINDING_SUCCESS || cookie != MAGIC_COOKIE)
        return STUN_E_NOT_RESPONSE;
    struct span attributes = reader_bytes(&r, len); /* whatever follows is none of our business */

    if (r.failed || !walk_attributes(attributes, mask.data, &found))
        return STUN_E_MALFORMED;
    if (!found.has_masked && !found.has_plain)
        return STUN_E_NO_ADDRESS;
    *txid = id;
    *mapped = found.has_masked ? found.masked : found.plain;
    return 0;
}
