#include "cert/store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAITING "waiting for the certificate: "

/* Something of this name in that folder decides what a path leads to. */
struct spot {
    int folder; /* id of the watch */
    char *name;
};

struct cert_entry {
    struct list link; /* store->entries */
    struct cert_store *store;
    struct cert *cert; /* NULL: the files are missing */
    char *files[2];    /* certificate, key */
    struct spot spots[CERT_SPOTS_MAX];
    size_t spot_count;
    unsigned users;
    bool touched; /* since the last look */
    struct ev_timer expiry;
    char trouble[CERT_WHY_BYTES + 60];
};

struct cert_store {
    struct ev_loop *loop;
    struct ev_watch *watch; /* NULL: no entries, or the kernel gave none */
    struct list entries;
    size_t count;
    struct ev_timer settle;
    time_ns settle_by; /* the latest moment for it */
};

/* ---- what to watch ----------------------------------------------------------------- */

static bool is_watched(const struct cert_store *s, int folder)
{
    LIST_EACH (e, &s->entries, struct cert_entry, link)
        for (size_t i = 0; i < e->spot_count; i++)
            if (e->spots[i].folder == folder)
                return true;
    return false;
}

static void spots_clear(struct spot *spots, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(spots[i].name);
}

static void add_spot(struct cert_entry *e, const char *folder, const char *name)
{
    struct spot *spot = &e->spots[e->spot_count];
    int r = e->spot_count < CERT_SPOTS_MAX && e->store->watch
                ? ev_watch_add(e->store->watch, folder, &spot->folder)
                : -ENOSPC;

    if (!r && !(spot->name = text_dup(span_from_str(name))))
        r = -ENOMEM;
    if (r)
        log_warn("certificates", "cannot watch %s for changes of %s: %s; restart or reload after a change",
                 folder, e->files[0], err_text(r));
    else
        e->spot_count++;
}

struct path {
    char folder[PATH_MAX]; /* without symlinks; "" is the root */
    char rest[PATH_MAX];   /* still to go */
};

/* Cuts the first component off; false at the end. */
static bool next_component(struct path *p, char name[NAME_MAX + 1])
{
    size_t skip = strspn(p->rest, "/"), len = strcspn(p->rest + skip, "/");

    if (!len || len > NAME_MAX)
        return false;
    memcpy(name, p->rest + skip, len);
    name[len] = '\0';
    memmove(p->rest, p->rest + skip + len, strlen(p->rest + skip + len) + 1);
    return true;
}

static bool follow_link(struct path *p, const char *full)
{
    char target[PATH_MAX], joined[2 * PATH_MAX];
    ssize_t n = readlink(full, target, sizeof(target) - 1);

    if (n < 0)
        return false;
    target[n] = '\0';
    if (target[0] == '/')
        p->folder[0] = '\0';
    if (snprintf(joined, sizeof(joined), "%s/%s", target, p->rest) >= (int)sizeof(p->rest))
        return false;
    memcpy(p->rest, joined, strlen(joined) + 1);
    return true;
}

static bool enter_folder(struct path *p, const char *name)
{
    size_t len = strlen(p->folder);
    char *slash;

    if (strcmp(name, ".") == 0)
        return true;
    if (strcmp(name, "..") == 0) {
        slash = strrchr(p->folder, '/');
        if (slash)
            *slash = '\0';
        return true;
    }
    return snprintf(p->folder + len, sizeof(p->folder) - len, "/%s", name) < (int)(sizeof(p->folder) - len);
}

/* Each symlink on the way, and the file itself, or the first name that is not there. */
static void watch_path(struct cert_entry *e, const char *file)
{
    struct path p = { 0 };
    char name[NAME_MAX + 1], full[2 * PATH_MAX];
    struct stat st;

    if (file[0] != '/' && !getcwd(p.folder, sizeof(p.folder)))
        return;
    snprintf(p.rest, sizeof(p.rest), "%s", file);
    for (int links = 0; links <= CERT_LINKS_MAX && next_component(&p, name);) {
        snprintf(full, sizeof(full), "%s/%s", p.folder, name);
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            (void)enter_folder(&p, name);
            continue;
        }
        if (lstat(full, &st) == 0 && S_ISDIR(st.st_mode)) {
            if (!enter_folder(&p, name))
                return;
            continue;
        }
        add_spot(e, p.folder[0] ? p.folder : "/", name);
        if (lstat(full, &st) < 0 || !S_ISLNK(st.st_mode) || !follow_link(&p, full))
            return;
        links++;
    }
}

static void watch_entry(struct cert_entry *e)
{
    struct spot old[CERT_SPOTS_MAX];
    size_t count = e->spot_count;

    memcpy(old, e->spots, count * sizeof(old[0]));
    e->spot_count = 0;
    for (size_t i = 0; i < COUNT_OF(e->files); i++)
        watch_path(e, e->files[i]);
    for (size_t i = 0; i < count; i++)
        if (!is_watched(e->store, old[i].folder))
            ev_watch_remove(e->store->watch, old[i].folder);
    spots_clear(old, count);
}

/* ---- reading again --------------------------------------------------------------------- */

/* The next moment at which there is something to warn of. */
static void set_expiry(struct cert_entry *e)
{
    int64_t wall = ev_wall_clock(), end = cert_not_after(e->cert),
            at = wall < end - CERT_WARN_BEFORE ? end - CERT_WARN_BEFORE : end;

    ev_timer_set(&e->expiry, wall < end ? ev_now(e->store->loop) + (at - wall) + SEC : TIME_NEVER);
}

static void on_expiry(struct ev_timer *t, time_ns now)
{
    struct cert_entry *e = CONTAINER_OF(t, struct cert_entry, expiry);
    char why[CERT_WHY_BYTES];

    (void)now;
    if (cert_warning(e->cert, ev_wall_clock(), why)) {
        log_warn("certificates", "%s", why);
        snprintf(e->trouble, sizeof(e->trouble), "%s", why);
    }
    set_expiry(e);
}

static int read_now(struct cert_entry *e, char why[CERT_WHY_BYTES])
{
    int r;

    why[0] = '\0';
    r = e->cert ? cert_reload(e->cert, ev_wall_clock(), why)
                : cert_load(&e->cert, e->files[0], e->files[1], ev_wall_clock(), why);
    if (r)
        return r;
    snprintf(e->trouble, sizeof(e->trouble), "%s", why);
    set_expiry(e);
    return 0;
}

static void read_again(struct cert_entry *e)
{
    char why[CERT_WHY_BYTES];
    bool waits = !e->cert;
    int r = read_now(e, why);

    if (r == CERT_E_FILE && waits) {
        snprintf(e->trouble, sizeof(e->trouble), WAITING "%s", why);
        return;
    }
    if (r) {
        snprintf(e->trouble, sizeof(e->trouble), "certificate file changed, reload failed: %s",
                 r < 0 ? err_text(r) : why);
        log_warn("certificates", "%s%s", e->trouble, e->cert ? "; the old one stays in use" : "");
        return;
    }
    log_info("certificates", "%s was read again%s%s", e->files[0], *why ? ": " : "", why);
}

/* Watching comes first: what changes after it will be told. */
static void look(struct cert_entry *e)
{
    e->touched = false;
    if (e->store->watch)
        watch_entry(e);
    read_again(e);
}

static void on_settled(struct ev_timer *t, time_ns now)
{
    struct cert_store *s = CONTAINER_OF(t, struct cert_store, settle);

    (void)now;
    s->settle_by = 0;
    LIST_EACH (e, &s->entries, struct cert_entry, link)
        if (e->touched)
            look(e);
}

static bool concerns(const struct cert_entry *e, int folder, const char *name)
{
    for (size_t i = 0; i < e->spot_count; i++)
        if (folder == EV_WATCH_ALL ||
            (e->spots[i].folder == folder && (!*name || strcmp(e->spots[i].name, name) == 0)))
            return true;
    return false;
}

static void on_change(void *owner, int folder, const char *name)
{
    struct cert_store *s = owner;
    time_ns now = ev_now(s->loop);
    bool any = false;

    LIST_EACH (e, &s->entries, struct cert_entry, link)
        if (concerns(e, folder, name))
            e->touched = any = true;
    if (!any)
        return;
    if (!s->settle_by)
        s->settle_by = now + CERT_SETTLE_MAX;
    ev_timer_set(&s->settle, MIN(now + CERT_SETTLE, s->settle_by));
}

/* ---- life ------------------------------------------------------------------------------ */

int cert_store_new(struct cert_store **out, struct ev_loop *loop)
{
    struct cert_store *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->loop = loop;
    list_init(&s->entries);
    ev_timer_init(&s->settle, loop, on_settled);
    *out = s;
    return 0;
}

void cert_store_free(struct cert_store *s)
{
    if (!s)
        return;
    must(list_empty(&s->entries));
    ev_timer_stop(&s->settle);
    ev_watch_free(s->watch);
    free(s);
}

static void entry_free(struct cert_entry *e)
{
    ev_timer_stop(&e->expiry);
    cert_free(e->cert);
    free(e->files[0]);
    free(e->files[1]);
    free(e);
}

static struct cert_entry *find(const struct cert_store *s, const char *cert_file, const char *key_file)
{
    LIST_EACH (e, &s->entries, struct cert_entry, link)
        if (strcmp(e->files[0], cert_file) == 0 && strcmp(e->files[1], key_file) == 0)
            return e;
    return NULL;
}

static int entry_new(struct cert_entry **out, struct cert_store *s, const char *cert_file,
                     const char *key_file)
{
    struct cert_entry *e;

    if (s->count == CERT_ENTRIES_MAX)
        return -ENOSPC;
    e = calloc(1, sizeof(*e));
    if (!e)
        return -ENOMEM;
    e->store = s;
    e->files[0] = text_dup(span_from_str(cert_file));
    e->files[1] = text_dup(span_from_str(key_file));
    ev_timer_init(&e->expiry, s->loop, on_expiry);
    if (!e->files[0] || !e->files[1]) {
        entry_free(e);
        return -ENOMEM;
    }
    *out = e;
    return 0;
}

/* Reads the pair for the first time. */
static int entry_read(struct cert_entry *e, bool may_wait, char why[CERT_WHY_BYTES])
{
    int r = read_now(e, why);

    if (r != CERT_E_FILE || !may_wait || (access(e->files[0], F_OK) == 0 && access(e->files[1], F_OK) == 0))
        return r;
    snprintf(e->trouble, sizeof(e->trouble), WAITING "%s", why);
    return 0;
}

/* Watching is worth having, not worth failing for. */
static void begin_watching(struct cert_store *s)
{
    int r = s->watch ? 0 : ev_watch_new(&s->watch, s->loop, on_change, s);

    if (r)
        log_warn("certificates", "cannot watch files for changes: %s; restart or reload after a change",
                 err_text(r));
}

/* Who may not wait wants to know whether the files are good now. */
static int entry_share(struct cert_entry *e, bool may_wait, struct cert_entry **out, char why[CERT_WHY_BYTES])
{
    int r = may_wait ? 0 : read_now(e, why);

    if (r)
        return r;
    e->users++;
    *out = e;
    return 0;
}

int cert_store_get(struct cert_store *s, const char *cert_file, const char *key_file, bool may_wait,
                   struct cert_entry **out, char why[CERT_WHY_BYTES])
{
    struct cert_entry *e = find(s, cert_file, key_file);
    int r;

    why[0] = '\0';
    if (e)
        return entry_share(e, may_wait, out, why);
    r = entry_new(&e, s, cert_file, key_file);
    if (r)
        return r;
    list_push_back(&s->entries, &e->link);
    s->count++;
    e->users = 1;
    begin_watching(s);
    if (s->watch)
        watch_entry(e); /* before it is read: what changes after it will be told */
    r = entry_read(e, may_wait, why);
    if (r) {
        cert_store_put(e);
        return r;
    }
    *out = e;
    return 0;
}

void cert_store_put(struct cert_entry *e)
{
    struct cert_store *s;

    if (!e || --e->users)
        return;
    s = e->store;
    list_remove(&e->link);
    s->count--;
    for (size_t i = 0; s->watch && i < e->spot_count; i++)
        if (!is_watched(s, e->spots[i].folder))
            ev_watch_remove(s->watch, e->spots[i].folder);
    spots_clear(e->spots, e->spot_count);
    entry_free(e);
    if (list_empty(&s->entries)) {
        ev_timer_stop(&s->settle);
        s->settle_by = 0;
        ev_watch_free(s->watch);
        s->watch = NULL;
    }
}

struct tls_identity *cert_entry_identity(const struct cert_entry *e)
{
    return e->cert ? cert_identity(e->cert) : NULL;
}

int64_t cert_entry_not_after(const struct cert_entry *e)
{
    return e->cert ? cert_not_after(e->cert) : 0;
}

const char *cert_entry_trouble(const struct cert_entry *e)
{
    return e->trouble;
}
