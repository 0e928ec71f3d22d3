/* daemon/sandbox.h - what the process gives up once it runs
 *
 * Three fences, each its own: no new privileges, a list of system calls (seccomp), and the folders that may
 * be read and written (Landlock). A call that is not on the list fails with EPERM and is logged once, by
 * name; the process goes on. Nothing can be started (execve), no code can be loaded or made (PROT_EXEC), no
 * process can be signalled but this one, and nothing new can listen on TCP.
 *
 * Folders, not files: a renewed certificate, a rotated key, a configuration that is replaced by renaming have
 * new inodes, and only a rule for the folder covers those. Landlock says nothing about connecting to Unix
 * sockets, so upstream sockets need no rule.
 *
 * Thread: the main thread, before any other is started; they inherit all of it. There is no way back.
 * Why this and not a library: docs/decisions/sandbox.md.
 */
#ifndef MANYTAILS_DAEMON_SANDBOX_H
#define MANYTAILS_DAEMON_SANDBOX_H

#include "config/config.h"

enum sandbox_right {
    SANDBOX_READ = 1,  /* files and listings below it */
    SANDBOX_WRITE = 2, /* that, and making, replacing and removing files and folders */
};

struct sandbox_folders;

/* What a process with this configuration needs; with `make` state folders are made if they are not there.
 * NULL: no memory. */
struct sandbox_folders *sandbox_folders_of(const struct config *config, bool make);
void sandbox_folders_free(struct sandbox_folders *f); /* NULL is fine */
/* One more; NULL, "": none. -ENOMEM */
NODISCARD int sandbox_folders_add(struct sandbox_folders *f, const char *path, enum sandbox_right right);
/* For a reload: the first folder that `wanted` has and `allowed` does not cover; NULL: none. */
const char *sandbox_folders_missing(const struct sandbox_folders *allowed,
                                    const struct sandbox_folders *wanted);

/* What came of it; the sentences of what is missing are in the log. */
struct sandbox_state {
    bool privileges, system_calls;
    int landlock; /* version of the kernel's rules; 0: it has none */
};

/* Never fails as a whole: a fence that the kernel lacks is logged as missing, the others stand. */
struct sandbox_state sandbox_enter(const struct sandbox_folders *f);

#endif
