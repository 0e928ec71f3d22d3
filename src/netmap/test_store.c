#include "check.h"

#include "netmap/netmap.h"
#include "vectors/netmap_steps.h"

#include <pthread.h>

#define THREADS 4
#define ROUNDS 20

static struct netmap_store *store;

/* What a shard does with its nodes: apply, look up, look at what went. must() because cmocka is not for
 * threads. */
static void *shard(void *arg)
{
    struct netmap *n[3];
    const struct ip a = { { [10] = 0xff, 0xff, 100, 64, 0, 1 } };
    struct netmap_changes c;
    (void)arg;

    for (size_t i = 0; i < COUNT_OF(n); i++)
        must(netmap_new(&n[i], store) == 0);
    for (size_t step = 0; step < ROUNDS * COUNT_OF(netmap_steps); step++) {
        struct tailcfg_map_response r;
        size_t at = step % COUNT_OF(netmap_steps);

        must(tailcfg_map_response_parse(span_from_str(netmap_steps[at].message), &r) == 0);
        for (size_t i = 0; i < COUNT_OF(n); i++) {
            const struct netmap_peer *p;

            must(netmap_apply(n[i], &r, netmap_steps[at].first, 0, &c) == 0);
            p = netmap_peer_by_address(n[i], &a);
            must(!p || netmap_peer_has_address(p, &a));
            p = netmap_route(n[i], &a);
            must(!p || netmap_peer_by_id(n[i], p->node.id) == p);
            netmap_changes_release(&c);
        }
        must(netmap_peer_count(n[0]) == netmap_peer_count(n[2]));
        for (size_t i = 0; i < netmap_peer_count(n[0]); i++)
            must(netmap_peer_at(n[0], i) == netmap_peer_at(n[2], i));
        tailcfg_map_response_deinit(&r);
    }
    for (size_t i = 0; i < COUNT_OF(n); i++)
        netmap_free(n[i]);
    return NULL;
}

static void shards_share_one_store(void **state)
{
    (void)state;
    static const uint8_t key[16] = "sixteen bytes..";
    struct netmap_store_stats stats;
    pthread_t threads[THREADS];

    assert_int_equal(netmap_store_new(&store, key), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, shard, NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    netmap_store_stats(store, &stats);
    assert_int_equal(
        stats.peers + stats.peer_bytes + stats.users + stats.rules + stats.derp_maps + stats.text_bytes, 0);
    assert_true(stats.texts_known > stats.texts_parsed); /* mostly somebody had it before */
    netmap_store_free(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shards_share_one_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
