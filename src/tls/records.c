#include "tls/records.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/crypto.h"
#include "metrics/metrics.h"

#define TAG_BYTES 16
#define UPDATE_AFTER (1u << 23) /* records with one key; AES-GCM allows 2^24.5 (RFC 8446 5.5) */
#define KEY_UPDATE 24           /* handshake messages */
#define NEW_SESSION_TICKET 4

static const struct suite {
    uint16_t id;
    uint8_t key_bytes, secret_bytes;
    const char *cipher; /* NULL: ChaCha20-Poly1305, which crypto/ has */
} suites[] = {
    { 0x1301, 16, 32, "AES-128-GCM" },
    { 0x1302, 32, 48, "AES-256-GCM" },
    { 0x1303, 32, 32, NULL },
};

static const struct suite *suite_of(uint16_t id)
{
    for (size_t i = 0; i < COUNT_OF(suites); i++)
        if (suites[i].id == id)
            return &suites[i];
    return NULL;
}

size_t records_secret_bytes(uint16_t suite)
{
    const struct suite *s = suite_of(suite);

    return s ? s->secret_bytes : 0;
}

/* ---- keys ------------------------------------------------------------------- */

/* HKDF-Expand-Label (RFC 8446 7.1) with an empty context; len is at most one hash. */
static void expand(const struct suite *s, const uint8_t *secret, const char *label, uint8_t *out, size_t len)
{
    uint8_t info[64], block[EVP_MAX_MD_SIZE];
    struct writer w = writer_of(info, sizeof(info));
    unsigned block_len = 0;

    writer_be16(&w, (uint16_t)len);
    writer_u8(&w, (uint8_t)(6 + strlen(label)));
    writer_bytes(&w, span_from_str("tls13 "));
    writer_bytes(&w, span_from_str(label));
    writer_u8(&w, 0);
    writer_u8(&w, 1); /* the only block of HKDF-Expand */
    must(!w.failed &&
         HMAC(s->secret_bytes == 48 ? EVP_sha384() : EVP_sha256(), secret, s->secret_bytes, info, w.at, block,
              &block_len) &&
         len <= block_len);
    memcpy(out, block, len);
    wipe(block, sizeof(block));
}

static void set_secret(const struct suite *s, struct record_direction *d, const uint8_t *secret,
                       uint64_t sequence)
{
    memcpy(d->secret, secret, s->secret_bytes);
    expand(s, d->secret, "key", d->key, s->key_bytes);
    expand(s, d->secret, "iv", d->iv, sizeof(d->iv));
    d->sequence = sequence;
}

static void renew(const struct suite *s, struct record_direction *d)
{
    uint8_t next[RECORD_SECRET_BYTES_MAX];

    expand(s, d->secret, "traffic upd", next, s->secret_bytes);
    set_secret(s, d, next, 0);
    wipe(next, sizeof(next));
}

bool records_init(struct records *r, uint16_t suite, const uint8_t *in_secret, const uint8_t *out_secret,
                  uint64_t in_sequence, uint64_t out_sequence)
{
    const struct suite *s = suite_of(suite);

    if (!s)
        return false;
    *r = (struct records) { .suite = (uint8_t)(s - suites) };
    set_secret(s, &r->in, in_secret, in_sequence);
    set_secret(s, &r->out, out_secret, out_sequence);
    return true;
}

void records_wipe(struct records *r)
{
    wipe(r, sizeof(*r));
}

/* ---- ciphers ------------------------------------------------------------------ */

struct contexts {
    EVP_CIPHER_CTX *seal[COUNT_OF(suites)], *open[COUNT_OF(suites)];
};

/* One set per thread, as in crypto/aead.c and for its reasons: no state between calls but the last key. */
static _Thread_local struct contexts *contexts;

static EVP_CIPHER_CTX *context(uint8_t suite, bool seal)
{
    EVP_CIPHER_CTX **ctx;
    EVP_CIPHER *cipher;

    if (!contexts) {
        contexts = calloc(1, sizeof(*contexts));
        must(contexts);
    }
    ctx = seal ? &contexts->seal[suite] : &contexts->open[suite];
    if (!*ctx) {
        cipher =
            EVP_CIPHER_fetch(NULL, suites[suite].cipher, NULL); /* the handshake has used it: it is there */
        *ctx = EVP_CIPHER_CTX_new();
        must(cipher && *ctx && EVP_CipherInit_ex2(*ctx, cipher, NULL, NULL, seal, NULL) == 1);
        EVP_CIPHER_free(cipher);
    }
    return *ctx;
}

void tls_records_thread_end(void)
{
    for (size_t i = 0; contexts && i < COUNT_OF(suites); i++) {
        EVP_CIPHER_CTX_free(contexts->seal[i]);
        EVP_CIPHER_CTX_free(contexts->open[i]);
    }
    free(contexts);
    contexts = NULL;
}

static void make_nonce(const struct record_direction *d, uint8_t nonce[12])
{
    memcpy(nonce, d->iv, 12);
    for (int i = 0; i < 8; i++)
        nonce[4 + i] ^= (uint8_t)(d->sequence >> (56 - 8 * i));
}

/* plain and the type behind it, to text, with the tag; plain may lie there already. */
static void seal_text(const struct records *r, const uint8_t *nonce, const uint8_t *header, struct span plain,
                      uint8_t type, uint8_t *text)
{
    EVP_CIPHER_CTX *ctx;
    int n = 0;

    if (!suites[r->suite].cipher) {
        if (plain.len)
            memmove(text, plain.data, plain.len);
        text[plain.len] = type;
        aead_seal(text, span_make(text, plain.len + 1), span_make(header, RECORD_HEADER_BYTES), nonce,
                  r->out.key);
        return;
    }
    ctx = context(r->suite, true);
    must(EVP_EncryptInit_ex2(ctx, NULL, r->out.key, nonce, NULL) == 1 &&
         EVP_EncryptUpdate(ctx, NULL, &n, header, RECORD_HEADER_BYTES) == 1);
    if (plain.len)
        must(EVP_EncryptUpdate(ctx, text, &n, plain.data, (int)plain.len) == 1);
    must(EVP_EncryptUpdate(ctx, text + plain.len, &n, &type, 1) == 1 &&
         EVP_EncryptFinal_ex(ctx, text + plain.len + 1, &n) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, text + plain.len + 1) == 1);
}

static bool open_sealed(const struct records *r, const uint8_t *nonce, const uint8_t *header,
                        struct span sealed, uint8_t *out)
{
    size_t len = sealed.len - TAG_BYTES;
    EVP_CIPHER_CTX *ctx;
    uint8_t tag[TAG_BYTES];
    int n = 0;

    if (!suites[r->suite].cipher)
        return aead_open(out, sealed, span_make(header, RECORD_HEADER_BYTES), nonce, r->in.key);
    memcpy(tag, sealed.data + len, TAG_BYTES);
    ctx = context(r->suite, false);
    must(EVP_DecryptInit_ex2(ctx, NULL, r->in.key, nonce, NULL) == 1 &&
         EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1 &&
         EVP_DecryptUpdate(ctx, NULL, &n, header, RECORD_HEADER_BYTES) == 1 &&
         EVP_DecryptUpdate(ctx, out, &n, sealed.data, (int)len) == 1);
    return EVP_DecryptFinal_ex(ctx, out + n, &n) == 1;
}

/* ---- records -------------------------------------------------------------------- */

int records_measure(struct span bytes, size_t *len)
{
    size_t body;

    if (bytes.len < RECORD_HEADER_BYTES)
        return RECORD_E_MORE;
    body = load_be16(bytes.data + 3);
    /* Everything after the handshake is encrypted, and so has the outer type "data". */
    if (bytes.data[0] != RECORD_DATA || body < 1 + TAG_BYTES || body > RECORD_BYTES_MAX - RECORD_HEADER_BYTES)
        return RECORD_E_BAD;
    *len = RECORD_HEADER_BYTES + body;
    return bytes.len < *len ? RECORD_E_MORE : 0;
}

int records_open(struct records *r, struct span record, uint8_t *out, uint8_t *type, size_t *plain)
{
    struct span sealed = span_slice(record, RECORD_HEADER_BYTES, record.len);
    uint8_t nonce[12];
    size_t len;

    make_nonce(&r->in, nonce);
    if (sealed.len < 1 + TAG_BYTES || !open_sealed(r, nonce, record.data, sealed, out))
        return RECORD_E_BAD;
    r->in.sequence++;
    account_count(ACCOUNT_TLS, ACCOUNT_IN, 1, 0);
    len = sealed.len - TAG_BYTES;
    while (len && !out[len - 1]) /* padding */
        len--;
    if (!len || len - 1 > RECORD_PLAIN_BYTES_MAX)
        return RECORD_E_BAD;
    *type = out[len - 1];
    *plain = len - 1;
    return 0;
}

static int on_alert(struct records *r, struct span content)
{
    if (content.len != 2)
        return RECORD_E_BAD;
    if (content.data[1] == 0)
        return RECORD_E_END;
    if (content.data[1] == 90) /* user_canceled: close_notify follows */
        return 0;
    r->alert = content.data[1];
    return RECORD_E_ALERT;
}

/* A key update is the last message of its record, and whole (RFC 8446 5.1). */
static int on_key_update(struct records *r, struct span message, struct span rest)
{
    if (message.len != 1 || message.data[0] > 1 || rest.len)
        return RECORD_E_BAD;
    renew(&suites[r->suite], &r->in);
    r->update_owed |= message.data[0] == 1;
    return 0;
}

static int on_handshake(struct records *r, struct span content)
{
    size_t n = MIN((size_t)r->skip, content.len);
    struct reader in = reader_of(span_slice(content, n, content.len));

    r->skip -= (uint32_t)n;
    while (in.rest.len) {
        uint32_t head = reader_be32(&in), len = head & 0xffffff;

        if (in.failed)
            return RECORD_E_BAD;
        if (head >> 24 == KEY_UPDATE) {
            struct span message = reader_bytes(&in, len);

            return in.failed ? RECORD_E_BAD : on_key_update(r, message, in.rest);
        }
        if (head >> 24 != NEW_SESSION_TICKET || len > 1u << 16)
            return RECORD_E_BAD; /* nothing else was offered */
        n = MIN((size_t)len, in.rest.len);
        reader_bytes(&in, n);
        r->skip = len - (uint32_t)n;
    }
    return 0;
}

int records_control(struct records *r, uint8_t type, struct span content)
{
    if (r->skip && type != RECORD_HANDSHAKE)
        return RECORD_E_BAD; /* a message must not be interrupted */
    if (!content.len)
        return RECORD_E_BAD; /* only data may be empty */
    if (type == RECORD_ALERT)
        return on_alert(r, content);
    return type == RECORD_HANDSHAKE ? on_handshake(r, content) : RECORD_E_BAD;
}

size_t records_seal(struct records *r, enum record_type type, struct span plain, uint8_t *out)
{
    size_t body = plain.len + 1 + TAG_BYTES;
    uint8_t nonce[12];

    must(plain.len <= RECORD_PLAIN_BYTES_MAX);
    out[0] = RECORD_DATA;
    out[1] = out[2] = 3;
    store_be16(out + 3, (uint16_t)body);
    make_nonce(&r->out, nonce);
    seal_text(r, nonce, out, plain, (uint8_t)type, out + RECORD_HEADER_BYTES);
    r->out.sequence++;
    account_count(ACCOUNT_TLS, ACCOUNT_OUT, 1, 0);
    return RECORD_HEADER_BYTES + body;
}

bool records_update_due(const struct records *r)
{
    return r->update_owed || r->out.sequence >= UPDATE_AFTER;
}

size_t records_update(struct records *r, uint8_t *out)
{
    static const uint8_t message[5] = { KEY_UPDATE, 0, 0, 1, 0 }; /* not requested in turn */
    size_t n = records_seal(r, RECORD_HANDSHAKE, SPAN_OF(message), out);

    renew(&suites[r->suite], &r->out);
    r->update_owed = false;
    return n;
}
