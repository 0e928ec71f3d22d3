/* Keys of session tickets (RFC 5077, RFC 8446 4.6.1), one set for all streams of a tls_server
 *
 * A server keeps no sessions: the client brings its own back, sealed with a key that only we have. All
 * shards of the process share the keys, so it does not matter which one the client comes to next. A key seals
 * for TLS_TICKET_KEY_LIFE and opens for as long again; then it is gone, and with it what was sealed. It is
 * made when it is needed, not by a timer.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "crypto/crypto.h"
#include "ev/ev.h"
#include "tls/internal.h"

static void make_key(struct tls_ticket_key *k, int64_t now)
{
    random_bytes(k->name, sizeof(k->name));
    random_bytes(k->cipher, sizeof(k->cipher));
    random_bytes(k->mac, sizeof(k->mac));
    k->made = now;
}

static bool within(const struct tls_ticket_key *k, int64_t now, int64_t life)
{
    return k->made && now >= k->made && now - k->made < life; /* a clock that was set back spoils it */
}

void tls_tickets_seal_with(struct tls_tickets *t, int64_t now, struct tls_ticket_key *out)
{
    pthread_mutex_lock(&t->lock);
    if (!within(&t->keys[0], now, TLS_TICKET_KEY_LIFE)) {
        t->keys[1] = t->keys[0];
        make_key(&t->keys[0], now);
    }
    *out = t->keys[0];
    pthread_mutex_unlock(&t->lock);
}

bool tls_tickets_find(struct tls_tickets *t, const uint8_t name[16], int64_t now, struct tls_ticket_key *out,
                      bool *old)
{
    bool found = false;

    pthread_mutex_lock(&t->lock);
    for (size_t i = 0; i < COUNT_OF(t->keys) && !found; i++)
        if (within(&t->keys[i], now, 2 * TLS_TICKET_KEY_LIFE) &&
            memcmp(t->keys[i].name, name, sizeof(t->keys[i].name)) == 0) {
            *out = t->keys[i];
            *old = i > 0 || !within(&t->keys[i], now, TLS_TICKET_KEY_LIFE);
            found = true;
        }
    pthread_mutex_unlock(&t->lock);
    return found;
}

static bool begin(const struct tls_ticket_key *k, uint8_t *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                  bool seal)
{
    OSSL_PARAM params[] = { OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac,
                                                              sizeof(k->mac)),
                            OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
                            OSSL_PARAM_construct_end() };

    return EVP_MAC_CTX_set_params(mac, params) == 1 &&
           EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, seal) == 1;
}

/* OpenSSL's convention: -1 failure, 0 not our ticket, 1 fine, 2 fine and give the client a new one. */
static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int seal)
{
    struct tls_tickets *t = &tls_stream_of(ssl)->server->tickets;
    struct tls_ticket_key key;
    bool old = false, fine;

    if (seal) {
        tls_tickets_seal_with(t, ev_wall_clock(), &key);
        memcpy(name, key.name, sizeof(key.name));
        random_bytes(iv, (size_t)EVP_CIPHER_get_iv_length(EVP_aes_256_cbc()));
    } else if (!tls_tickets_find(t, name, ev_wall_clock(), &key, &old)) {
        return 0;
    }
    fine = begin(&key, iv, cipher, mac, seal);
    explicit_bzero(&key, sizeof(key));
    return !fine ? -1 : old ? 2 : 1;
}

bool tls_tickets_init(struct tls_tickets *t, SSL_CTX *ctx)
{
    if (pthread_mutex_init(&t->lock, NULL))
        return false;
    SSL_CTX_set_timeout(ctx, (long)(TLS_TICKET_KEY_LIFE / SEC));
    return SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket) == 1;
}

void tls_tickets_deinit(struct tls_tickets *t)
{
    explicit_bzero(t->keys, sizeof(t->keys));
    pthread_mutex_destroy(&t->lock);
}
