#include <errno.h>
#include <stdlib.h>

#include "relay/internal.h"

int relay_shard_new(struct relay_shard **out, struct ev_loop *loop, struct relay_pacer *pacer,
                    struct tls_client *tls, const struct stream_proxies *proxies)
{
    struct relay_shard *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->loop = loop;
    s->pacer = pacer;
    s->tls = tls ? tls_client_ref(tls) : NULL;
    s->proxies = proxies;
    list_init(&s->maps);
    random_bytes(s->hash_key, sizeof(s->hash_key));
    *out = s;
    return 0;
}

void relay_shard_free(struct relay_shard *s)
{
    if (!s)
        return;
    must(list_empty(&s->maps)); /* a node is still there */
    tls_client_unref(s->tls);
    free(s);
}
