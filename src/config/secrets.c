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
#include "control/control.h"

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
    struct config_place at = place_of_option(s, &s->auth_key_path);

    if (is_registered(s) && !(c->mode & CONFIG_STRICT))
        notice(c, "service %s: Could not read authkey from %s: %s; its state is used", s->name,
               *s->auth_key_path ? "file" : "the environment", text);
    else
        secret_fault(c, s, at.line ? at : s->place, "%s", text);
}

static void wipe_text(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    free(*text);
    *text = NULL;
}

/* ---- OAuth client secrets ---------------------------------------------------------------------- */

#define WORDS_BYTES 300

/* What keeps the secret from being used, NULL if nothing does. None of it is in the words. */
static const char *oauth_fault(const char *secret, bool tagged, struct control_oauth *parts,
                               char out[WORDS_BYTES])
{
    const char *base = config_variable(CONFIG_VARIABLE_OAUTH_BASE), *wrong;
    unsigned parameter;

    wrong = control_oauth_parse(secret, parts, &parameter);
    if (wrong && parameter) {
        snprintf(out, WORDS_BYTES, "number %u behind the \"?\" of the OAuth client secret: %s", parameter,
                 wrong);
        return out;
    }
    if (wrong)
        return wrong;
    if (!tagged)
        return "an OAuth client secret makes keys for tagged nodes only: give the service at least one tag";
    if (parts->base[0] || !base)
        return NULL;
    wrong = control_url_check(span_from_str(base));
    if (wrong) {
        snprintf(out, WORDS_BYTES, "TS_BASE_URL \"%.100s\": %s", base, wrong);
        return out;
    }
    snprintf(parts->base, sizeof(parts->base), "%s", base);
    return NULL;
}

static bool is_plain(const char *url)
{
    struct span s = span_from_str(url);

    return text_starts_with(s, "http://") && !text_starts_with(s, "http://127.") &&
           !text_starts_with(s, "http://[::1]") && !text_starts_with(s, "http://localhost");
}

/* What the secret leaves open the service says: then the text has it all. NULL: no memory. */
static char *oauth_text(const char *secret, const struct control_oauth *parts, bool ephemeral,
                        const char *url)
{
    char *text;

    return asprintf(&text, "%.*s?ephemeral=%s&preauthorized=%s&baseURL=%s", (int)parts->secret_len, secret,
                    ephemeral ? "true" : "false", parts->preauthorized ? "true" : "false", url) < 0
               ? NULL
               : text;
}

static int oauth_complete(struct config *c, struct config_service *s, const struct control_oauth *parts)
{
    char url[CONTROL_URL_BYTES], *text;

    if (parts->ephemeral_said && parts->ephemeral != s->ephemeral) {
        if (place_of_option(s, &s->ephemeral).set)
            notice(c, "service %s: its OAuth client secret says ephemeral=%s, and that counts", s->name,
                   parts->ephemeral ? "true" : "false");
        s->ephemeral = parts->ephemeral;
    }
    control_oauth_base(s->auth_key, parts, s->control_url, url);
    if (is_plain(url))
        notice(c, "service %s: its OAuth client secret goes to %s unencrypted: use https", s->name, url);
    text = oauth_text(s->auth_key, parts, s->ephemeral, url);
    if (!text)
        return -ENOMEM;
    wipe_text(&s->auth_key);
    s->auth_key = text;
    return 0;
}

static int oauth_secret(struct config *c, struct config_service *s)
{
    struct control_oauth parts;
    char words[WORDS_BYTES], text[800];
    const char *fault = oauth_fault(s->auth_key, s->tags.count, &parts, words);

    if (!fault)
        return oauth_complete(c, s, &parts);
    wipe_text(&s->auth_key);
    if (*s->auth_key_path)
        snprintf(text, sizeof(text), "authkeyPath \"%.400s\": %s", s->auth_key_path, fault);
    else
        snprintf(text, sizeof(text), "TS_AUTHKEY: %s", fault);
    bad_key(c, s, text);
    return 0;
}

/* ---- an auth key as it is later ------------------------------------------------------------------ */

int config_key_source_init(struct config_key_source *out, const struct config_service *s)
{
    *out = (struct config_key_source) { .ephemeral = s->ephemeral, .tagged = s->tags.count };
    if (!*s->auth_key_path)
        return 0;
    out->path = text_dup(span_from_str(s->auth_key_path));
    out->control_url = text_dup(span_from_str(s->control_url));
    if (out->path && out->control_url)
        return 0;
    config_key_source_deinit(out);
    return -ENOMEM;
}

void config_key_source_deinit(struct config_key_source *k)
{
    free(k->path);
    free(k->control_url);
    k->path = k->control_url = NULL;
}

/* The secret in *text becomes what loading would have made of it; NULL if that is nothing. */
static void complete_again(const struct config_key_source *k, char **text)
{
    char words[WORDS_BYTES], url[CONTROL_URL_BYTES], *whole = NULL;
    struct control_oauth parts;

    if (!oauth_fault(*text, k->tagged, &parts, words)) {
        control_oauth_base(*text, &parts, k->control_url, url);
        whole = oauth_text(*text, &parts, parts.ephemeral_said ? parts.ephemeral : k->ephemeral, url);
    }
    wipe_text(text);
    *text = whole;
}

bool config_key_now(const struct config_key_source *k, char *out, size_t size)
{
    const char *fault;
    char *text = k->path ? read_secret(k->path, &fault) : NULL;
    bool fits;

    if (text && control_oauth_is(text))
        complete_again(k, &text);
    fits = text && text_copy(out, size, span_from_str(text));
    wipe_text(&text);
    if (!fits)
        explicit_bzero(out, size);
    return fits;
}

/* ---- auth keys ----------------------------------------------------------------------------------- */

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
    return s->auth_key && control_oauth_is(s->auth_key) ? oauth_secret(c, s) : 0;
}

static int read_service(struct config *c, struct config_service *s)
{
    int r = 0;

    resolve_credentials(c, s);
    s->headers_own = s->upstream_headers.count;
    for (size_t i = 0; !r && i < s->upstream_header_files.count; i++)
        r = read_header(c, s, &s->upstream_header_files.items[i]);
    return r ? r : auth_key(c, s, config_variable(CONFIG_VARIABLE_AUTH_KEY));
}

int secrets_read(struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++) {
        int r = read_service(c, &c->services[i]);

        if (r)
            return r;
    }
    return 0;
}

/* ---- a second attempt ------------------------------------------------------------------------------- */

int config_secrets_again(struct config *c, size_t service)
{
    struct config_service *s = &c->services[service];
    size_t noticed = c->notices.len;
    char *before = s->fault;
    int r;

    if (!before)
        return 0;
    s->fault = NULL;
    while (s->upstream_headers.count > s->headers_own)
        wipe_text(&s->upstream_headers.items[--s->upstream_headers.count]);
    wipe_text(&s->auth_key);
    r = read_service(c, s);
    c->notices.len = noticed; /* they are for the log of a start; whoever asks has the fault */
    if (r && !s->fault) {
        s->fault = before;
        return r;
    }
    free(before);
    places_free(c);
    return r;
}
