/* bench/wireguard.c - what a packet and a handshake cost in src/wireguard, without any I/O
 *
 * Least of many rounds in thread CPU time. Build and run (LIB: a release build of libmanytails.a):
 *   cc -O2 -D_GNU_SOURCE -Isrc bench/wireguard.c $LIB -lsodium -lcrypto -o /tmp/wg && /tmp/wg
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "wireguard/wireguard.h"

#define ROUNDS 40
#define PACKETS 2000
#define NODES 1000

struct side {
    struct wireguard *w;
    struct wireguard_node *node;
    struct wireguard_peer *peer;
    struct public_key key;
    uint8_t last[256];
    size_t last_len;
};

static void on_send(void *ctx, struct wireguard_node *n, struct wireguard_peer *p,
                    const struct wireguard_source *reply_to, struct span message, enum wireguard_kind kind)
{
    struct side *s = ctx;

    (void)n, (void)p, (void)reply_to, (void)kind;
    memcpy(s->last, message.data, message.len);
    s->last_len = message.len;
}

static struct wireguard_peer *on_unknown(void *ctx, struct wireguard_node *n, const struct public_key *key,
                                         const struct wireguard_source *source)
{
    (void)ctx, (void)n, (void)key, (void)source;
    return NULL;
}

static void on_peer(void *ctx, struct wireguard_peer *p)
{
    (void)ctx, (void)p;
}

static int64_t on_wall(void *ctx)
{
    static int64_t wall = 1700000000 * SEC;

    (void)ctx;
    return wall += SEC;
}

static const struct wireguard_ops ops = { on_send, on_unknown, on_peer, on_peer, NULL, on_peer, on_wall };

static double thread_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void side_init(struct side *s, uint8_t seed)
{
    struct wireguard_config config = { .ops = &ops, .ctx = s };
    struct secret_key secret;

    memset(secret.bytes, seed, KEY_BYTES);
    secret_key_clamp(&secret);
    secret_key_public(&secret, &s->key);
    must(wireguard_new(&s->w, &config) == 0 && wireguard_node_new(&s->node, s->w, &secret, s) == 0);
}

static int carry(struct side *from, struct side *to, time_ns now)
{
    struct wireguard_source source = { .address = { .port = 1 } };
    struct wireguard_received got;

    return wireguard_receive(to->w, NULL, (struct mspan) { from->last, from->last_len }, &source, now, &got);
}

static void packets(struct side *a, struct side *b, size_t plain, time_ns now)
{
    static uint8_t run[PACKETS][1312];
    struct wireguard_source source = { .address = { .port = 1 } };
    struct wireguard_received got;
    size_t len = 0;
    double seal = 1e9, batch = 1e9, open = 1e9;

    for (int i = 0; i < ROUNDS; i++) {
        double start = thread_ns();

        for (int j = 0; j < PACKETS; j++)
            must(wireguard_seal(a->peer, (struct mspan) { run[j], sizeof(run[j]) }, plain, now, &len) == 0);
        seal = MIN(seal, (thread_ns() - start) / PACKETS);
        for (int j = 0; j < PACKETS; j++) {
            run[j][WIREGUARD_HEADER_BYTES] = 0x45;
            store_be16(run[j] + WIREGUARD_HEADER_BYTES + 2, (uint16_t)plain);
        }
        start = thread_ns();
        for (int j = 0; j < PACKETS; j += 40) {
            struct wireguard_batch piece = { run[j], 40, sizeof(run[0]), plain, plain };

            must(wireguard_seal_batch(a->peer, &piece, now) == 0);
        }
        batch = MIN(batch, (thread_ns() - start) / PACKETS);
        start = thread_ns();
        for (int j = 0; j < PACKETS; j++)
            must(wireguard_receive(b->w, NULL, (struct mspan) { run[j], len }, &source, now, &got) == 0);
        open = MIN(open, (thread_ns() - start) / PACKETS);
    }
    printf("%5zu bytes: seal %5.0f ns, in batches of 40 %5.0f ns, receive %5.0f ns\n", plain, seal, batch,
           open);
}

int main(void)
{
    struct side a, b;
    time_ns now = 1000 * SEC;
    double initiate = 1e9, respond = 1e9, complete = 1e9, search = 1e9;
    uint8_t junk[148] = { 1 };

    must(crypto_init() == 0);
    side_init(&a, 1);
    side_init(&b, 2);
    must(wireguard_peer_new(&a.peer, a.node, &b.key, NULL) == 0);
    must(wireguard_peer_new(&b.peer, b.node, &a.key, NULL) == 0);
    for (int i = 0; i < 100; i++, now += 10 * SEC) {
        double at[4];

        at[0] = thread_ns();
        wireguard_initiate(a.peer, now);
        at[1] = thread_ns();
        must(carry(&a, &b, now) == 0);
        at[2] = thread_ns();
        must(carry(&b, &a, now) == 0);
        at[3] = thread_ns();
        must(carry(&a, &b, now) == 0);
        initiate = MIN(initiate, at[1] - at[0]);
        respond = MIN(respond, at[2] - at[1]);
        complete = MIN(complete, at[3] - at[2]);
    }
    now -= 10 * SEC;
    printf("handshake: initiate %.0f us, respond %.0f us, complete %.0f us\n", initiate / 1e3, respond / 1e3,
           complete / 1e3);
    packets(&a, &b, 64, now);
    packets(&a, &b, 1280, now);
    for (int i = 0; i < NODES; i++) {
        struct wireguard_node *n;
        struct secret_key k;

        secret_key_generate(&k);
        must(wireguard_node_new(&n, b.w, &k, NULL) == 0);
    }
    for (int i = 0; i < 50; i++, now += SEC) {
        double start = thread_ns();

        memcpy(a.last, junk, sizeof(junk));
        a.last_len = sizeof(junk);
        must(carry(&a, &b, now) == WIREGUARD_E_NO_NODE);
        search = MIN(search, thread_ns() - start);
    }
    printf("search among %d nodes in vain: %.0f us\n", NODES, search / 1e3);
    return 0;
}
