#include "state/bases.h"

#include "crypto/crypto.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/internal.h"

#define NAME_BYTES 64

static const char *name_of(uint64_t id, char out[NAME_BYTES])
{
    snprintf(out, NAME_BYTES, "../manytails.base-%016llx", (unsigned long long)id);
    return out;
}

void bases_init(struct bases *b)
{
    list_init(&b->all);
}

static void forget(struct base *base)
{
    list_remove(&base->link);
    base_unmap(base->text);
    free(base);
}

void bases_deinit(struct bases *b)
{
    while (!list_empty(&b->all))
        forget(LIST_FIRST(&b->all, struct base, link));
}

int base_map(int directory, uint64_t id, struct span *text)
{
    char name[NAME_BYTES];
    int fd = openat(directory, name_of(id, name), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;
    void *at;
    int r = 0;

    if (fd < 0)
        return -errno;
    if (fstat(fd, &st) < 0)
        r = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_size <= 0 || st.st_size > STATE_NETMAP_BYTES_MAX)
        r = -EINVAL;
    if (!r) {
        at = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (at == MAP_FAILED)
            r = -errno;
        else
            *text = span_make(at, (size_t)st.st_size);
    }
    close(fd);
    return r;
}

void base_unmap(struct span text)
{
    if (text.len)
        munmap((void *)(uintptr_t)text.data, text.len);
}

static bool parent_of(int directory, struct stat *st)
{
    return fstatat(directory, "..", st, 0) == 0;
}

struct base *bases_next(struct bases *b, int directory, const struct base *after)
{
    bool past = after == NULL;
    struct stat st;

    if (!parent_of(directory, &st))
        return NULL;
    LIST_EACH (base, &b->all, struct base, link) {
        if (past && base->device == st.st_dev && base->inode == st.st_ino)
            return base;
        past |= base == after;
    }
    return NULL;
}

static int add_known(struct bases *b, int directory, uint64_t id, struct base **out)
{
    struct base *base = calloc(1, sizeof(*base));
    struct stat st;
    int r = base ? base_map(directory, id, &base->text) : -ENOMEM;

    if (!r && !parent_of(directory, &st)) {
        r = -errno;
        base_unmap(base->text);
    }
    if (r) {
        free(base);
        return r;
    }
    base->id = id;
    base->device = st.st_dev;
    base->inode = st.st_ino;
    list_push_back(&b->all, &base->link);
    *out = base;
    return 0;
}

struct base *bases_take(struct bases *b, int directory, uint64_t id)
{
    struct base *base = bases_next(b, directory, NULL);

    while (base && base->id != id)
        base = bases_next(b, directory, base);
    if (!base && add_known(b, directory, id, &base))
        return NULL;
    base->refs++;
    if (base->closed)
        base->closed--;
    return base;
}

void bases_drop(struct bases *b, int directory, struct base *base)
{
    char name[NAME_BYTES];

    (void)b;
    must(base->refs);
    if (--base->refs || base->closed)
        return;
    unlinkat(directory, name_of(base->id, name), 0);
    forget(base);
}

void bases_leave(struct base *base)
{
    must(base->refs);
    base->refs--;
    base->closed++;
}

int bases_add(struct bases *b, int directory, struct span text, struct base **out)
{
    char name[NAME_BYTES];
    uint64_t id;
    int r;

    random_bytes(&id, sizeof(id));
    id |= 1; /* zero means none */
    r = state_replace_file(directory, name_of(id, name), &text, 1, false);
    if (!r)
        r = add_known(b, directory, id, out);
    if (r)
        unlinkat(directory, name, 0);
    return r;
}
