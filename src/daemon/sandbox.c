#include "daemon/sandbox_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SHARED_DEPTH 3 /* /var/lib/manytails, /home/me/tails; not /var/lib, /home/me */

/* ---- folders -------------------------------------------------------------------------------- */

static bool below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    return strncmp(path, folder, len) == 0 &&
           (!path[len] || path[len] == '/' || (len && folder[len - 1] == '/'));
}

static bool covered(const struct sandbox_folders *f, const struct sandbox_folder *one)
{
    for (size_t i = 0; i < f->count; i++)
        if (f->items[i].right >= one->right && below(one->path, f->items[i].path))
            return true;
    return false;
}

/* Takes the path over. */
static int add_resolved(struct sandbox_folders *f, char *path, enum sandbox_right right)
{
    struct sandbox_folder one = { path, right };
    struct sandbox_folder *items;

    if (covered(f, &one)) {
        free(path);
        return 0;
    }
    items = realloc(f->items, (f->count + 1) * sizeof(*items));
    if (!items) {
        free(path);
        return -ENOMEM;
    }
    f->items = items;
    items[f->count++] = one;
    return 0;
}

/* Where it is when links are followed. The end of it that is not there (yet) stays as it is written:
 * systemd's /var/lib/manytails is a link, and a service's folder in it is made when the service is. */
static char *resolve(const char *path)
{
    char *head = text_dup(span_from_str(path)), *found = NULL, *slash, *out = NULL;

    if (!head)
        return NULL;
    while (!(found = realpath(head, NULL)) && (slash = strrchr(head, '/')) && slash != head)
        *slash = 0;
    if (!found)
        out = text_dup(span_from_str(path));
    else if (asprintf(&out, "%s%s", found, path + strlen(head)) < 0)
        out = NULL;
    free(found);
    free(head);
    return out;
}

/* What is not there is kept too: for a reload that must know that it would be needed. */
int sandbox_folders_add(struct sandbox_folders *f, const char *path, enum sandbox_right right)
{
    char *resolved;

    if (!path || !*path)
        return 0;
    resolved = resolve(path);
    return resolved ? add_resolved(f, resolved, right) : -ENOMEM;
}

/* The folder that holds the file, and, when the file is a link, the folder that it leads to: a renewed
 * certificate of certbot is a new link in the one to a new file in the other. */
static int add_folder_of(struct sandbox_folders *f, const char *file)
{
    char *name = file && *file ? text_dup(span_from_str(file)) : NULL;
    char *target = name ? realpath(name, NULL) : NULL;
    char *slash;
    int r = 0;

    if (!name)
        return file && *file ? -ENOMEM : 0;
    slash = strrchr(name, '/');
    if (slash)
        slash[slash == name] = 0;
    r = sandbox_folders_add(f, slash ? name : ".", SANDBOX_READ);
    slash = target ? strrchr(target, '/') : NULL;
    if (!r && slash && slash != target) {
        *slash = 0;
        r = sandbox_folders_add(f, target, SANDBOX_READ);
    }
    free(target);
    free(name);
    return r;
}

/* The folder that holds a state folder is allowed with it, so that a reload can add a service beside the
 * others: if it is ours, and too deep in the tree to be everybody's. "" if not. */
static void common_parent(const char *path, char *out, size_t size)
{
    unsigned depth = 0;
    struct stat st;
    char *slash;

    if (!text_copy(out, size, span_from_str(path)))
        return;
    slash = strrchr(out, '/');
    if (slash)
        *slash = 0;
    for (const char *at = out; slash && *at; at++)
        depth += *at == '/' && at[1] && at[1] != '/';
    if (depth < SHARED_DEPTH || stat(out, &st) || st.st_uid != geteuid())
        *out = 0;
}

/* Made now, since a rule needs something to name. What is wrong with it, the service says that needs it. */
static int add_state_folder(struct sandbox_folders *f, const char *path, bool make)
{
    char *copy = path && *path ? text_dup(span_from_str(path)) : NULL;
    char parent[PATH_MAX];
    int r;

    if (!copy)
        return path && *path ? -ENOMEM : 0;
    for (char *at = copy + 1; make && *at; at++)
        if (*at == '/') {
            *at = 0;
            mkdir(copy, 0700);
            *at = '/';
        }
    if (make)
        mkdir(copy, 0700);
    common_parent(copy, parent, sizeof(parent));
    r = sandbox_folders_add(f, parent, SANDBOX_WRITE);
    if (!r)
        r = sandbox_folders_add(f, copy, SANDBOX_WRITE);
    free(copy);
    return r;
}

/* Names, roots of trust, the local time, what is counted of this process. /etc as a whole: the resolver's
 * files are replaced by renaming, and what is secret there is not readable for a service's own user. */
static int add_system(struct sandbox_folders *f)
{
    static const char *const paths[] = {
        "/etc",
        "/usr/share/ca-certificates",
        "/usr/local/share/ca-certificates",
        "/usr/lib/ssl",
        "/usr/share/zoneinfo",
        "/run/systemd/resolve",
        "/run/resolvconf",
        "/run/NetworkManager",
        "/proc/self",
#ifdef SANDBOX_SANITIZED
        "/proc",
        "/sys",
        "/usr",
        "/lib",
#endif
    };
    int r = 0;

    for (size_t i = 0; i < COUNT_OF(paths) && !r; i++)
        if (access(paths[i], F_OK) == 0)
            r = sandbox_folders_add(f, paths[i], SANDBOX_READ);
    if (!r)
        r = sandbox_folders_add(f, config_variable(CONFIG_VARIABLE_CREDENTIALS), SANDBOX_READ);
    if (!r)
        r = sandbox_folders_add(f, config_variable(CONFIG_VARIABLE_CA_DIR), SANDBOX_READ);
    return r ? r : add_folder_of(f, config_variable(CONFIG_VARIABLE_CA_FILE));
}

static int add_service(struct sandbox_folders *f, const struct config_service *s, bool make)
{
    int r = add_state_folder(f, s->state_directory, make);

    if (!r)
        r = add_folder_of(f, s->certificate_file);
    if (!r)
        r = add_folder_of(f, s->key_file);
    for (size_t i = 0; i < s->upstream_header_files.count && !r; i++) {
        const char *path = strchr(s->upstream_header_files.items[i], ':'); /* "Name: path" */

        r = add_folder_of(f, path ? path + 1 + (path[1] == ' ') : NULL);
    }
    return r ? r : add_folder_of(f, s->auth_key_path);
}

struct sandbox_folders *sandbox_folders_of(const struct config *config, bool make)
{
    struct sandbox_folders *f = calloc(1, sizeof(*f));
    int r = f ? add_state_folder(f, config->base_directory, make) : -ENOMEM;

    for (size_t i = 0; i < config->service_count && !r; i++)
        r = add_service(f, &config->services[i], make);
    if (!r)
        r = add_system(f);
    for (size_t i = 0; i < config->file_count && !r; i++)
        r = add_folder_of(f, config->files[i]);
    if (r) {
        sandbox_folders_free(f);
        return NULL;
    }
    return f;
}

void sandbox_folders_free(struct sandbox_folders *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < f->count; i++)
        free(f->items[i].path);
    free(f->items);
    free(f);
}

const char *sandbox_folders_missing(const struct sandbox_folders *allowed,
                                    const struct sandbox_folders *wanted)
{
    for (size_t i = 0; i < wanted->count; i++)
        if (!covered(allowed, &wanted->items[i]))
            return wanted->items[i].path;
    return NULL;
}

/* ---- entering -------------------------------------------------------------------------------- */

struct sandbox_state sandbox_enter(const struct sandbox_folders *f)
{
    struct sandbox_state out = { 0 };
    int r;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0) {
        log_warn(NULL, "sandbox: none: the kernel refuses no_new_privs: %s", err_text(errno));
        return out;
    }
    out.privileges = true;
    r = sandbox_files_enter(f);
    out.landlock = MAX(r, 0);
    if (r <= 0)
        log_warn(NULL, "sandbox: files are not fenced in: %s",
                 r ? err_text(r) : "this kernel has no Landlock (5.13 and later, lsm=landlock)");
    r = sandbox_calls_enter();
    out.system_calls = r == 0;
    if (r)
        log_warn(NULL, "sandbox: system calls are not filtered: %s",
                 r == -ENOSYS ? "this kernel or architecture has no seccomp filters" : err_text(r));
    if (out.system_calls && out.landlock)
        log_info(NULL, "sandbox: system calls filtered, files limited to %zu folders", f->count);
    return out;
}
