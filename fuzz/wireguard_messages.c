/* fuzz/wireguard_messages.c - two machines, and a fuzzer that owns the link between them
 *
 * The input is a list of commands. The fuzzer may deliver bytes of its own, any message that was sent,
 * a message that it has changed (with mac1 made right again, so that the change is looked at), and
 * plaintext of its own sealed in a live session; it moves the time and loses what it does not deliver.
 * Asserted: nothing is lost or freed twice, indices match what is alive, a peer without keys has no
 * deadline, and in the end, left alone, both sides go idle.
 */
#include <stdlib.h>
#include <string.h>

#include "wireguard/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define COMMANDS_MAX 400
#define KINDS 4

struct side {
    struct world *world;
    struct wireguard *w;
    struct secret_key secret;
    struct public_key key;
    struct wireguard_node *node;
    struct wireguard_peer *peer; /* NULL: not known yet */
    struct wireguard_source source;
    time_ns timer;
    bool make_unknown;
    uint8_t last[KINDS + 1][2048]; /* by wireguard_kind; [KINDS]: data */
    size_t last_len[KINDS + 1];
};

struct world {
    struct side sides[2];
    time_ns now;
    uint64_t seed;
};

static void draw(void *ctx, void *out, size_t len)
{
    struct world *world = ctx;

    for (size_t i = 0; i < len; i++) {
        world->seed = world->seed * 6364136223846793005 + 1442695040888963407;
        ((uint8_t *)out)[i] = (uint8_t)(world->seed >> 56);
    }
}

static struct side *other(struct side *s)
{
    return &s->world->sides[s == &s->world->sides[0]];
}

static void on_send(void *ctx, struct wireguard_node *n, struct wireguard_peer *p,
                    const struct wireguard_source *reply_to, struct span message, enum wireguard_kind kind)
{
    struct side *s = ctx;

    must(n == s->node && (p || (reply_to && kind == WIREGUARD_COOKIE_REPLY)) &&
         message.len <= sizeof(s->last[0]));
    memcpy(s->last[kind], message.data, message.len);
    s->last_len[kind] = message.len;
}

static struct wireguard_peer *on_unknown(void *ctx, struct wireguard_node *n,
                                         const struct public_key *initiator,
                                         const struct wireguard_source *source)
{
    struct side *s = ctx;

    (void)source;
    must(public_key_equal(initiator, &other(s)->key)); /* nobody else has a key to prove */
    if (s->make_unknown)
        must(wireguard_peer_new(&s->peer, n, initiator, s) == 0);
    return s->peer;
}

static void seal(struct side *s, struct span plain)
{
    uint8_t *room = s->last[KINDS];
    size_t plain_len = MIN(MAX(plain.len, (size_t)1), (size_t)1500), len;

    memset(room, 0, WIREGUARD_HEADER_BYTES + 1);
    memcpy(room + WIREGUARD_HEADER_BYTES, plain.data, MIN(plain.len, plain_len));
    if (wireguard_seal(s->peer, (struct mspan) { room, sizeof(s->last[0]) }, plain_len, s->world->now,
                       &len) == 0)
        s->last_len[KINDS] = len;
}

static void on_ready(void *ctx, struct wireguard_peer *p)
{
    struct side *s = ctx;

    must(p == s->peer);
    if (s->world->seed & 1 << 8)
        seal(s, SPAN_OF("\x45 ready"));
}

static void on_given_up(void *ctx, struct wireguard_peer *p)
{
    must(p == ((struct side *)ctx)->peer);
}

static void on_deadline(void *ctx, struct wireguard_peer *p)
{
    ((struct side *)ctx)->timer = wireguard_peer_deadline(p);
}

static int64_t on_wall(void *ctx)
{
    return 1700000000 * SEC + ((struct side *)ctx)->world->now;
}

static const struct wireguard_ops ops = { on_send, on_unknown,  on_ready, on_given_up,
                                          NULL,    on_deadline, on_wall };

static void side_init(struct world *world, unsigned i)
{
    struct side *s = &world->sides[i];
    struct wireguard_config config = { .ops = &ops, .ctx = s, .random = draw, .random_ctx = world };

    config.shard = i;
    config.shard_bits = 1;
    s->world = world;
    s->timer = TIME_NEVER;
    memset(s->secret.bytes, (int)i + 1, KEY_BYTES);
    secret_key_clamp(&s->secret);
    secret_key_public(&s->secret, &s->key);
    s->source.address.port = (uint16_t)(i + 1);
    must(wireguard_new(&s->w, &config) == 0);
    must(wireguard_node_new(&s->node, s->w, &s->secret, s) == 0);
}

static void check(const struct side *s)
{
    const struct active *a = s->peer ? s->peer->active : NULL;
    unsigned alive = a ? (a->current != NULL) + (a->previous != NULL) + (a->next != NULL) + a->is_pending : 0;

    must(s->w->indices.used == alive);
    must(!s->peer || s->timer <= wireguard_peer_deadline(s->peer)); /* never woken too late */
    if (s->peer && !a)
        must(wireguard_peer_deadline(s->peer) == TIME_NEVER && s->timer == TIME_NEVER);
    if (a)
        must(wireguard_peer_deadline(s->peer) != TIME_NEVER);
}

/* In a block of exactly its size. */
static void deliver(struct side *to, struct span message, bool relayed)
{
    struct wireguard_source source = other(to)->source;
    struct wireguard_received got;
    uint8_t *bytes = malloc(MAX(message.len, (size_t)1));
    int r;

    must(bytes);
    if (message.len)
        memcpy(bytes, message.data, message.len);
    source.relayed = relayed;
    source.relay_key = other(to)->key;
    r = wireguard_receive(to->w, NULL, (struct mspan) { bytes, message.len }, &source, to->world->now, &got);
    must(r >= 0 && r < WIREGUARD_OUTCOME_COUNT && r != WIREGUARD_E_NO_SESSION);
    if (r == 0 && got.kind == WIREGUARD_RECEIVED_DATA)
        must(got.packet.data == bytes + WIREGUARD_HEADER_BYTES && got.packet.len >= 20 &&
             got.packet.len <= message.len - WIREGUARD_OVERHEAD_BYTES);
    must(r != 0 || got.peer == to->peer);
    free(bytes);
}

/* change: pairs of offset and bits. */
static void deliver_changed(struct side *from, unsigned kind, struct span change, bool relayed)
{
    uint8_t bytes[2048];
    size_t len = from->last_len[kind];
    struct blake2s_key key;

    memcpy(bytes, from->last[kind], len);
    for (size_t i = 0; i + 1 < change.len && len; i += 2)
        bytes[change.data[i] % len] ^= change.data[i + 1];
    mac1_key(&key, &other(from)->key);
    if (kind == WIREGUARD_INITIATION && len == INITIATION_BYTES)
        mac1_write(&key, bytes, INITIATION_AT_MACS);
    if (kind == WIREGUARD_RESPONSE && len == RESPONSE_BYTES)
        mac1_write(&key, bytes, RESPONSE_AT_MACS);
    deliver(other(from), span_make(bytes, len), relayed);
}

static void tick(struct side *s)
{
    if (!s->peer || s->timer > s->world->now)
        return;
    s->timer = TIME_NEVER;
    wireguard_peer_tick(s->peer, s->world->now);
}

/* op: bit 0 side, bit 1 relayed, bits 2..4 what, bits 5..7 which message */
static void command(struct world *world, uint8_t op, struct span argument)
{
    struct side *s = &world->sides[op & 1];
    unsigned kind = (op >> 5) % (KINDS + 1);

    switch (op >> 2 & 7) {
    case 0:
        deliver(s, argument, op & 2);
        break;
    case 1:
        deliver(other(s), span_make(s->last[kind], s->last_len[kind]), op & 2);
        break;
    case 2:
        deliver_changed(s, kind, argument, op & 2);
        break;
    case 3:
        if (s->peer)
            seal(s, argument);
        break;
    case 4:
        world->now += (time_ns)(argument.len ? argument.data[0] : 1) << (20 + (op >> 5) * 2);
        break;
    case 5:
        if (s->peer)
            wireguard_initiate(s->peer, world->now);
        break;
    case 6: /* forget the peer, or get to know it */
        s->make_unknown = op & 2;
        if (s->peer) {
            wireguard_peer_free(s->peer);
            s->peer = NULL;
            s->timer = TIME_NEVER;
        } else if (op & 0x80) {
            must(wireguard_peer_new(&s->peer, s->node, &other(s)->key, s) == 0);
        }
        break;
    case 7:
        if (s->last_len[kind] > argument.len)
            deliver(other(s), span_make(s->last[kind], argument.len), op & 2);
        break;
    }
    for (int i = 0; i < 2; i++) {
        tick(&world->sides[i]);
        check(&world->sides[i]);
    }
}

static void finish(struct world *world)
{
    for (int i = 0; i < 2; i++) {
        struct side *s = &world->sides[i];

        for (int j = 0; s->peer && s->timer != TIME_NEVER; j++) {
            must(j < 200);
            world->now = MAX(world->now, s->timer);
            tick(s);
        }
        check(s);
        must(s->w->indices.used == 0);
        must(!s->peer || !s->peer->active);
        wireguard_peer_free(s->peer);
        wireguard_node_free(s->node);
        wireguard_free(s->w);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    struct world *world = calloc(1, sizeof(*world));
    struct reader r = reader_of(span_make(data, len));

    must(world && crypto_init() == 0);
    world->now = 1000 * SEC;
    side_init(world, 0);
    side_init(world, 1);
    must(wireguard_peer_new(&world->sides[0].peer, world->sides[0].node, &world->sides[1].key, world) == 0);
    must(wireguard_peer_new(&world->sides[1].peer, world->sides[1].node, &world->sides[0].key, world) == 0);
    for (int i = 0; i < COMMANDS_MAX && r.rest.len; i++) {
        uint8_t op = reader_u8(&r);
        size_t argument_len = reader_u8(&r);

        command(world, op, reader_bytes(&r, MIN(argument_len, r.rest.len)));
    }
    finish(world);
    free(world);
    return 0;
}
