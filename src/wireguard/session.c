/* Keypairs of a peer and how they follow each other. */
#include "wireguard/internal.h"

#include <errno.h>
#include <stdlib.h>

/* Without keys and remote index yet. The initiator takes over the index of its pending handshake
 * later; the responder gets one here. 0, WIREGUARD_E_FULL, -ENOMEM. */
int keypair_new(struct keypair **out, struct wireguard_peer *p, bool initiator, time_ns now)
{
    struct keypair *kp = calloc(1, sizeof(*kp));
    int r = 0;

    if (!kp)
        return err_trace(-ENOMEM);
    *kp = (struct keypair) { .peer = p, .initiator = initiator, .created = now };
    if (!initiator)
        r = index_alloc(&wireguard_of(p)->indices, INDEX_KEYPAIR, kp, now, &kp->local_index);
    if (r) {
        free(kp);
        return r;
    }
    *out = kp;
    return 0;
}

void keypair_free(struct keypair **kp, time_ns now)
{
    struct keypair *old = *kp;

    *kp = NULL;
    if (!old)
        return;
    index_release(&wireguard_of(old->peer)->indices, old->local_index, now); /* I1 */
    replay_deinit(&old->replay);
    wipe(old, sizeof(*old));
    free(old);
}

/* A new keypair of ours: as initiator we may send at once, for the response proves that the other side
 * has the key. As responder we wait until the initiator has used it. */
void session_install(struct wireguard_peer *p, struct keypair *kp, time_ns now)
{
    struct active *a = p->active;

    if (!kp->initiator) {
        keypair_free(&a->next, now);
        keypair_free(&a->previous, now);
        a->next = kp;
        return;
    }
    keypair_free(&a->previous, now);
    if (a->next) {
        a->previous = a->next;
        a->next = NULL;
        keypair_free(&a->current, now);
    } else {
        a->previous = a->current;
    }
    a->current = kp;
}

bool session_confirm(struct wireguard_peer *p, struct keypair *kp, time_ns now)
{
    struct active *a = p->active;

    if (kp != a->next)
        return false;
    keypair_free(&a->previous, now);
    a->previous = a->current;
    a->current = kp;
    a->next = NULL;
    return true;
}

void session_erase(struct wireguard_peer *p, time_ns now)
{
    keypair_free(&p->active->previous, now);
    keypair_free(&p->active->current, now);
    keypair_free(&p->active->next, now);
}

void pending_drop(struct wireguard_peer *p, time_ns now)
{
    struct active *a = p->active;

    if (!a->is_pending)
        return;
    index_release(&wireguard_of(p)->indices, a->pending_index, now); /* I1 */
    a->is_pending = false;
    wipe(&a->pending, sizeof(a->pending));
}

/* The key for that many packets more, or NULL. */
struct keypair *session_sending_key(const struct wireguard_peer *p, size_t packets, time_ns now)
{
    struct keypair *kp = p->active ? p->active->current : NULL;

    if (!kp || now - kp->created >= REJECT_AFTER_TIME || kp->send_counter > REPLAY_COUNTER_END - packets)
        return NULL;
    return kp;
}
