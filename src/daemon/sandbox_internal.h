/* daemon/sandbox_internal.h - the two fences of sandbox.c that have a file of their own */
#ifndef MANYTAILS_DAEMON_SANDBOX_INTERNAL_H
#define MANYTAILS_DAEMON_SANDBOX_INTERNAL_H

#include "daemon/sandbox.h"

#ifdef __has_feature
#define SANDBOX_FEATURE(x) __has_feature(x)
#else
#define SANDBOX_FEATURE(x) 0
#endif

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || SANDBOX_FEATURE(address_sanitizer) || \
    SANDBOX_FEATURE(thread_sanitizer)
#define SANDBOX_SANITIZED 1
#define SANDBOX_SANITIZED_OR(sanitized, otherwise) (sanitized)
#else
#define SANDBOX_SANITIZED_OR(sanitized, otherwise) (otherwise)
#endif

struct sandbox_folder {
    char *path; /* without links in it */
    enum sandbox_right right;
};

struct sandbox_folders {
    struct sandbox_folder *items;
    size_t count;
};

/* sandbox_calls.c: 0 or -errno */
NODISCARD int sandbox_calls_enter(void);
/* sandbox_files.c: the version of Landlock that is in force; 0: the kernel has none; -errno */
NODISCARD int sandbox_files_enter(const struct sandbox_folders *f);

#endif
