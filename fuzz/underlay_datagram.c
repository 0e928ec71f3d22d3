/* A shard's socket under hostile datagrams, and under a hostile but authenticated peer: whatever arrives, by
 * UDP or relay, in clear or properly sealed, limits hold and WireGuard only gets what could be WireGuard.
 *
 * Input: records of (kind 1, length 1, bytes). The simulated world replaces ev/.
 */
#include <stdlib.h>

#include "../test/sim/sim.h"
#include "disco/disco.h"
#include "underlay/path.h"
#include "underlay/underlay.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STEPS_MAX 64

enum { BY_UDP, BY_RELAY, SEALED_BY_UDP, SEALED_BY_RELAY, SEND, WAIT, KINDS };

static struct {
    struct underlay *u;
    struct underlay_node *node;
    struct underlay_peer *peer;
    struct secret_key peer_secret, our_secret;
    struct public_key peer_disco, peer_key;
    uint8_t box_key[KEY_BYTES];
    uint8_t last_txid[DISCO_TXID_BYTES];
} world;

static void on_wireguard(void *ctx, struct underlay *u, struct underlay_node *hint,
                         const struct mspan *datagrams, size_t count, const struct underlay_source *source,
                         time_ns now)
{
    (void)ctx;
    (void)u;
    (void)now;
    must(count > 0 && (hint != NULL) == source->relayed);
    for (size_t i = 0; i < count; i++)
        must(datagrams[i].len >= 32);
}

static void relay_send(void *ctx, struct underlay_node *node, uint16_t region, const struct public_key *to,
                       struct span packet)
{
    (void)ctx;
    (void)region;
    must(node == world.node && public_key_equal(to, &world.peer_key) && packet.len > 0);
}

static struct underlay_peer *find_peer(void *ctx, struct underlay_node *node,
                                       const struct public_key *node_key, const struct public_key *disco_key)
{
    struct underlay_peer_facts facts = { .disco_key = world.peer_disco, .home_region = 1 };

    (void)ctx;
    must(public_key_equal(disco_key, &world.peer_disco));
    if (node_key && !public_key_equal(node_key, &world.peer_key))
        return NULL;
    if (!world.peer) {
        must(underlay_peer_new(&world.peer, node, &world.peer_key, NULL) == 0);
        underlay_peer_set(world.peer, &facts, sim_now());
    }
    return world.peer;
}

static void setup(void)
{
    static const struct underlay_ops ops = { .on_wireguard = on_wireguard,
                                             .relay_send = relay_send,
                                             .find_peer = find_peer };
    struct underlay_config config = { .ops = &ops };
    struct public_key our_key = { { 9 } };

    must(crypto_init() == 0);
    sim_start(1000 * SEC);
    sim_next_host("192.0.2.1", "192.0.2.1", SIM_NAT_NONE);
    must(underlay_new(&world.u, sim_loop(), &config) == 0);
    for (int i = 0; i < KEY_BYTES; i++) {
        world.our_secret.bytes[i] = (uint8_t)i;
        world.peer_secret.bytes[i] = (uint8_t)(100 + i);
    }
    secret_key_clamp(&world.our_secret);
    secret_key_clamp(&world.peer_secret);
    secret_key_public(&world.peer_secret, &world.peer_disco);
    world.peer_key = (struct public_key) { { 7 } };
    world.peer = NULL;
    must(underlay_node_new(&world.node, world.u, &world.our_secret, &our_key, NULL) == 0);
    must(underlay_node_knows(world.node, &world.peer_disco, true) == 0);
    must(box_key_make(world.box_key, &world.peer_secret, underlay_node_disco_key(world.node)));
}

static void teardown(void)
{
    sim_run(1 * HOUR); /* everything goes quiet by itself */
    must(sim_counters()->timers_fired < 100000);
    underlay_peer_free(world.peer);
    underlay_node_free(world.node);
    underlay_free(world.u);
    sim_stop();
}

/* What the peer would make of these bytes: a datagram with them as its sealed part. */
static size_t seal(struct span inner, uint8_t *out)
{
    static const uint8_t magic[] = { 0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac }, nonce[BOX_NONCE_BYTES] = { 1 };
    struct writer w = writer_of(out, DISCO_HEADER_BYTES);

    writer_bytes(&w, SPAN_OF(magic));
    writer_bytes(&w, SPAN_OF(world.peer_disco.bytes));
    writer_bytes(&w, SPAN_OF(nonce));
    box_seal(out + w.at, inner, nonce, world.box_key);
    return w.at + BOX_TAG_BYTES + inner.len;
}

static void deliver(unsigned kind, struct span bytes)
{
    uint8_t datagram[DISCO_OVERHEAD_BYTES + 256];
    struct ip_port from = { ip_from_v4((const uint8_t[4]) { 192, 0, 2, 9 }), 1000 };
    struct ip_port to = { ip_from_v4((const uint8_t[4]) { 192, 0, 2, 1 }), underlay_port(world.u, true) };
    struct ev_datagram d = { .bytes = { datagram, bytes.len }, .from = from };

    if (kind == SEALED_BY_UDP || kind == SEALED_BY_RELAY)
        d.bytes.len = seal(bytes, datagram);
    else if (bytes.len)
        memcpy(datagram, bytes.data, bytes.len);
    d.bytes.data = malloc(d.bytes.len + 1); /* of the right size, so that a read past it is seen */
    must(d.bytes.data != NULL);
    memcpy(d.bytes.data, datagram, d.bytes.len);
    if (kind == BY_UDP || kind == SEALED_BY_UDP)
        must(sim_batch(&to, &d, 1));
    else
        underlay_relay_received(world.node, 1, &world.peer_key, d.bytes, sim_now());
    free(d.bytes.data);
}

static void step(unsigned kind, struct span bytes)
{
    struct underlay_peer_status status;
    uint8_t data[64] = { 4 };
    int r;

    if (kind == WAIT) {
        sim_run((time_ns)bytes.len * 100 * MSEC);
    } else if (kind == SEND) {
        r = underlay_send(find_peer(NULL, world.node, &world.peer_key, &world.peer_disco), SPAN_OF(data),
                          sizeof(data), UNDERLAY_DATA, sim_now());
        must(r == 0);
    } else {
        deliver(kind, bytes);
    }
    if (!world.peer)
        return;
    underlay_peer_status_get(world.peer, sim_now(), &status);
    must(status.candidate_count <= PATH_CANDIDATES_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r = reader_of(span_make(data, size));

    setup();
    for (int i = 0; i < STEPS_MAX && r.rest.len; i++) {
        unsigned kind = reader_u8(&r) % KINDS;
        size_t len = reader_u8(&r);

        step(kind, reader_bytes(&r, MIN(len, r.rest.len)));
    }
    teardown();
    return 0;
}
