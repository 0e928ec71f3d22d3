/* daemon/sandbox_files.c - Landlock: which folders the process may use, by raw calls */
#include "daemon/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Numbers and bits of the kernel's interface; the headers of Debian 12 know only the first of them. */
#define NR_CREATE_RULESET 444
#define NR_ADD_RULE 445
#define NR_RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1u
#define RULE_PATH_BENEATH 1

#define FS_EXECUTE (1ull << 0)
#define FS_WRITE_FILE (1ull << 1)
#define FS_READ_FILE (1ull << 2)
#define FS_READ_DIR (1ull << 3)
#define FS_REMOVE_DIR (1ull << 4)
#define FS_REMOVE_FILE (1ull << 5)
#define FS_MAKE_CHAR (1ull << 6)
#define FS_MAKE_DIR (1ull << 7)
#define FS_MAKE_REG (1ull << 8)
#define FS_MAKE_SOCK (1ull << 9)
#define FS_MAKE_FIFO (1ull << 10)
#define FS_MAKE_BLOCK (1ull << 11)
#define FS_MAKE_SYM (1ull << 12)
#define FS_REFER (1ull << 13)     /* version 2 */
#define FS_TRUNCATE (1ull << 14)  /* 3 */
#define FS_IOCTL_DEV (1ull << 15) /* 5 */
#define FS_VERSION_1 (FS_REFER - 1)
#define NET_BIND_TCP (1ull << 0) /* 4 */
#define SCOPE_SIGNAL (1ull << 1) /* 6 */

#define READ_RIGHTS (FS_READ_FILE | FS_READ_DIR)
#define WRITE_RIGHTS                                                                            \
    (READ_RIGHTS | FS_WRITE_FILE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | \
     FS_MAKE_SOCK | FS_REFER | FS_TRUNCATE)
#define FILE_RIGHTS (FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

struct ruleset {
    uint64_t files, network, scopes;
};

struct rule {
    uint64_t rights;
    int32_t fd;
} __attribute__((packed));

static struct ruleset rules_of(int version)
{
    struct ruleset r = { .files = FS_VERSION_1 };

    if (version >= 2)
        r.files |= FS_REFER;
    if (version >= 3)
        r.files |= FS_TRUNCATE;
    if (version >= 4)
        r.network = NET_BIND_TCP;
    if (version >= 5)
        r.files |= FS_IOCTL_DEV;
    if (version >= 6)
        r.scopes = SCOPE_SIGNAL;
    return r;
}

/* Older kernels know only the beginning of the structure. */
static size_t ruleset_bytes(int version)
{
    return version >= 6 ? sizeof(struct ruleset) : version >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

/* A path that is not there needs no rule. */
static int allow(int ruleset, uint64_t handled, const struct sandbox_folder *f)
{
    int fd = open(f->path, O_PATH | O_CLOEXEC);
    struct rule rule = { .rights = f->right == SANDBOX_WRITE ? WRITE_RIGHTS : READ_RIGHTS, .fd = fd };
    struct stat st;
    int r = 0;

    if (fd < 0)
        return errno == ENOENT || errno == EACCES || errno == ENOTDIR ? 0 : -errno;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.rights &= FILE_RIGHTS;
    rule.rights &= handled;
    if (syscall(NR_ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) < 0)
        r = -errno;
    close(fd);
    return r;
}

int sandbox_files_enter(const struct sandbox_folders *f)
{
    int version = (int)syscall(NR_CREATE_RULESET, NULL, 0, CREATE_RULESET_VERSION);
    struct ruleset rules = rules_of(version);
    int fd, r = 0;

    if (version <= 0)
        return 0;
    fd = (int)syscall(NR_CREATE_RULESET, &rules, ruleset_bytes(version), 0);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < f->count && !r; i++)
        r = allow(fd, rules.files, &f->items[i]);
    if (!r && syscall(NR_RESTRICT_SELF, fd, 0) < 0)
        r = -errno;
    close(fd);
    return r ? r : version;
}
