/* A certificate made on the spot, for servers whose clients are told its hash beforehand ("sha256-raw:") */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "crypto/crypto.h"
#include "tls/internal.h"

#define BACKDATED 3600L /* seconds: clocks differ */
#define LASTS (3650L * 24 * 3600)

static bool add_alt_name(X509 *cert, const char *name)
{
    char value[TLS_NAME_BYTES_MAX + 8];
    struct ip ip;
    X509_EXTENSION *e;
    bool done;

    snprintf(value, sizeof(value), "%s:%s", ip_parse(span_from_str(name), &ip) ? "IP" : "DNS", name);
    e = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, value);
    done = e && X509_add_ext(cert, e, -1) == 1;
    X509_EXTENSION_free(e);
    return done;
}

static bool fill(X509 *cert, EVP_PKEY *key, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(cert);
    uint32_t serial;

    random_bytes(&serial, sizeof(serial));
    return X509_set_version(cert, 2) == 1 &&
           ASN1_INTEGER_set(X509_get_serialNumber(cert), (long)(serial & INT32_MAX) | 1) == 1 &&
           X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATED) &&
           X509_gmtime_adj(X509_getm_notAfter(cert), LASTS) && X509_set_pubkey(cert, key) == 1 &&
           X509_NAME_add_entry_by_NID(subject, NID_commonName, MBSTRING_ASC, (const unsigned char *)name, -1,
                                      -1, 0) == 1 &&
           X509_set_issuer_name(cert, subject) == 1 && add_alt_name(cert, name) &&
           X509_sign(cert, key, EVP_sha256()) > 0;
}

int tls_identity_self_signed(struct tls_identity **out, const char *name, char pin[TLS_PIN_BYTES])
{
    struct tls_identity *i;
    uint8_t hash[32];
    unsigned len = sizeof(hash);
    char hex[2 * sizeof(hash) + 1];

    if (!*name || strlen(name) > 64) /* X.520's limit for a common name */
        return -EINVAL;
    i = calloc(1, sizeof(*i));
    if (!i)
        return -ENOMEM;
    atomic_init(&i->refs, 1);
    i->leaf = X509_new();
    i->key = EVP_EC_gen("P-256");
    i->chain = sk_X509_new_null();
    if (!i->leaf || !i->key || !i->chain || !fill(i->leaf, i->key, name) ||
        X509_digest(i->leaf, EVP_sha256(), hash, &len) != 1) {
        ERR_clear_error();
        tls_identity_unref(i);
        return -ENOMEM;
    }
    hex_encode(hex, SPAN_OF(hash));
    snprintf(pin, TLS_PIN_BYTES, "sha256-raw:%s", hex);
    *out = i;
    return 0;
}
