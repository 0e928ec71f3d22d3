/* cert/cert.h - certificates for TLS listeners, from files
 *
 * A chain and its key are read and checked as a pair, so that a reload either succeeds or changes nothing.
 * Connections that exist keep what they began with. Whoever owns the listener decides when to reload.
 *
 * Thread: the loop's.  Memory: one OpenSSL context per certificate, shared by all its connections.
 */
#ifndef MANYTAILS_CERT_CERT_H
#define MANYTAILS_CERT_CERT_H

#include "base/base.h"

#define CERT_FILE_BYTES_MAX (256u << 10)
#define CERT_WHY_BYTES 300

enum cert_outcome {
    CERT_E_FILE = 1, /* missing, unreadable, too large, or not PEM */
    CERT_E_MISMATCH, /* the key does not belong to the certificate */
    CERT_E_KEY,      /* the key file holds no usable key */
};

struct cert; /* opaque, reference counted */

/* `why` gets a sentence with the file's name, on failure; on success it is empty, or a warning (expired, not
 * yet valid, expires within 14 days). -ENOMEM. */
NODISCARD int cert_load(struct cert **out, const char *cert_file, const char *key_file, int64_t wall_now,
                        char why[CERT_WHY_BYTES]);
/* Reads the files again. Unless it returns 0, the old certificate stays. */
NODISCARD int cert_reload(struct cert *c, int64_t wall_now, char why[CERT_WHY_BYTES]);
void cert_free(struct cert *c);

/* Wall-clock ends of validity of the leaf. */
int64_t cert_not_after(const struct cert *c);
/* Does the leaf name this host (subjectAltName, wildcards as RFC 6125 6.4.3)? */
bool cert_covers(const struct cert *c, const char *host);

#endif
