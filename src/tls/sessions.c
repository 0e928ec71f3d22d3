/* The sessions a client context remembers: the newest ticket per server and way of verifying.
 *
 * A stream remembers where its ticket belongs as slot and generation, so a slot that went to another
 * server in the meantime takes nothing from it. Shared by threads, hence the lock; it is taken twice
 * a connection.
 */
#include <stdlib.h>

#include "tls/internal.h"

#define SLOT_BITS 5
static_assert(TLS_SESSIONS_MAX <= 1 << SLOT_BITS, "the slot has to fit its bits");

static void slot_clear(struct tls_session_slot *slot)
{
    SSL_SESSION_free(slot->session);
    free(slot->key);
    *slot = (struct tls_session_slot) { .generation = slot->generation + 1 };
}

/* The slot with this key, else one made free for it; NULL: memory. */
static struct tls_session_slot *slot_for(struct tls_client *c, const char *key)
{
    struct tls_session_slot *oldest = &c->sessions[0];

    for (size_t i = 0; i < TLS_SESSIONS_MAX; i++) {
        struct tls_session_slot *slot = &c->sessions[i];

        if (slot->key && strcmp(slot->key, key) == 0)
            return slot;
        if (slot->used < oldest->used)
            oldest = slot;
    }
    slot_clear(oldest);
    oldest->key = text_dup(span_from_str(key));
    return oldest->key ? oldest : NULL;
}

void tls_sessions_find(struct tls_client *c, struct tls_stream *t, const char *key)
{
    struct tls_session_slot *slot;

    if (!CRYPTO_THREAD_write_lock(c->lock))
        return;
    slot = slot_for(c, key);
    if (slot) {
        slot->used = ++c->uses;
        t->session_key = slot->generation << SLOT_BITS | (uint32_t)(slot - c->sessions);
        if (slot->session && SSL_SESSION_is_resumable(slot->session))
            SSL_set_session(t->ssl, slot->session);
    }
    CRYPTO_THREAD_unlock(c->lock);
}

int tls_sessions_keep(SSL *ssl, SSL_SESSION *session)
{
    struct tls_stream *t = tls_stream_of(ssl);
    struct tls_client *c = t->client;
    struct tls_session_slot *slot;
    int kept = 0;

    t->ticket_seen = true;
    if (!c || !CRYPTO_THREAD_write_lock(c->lock))
        return 0;
    slot = &c->sessions[t->session_key & ((1u << SLOT_BITS) - 1)];
    if (slot->key && (slot->generation << SLOT_BITS) == (t->session_key & ~((1u << SLOT_BITS) - 1))) {
        SSL_SESSION_free(slot->session);
        slot->session = session;
        kept = 1;
    }
    CRYPTO_THREAD_unlock(c->lock);
    return kept;
}

void tls_sessions_free(struct tls_client *c)
{
    for (size_t i = 0; i < TLS_SESSIONS_MAX; i++)
        slot_clear(&c->sessions[i]);
}
