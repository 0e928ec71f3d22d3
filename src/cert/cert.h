/* cert/cert.h - certificates for TLS listeners, from files
 *
 * A chain and its key are read and checked as a pair, so that a reload either succeeds or changes nothing.
 * Connections that exist keep what they began with; whoever owns the listener gives the identity to
 * tls_server_stream for each new connection. store.h reads them again by itself when they change.
 *
 * Thread: the caller's; the identity may be shared by all threads.
 * Memory: one identity (parsed chain and key), two file names.
 */
#ifndef MANYTAILS_CERT_CERT_H
#define MANYTAILS_CERT_CERT_H

#include "base/base.h"
#include "tls/tls.h"

#define CERT_FILE_BYTES_MAX (256u << 10)
#define CERT_WHY_BYTES 400
#define CERT_WARN_BEFORE (14 * 24 * HOUR) /* how long before its end a certificate is worth a warning */

enum cert_outcome {
    CERT_E_FILE = 1, /* missing, unreadable, too large, or no certificate in PEM form */
    CERT_E_KEY,      /* the key file holds no usable key */
    CERT_E_MISMATCH, /* the key does not belong to the certificate */
};

struct cert; /* opaque */

/* `why` gets a sentence that names the file, on failure; on success it is empty, or a warning (expired, not
 * yet valid, ends soon). 0, CERT_E_*, -ENOMEM. */
NODISCARD int cert_load(struct cert **out, const char *cert_file, const char *key_file, int64_t wall_now,
                        char why[CERT_WHY_BYTES]);
/* Reads the files again. Unless it returns 0, the old certificate stays. */
NODISCARD int cert_reload(struct cert *c, int64_t wall_now, char why[CERT_WHY_BYTES]);
void cert_free(struct cert *c); /* NULL is fine */

/* Expired, not yet valid, or ends soon: then `why` has the sentence. */
bool cert_warning(const struct cert *c, int64_t wall_now, char why[CERT_WHY_BYTES]);
/* Borrowed, until the next cert_reload or cert_free. */
struct tls_identity *cert_identity(const struct cert *c);
/* End of validity, wall clock. */
int64_t cert_not_after(const struct cert *c);

#include "cert/store.h"

#endif
