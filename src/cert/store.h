/* cert/store.h - certificates from files that change while we run (part of cert.h)
 *
 * The store watches the files: a pair that changed is read again as soon as it has been quiet for
 * CERT_SETTLE, checked as a pair, and replaces the old one; if it is not usable the old one stays and
 * cert_entry_trouble says why. What counts as a change: the file is written, replaced by rename, or any
 * symlink on the way to it is exchanged (as Kubernetes and certbot do). A file that is missing at the start
 * may come later.
 *
 * Entries with the same two paths are one. Before a certificate ends the store warns once, CERT_WARN_BEFORE
 * ahead, and once when it has ended.
 *
 * Thread: the loop's.  Cost: one inotify descriptor, only while there are entries, and one timer for each;
 * nothing runs unless a file in a watched folder changes.
 */
#ifndef MANYTAILS_CERT_STORE_H
#define MANYTAILS_CERT_STORE_H

#include "cert/cert.h"
#include "ev/ev.h"

#define CERT_SETTLE (500 * MSEC)  /* after the last change: certificate and key come one after the other */
#define CERT_SETTLE_MAX (5 * SEC) /* after the first one, however busy the folder is */
#define CERT_SPOTS_MAX 40         /* names on the way to the two files that are watched */
#define CERT_LINKS_MAX 20         /* symlinks on the way to one file */
#define CERT_ENTRIES_MAX 16384

struct cert_store;
struct cert_entry;

NODISCARD int cert_store_new(struct cert_store **out, struct ev_loop *loop);
void cert_store_free(struct cert_store *s); /* no entry is left */

/* The pair, read now. `why` as with cert_load. may_wait: a file that is not there is no failure, the entry
 * has no identity until it comes. 0, CERT_E_*, -ENOMEM, -ENOSPC (CERT_ENTRIES_MAX). */
NODISCARD int cert_store_get(struct cert_store *s, const char *cert_file, const char *key_file, bool may_wait,
                             struct cert_entry **out, char why[CERT_WHY_BYTES]);
void cert_store_put(struct cert_entry *e); /* NULL is fine */

/* Borrowed until the next turn of the loop; NULL: its files are still missing. */
struct tls_identity *cert_entry_identity(const struct cert_entry *e);
int64_t cert_entry_not_after(const struct cert_entry *e); /* wall clock; 0: no identity */
/* A sentence for the status: "certificate file changed, reload failed: ..."; "" if all is well. */
const char *cert_entry_trouble(const struct cert_entry *e);

#endif
