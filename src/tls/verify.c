/* Is this the server we meant, and if not: why, in words */
#include <errno.h>
#include <openssl/sha.h>
#include <stdio.h>

#include "tls/internal.h"

/* A relay appends a certificate that only carries its relay key; its name begins like this. */
#define META_NAME "derpkey"

static bool is_meta(X509 *cert)
{
    char name[sizeof(META_NAME)]; /* as much as matters */

    return X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, name, sizeof(name)) > 0 &&
           strcmp(name, META_NAME) == 0;
}

/* Its hash, its time and, if the name was sent, its name; no chain. X509_V_OK or what is wrong. */
static int pinned_fault(const struct tls_stream *t, X509 *cert)
{
    uint8_t hash[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    const char *sent = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);

    if (!X509_digest(cert, EVP_sha256(), hash, &len) || len != sizeof(t->pin) ||
        memcmp(hash, t->pin, sizeof(t->pin)) != 0)
        return X509_V_ERR_CERT_REJECTED;
    if (X509_cmp_current_time(X509_get0_notBefore(cert)) >= 0)
        return X509_V_ERR_CERT_NOT_YET_VALID;
    if (X509_cmp_current_time(X509_get0_notAfter(cert)) <= 0)
        return X509_V_ERR_CERT_HAS_EXPIRED;
    if (sent && X509_check_host(cert, sent, 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL) != 1)
        return X509_V_ERR_HOSTNAME_MISMATCH;
    return X509_V_OK;
}

/* Exactly one certificate counts. */
static int pin_fault(const struct tls_stream *t, STACK_OF(X509) * chain)
{
    X509 *only = NULL;

    for (int i = 0; i < sk_X509_num(chain); i++) {
        X509 *cert = sk_X509_value(chain, i);

        if (is_meta(cert))
            continue;
        if (only)
            return X509_V_ERR_CERT_REJECTED;
        only = cert;
    }
    return only ? pinned_fault(t, only) : X509_V_ERR_CERT_REJECTED;
}

int tls_verify(X509_STORE_CTX *x, void *arg)
{
    const SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
    const struct tls_stream *t = tls_stream_of(ssl);
    int fault;

    (void)arg;
    if (t->insecure) {
        X509_STORE_CTX_set_error(x, X509_V_OK);
        return 1;
    }
    if (!t->pinned)
        return X509_verify_cert(x);
    fault = pin_fault(t, X509_STORE_CTX_get0_untrusted(x));
    X509_STORE_CTX_set_error(x, fault);
    return fault == X509_V_OK;
}

bool tls_stream_key_in_chain(const struct stream *s, const char *prefix, uint8_t out[32])
{
    const struct tls_stream *t = CONTAINER_OF(s, struct tls_stream, base);
    size_t len = strlen(prefix);
    STACK_OF(X509) *chain =
        t->ssl && t->client && SSL_version(t->ssl) == TLS1_3_VERSION ? SSL_get_peer_cert_chain(t->ssl) : NULL;
    char name[128];

    for (int i = 0; chain && i < sk_X509_num(chain); i++) {
        X509_NAME *subject = X509_get_subject_name(sk_X509_value(chain, i));

        if (X509_NAME_get_text_by_NID(subject, NID_commonName, name, sizeof(name)) == (int)len + 64 &&
            strncmp(name, prefix, len) == 0)
            return hex_decode(span_from_str(name + len), out, 32);
    }
    return false;
}

/* ---- words ------------------------------------------------------------------- */

static void certificate_words(const struct tls_stream *t, long fault, char *out, size_t size)
{
    const char *name = t->name ? t->name : "the server";

    switch (fault) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        snprintf(out, size, "the certificate of %s has expired", name);
        return;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        snprintf(out, size, "the certificate of %s is not valid yet: is this host's clock right?", name);
        return;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        snprintf(out, size, "the certificate is not for %s", name);
        return;
    case X509_V_ERR_CERT_REJECTED:
        snprintf(out, size, "the certificate of %s is not the one that is pinned", name);
        return;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        snprintf(out, size,
                 "the certificate of %s is from an unknown authority: name its file in SSL_CERT_FILE", name);
        return;
    default:
        snprintf(out, size, "the certificate of %s was refused: %s", name,
                 X509_verify_cert_error_string(fault));
    }
}

void tls_words(const struct tls_stream *t, char *out, size_t size)
{
    int reason = ERR_GET_REASON(t->ssl_error);

    if (t->below_failed) {
        char words[STREAM_FAILURE_BYTES];

        snprintf(out, size, "%s", stream_failure(t->below, words));
    } else if (t->alert) {
        snprintf(out, size, "the other side ended it: %s", SSL_alert_desc_string_long(t->alert));
    } else if (t->damaged) {
        snprintf(out, size, "a TLS record was damaged on the way");
    } else if (t->below_ended) {
        snprintf(out, size, "%s",
                 t->connected ? "the connection was cut off"
                              : "the connection was closed during the TLS handshake");
    } else if (ERR_GET_LIB(t->ssl_error) != ERR_LIB_SSL) {
        snprintf(out, size, "%s", err_text(t->error ? t->error : -EPROTO));
    } else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        certificate_words(t, SSL_get_verify_result(t->ssl), out, size);
    } else if (reason == SSL_R_WRONG_VERSION_NUMBER || reason == SSL_R_HTTP_REQUEST ||
               reason == SSL_R_UNSUPPORTED_PROTOCOL) {
        snprintf(out, size, "the other side does not speak TLS 1.2 or 1.3 here");
    } else if (reason > SSL_AD_REASON_OFFSET && reason <= SSL_AD_REASON_OFFSET + 255) {
        snprintf(out, size, "the other side refused the TLS handshake: %s",
                 SSL_alert_desc_string_long(reason - SSL_AD_REASON_OFFSET));
    } else {
        const char *text = ERR_reason_error_string(t->ssl_error);

        snprintf(out, size, "TLS failed: %s", text ? text : "no reason given");
    }
}

enum tls_fault tls_stream_fault(const struct stream *s)
{
    const struct tls_stream *t = CONTAINER_OF((struct stream *)(uintptr_t)s, struct tls_stream, base);
    int reason = ERR_GET_REASON(t->ssl_error);

    if (t->below_failed || t->below_ended)
        return TLS_FAULT_LEFT;
    if (ERR_GET_LIB(t->ssl_error) != ERR_LIB_SSL)
        return TLS_FAULT_OTHER;
    if (reason > SSL_AD_REASON_OFFSET)
        return TLS_FAULT_REFUSED;
    switch (reason) {
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
        return TLS_FAULT_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
        return TLS_FAULT_NOTHING_COMMON;
    case SSL_R_HTTP_REQUEST:
    case SSL_R_HTTPS_PROXY_REQUEST:
    case SSL_R_WRONG_VERSION_NUMBER:
    case SSL_R_UNEXPECTED_MESSAGE:
    case SSL_R_BAD_RECORD_TYPE:
        return TLS_FAULT_NO_TLS;
    default:
        return TLS_FAULT_OTHER;
    }
}

void tls_why(char why[TLS_WHY_BYTES], const char *what)
{
    unsigned long error = ERR_peek_last_error();
    const char *reason = error ? ERR_reason_error_string(error) : NULL;

    snprintf(why, TLS_WHY_BYTES, "%s%s%s", what, reason ? ": " : "", reason ? reason : "");
    ERR_clear_error();
}
