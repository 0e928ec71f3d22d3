/* config/secrets.c - what stands in files of their own: auth keys and header values
 *
 * credential:NAME stands for the file that systemd made of LoadCredential=NAME:..., in any option that names
 * a file to read. What was read is wiped when the configuration is freed, and is never in a message.
 */
#include <errno.h>
#include <stdarg.h>
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

/* A secret that cannot be had keeps its service from starting, and no other: the daemon says so and tries
 * again. Where somebody waits for a verdict (check, a reload, a lone service) it is a problem. */
static void secret_fault(struct config *c, struct config_service *s, struct config_place at, const char *fmt,
                         ...) PRINTF_LIKE(4, 5);
static void secret_fault(struct config *c, struct config_service *s, struct config_place at, const char *fmt,
                         ...)
{
    char text[900], place[CONFIG_PLACE_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if ((c->mode & (CONFIG_STRICT | CONFIG_FILES)) || c->service_count == 1) {
        problem_at(c, at, "service %s: %s", s->name, text);
        return;
    }
    place_text(c, at, place);
    if (!s->fault && asprintf(&s->fault, "%s%s", place, text) < 0)
        s->fault = NULL;
    notice(c, "%sservice %s: %s; the other services run", place, s->name, text);
}

/* ---- credential:NAME ---------------------------------------------------------------------- */

/* The path that it stands for, NULL with a fault said, or the text itself. */
static char *credential(struct config *c, struct config_service *s, struct config_place at, const char *text)
{
    const char *folder = config_variable(CONFIG_VARIABLE_CREDENTIALS), *name;
    char *path;

    if (!text_starts_with(span_from_str(text), CREDENTIAL))
        return text_dup(span_from_str(text));
    name = text + strlen(CREDENTIAL);
    if (!*name || strchr(name, '/') || *name == '.') {
        secret_fault(c, s, at, "\"%s\": a credential has a name without slashes: write credential:authkey",
                     text);
        return NULL;
    }
    if (!folder) {
        secret_fault(c, s, at,
                     "\"%s\": there are no credentials: $CREDENTIALS_DIRECTORY is not set; "
                     "use LoadCredential=%s:FILE in the systemd unit, or write a path",
                     text, name);
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

/* Header `name` with what the file at `path` says. */
static int add_header(struct config *c, struct config_service *s, struct span name, const char *path)
{
    const char *fault;
    char *value = read_secret(path, &fault), *line = NULL;
    int r = 0;

    if (!value)
        secret_fault(c, s, place_of_option(s, &s->upstream_header_files),
                     "upstreamHeaderFiles \"%.*s\": %s: %s", (int)name.len, (const char *)name.data, path,
                     fault);
    else if (asprintf(&line, "%.*s: %s", (int)name.len, (const char *)name.data, value) < 0)
        r = -ENOMEM;
    else
        r = list_add(&s->upstream_headers, span_from_str(line));
    if (line)
        explicit_bzero(line, strlen(line));
    if (value)
        explicit_bzero(value, strlen(value));
    free(line);
    free(value);
    return r;
}

/* "Name: path" of the list becomes the path that is meant, and a header. */
static int read_header(struct config *c, struct config_service *s, char **item)
{
    struct span name = span_make(*item, strcspn(*item, ":"));
    char *path = credential(c, s, place_of_option(s, &s->upstream_header_files), *item + name.len + 2), *line;
    int r;

    if (!path)
        return 0;
    r = add_header(c, s, name, path);
    if (!r && asprintf(&line, "%.*s: %s", (int)name.len, (const char *)name.data, path) < 0)
        r = -ENOMEM;
    free(path);
    if (r)
        return r;
    free(*item);
    *item = line;
    return 0;
}

static bool is_oauth_secret(const char *key)
{
    struct span s = span_from_str(key);

    return text_starts_with(s, "tskey-client-") || text_starts_with(s, "hskey-client-");
}

static bool exists(const char *folder, const char *name)
{
    char path[4096];
    int n = snprintf(path, sizeof(path), "%s/%s", folder, name);

    return n > 0 && (size_t)n < sizeof(path) && access(path, R_OK) == 0;
}

/* A node that is registered, by us or by tsnsrv, needs no key: then a bad one is worth a word only. */
static bool is_registered(const struct config_service *s)
{
    return exists(s->state_directory, "manytails.state") || exists(s->state_directory, "tailscaled.state");
}

static void bad_key(struct config *c, struct config_service *s, const char *text)
{
    if (is_registered(s) && !(c->mode & CONFIG_STRICT))
        notice(c, "service %s: Could not read authkey from file: %s; its state is used", s->name, text);
    else
        secret_fault(c, s, place_of_option(s, &s->auth_key_path), "%s", text);
}

static int auth_key(struct config *c, struct config_service *s, const char *common)
{
    char text[600];
    const char *fault;

    if (place_of_option(s, &s->auth_key_path).bad)
        return 0;
    if (*s->auth_key_path) {
        s->auth_key = read_secret(s->auth_key_path, &fault);
        snprintf(text, sizeof(text), "authkeyPath \"%.400s\": %s", s->auth_key_path, fault ? fault : "");
        if (!s->auth_key)
            bad_key(c, s, text);
    } else if (common && !(s->auth_key = text_dup(span_from_str(common)))) {
        return -ENOMEM;
    }
    if (s->auth_key && is_oauth_secret(s->auth_key)) {
        explicit_bzero(s->auth_key, strlen(s->auth_key));
        free(s->auth_key);
        s->auth_key = NULL;
        bad_key(c, s, "OAuth client secrets are not supported by this version: give an auth key");
    }
    return 0;
}

int secrets_read(struct config *c)
{
    const char *common = config_variable(CONFIG_VARIABLE_AUTH_KEY);

    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];
        int r = 0;

        resolve_credentials(c, s);
        for (size_t k = 0; !r && k < s->upstream_header_files.count; k++)
            r = read_header(c, s, &s->upstream_header_files.items[k]);
        if (!r)
            r = auth_key(c, s, common);
        if (r)
            return r;
    }
    return 0;
}
