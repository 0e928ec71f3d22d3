/* node/tsmp.c - IP protocol 99: small messages between nodes, below the TCP/IP stack
 *
 * Layouts and when each is sent: docs/protocol/tsmp.md. Only a peer that WireGuard authenticated gets here.
 */
#include "node/internal.h"

#define TSMP_PING 'p'
#define TSMP_PONG 'o'
#define TSMP_REJECT '!'
#define TSMP_DISCO_KEY 'a'
#define TSMP_DATA_BYTES 8
#define TSMP_REJECT_MAYBE_BROKEN 1
#define IP_HEADERS_BYTES_MAX 40
#define TSMP_BYTES_MAX 64
#define TSMP_DISCO_KEYS_MAX 8 /* told by one peer since the netmap last named its key */
#define TTL 64

static uint16_t checksum_of(struct span header)
{
    uint32_t sum = 0;

    for (size_t i = 0; i + 1 < header.len; i += 2)
        sum += load_be16(header.data + i);
    while (sum >> 16)
        sum = (sum & 0xffff) + (sum >> 16);
    return (uint16_t)~sum;
}

static void write_v4(struct writer *w, const struct ip *src, const struct ip *dst, size_t payload)
{
    size_t at = w->at;

    writer_u8(w, 0x45);
    writer_u8(w, 0);
    writer_be16(w, (uint16_t)(20 + payload));
    writer_be32(w, 0); /* identification, no fragments */
    writer_u8(w, TTL);
    writer_u8(w, PACKET_TSMP);
    writer_be16(w, 0);
    writer_bytes(w, span_make(ip_v4_bytes(src), 4));
    writer_bytes(w, span_make(ip_v4_bytes(dst), 4));
    store_be16(w->start + at + 10, checksum_of(span_make(w->start + at, 20)));
}

static void write_v6(struct writer *w, const struct ip *src, const struct ip *dst, size_t payload)
{
    writer_be32(w, 0x60000000);
    writer_be16(w, (uint16_t)payload);
    writer_u8(w, PACKET_TSMP);
    writer_u8(w, TTL);
    writer_bytes(w, span_make(src->bytes, 16));
    writer_bytes(w, span_make(dst->bytes, 16));
}

static void send_message(struct node_peer *to, const struct ip *src, const struct ip *dst,
                         struct span message, time_ns now)
{
    uint8_t room[IP_HEADERS_BYTES_MAX + TSMP_BYTES_MAX];
    struct writer w = writer_of(room, sizeof(room));

    if (ip_is_v4(src))
        write_v4(&w, src, dst, message.len);
    else
        write_v6(&w, src, dst, message.len);
    writer_bytes(&w, message);
    must(!w.failed);
    tunnel_send_packet(to, writer_done(&w), now);
}

/* The answer comes from the address that was asked. We have no peer API: its port is 0. */
static void answer_ping(struct node_peer *from, const struct packet_info *info, struct span data, time_ns now)
{
    uint8_t pong[1 + TSMP_DATA_BYTES + 2] = { TSMP_PONG };

    memcpy(pong + 1, data.data, TSMP_DATA_BYTES);
    send_message(from, &info->dst, &info->src, SPAN_OF(pong), now);
}

/* A packet of ours was refused over there: a connection attempt need not wait for its time limit. */
static void on_reject(struct node_peer *from, const struct packet_info *info, struct reader *r)
{
    uint8_t protocol = reader_u8(r), reason = reader_u8(r);
    uint16_t local_port = reader_be16(r), remote_port = reader_be16(r);
    uint8_t flags = r->rest.len ? reader_u8(r) : 0;
    struct netstack_flow flow = { .node = node_index(from->node),
                                  .peer = peer_token(from),
                                  .local = { info->dst, local_port },
                                  .remote = { info->src, remote_port } };

    if (r->failed || protocol != PACKET_TCP || flags & TSMP_REJECT_MAYBE_BROKEN)
        return;
    log_debug(from->node->name, "a connection to %u was refused there (reason %c)", remote_port, reason);
    netstack_reject(from->node->shard->netstack, &flow);
}

/* A peer that restarted tells its new disco key before control does. Each key takes a place in a table that
 * all nodes share, so a peer may change it a few times until the netmap confirms one. */
static void on_disco_key(struct node_peer *from, struct reader *r, time_ns now)
{
    const struct tailcfg_node *node = &from->info->node;
    struct underlay_peer_facts facts = { .home_region = (uint16_t)node->home_derp,
                                         .endpoints = node->endpoints.items,
                                         .endpoint_count = node->endpoints.count };

    reader_copy(r, &facts.disco_key, sizeof(facts.disco_key));
    if (r->failed || public_key_is_zero(&facts.disco_key) ||
        public_key_equal(&facts.disco_key, &from->disco_key))
        return;
    if (from->disco_keys_told >= TSMP_DISCO_KEYS_MAX)
        return;
    from->disco_keys_told++;
    from->disco_key = facts.disco_key;
    if (underlay_node_knows(from->node->underlay, &facts.disco_key, true) == 0)
        underlay_peer_set(from->underlay, &facts, now);
}

bool tsmp_handle(struct node_peer *from, struct span packet, const struct packet_info *info, time_ns now)
{
    struct reader r;

    if (info->protocol != PACKET_TSMP)
        return false;
    from->node->shard->counters.tsmp_in++;
    r = reader_of(span_slice(packet, info->transport_offset, info->len - info->transport_offset));
    switch (reader_u8(&r)) {
    case TSMP_PING:
        if (r.rest.len >= TSMP_DATA_BYTES && filter_is_local(&from->node->filter, &info->dst))
            answer_ping(from, info, r.rest, now);
        break;
    case TSMP_REJECT:
        on_reject(from, info, &r);
        break;
    case TSMP_DISCO_KEY:
        on_disco_key(from, &r, now);
        break;
    default: /* a pong nobody waits for, or a message of a later version */
        break;
    }
    from->node->shard->counters.tsmp_malformed += r.failed;
    return true;
}

/* "Your SYN was refused here": the client fails at once instead of trying for a minute. IPv4 only, as peers
 * do. */
void tsmp_send_reject(struct node_peer *to, const struct packet_info *refused, char reason, time_ns now)
{
    uint8_t message[7] = { TSMP_REJECT, PACKET_TCP, (uint8_t)reason };

    if (refused->version != 4)
        return;
    store_be16(message + 3, refused->src_port);
    store_be16(message + 5, refused->dst_port);
    send_message(to, &refused->dst, &refused->src, SPAN_OF(message), now);
}
