/* A certificate chain and its key, checked as a pair */
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tls/internal.h"

/* Never asks on a terminal. */
static int no_password(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return -1;
}

static BIO *open_pem(struct span pem)
{
    return pem.len <= INT32_MAX ? BIO_new_mem_buf(pem.len ? (const void *)pem.data : "", (int)pem.len) : NULL;
}

static int read_chain(struct tls_identity *i, struct span pem, char why[TLS_WHY_BYTES])
{
    BIO *bio = open_pem(pem);
    X509 *cert;

    if (!bio)
        return -ENOMEM;
    i->leaf = PEM_read_bio_X509(bio, NULL, no_password, NULL);
    i->chain = sk_X509_new_null();
    if (!i->leaf || !i->chain) {
        BIO_free(bio);
        tls_why(why, "no certificate in PEM form");
        return TLS_E_FILE;
    }
    while ((cert = PEM_read_bio_X509(bio, NULL, no_password, NULL)))
        if (!sk_X509_push(i->chain, cert)) {
            X509_free(cert);
            BIO_free(bio);
            return -ENOMEM;
        }
    BIO_free(bio);
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE) {
        tls_why(why, "a certificate of the chain is damaged");
        return TLS_E_FILE;
    }
    ERR_clear_error(); /* "no start line" is how the list ends */
    return 0;
}

/* The key is not the leaf's: most often somebody has put the authority's certificate first. */
static int mismatch(const struct tls_identity *i, char why[TLS_WHY_BYTES])
{
    int r = TLS_E_MISMATCH;

    for (int n = 0; n < sk_X509_num(i->chain); n++)
        if (X509_check_private_key(sk_X509_value(i->chain, n), i->key) == 1)
            r = TLS_E_ORDER;
    ERR_clear_error();
    snprintf(why, TLS_WHY_BYTES,
             r == TLS_E_ORDER
                 ? "the server's own certificate has to come first: the key belongs to a later one"
                 : "the key does not belong to the certificate");
    return r;
}

static int read_key(struct tls_identity *i, struct span pem, char why[TLS_WHY_BYTES])
{
    BIO *bio = open_pem(pem);

    if (!bio)
        return -ENOMEM;
    i->key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    BIO_free(bio);
    if (!i->key) {
        tls_why(why, "no private key in PEM form that can be used without a password");
        return TLS_E_KEY;
    }
    return X509_check_private_key(i->leaf, i->key) == 1 ? 0 : mismatch(i, why);
}

int tls_identity_new(struct tls_identity **out, struct span chain_pem, struct span key_pem,
                     char why[TLS_WHY_BYTES])
{
    struct tls_identity *i = calloc(1, sizeof(*i));
    int r;

    why[0] = '\0';
    if (!i)
        return -ENOMEM;
    atomic_init(&i->refs, 1);
    ERR_clear_error();
    r = read_chain(i, chain_pem, why);
    if (!r)
        r = read_key(i, key_pem, why);
    if (r) {
        tls_identity_unref(i);
        return r;
    }
    *out = i;
    return 0;
}

struct tls_identity *tls_identity_ref(struct tls_identity *i)
{
    atomic_fetch_add_explicit(&i->refs, 1, memory_order_relaxed);
    return i;
}

void tls_identity_unref(struct tls_identity *i)
{
    if (!i || atomic_fetch_sub_explicit(&i->refs, 1, memory_order_acq_rel) != 1)
        return;
    X509_free(i->leaf);
    EVP_PKEY_free(i->key);
    sk_X509_pop_free(i->chain, X509_free);
    free(i);
}

static int64_t wall_of(const ASN1_TIME *t)
{
    struct tm tm;

    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) * SEC : 0;
}

int64_t tls_identity_not_before(const struct tls_identity *i)
{
    return wall_of(X509_get0_notBefore(i->leaf));
}

int64_t tls_identity_not_after(const struct tls_identity *i)
{
    return wall_of(X509_get0_notAfter(i->leaf));
}

bool tls_identity_covers(const struct tls_identity *i, const char *name)
{
    struct ip ip;

    if (ip_parse(span_from_str(name), &ip))
        return X509_check_ip_asc(i->leaf, name, 0) == 1;
    return X509_check_host(i->leaf, name, 0,
                           X509_CHECK_FLAG_NEVER_CHECK_SUBJECT | X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
                           NULL) == 1;
}

static bool first_dns_name(X509 *cert, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; !found && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type == GEN_DNS)
            found = text_copy(out, size,
                              span_make(ASN1_STRING_get0_data(name->d.dNSName),
                                        (size_t)ASN1_STRING_length(name->d.dNSName)));
    }
    GENERAL_NAMES_free(names);
    return found;
}

const char *tls_identity_name(const struct tls_identity *i, char out[TLS_NAME_BYTES_MAX + 1])
{
    out[0] = '\0';
    if (!first_dns_name(i->leaf, out, TLS_NAME_BYTES_MAX + 1) &&
        X509_NAME_get_text_by_NID(X509_get_subject_name(i->leaf), NID_commonName, out,
                                  TLS_NAME_BYTES_MAX + 1) < 0)
        out[0] = '\0';
    return out;
}
