/* config/secrets.c - what stands in files of their own: auth keys and header values
 *
 * credential:NAME stands for the file that systemd made of LoadCredential=NAME:..., in any option that names
 * a file to read. What was read is wiped when the configuration is freed, and is never in a message.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "config/internal.h"

#define SECRET_BYTES_MAX 4096
#define CREDENTIAL "credential:"

int file_read(const char *path, struct buf *out, size_t max)
{
    FILE *f = fopen(path, "rbe");
    uint8_t bytes[4096];
    size_t n, sum = 0;
    int r = 0;

    if (!f)
        return -errno;
    setvbuf(f, NULL, _IONBF, 0); /* no copy of a secret stays in stdio */
    errno = 0;
    while (!r && (n = fread(bytes, 1, sizeof(bytes), f)) > 0) {
        sum += n;
        r = sum > max ? -EFBIG : buf_append(out, span_make(bytes, n));
    }
    if (!r && ferror(f))
        r = errno ? -errno : -EIO;
    explicit_bzero(bytes, sizeof(bytes));
    fclose(f);
    return r;
}

/* ---- credential:NAME ---------------------------------------------------------------------- */

/* The path that it stands for, NULL with a fault said, or the text itself. */
static char *credential(struct config *c, const struct config_service *s, struct config_place at,
                        const char *text)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY"), *name;
    char *path;

    if (!text_starts_with(span_from_str(text), CREDENTIAL))
        return text_dup(span_from_str(text));
    name = text + strlen(CREDENTIAL);
    if (!*name || strchr(name, '/') || *name == '.') {
        problem_at(c, at,
                   "service %s: \"%s\": a credential has a name without slashes: write credential:authkey",
                   s->name, text);
        return NULL;
    }
    if (!folder || !*folder) {
        problem_at(c, at,
                   "service %s: \"%s\": there are no credentials: $CREDENTIALS_DIRECTORY is not set; "
                   "use LoadCredential=%s:FILE in the systemd unit, or write a path",
                   s->name, text, name);
        return NULL;
    }
    return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

static void resolve_credentials(struct config *c, struct config_service *s)
{
    char **const fields[] = { &s->certificate_file, &s->key_file, &s->auth_key_path };

    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        char *path = credential(c, s, place_of_option(s, fields[i]), *fields[i]);

        if (!path) {
            mark_bad(s, fields[i]);
            continue;
        }
        free(*fields[i]);
        *fields[i] = path;
    }
}

/* ---- the files ------------------------------------------------------------------------------- */

static const char *why_not(int r, struct span text)
{
    if (r == -EFBIG)
        return "the file is larger than 4 KiB";
    if (r)
        return err_text(r);
    if (!text.len)
        return "the file is empty";
    for (size_t i = 0; i < text.len; i++)
        if (text.data[i] < 0x20 || text.data[i] == 0x7f)
            return "the file must hold one line of text";
    return NULL;
}

/* The one line of a file, blanks at both ends removed. NULL: *fault says why. */
static char *read_secret(const char *path, const char **fault)
{
    struct buf bytes;
    struct span text;
    char *copy = NULL;
    int r;

    buf_init(&bytes, SECRET_BYTES_MAX + 1);
    r = file_read(path, &bytes, SECRET_BYTES_MAX);
    text = text_trim(buf_span(&bytes));
    *fault = why_not(r, text);
    if (!*fault) {
        copy = text_dup(text);
        if (!copy)
            *fault = err_text(ENOMEM);
    }
    if (bytes.data)
        explicit_bzero(bytes.data, bytes.cap);
    buf_deinit(&bytes);
    return copy;
}

/* "Name: path" to "Name: what the file says". */
static int read_header(struct config *c, struct config_service *s, const char *item)
{
    const char *colon = strchr(item, ':');
    struct config_place at = place_of_option(s, &s->upstream_header_files);
    char *path = credential(c, s, at, colon + 2), *value, *line = NULL;
    const char *fault;
    int r = 0;

    if (!path)
        return 0;
    value = read_secret(path, &fault);
    if (!value)
        problem_at(c, at, "service %s: upstreamHeaderFiles \"%.*s\": %s: %s", s->name, (int)(colon - item),
                   item, path, fault);
    else if (asprintf(&line, "%.*s: %s", (int)(colon - item), item, value) < 0)
        r = -ENOMEM;
    else
        r = list_add(&s->upstream_headers, span_from_str(line));
    if (line)
        explicit_bzero(line, strlen(line));
    if (value)
        explicit_bzero(value, strlen(value));
    free(line);
    free(value);
    free(path);
    return r;
}

static bool is_oauth_secret(const char *key)
{
    struct span s = span_from_str(key);

    return text_starts_with(s, "tskey-client-") || text_starts_with(s, "hskey-client-");
}

/* A node that is registered needs no key: then a bad key file is worth a word only. */
static bool is_registered(const struct config_service *s)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/manytails.state", s->state_directory);

    return n > 0 && (size_t)n < sizeof(path) && access(path, R_OK) == 0;
}

static void bad_key(struct config *c, const struct config_service *s, const char *text)
{
    struct config_place at = place_of_option(s, &s->auth_key_path);

    if (is_registered(s) && !(c->mode & CONFIG_STRICT))
        notice(c, "service %s: Could not read authkey from file: %s; its state is used", s->name, text);
    else
        problem_at(c, at, "service %s: authkeyPath %s", s->name, text);
}

static int auth_key(struct config *c, struct config_service *s, const char *common)
{
    const char *fault;

    if (place_of_option(s, &s->auth_key_path).bad)
        return 0;
    if (*s->auth_key_path) {
        s->auth_key = read_secret(s->auth_key_path, &fault);
        if (!s->auth_key) {
            char text[600];

            snprintf(text, sizeof(text), "\"%.400s\": %s", s->auth_key_path, fault);
            bad_key(c, s, text);
        }
    } else if (common && !(s->auth_key = text_dup(span_from_str(common)))) {
        return -ENOMEM;
    }
    if (s->auth_key && is_oauth_secret(s->auth_key))
        problem_at(c, place_of_option(s, &s->auth_key_path),
                   "service %s: OAuth client secrets are not supported by this version: give an auth key",
                   s->name);
    return 0;
}

static const char *common_key(void)
{
    static const char *const names[] = { "TS_AUTHKEY", "TS_AUTH_KEY" };

    for (size_t i = 0; i < COUNT_OF(names); i++) {
        const char *value = getenv(names[i]);

        if (value && *value)
            return value;
    }
    return NULL;
}

int secrets_read(struct config *c)
{
    const char *common = common_key();

    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];
        int r = 0;

        resolve_credentials(c, s);
        for (size_t k = 0; !r && k < s->upstream_header_files.count; k++)
            r = read_header(c, s, s->upstream_header_files.items[k]);
        if (!r)
            r = auth_key(c, s, common);
        if (r)
            return r;
    }
    return 0;
}
