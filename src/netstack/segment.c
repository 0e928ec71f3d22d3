/* TCP headers: read with their options, written once for all packets of a super-segment. */
#include "netstack/internal.h"

#define OPTION_END 0
#define OPTION_NOP 1
#define OPTION_MSS 2
#define OPTION_SCALE 3
#define OPTION_SACK_OK 4
#define OPTION_SACK 5
#define OPTION_TS 8

/* ---- reading --------------------------------------------------------------------------------- */

static void read_sack(struct span body, struct tcp_segment *out)
{
    struct reader r = reader_of(body);

    while (r.rest.len >= 8 && out->sack_count < TCP_SACK_MAX) {
        out->sack[out->sack_count].start = reader_be32(&r);
        out->sack[out->sack_count].end = reader_be32(&r);
        out->sack_count++;
    }
}

/* An option of a length that it may not have is skipped: RFC 9293, 3.1 asks for no more. */
static void read_option(uint8_t kind, struct span body, struct tcp_segment *out)
{
    bool syn = out->flags & TCP_SYN;

    if (kind == OPTION_MSS && body.len == 2 && syn) {
        out->mss = load_be16(body.data);
    } else if (kind == OPTION_SCALE && body.len == 1 && syn) {
        out->window_scale = MIN(body.data[0], TCP_WINDOW_SCALE_MAX);
    } else if (kind == OPTION_SACK_OK && body.len == 0 && syn) {
        out->sack_ok = true;
    } else if (kind == OPTION_SACK && body.len % 8 == 0 && !syn) {
        read_sack(body, out);
    } else if (kind == OPTION_TS && body.len == 8) {
        out->has_ts = true;
        out->tsval = load_be32(body.data);
        out->tsecr = load_be32(body.data + 4);
    }
}

static bool read_options(struct span options, struct tcp_segment *out)
{
    struct reader r = reader_of(options);

    /* What nearly every segment carries: NOP, NOP, timestamps. */
    if (options.len == TCP_TS_BYTES && load_be32(options.data) == 0x0101080a) {
        out->has_ts = true;
        out->tsval = load_be32(options.data + 4);
        out->tsecr = load_be32(options.data + 8);
        return true;
    }
    while (r.rest.len) {
        uint8_t kind = reader_u8(&r), len;

        if (kind == OPTION_END)
            break;
        if (kind == OPTION_NOP)
            continue;
        len = reader_u8(&r);
        if (len < 2)
            return false;
        read_option(kind, reader_bytes(&r, len - 2u), out);
        if (r.failed)
            return false;
    }
    return true;
}

int tcp_segment_parse(const struct inner_packet *p, struct tcp_segment *out)
{
    const uint8_t *h = p->payload.data;
    size_t len = p->payload.len, header;

    if (len < TCP_BYTES)
        return 1;
    header = (size_t)(h[12] >> 4) * 4;
    if (header < TCP_BYTES || header > len)
        return 1;
    out->key.remote = p->remote;
    out->key.node = p->node->index;
    out->key.local = p->local;
    out->key.remote_port = load_be16(h);
    out->key.local_port = load_be16(h + 2);
    out->seq = load_be32(h + 4);
    out->ack = load_be32(h + 8);
    out->flags = h[13] & 0x3f;
    out->window = load_be16(h + 14);
    out->has_ts = out->sack_ok = false;
    out->tsval = out->tsecr = 0;
    out->sack_count = 0;
    out->mss = 0;
    out->window_scale = 0xff;
    out->data = span_slice(p->payload, header, len - header);
    if (!out->key.remote_port || !out->key.local_port)
        return 1;
    return header > TCP_BYTES && !read_options(span_slice(p->payload, TCP_BYTES, header - TCP_BYTES), out);
}

/* ---- writing --------------------------------------------------------------------------------- */

void tcp_header_write(struct netstack *ns, const struct tcp_header *h, struct netstack_segment *out)
{
    size_t ip = inner_header_write(ns, out->header, &h->local, &h->remote, PROTOCOL_TCP, 0);
    size_t tcp = TCP_BYTES + h->options_len;
    uint8_t *t = out->header + ip;

    store_be16(t, h->local_port);
    store_be16(t + 2, h->remote_port);
    store_be32(t + 4, h->seq);
    store_be32(t + 8, h->ack);
    t[12] = (uint8_t)(tcp / 4 << 4);
    t[13] = h->flags;
    store_be16(t + 14, h->window);
    store_be32(t + 16, 0);
    if (h->options_len)
        memcpy(t + TCP_BYTES, h->options, h->options_len);
    out->header_bytes = (uint16_t)(ip + tcp);
    out->last_flags = h->flags;
    /* Without sequence number, flags and length: those are added per packet. */
    out->checksum = checksum_fold(
        checksum_add(inner_pseudo_sum(&h->local, &h->remote, PROTOCOL_TCP, 0), t, tcp) +
        (uint16_t)~checksum_fold(checksum_be32(h->seq)) + (uint16_t)~checksum_fold(checksum_be16(h->flags)));
}

/* Copies bytes [from, from + len) of the payload to `out` and returns their sum. */
static uint64_t copy_payload(const struct netstack_segment *s, size_t from, size_t len, uint8_t *out)
{
    uint64_t sum = 0;
    size_t done = 0;

    for (size_t i = 0; i < s->span_count && done < len; i++) {
        struct span part = span_slice(s->spans[i], from, len - done);
        uint64_t part_sum;

        from -= MIN(from, s->spans[i].len);
        if (!part.len)
            continue;
        part_sum = checksum_copy(0, out + done, part.data, part.len);
        sum += done % 2 ? checksum_odd(part_sum) : part_sum;
        done += part.len;
    }
    return sum;
}

static void finish_v4(uint8_t *out, size_t i, size_t len)
{
    store_be16(out + 2, (uint16_t)len);
    store_be16(out + 4, (uint16_t)(load_be16(out + 4) + i));
    store_be16(out + 10, 0);
    checksum_store(out + 10, checksum_add(0, out, IP4_BYTES));
}

size_t netstack_segment_write(const struct netstack_segment *s, size_t i, uint8_t *out, size_t room)
{
    size_t from = i * s->segment_bytes, payload = MIN(s->payload_bytes - from, s->segment_bytes);
    size_t len = s->header_bytes + payload;
    bool v4 = (s->header[0] >> 4) == 4;
    size_t ip = v4 ? IP4_BYTES : IP6_BYTES;
    uint8_t flags, *t = out + ip;
    uint64_t sum;
    uint32_t seq;

    must(i < s->count);
    if (len > room)
        return 0;
    if (!s->header_bytes) { /* a whole packet */
        memcpy(out, s->spans[0].data, payload);
        return payload;
    }
    memcpy(out, s->header, s->header_bytes);
    sum = s->checksum + copy_payload(s, from, payload, out + s->header_bytes);
    flags = i + 1 == s->count ? s->last_flags : t[13];
    seq = load_be32(t + 4) + (uint32_t)from;
    store_be32(t + 4, seq);
    t[13] = flags;
    sum += checksum_be32(seq) + checksum_be16(flags) + checksum_be16((uint16_t)(len - ip));
    checksum_store(t + 16, sum);
    if (v4)
        finish_v4(out, i, len);
    else
        store_be16(out + 4, (uint16_t)(len - IP6_BYTES));
    return len;
}
