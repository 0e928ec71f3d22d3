/* netmap/changes.c - what a message changed, peer by peer */
#include "netmap/view.h"

#include <errno.h>
#include <stdlib.h>

int changes_add(struct netmap_changes *c, struct stored_peer *old, struct stored_peer *new)
{
    if (c->count == c->cap) {
        size_t cap = c->cap ? c->cap * 2 : 8;
        struct netmap_change *bigger = realloc(c->peers, cap * sizeof(*bigger));

        if (!bigger)
            return err_trace(-ENOMEM);
        c->peers = bigger;
        c->cap = cap;
    }
    c->peers[c->count++] = (struct netmap_change) {
        .old = old ? &stored_peer_ref(old)->peer : NULL,
        .new = new ? &stored_peer_ref(new)->peer : NULL,
    };
    return 0;
}

void netmap_changes_release(struct netmap_changes *c)
{
    for (size_t i = 0; i < c->count; i++) {
        netmap_peer_unref(c->store, c->peers[i].old);
        netmap_peer_unref(c->store, c->peers[i].new);
    }
    netmap_peer_unref(c->store, c->old_self);
    free(c->peers);
    *c = (struct netmap_changes) { .store = c->store };
}
