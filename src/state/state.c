#include "state/bases.h"
#include "state/internal.h"
#include "state/lock.h"
#include "state/pack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEYS_FILE "manytails.state"
#define NETMAP_FILE "manytails.netmap"
#define FORMAT_VERSION 1
#define STATE_URL_BYTES_MAX 2048

/* An idle node costs no descriptor here: the folder is opened for each piece of work (state_enter). */
struct state_store {
    char *path;
    dev_t device; /* of the folder: another one in its place is not ours */
    ino_t inode;
    struct folder_lock lock;
    int directory; /* -1: nobody is inside */
    unsigned inside;
};

/* ---- files ------------------------------------------------------------------------ */

/* Makes every missing folder of the path, each 0700. */
static int make_directories(const char *path)
{
    char copy[4096];

    if (!text_copy(copy, sizeof(copy), span_from_str(path)) || !*path)
        return -ENAMETOOLONG;
    for (char *at = copy + 1;; at++) {
        if (*at != '/' && *at)
            continue;
        char end = *at;

        *at = 0;
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return -errno;
        if (!end)
            return 0;
        *at = '/';
    }
}

static int write_all(int fd, struct span bytes)
{
    while (bytes.len) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        bytes = span_slice(bytes, (size_t)n, bytes.len);
    }
    return 0;
}

/* On failure there is none. */
static int write_fresh(int directory, const char *fresh, const struct span *parts, size_t count, bool sync)
{
    int fd, r = 0;

    fd = openat(directory, fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    for (size_t i = 0; i < count && !r; i++)
        r = write_all(fd, parts[i]);
    if (!r && sync && fsync(fd) < 0)
        r = -errno;
    if (close(fd) < 0 && !r)
        r = -errno;
    if (r)
        unlinkat(directory, fresh, 0);
    return r;
}

static int rename_fresh(int directory, const char *fresh, const char *name)
{
    int r;

    if (renameat(directory, fresh, directory, name) == 0)
        return 0;
    r = -errno;
    unlinkat(directory, fresh, 0);
    return r;
}

int state_replace_file(int directory, const char *name, const struct span *parts, size_t count, bool sync)
{
    char fresh[64];
    int r;

    snprintf(fresh, sizeof(fresh), "%s.new", name);
    r = write_fresh(directory, fresh, parts, count, sync);
    if (!r)
        r = rename_fresh(directory, fresh, name);
    return r ? r : sync && fsync(directory) < 0 ? -errno : 0;
}

static int replace_file(struct state_store *s, const char *name, const struct span *parts, size_t count,
                        bool sync)
{
    int r = state_enter(s);

    if (r)
        return r;
    r = state_replace_file(s->directory, name, parts, count, sync);
    state_leave(s);
    return r;
}

int state_directory(const struct state_store *s)
{
    must(s->inside);
    return s->directory;
}

/* Appends the whole file to *out. */
static int read_file(const struct state_store *s, const char *name, size_t bytes_max, struct buf *out)
{
    int fd = openat(s->directory, name, O_RDONLY | O_CLOEXEC);
    struct mspan room;
    struct stat st;
    ssize_t n = 0;
    int r;

    if (fd < 0)
        return -errno;
    r = fstat(fd, &st) < 0              ? -errno
        : !S_ISREG(st.st_mode)          ? -EINVAL
        : st.st_size > (off_t)bytes_max ? -EFBIG
                                        : 0;
    if (!r)
        r = buf_reserve(out, (size_t)st.st_size + 1, &room);
    while (!r && (n = read(fd, room.data, room.len)) > 0) {
        buf_commit(out, (size_t)n);
        r = buf_reserve(out, 1, &room);
    }
    if (!r && n < 0)
        r = -errno;
    close(fd);
    return r;
}

/* Renames a damaged file to NAME.damaged-TIME; says so in `why`. */
static void set_aside(const struct state_store *s, const char *name, const char *what,
                      char why[STATE_WHY_BYTES])
{
    char aside[96];

    snprintf(aside, sizeof(aside), "%s.damaged-%lld", name, (long long)time(NULL));
    if (renameat(s->directory, name, s->directory, aside) < 0)
        snprintf(why, STATE_WHY_BYTES, "%s/%s %s, and it cannot be set aside: %s", s->path, name, what,
                 err_text(errno));
    else
        snprintf(why, STATE_WHY_BYTES, "%s/%s %s: kept as %s", s->path, name, what, aside);
}

/* ---- life ---------------------------------------------------------------------------- */

static int open_directory(const char *path, struct stat *st)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd >= 0 && fstat(fd, st) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -errno;
}

/* Somebody removed the locked file. Another process may have locked a new one since. */
static int lock_anew(struct state_store *s, int directory)
{
    int r;

    folder_unlock(&s->lock);
    r = folder_lock(&s->lock, directory);
    if (r > 0) {
        log_error(NULL, "state folder %s: its lock was removed, and another process uses it now", s->path);
        return -EBUSY;
    }
    if (!r)
        log_warn(NULL, "state folder %s: its lock was removed; locked again", s->path);
    return r;
}

int state_enter(struct state_store *s)
{
    struct stat st;
    int fd, r;

    if (s->inside) {
        s->inside++;
        return 0;
    }
    fd = open_directory(s->path, &st);
    if (fd < 0)
        return fd;
    r = st.st_dev != s->device || st.st_ino != s->inode ? -ESTALE
        : folder_lock_stands(&s->lock, fd)              ? 0
                                                        : lock_anew(s, fd);
    if (r) {
        close(fd);
        return r;
    }
    s->directory = fd;
    s->inside = 1;
    return 0;
}

void state_leave(struct state_store *s)
{
    must(s->inside);
    if (--s->inside)
        return;
    close(s->directory);
    s->directory = -1;
}

static int lock_folder(struct state_store *s)
{
    struct stat st;
    int fd = open_directory(s->path, &st), r;

    if (fd < 0)
        return fd;
    s->device = st.st_dev;
    s->inode = st.st_ino;
    r = folder_lock(&s->lock, fd);
    close(fd);
    return r;
}

int state_open(struct state_store **out, const char *directory, char why[STATE_WHY_BYTES])
{
    struct state_store *s = calloc(1, sizeof(*s));
    int r;

    why[0] = 0;
    if (!s)
        return -ENOMEM;
    s->directory = -1;
    s->lock = FOLDER_UNLOCKED;
    s->path = text_dup(span_from_str(directory));
    r = s->path ? make_directories(directory) : -ENOMEM;
    if (!r)
        r = lock_folder(s);
    if (r < 0)
        snprintf(why, STATE_WHY_BYTES, "state folder %s: %s", directory, err_text(r));
    else if (r)
        snprintf(why, STATE_WHY_BYTES, "state folder %s is in use by another process", directory);
    if (r) {
        state_close(s);
        return r;
    }
    *out = s;
    return 0;
}

void state_close(struct state_store *s)
{
    if (!s)
        return;
    must(!s->inside);
    folder_unlock(&s->lock);
    free(s->path);
    free(s);
}

/* ---- keys -------------------------------------------------------------------------------- */

static bool get_key(const struct json *root, const char *member, const char *prefix, uint8_t out[KEY_BYTES])
{
    struct span text;

    return json_get_string(root, member, &text) == JSON_GOT && key_parse(text, prefix, out);
}

bool state_keys_parse(struct span text, const char *control_url, struct state_keys *out)
{
    OWNED(json_freep) struct json *root = NULL;
    char kept_url[STATE_URL_BYTES_MAX];
    struct span url;
    int64_t version;

    if (json_parse(text, STATE_FILE_BYTES_MAX, &root))
        return false;
    if (json_get_i64(root, "Version", &version) != JSON_GOT || version != FORMAT_VERSION ||
        !get_key(root, "MachineKey", "privkey:", out->machine.bytes) ||
        !get_key(root, "DiscoKey", "privkey:", out->disco.bytes) ||
        json_get_string(root, "ControlURL", &url) != JSON_GOT || !text_copy(kept_url, sizeof(kept_url), url))
        return false;
    if (!state_same_server(kept_url, control_url))
        return true; /* another server: same device, but it has to register there */
    if (json_member(root, "NodeKey") && !get_key(root, "NodeKey", "privkey:", out->node.bytes))
        return false;
    return !json_member(root, "OldNodeKey") || get_key(root, "OldNodeKey", "nodekey:", out->old_node.bytes);
}

/* ---- a folder of tsnsrv ------------------------------------------------------------------- */

static int read_foreign(const struct state_store *s, struct state_foreign *out, char why[STATE_WHY_BYTES])
{
    struct buf text;
    int r;

    why[0] = 0;
    buf_init(&text, STATE_FOREIGN_BYTES_MAX + 2);
    r = read_file(s, STATE_FOREIGN_FILE, STATE_FOREIGN_BYTES_MAX, &text);
    if (!r)
        r = state_foreign_parse(buf_span(&text), out, why);
    else if (r != -ENOENT)
        snprintf(why, STATE_WHY_BYTES, "%s cannot be read: %s", STATE_FOREIGN_FILE, err_text(r));
    if (text.data)
        wipe(text.data, text.cap);
    buf_deinit(&text);
    return r;
}

int state_foreign_read(const char *directory, struct state_foreign *out, char why[STATE_WHY_BYTES])
{
    struct state_store s = { .directory = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
    int r;

    *out = (struct state_foreign) { 0 };
    if (s.directory < 0)
        return errno == ENOTDIR ? -ENOENT : -errno;
    r = read_foreign(&s, out, why);
    close(s.directory);
    return r;
}

/* There is no file of ours. */
static int begin(const struct state_store *s, const char *control_url, struct state_keys *out,
                 char why[STATE_WHY_BYTES])
{
    struct state_foreign f = { 0 };
    char fault[STATE_WHY_BYTES];
    int r = read_foreign(s, &f, fault);

    if (r == -ENOENT) {
        secret_key_generate(&out->machine);
        secret_key_generate(&out->disco);
        return STATE_E_FRESH;
    }
    if (r) {
        snprintf(why, STATE_WHY_BYTES, "%.200s/%.200s: move it away to begin with a new identity", s->path,
                 fault);
        return r > 0 ? -EBADMSG : r;
    }
    state_foreign_keys(&f, control_url, out);
    state_foreign_words(&f, out, why);
    wipe(&f, sizeof(f));
    return STATE_E_IMPORTED;
}

static int load(struct state_store *s, const char *control_url, struct state_keys *out,
                char why[STATE_WHY_BYTES])
{
    struct buf text;
    int r;

    buf_init(&text, STATE_FILE_BYTES_MAX + 2);
    r = read_file(s, KEYS_FILE, STATE_FILE_BYTES_MAX, &text);
    if (!r && !state_keys_parse(buf_span(&text), control_url, out)) {
        set_aside(s, KEYS_FILE, "is damaged", why);
        r = STATE_E_DAMAGED;
    }
    if (text.data)
        wipe(text.data, text.cap);
    buf_deinit(&text);
    if (r == -EFBIG || r == -EINVAL) {
        set_aside(s, KEYS_FILE, "is no state file", why);
        r = STATE_E_DAMAGED;
    }
    if (r == -ENOENT)
        return begin(s, control_url, out, why);
    if (r == STATE_E_DAMAGED) {
        *out = (struct state_keys) { 0 };
        secret_key_generate(&out->machine);
        secret_key_generate(&out->disco);
        return r;
    }
    if (r)
        snprintf(why, STATE_WHY_BYTES, "%s/%s cannot be read: %s", s->path, KEYS_FILE, err_text(r));
    return r;
}

int state_load(struct state_store *s, const char *control_url, struct state_keys *out,
               char why[STATE_WHY_BYTES])
{
    int r = state_enter(s);

    why[0] = 0;
    *out = (struct state_keys) { 0 };
    if (r) {
        snprintf(why, STATE_WHY_BYTES, "state folder %s: %s", s->path, err_text(r));
        return r;
    }
    r = load(s, control_url, out, why);
    state_leave(s);
    return r;
}

static bool key_is_zero(const uint8_t key[KEY_BYTES])
{
    static const uint8_t zero[KEY_BYTES];

    return crypto_equal(key, zero, KEY_BYTES);
}

static void put_key(struct json_writer *w, const char *member, const char *prefix,
                    const uint8_t key[KEY_BYTES])
{
    char text[KEY_TEXT_BYTES];

    json_put_str(w, member, key_text(text, prefix, key));
    wipe(text, sizeof(text));
}

/* How the text of a file of keys gets there. */
typedef int put_fn(struct state_store *s, struct span text);

static int put_keys(struct state_store *s, const char *control_url, const struct state_keys *keys,
                    put_fn *put)
{
    struct json_writer w;
    struct buf text;
    int r;

    buf_init(&text, STATE_FILE_BYTES_MAX);
    w = json_writer_of(&text);
    json_object_begin(&w, NULL);
    json_put_i64(&w, "Version", FORMAT_VERSION);
    json_put_str(&w, "ControlURL", control_url);
    put_key(&w, "MachineKey", "privkey:", keys->machine.bytes);
    put_key(&w, "DiscoKey", "privkey:", keys->disco.bytes);
    if (!key_is_zero(keys->node.bytes))
        put_key(&w, "NodeKey", "privkey:", keys->node.bytes);
    if (!public_key_is_zero(&keys->old_node))
        put_key(&w, "OldNodeKey", "nodekey:", keys->old_node.bytes);
    json_object_end(&w);
    r = json_writer_done(&w);
    if (!r)
        r = put(s, buf_span(&text));
    if (text.data)
        wipe(text.data, text.cap);
    buf_deinit(&text);
    return err_trace(r);
}

static int put_alone(struct state_store *s, struct span text)
{
    return replace_file(s, KEYS_FILE, &text, 1, true);
}

int state_save(struct state_store *s, const char *control_url, const struct state_keys *keys)
{
    return put_keys(s, control_url, keys, put_alone);
}

static int put_fresh(struct state_store *s, struct span text)
{
    int r = state_enter(s);

    if (r)
        return r;
    r = write_fresh(s->directory, KEYS_FILE ".new", &text, 1, false);
    state_leave(s);
    return r;
}

int state_save_begin(struct state_store *s, const char *control_url, const struct state_keys *keys)
{
    return put_keys(s, control_url, keys, put_fresh);
}

int state_save_rename(struct state_store *s)
{
    int r = state_enter(s);

    if (r)
        return err_trace(r);
    r = rename_fresh(s->directory, KEYS_FILE ".new", KEYS_FILE);
    state_leave(s);
    return err_trace(r);
}

int state_sync(struct state_store *s)
{
    int r = state_enter(s);

    if (r)
        return err_trace(r);
    r = syncfs(s->directory) < 0 ? -errno : 0;
    state_leave(s);
    return err_trace(r);
}

bool state_same_disk(const struct state_store *a, const struct state_store *b)
{
    return a->device == b->device;
}

/* ---- netmap ---------------------------------------------------------------------------------
 * First line: the node key it belongs to; the rest is the netmap's own form, packed (pack.h) or not.
 */

int state_save_packed(struct state_store *s, const struct public_key *node, struct span packed)
{
    char head[KEY_TEXT_BYTES + 1];

    key_text(head, "nodekey:", node->bytes);
    strcat(head, "\n");
    return err_trace(
        replace_file(s, NETMAP_FILE, (const struct span[]) { span_from_str(head), packed }, 2, false));
}

int state_save_netmap(struct state_store *s, const struct public_key *node, struct span netmap)
{
    struct buf packed;
    int r;

    buf_init(&packed, STATE_NETMAP_BYTES_MAX + PACK_HEAD_BYTES_MAX);
    r = pack(netmap, 0, SPAN_NONE, &packed);
    if (!r)
        r = state_save_packed(s, node, buf_span(&packed));
    buf_deinit(&packed);
    return r;
}

static int unpack_netmap(const struct state_store *s, struct span packed, struct buf *out, uint64_t *id)
{
    struct span base = SPAN_NONE, frame;
    size_t len;
    int r = 0;

    if (!pack_head(packed, id, &len, &frame)) /* an older file: as it is */
        return buf_append(out, packed);
    if (len > STATE_NETMAP_BYTES_MAX)
        return -EBADMSG;
    if (*id)
        r = base_map(s->directory, *id, &base);
    if (r)
        return r == -ENOENT ? r : -EBADMSG;
    r = unpack(frame, len, base, out);
    base_unmap(base);
    return r > 0 ? -EBADMSG : r;
}

static int load_netmap(const struct state_store *s, const struct public_key *node, struct buf *out,
                       uint64_t *base)
{
    char head[KEY_TEXT_BYTES + 1];
    struct buf file;
    int r;

    buf_init(&file, STATE_NETMAP_BYTES_MAX + 2);
    r = read_file(s, NETMAP_FILE, STATE_NETMAP_BYTES_MAX, &file);
    key_text(head, "nodekey:", node->bytes);
    strcat(head, "\n");
    if (!r && !text_starts_with(buf_span(&file), head))
        r = -ENOENT;
    if (!r)
        r = unpack_netmap(s, span_slice(buf_span(&file), strlen(head), file.len), out, base);
    buf_deinit(&file);
    return r == -ENOENT || r == -EBADMSG ? r : err_trace(r);
}

int state_load_netmap_of(struct state_store *s, const struct public_key *node, struct buf *out,
                         uint64_t *base)
{
    int r = state_enter(s);

    *base = 0;
    if (r)
        return err_trace(r);
    r = load_netmap(s, node, out, base);
    state_leave(s);
    return r;
}

int state_load_netmap(struct state_store *s, const struct public_key *node, struct buf *out)
{
    uint64_t base;

    return state_load_netmap_of(s, node, out, &base);
}

void state_damaged_netmap(struct state_store *s)
{
    char why[STATE_WHY_BYTES];

    if (state_enter(s))
        return; /* it is found damaged again the next time */
    set_aside(s, NETMAP_FILE, "is damaged", why);
    state_leave(s);
    log_warn(NULL, "%s", why);
}
