/* cli/import.c - `manytails import`: the identity of a tsnsrv (or any tsnet) folder becomes ours */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "config/config.h"
#include "crypto/crypto.h"
#include "state/state.h"
#include "tls/tls.h"

#define PEM_BYTES_MAX (256u << 10)

struct totals {
    unsigned taken, failed;
    bool dry_run;
};

static void line(const char *name, const char *value)
{
    if (*value)
        printf("  %-16s %s\n", name, value);
}

/* ---- certificates: they stay where they are -------------------------------------------------- */

static bool read_pem(const char *path, struct buf *out)
{
    FILE *f = fopen(path, "re");
    struct mspan room;
    size_t n = 0;

    if (!f)
        return false;
    if (buf_reserve(out, PEM_BYTES_MAX, &room) == 0)
        n = fread(room.data, 1, PEM_BYTES_MAX, f);
    buf_commit(out, n);
    fclose(f);
    return n > 0 && n < PEM_BYTES_MAX;
}

static void tell_certificate(const char *chain_path)
{
    char key_path[4200], why[TLS_WHY_BYTES] = "the key cannot be read", until[TIME_TEXT_BYTES];
    struct tls_identity *identity = NULL;
    struct buf chain, key;

    snprintf(key_path, sizeof(key_path), "%.*s.key", (int)(strlen(chain_path) - strlen(".crt")), chain_path);
    buf_init(&chain, PEM_BYTES_MAX);
    buf_init(&key, PEM_BYTES_MAX);
    if (read_pem(chain_path, &chain) && read_pem(key_path, &key))
        (void)!tls_identity_new(&identity, buf_span(&chain), buf_span(&key), why);
    if (identity)
        printf("  %-16s good until %s; to serve with it: certificateFile: %s, keyFile: %s\n", "certificate",
               time_text_rfc3339(tls_identity_not_after(identity), until), chain_path, key_path);
    else
        printf("  %-16s %s cannot be used: %s\n", "certificate", chain_path, why);
    tls_identity_unref(identity);
    if (key.data)
        wipe(key.data, key.cap);
    buf_deinit(&key);
    buf_deinit(&chain);
}

static void tell_certificates(const char *directory)
{
    char path[4096];
    struct dirent *entry;
    DIR *d;

    snprintf(path, sizeof(path), "%s/certs", directory);
    d = opendir(path);
    while (d && (entry = readdir(d))) {
        size_t len = strlen(entry->d_name);

        if (len > 4 && strcmp(entry->d_name + len - 4, ".crt") == 0 &&
            (size_t)snprintf(path, sizeof(path), "%s/certs/%s", directory, entry->d_name) < sizeof(path))
            tell_certificate(path);
    }
    if (d)
        closedir(d);
}

/* ---- one folder --------------------------------------------------------------------------------- */

static void tell_identity(const struct state_foreign *f)
{
    static const struct secret_key none;
    bool has_node_key = !crypto_equal(&f->keys.node, &none, sizeof(none));

    line("host name", f->host_name);
    line("node id", f->node_id);
    line("user", f->login);
    line("tags", f->tags);
    line("control server", state_foreign_server(f));
    line("machine key", "taken");
    line("node key", f->logged_out  ? "not taken: it was logged out, so the node registers anew"
                     : has_node_key ? "taken: same node, same address, no approval"
                                    : "none: it was never logged in, so the node registers");
}

static void tell_differences(const struct state_foreign *f)
{
    const char *control = config_variable(CONFIG_VARIABLE_CONTROL_URL);

    if (f->profiles > 1)
        printf("  note: %u profiles; only the current one, %s, is taken\n", f->profiles, f->profile);
    if (f->lock_key)
        printf("  note: the tailnet-lock key is not taken; the node key stays signed if it was\n");
    if (f->serve)
        printf("  note: serve and Funnel settings kept there are not used; the configuration says what is "
               "served\n");
    if (!state_same_server(f->control_url, control ? control : ""))
        printf("  note: start with TS_URL=%s, or controlURL in the file; with another server the node "
               "registers there\n",
               f->control_url);
}

/* Gives a file that root wrote to another user; one that has a second name may be anything by now. */
static int give_file(const char *path, const struct stat *owner)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r = 0;
    struct stat st;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    if (fstat(fd, &st))
        r = -errno;
    else if (!S_ISREG(st.st_mode) || st.st_nlink != 1)
        r = -EPERM;
    else if (fchown(fd, owner->st_uid, owner->st_gid))
        r = -errno;
    close(fd);
    return r;
}

/* Root may import for another user: what was written belongs to whom the old state belongs to. */
static int hand_over(const char *directory)
{
    static const char *const written[] = { "manytails.state", "manytails.lock" };
    char path[4200];
    struct stat old;
    int r = 0;

    if (geteuid() != 0)
        return 0;
    snprintf(path, sizeof(path), "%s/tailscaled.state", directory);
    if (stat(path, &old))
        return -errno;
    for (size_t i = 0; !r && i < COUNT_OF(written); i++) {
        snprintf(path, sizeof(path), "%s/%s", directory, written[i]);
        r = give_file(path, &old);
    }
    return r;
}

static int save(const char *directory, const struct state_foreign *f)
{
    struct state_store *store = NULL;
    struct state_keys keys;
    char why[STATE_WHY_BYTES];
    int r = state_open(&store, directory, why);

    if (r) {
        fprintf(stderr, "%s: %s\n", cli_program(), why);
        return r;
    }
    state_foreign_keys(f, state_foreign_server(f), &keys);
    r = state_save(store, state_foreign_server(f), &keys);
    state_keys_wipe(&keys);
    state_close(store);
    if (!r)
        r = hand_over(directory);
    if (r)
        fprintf(stderr, "%s: %s/manytails.state cannot be written: %s\n", cli_program(), directory,
                err_text(r));
    return r;
}

/* True if there was such a state. */
static bool import_folder(const char *directory, struct totals *t)
{
    char why[STATE_WHY_BYTES], path[4200];
    struct state_foreign f;
    int r = state_foreign_read(directory, &f, why);

    if (r == -ENOENT)
        return false;
    snprintf(path, sizeof(path), "%s/manytails.state", directory);
    if (!r && access(path, F_OK) == 0) {
        fprintf(stderr, "%s: %s is there already: the identity in use is not overwritten\n", cli_program(),
                path);
        r = 1;
    } else if (r) {
        fprintf(stderr, "%s: %s: %s\n", cli_program(), directory, why);
    } else {
        printf("%s\n", directory);
        tell_identity(&f);
        tell_certificates(directory);
        tell_differences(&f);
        r = t->dry_run ? 0 : save(directory, &f);
    }
    t->failed += r != 0;
    t->taken += r == 0;
    wipe(&f, sizeof(f));
    return true;
}

/* A folder of folders: one for each service, by their names. 0 or -errno. */
static int import_below(const char *directory, struct totals *t)
{
    struct dirent **entries;
    int n = scandir(directory, &entries, NULL, alphasort);
    char path[4096];

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.' &&
            (size_t)snprintf(path, sizeof(path), "%s/%s", directory, entries[i]->d_name) < sizeof(path))
            (void)import_folder(path, t);
        free(entries[i]);
    }
    free(entries);
    return 0;
}

int cli_import(int argc, char **argv)
{
    struct totals t = { 0 };
    struct cli_arguments a = { .argc = argc, .argv = argv, .words_max = 1 };
    const char *directory = NULL;
    enum cli_argument found;

    while ((found = cli_argument_next(&a)) != CLI_ARGUMENT_END && found != CLI_ARGUMENT_WRONG)
        if (found == CLI_ARGUMENT_FLAG)
            t.dry_run = true;
        else
            directory = a.value;
    if (found == CLI_ARGUMENT_WRONG)
        return 2;
    if (!directory)
        return cli_wrong_usage("import");
    if (crypto_init())
        return 1;
    if (!import_folder(directory, &t)) {
        int r = import_below(directory, &t);

        if (r) {
            fprintf(stderr, "%s: %s: %s\n", cli_program(), directory, err_text(r));
            return 1;
        }
    }
    if (!t.taken && !t.failed) {
        fprintf(stderr, "%s: there is no tailscaled.state in %s, nor in a folder right below it\n",
                cli_program(), directory);
        return 1;
    }
    if (t.taken)
        printf(
            t.dry_run
                ? "Nothing was written.\n"
                : "Stop the old program before you start this one: one identity, one process. The old files "
                  "were not touched.\n");
    return t.failed ? 1 : 0;
}
