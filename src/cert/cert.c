#include "cert/cert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct cert {
    struct tls_identity *identity;
    char *cert_file, *key_file;
};

static int refuse(char why[CERT_WHY_BYTES], const char *file, const char *sentence, int outcome)
{
    snprintf(why, CERT_WHY_BYTES, "%.150s: %.240s", file, sentence);
    return outcome;
}

/* One growth, so that no copy of a key stays behind in freed memory. */
static int read_all(int fd, size_t size, struct buf *out)
{
    struct mspan room;
    ssize_t n;
    int r = buf_reserve(out, MIN(size, (size_t)CERT_FILE_BYTES_MAX) + 4096, &room);

    if (r)
        return r;
    for (;;) {
        r = buf_reserve(out, 4096, &room);
        if (r)
            return r;
        n = read(fd, room.data, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        buf_commit(out, (size_t)n);
    }
}

static int read_file(const char *path, struct buf *out, char why[CERT_WHY_BYTES])
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe with no writer must not stop us */
    struct stat st;
    int r;

    if (fd < 0)
        return refuse(why, path, err_text(errno), CERT_E_FILE);
    r = fstat(fd, &st) < 0 ? -errno : S_ISDIR(st.st_mode) ? -EISDIR : read_all(fd, (size_t)st.st_size, out);
    close(fd);
    if (r == -ENOBUFS)
        return refuse(why, path, "larger than 256 KiB, this is no certificate or key", CERT_E_FILE);
    if (r == -ENOMEM)
        return r;
    return r ? refuse(why, path, err_text(r), CERT_E_FILE) : 0;
}

static int make_identity(const struct cert *c, struct span chain, struct span key, struct tls_identity **out,
                         char why[CERT_WHY_BYTES])
{
    char sentence[TLS_WHY_BYTES], mismatch[CERT_WHY_BYTES];
    int r = tls_identity_new(out, chain, key, sentence);

    switch (r) {
    case TLS_E_FILE:
        return refuse(why, c->cert_file, sentence, CERT_E_FILE);
    case TLS_E_KEY:
        return refuse(why, c->key_file, sentence, CERT_E_KEY);
    case TLS_E_ORDER:
        return refuse(why, c->cert_file, sentence, CERT_E_MISMATCH);
    case TLS_E_MISMATCH:
        snprintf(mismatch, sizeof(mismatch), "the key in %.150s does not belong to this certificate",
                 c->key_file);
        return refuse(why, c->cert_file, mismatch, CERT_E_MISMATCH);
    default:
        return r;
    }
}

bool cert_warning(const struct cert *c, int64_t now, char why[CERT_WHY_BYTES])
{
    int64_t from = tls_identity_not_before(c->identity), to = tls_identity_not_after(c->identity);
    char text[TIME_TEXT_BYTES], sentence[120];

    why[0] = '\0';
    if (now < from)
        snprintf(sentence, sizeof(sentence), "not valid before %s", time_text_rfc3339(from, text));
    else if (now >= to)
        snprintf(sentence, sizeof(sentence), "expired at %s", time_text_rfc3339(to, text));
    else if (to - now < CERT_WARN_BEFORE)
        snprintf(sentence, sizeof(sentence), "expires soon, at %s", time_text_rfc3339(to, text));
    else
        return false;
    (void)refuse(why, c->cert_file, sentence, 0);
    return true;
}

int cert_reload(struct cert *c, int64_t wall_now, char why[CERT_WHY_BYTES])
{
    struct tls_identity *identity = NULL;
    struct buf chain, key;
    int r;

    buf_init(&chain, CERT_FILE_BYTES_MAX + 4096);
    buf_init(&key, CERT_FILE_BYTES_MAX + 4096);
    r = read_file(c->cert_file, &chain, why);
    if (!r)
        r = read_file(c->key_file, &key, why);
    if (!r)
        r = make_identity(c, buf_span(&chain), buf_span(&key), &identity, why);
    if (key.data)
        explicit_bzero(key.data, key.cap);
    buf_deinit(&chain);
    buf_deinit(&key);
    if (r)
        return r;
    tls_identity_unref(c->identity);
    c->identity = identity;
    (void)cert_warning(c, wall_now, why);
    return 0;
}

int cert_load(struct cert **out, const char *cert_file, const char *key_file, int64_t wall_now,
              char why[CERT_WHY_BYTES])
{
    struct cert *c = calloc(1, sizeof(*c));
    int r = -ENOMEM;

    why[0] = '\0';
    if (!c)
        return -ENOMEM;
    c->cert_file = text_dup(span_from_str(cert_file));
    c->key_file = text_dup(span_from_str(key_file));
    if (c->cert_file && c->key_file)
        r = cert_reload(c, wall_now, why);
    if (r) {
        cert_free(c);
        return r;
    }
    *out = c;
    return 0;
}

void cert_free(struct cert *c)
{
    if (!c)
        return;
    tls_identity_unref(c->identity);
    free(c->cert_file);
    free(c->key_file);
    free(c);
}

struct tls_identity *cert_identity(const struct cert *c)
{
    return c->identity;
}

int64_t cert_not_after(const struct cert *c)
{
    return tls_identity_not_after(c->identity);
}
