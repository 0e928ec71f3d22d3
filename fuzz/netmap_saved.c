/* fuzz/netmap_saved.c - any bytes as a saved netmap; and, because of its hash, any map inside a good envelope
 */
#include "netmap/netmap.h"

#include <xxhash.h>

static void load(struct netmap_store *s, struct span saved)
{
    struct netmap *n, *again;
    struct buf b, b2;
    int e;

    must(netmap_new(&n, s) == 0);
    e = netmap_load(n, saved);
    must(e == 0 || e == NETMAP_E_DAMAGED);
    must(!e == !!netmap_self(n));
    buf_init(&b, NETMAP_SAVED_BYTES_MAX);
    buf_init(&b2, NETMAP_SAVED_BYTES_MAX);
    if (!e) { /* what we write ourselves is stable */
        must(netmap_save(n, &b) == 0);
        must(netmap_new(&again, s) == 0 && netmap_load(again, buf_span(&b)) == 0);
        must(netmap_save(again, &b2) == 0 && span_equal(buf_span(&b), buf_span(&b2)));
        netmap_free(again);
    }
    buf_deinit(&b);
    buf_deinit(&b2);
    netmap_free(n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const uint8_t key[16] = "not random here";
    struct netmap_store *s;
    struct buf b;

    must(netmap_store_new(&s, key) == 0);
    load(s, span_make(data, len));
    buf_init(&b, len + 100);
    must(buf_printf(
             &b, "{\"Saved\":1,\"Hash\":\"%016llx\",\"Map\":", (unsigned long long)XXH64(data, len, 0)) == 0);
    must(buf_append(&b, span_make(data, len)) == 0 && buf_append_str(&b, "}") == 0);
    load(s, buf_span(&b));
    buf_deinit(&b);
    netmap_store_free(s);
    return 0;
}
