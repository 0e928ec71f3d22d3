/* config/check.c - what must hold of each service, and between them; everything is said, with its place */
#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "cert/cert.h"
#include "control/control.h"
#include "proxy/proxy.h"

static bool set(const char *text)
{
    return text && *text;
}

/* A service under examination: `at` is "service web: " in files and lists, "" on the command line of one. */
struct looking {
    struct config *c;
    const struct config_service *s;
    bool from_file, named;
    char at[128];
};

/* Of a field, or of the service if the field was left at its default. */
static struct config_place where(const struct looking *l, const void *field)
{
    struct config_place at = place_of_option(l->s, field);

    return at.line ? at : l->s->place;
}

/* Its value was refused already: what follows from that is no news. */
static bool bad(const struct looking *l, const void *field)
{
    return place_of_option(l->s, field).bad;
}

static void name_it(struct looking *l, size_t index)
{
    if (!l->named)
        l->at[0] = 0;
    else if (set(l->s->name))
        snprintf(l->at, sizeof(l->at), "service %.60s: ", l->s->name);
    else
        snprintf(l->at, sizeof(l->at), "service %zu: ", index);
}

/* ---- single values --------------------------------------------------------------------------- */

static bool is_dns_label(const char *name)
{
    size_t len = strlen(name);

    if (len == 0 || len > 63 || name[0] == '-' || name[len - 1] == '-')
        return false;
    for (const char *c = name; *c; c++)
        if (!isalnum((unsigned char)*c) && *c != '-')
            return false;
    return true;
}

/* A number, or the name of a TCP service as /etc/services has it. */
static bool port_parse(struct span text, uint16_t *port)
{
    const struct servent *entry;
    char name[32];
    uint64_t n;

    if (text_parse_u64(text, UINT16_MAX, &n)) {
        *port = (uint16_t)n;
        return n > 0;
    }
    if (span_equal_str(text, "http") || span_equal_str(text, "https")) {
        *port = text.len == 4 ? 80 : 443;
        return true;
    }
    if (!text_copy(name, sizeof(name), text) || !isalpha((unsigned char)name[0]))
        return false;
    entry = getservbyname(name, "tcp");
    if (entry)
        *port = ntohs((uint16_t)entry->s_port);
    return entry;
}

bool config_listen(const char *text, struct ip_port *out)
{
    const char *colon = strrchr(text, ':');
    char plain[80];
    uint16_t port;

    *out = (struct ip_port) { 0 };
    if (!colon || !port_parse(span_from_str(colon + 1), &port))
        return false;
    out->port = port;
    if (colon == text)
        return true;
    snprintf(plain, sizeof(plain), "%.*s:%u", (int)MIN(colon - text, 64), text, port);
    if (!ip_port_parse(span_from_str(plain), out))
        return false;
    if (strncmp(text, "0.0.0.0:", 8) == 0)
        out->ip = (struct ip) { 0 };
    return true;
}

/* ---- one service ------------------------------------------------------------------------------- */

/* The nearest name that is one; "" if nothing is left of it. */
static const char *nearest_label(const char *name, char out[64])
{
    size_t n = 0;

    for (; *name && n < 63; name++)
        if (isalnum((unsigned char)*name))
            out[n++] = *name;
        else if (n && out[n - 1] != '-')
            out[n++] = '-';
    while (n && out[n - 1] == '-')
        n--;
    out[n] = 0;
    return out;
}

static void refuse_name(const struct looking *l)
{
    const struct config_service *s = l->s;
    char near[64];
    const char *instead = nearest_label(s->name, near);

    problem_at(
        l->c, where(l, &s->name),
        "%sname \"%.80s\" is no host name: at most 63 letters and digits, with hyphens between them%s%s",
        l->at, s->name, *instead ? "; write " : "", instead);
}

static void check_name(const struct looking *l)
{
    const struct config_service *s = l->s;

    if (bad(l, &s->name))
        return;
    if (!set(s->name))
        problem_at(l->c, s->place, "%stsnsrv needs a -name", l->at);
    else if (!is_dns_label(s->name))
        refuse_name(l);
}

static void check_upstream_address(const struct looking *l)
{
    const struct config_service *s = l->s;
    const char *tcp = set(s->upstream_tcp_address) ? s->upstream_tcp_address : NULL;
    const char *path = set(s->upstream_unix_address) ? s->upstream_unix_address : NULL;
    char why[PROXY_WHY_BYTES];

    if (tcp && path)
        problem_at(
            l->c, where(l, &s->upstream_unix_address),
            "%scan only proxy to one address at a time, pass either -upstreamUnixAddr or -upstreamTCPAddr",
            l->at);
    else if ((tcp || path) && !proxy_upstream_check("http://localhost", tcp, path, why))
        problem_at(l->c, where(l, tcp ? &s->upstream_tcp_address : &s->upstream_unix_address),
                   "%s%s \"%.120s\": %s", l->at, tcp ? "upstreamTCPAddr" : "upstreamUnixAddr",
                   tcp ? tcp : path, why);
}

static void check_upstream(const struct looking *l)
{
    const struct config_service *s = l->s;
    char why[PROXY_WHY_BYTES];

    check_upstream_address(l);
    if (bad(l, &s->upstream))
        return;
    if (!set(s->upstream))
        problem_at(l->c, s->place,
                   l->from_file ? "%supstream URL is required"
                   : l->named   ? "%supstream is required"
                                : "%stsnsrv requires a destination URL",
                   l->at);
    else if (!proxy_upstream_check(s->upstream, NULL, NULL, why))
        problem_at(l->c, where(l, &s->upstream), "%sinvalid destination URL \"%.200s\": %s", l->at,
                   s->upstream, why);
}

/* Reading the files takes a while and they may come later: only when asked for. */
static void check_certificate_files(const struct looking *l)
{
    const struct config_service *s = l->s;
    struct timespec now;
    struct cert *cert = NULL;
    char why[CERT_WHY_BYTES] = "";
    int r;

    if (!(l->c->mode & CONFIG_FILES))
        return;
    clock_gettime(CLOCK_REALTIME, &now);
    r = cert_load(&cert, s->certificate_file, s->key_file, now.tv_sec * SEC + now.tv_nsec, why);
    if (r > 0)
        problem_at(l->c, where(l, r == CERT_E_FILE ? &s->certificate_file : &s->key_file), "%s%s", l->at,
                   why);
    else if (*why)
        notice(l->c, "%s%s", l->at, why);
    cert_free(cert);
}

static void check_certificate(const struct looking *l)
{
    const struct config_service *s = l->s;
    bool cert = set(s->certificate_file), key = set(s->key_file);

    if (bad(l, &s->plaintext) || bad(l, &s->certificate_file) || bad(l, &s->key_file))
        return;
    if (cert != key)
        problem_at(l->c, where(l, cert ? &s->certificate_file : &s->key_file),
                   "%swhen providing either a certificate or key file, the other must be provided", l->at);
    else if (s->plaintext && cert)
        problem_at(l->c, where(l, &s->plaintext),
                   "%scan not serve plaintext when using custom certificate and key", l->at);
    else if (!s->plaintext && !cert)
        problem_at(l->c, s->place,
                   "%scertificates from the control server are not supported by this version: set plaintext, "
                   "or give "
                   "certificateFile and keyFile",
                   l->at);
    else if (cert)
        check_certificate_files(l);
}

static void check_redirect(const struct looking *l)
{
    const struct config_service *s = l->s;
    struct ip_port listen;

    if (!s->redirect_http || bad(l, &s->redirect_http) || bad(l, &s->plaintext) || bad(l, &s->listen_address))
        return;
    if (s->plaintext)
        problem_at(l->c, where(l, &s->redirect_http),
                   "%sredirectHTTP needs HTTPS to redirect to: leave plaintext out, or redirectHTTP", l->at);
    else if (config_listen(s->listen_address, &listen) && listen.port == 80)
        problem_at(
            l->c, where(l, &s->redirect_http),
            "%sredirectHTTP listens on port 80, which listenAddr has taken: use another port for HTTPS",
            l->at);
}

static void check_prefixes(const struct looking *l)
{
    for (size_t i = 0; i < l->s->prefixes.count; i++) {
        const char *text = l->s->prefixes.items[i];
        struct span s = span_from_str(text);

        if (text_starts_with(s, "tailnet:") || text_starts_with(s, "funnel:"))
            s = span_from_str(strchr(text, ':') + 1);
        if (!s.len || s.data[0] != '/')
            doubt_at(l->c, where(l, &l->s->prefixes),
                     "%sprefix \"%.100s\" can match no request: begin the path with /", l->at, text);
    }
    if (l->s->prefixes.count > PROXY_PREFIXES_MAX)
        problem_at(l->c, where(l, &l->s->prefixes), "%stoo many prefixes: at most %d", l->at,
                   PROXY_PREFIXES_MAX);
}

static void check_headers(const struct looking *l)
{
    if (l->s->upstream_headers.count > PROXY_HEADERS_MAX)
        problem_at(l->c, where(l, &l->s->upstream_headers), "%stoo many headers: at most %d", l->at,
                   PROXY_HEADERS_MAX);
}

/* Numbers and durations that have more of a range than their type. */
static void check_range(const struct looking *l, const char *name, const uint32_t *field, uint32_t least,
                        uint32_t most)
{
    if (!bad(l, field) && (*field < least || *field > most))
        problem_at(l->c, where(l, field), "%s%s %u: write a number from %u to %u", l->at, name, *field, least,
                   most);
}

static void check_duration(const struct looking *l, const char *name, const time_ns *field)
{
    const struct config_service *s = l->s;
    const time_ns *const positive[] = { &s->upstream_connect_timeout, &s->upstream_queue_timeout,
                                        &s->upstream_idle_timeout, &s->upstream_keep_alive };

    if (bad(l, field))
        return;
    for (size_t i = 0; i < COUNT_OF(positive); i++)
        if (field == positive[i] && *field <= 0) {
            problem_at(l->c, where(l, field), "%s%s has to be longer than nothing: write 10s", l->at, name);
            return;
        }
    if (*field < 0)
        doubt_at(l->c, where(l, field), "%s%s is negative, which counts as 0: write 0s or more", l->at, name);
}

static void check_proxying(const struct looking *l)
{
    const struct config_service *s = l->s;

    if (strcmp(s->prefix_match, "segment") != 0 && strcmp(s->prefix_match, "text") != 0)
        problem_at(l->c, where(l, &s->prefix_match), "%sprefixMatch \"%.80s\": write segment or text", l->at,
                   s->prefix_match);
    if (strcmp(s->access_log, "text") != 0 && strcmp(s->access_log, "json") != 0 &&
        strcmp(s->access_log, "off") != 0)
        problem_at(l->c, where(l, &s->access_log), "%saccessLog \"%.80s\": write text, json or off", l->at,
                   s->access_log);
    check_range(l, "upstreamMaxConnections", &s->upstream_max_connections, 0, PROXY_CONNECTIONS_MAX);
    check_range(l, "upstreamQueue", &s->upstream_queue, 1, PROXY_CONNECTIONS_MAX);
    check_range(l, "upstreamIdleConnections", &s->upstream_idle_connections, 1, PROXY_IDLE_UPSTREAMS_MAX);
    for (size_t i = 0; i < option_count; i++)
        if (options[i].scope == OPTION_SERVICE && options[i].kind == OPTION_DURATION)
            check_duration(l, options[i].yaml, (const time_ns *)((const char *)s + options[i].offset));
}

/* What a request must not slip past: a fault here keeps the service from starting. */
static void check_auth(const struct looking *l)
{
    const struct config_service *s = l->s;
    struct proxy_service_config settings = { .auth_url = s->auth_url, .auth_path = s->auth_path };
    const char *names[CONFIG_LIST_MAX];
    char *copies[CONFIG_LIST_MAX];
    char why[PROXY_WHY_BYTES];

    if (!set(s->auth_url)) {
        if (set(s->auth_path) || s->auth_copy_headers.count || s->auth_bypass_for_tailnet)
            notice(l->c, "%sthere is no authURL: nobody is asked, and the other auth options have no effect",
                   l->at);
        return;
    }
    for (size_t i = 0; i < s->auth_copy_headers.count; i++) {
        const char *line = s->auth_copy_headers.items[i];

        copies[i] = text_dup(span_make(line, strcspn(line, ":")));
        names[i] = copies[i] ? copies[i] : "";
    }
    settings.auth_copy_headers = names;
    settings.auth_copy_count = s->auth_copy_headers.count;
    if (!proxy_auth_check(&settings, why))
        problem_at(l->c,
                   where(l, strncmp(why, "authPath", 8) == 0           ? (const void *)&s->auth_path
                            : strncmp(why, "authCopyHeaders", 15) == 0 ? (const void *)&s->auth_copy_headers
                                                                       : (const void *)&s->auth_url),
                   "%s%s", l->at, why);
    for (size_t i = 0; i < s->auth_copy_headers.count; i++)
        free(copies[i]);
}

/* It is made when the service starts, unless something else has its name. */
static void check_state_folder(const struct looking *l)
{
    const char *path = l->s->state_directory;
    struct stat st;

    if (!(l->c->mode & CONFIG_FILES) || !set(path))
        return;
    if (stat(path, &st) ? errno == ENOTDIR : !S_ISDIR(st.st_mode))
        problem_at(l->c, where(l, &l->s->state_directory),
                   "%sstateDir \"%.200s\" is no folder: something else is there already", l->at, path);
}

static void check_service(const struct looking *l)
{
    const struct config_service *s = l->s;
    struct ip_port parsed;
    const char *fault;

    check_name(l);
    check_state_folder(l);
    check_upstream(l);
    check_certificate(l);
    check_redirect(l);
    check_prefixes(l);
    check_headers(l);
    check_proxying(l);
    check_auth(l);
    fault =
        strcmp(s->control_url, l->c->control_url) ? control_url_check(span_from_str(s->control_url)) : NULL;
    if (fault)
        problem_at(l->c, where(l, &s->control_url), "%scontrolURL \"%.200s\": %s", l->at, s->control_url,
                   fault);
    if (!bad(l, &s->listen_address) && !config_listen(s->listen_address, &parsed))
        problem_at(l->c, where(l, &s->listen_address),
                   "%slistenAddr \"%.80s\" is not an address: write \":80\" or \"100.64.0.1:80\"", l->at,
                   s->listen_address);
}

/* ---- between services ----------------------------------------------------------------------------- */

struct claim {
    const char *what; /* a name or a folder */
    const struct config_service *s;
};

static int by_what(const void *a, const void *b)
{
    const struct claim *x = a, *y = b;
    int order = strcmp(x->what, y->what);

    return order ? order : x->s < y->s ? -1 : x->s > y->s;
}

static void twice(struct config *c, const struct claim *first, const struct claim *again, bool folder)
{
    const struct config_service *s = again->s;
    struct config_place at = place_of_option(s, folder ? &s->state_directory : &s->name);
    char text[CONFIG_PLACE_BYTES];

    place_text(c, first->s->place, text);
    if (*text)
        text[strlen(text) - 2] = 0;
    if (folder)
        problem_at(c, at.line ? at : s->place,
                   "service %s: stateDir \"%.200s\" is that of service %s too: give each its own", s->name,
                   s->state_directory, first->s->name);
    else
        problem_at(c, at.line ? at : s->place, "service %s: duplicate service name%s%s%s%s", s->name,
                   strcmp(s->name, first->s->name) ? ", case makes no difference in a host name" : "",
                   *text ? " (the first is at " : "", text, *text ? ")" : "");
}

/* What of the path is there, its links resolved; *rest: what is not. NULL: no memory. */
static char *folder_there(const char *path, const char **rest)
{
    char *head = text_dup(span_from_str(path)), *real = NULL;
    size_t n = strlen(path);

    *rest = path + n;
    while (head && n && !(real = realpath(head, NULL))) {
        while (n && head[n - 1] == '/')
            n--;
        while (n && head[n - 1] != '/')
            n--;
        head[n] = 0;
        *rest = path + n;
    }
    free(head);
    return real || n ? real : realpath(".", NULL);
}

/* A folder's one name, be it there or not. */
static char *folder_name(const char *path)
{
    const char *rest;
    char *there = folder_there(path, &rest);
    size_t n = there ? strlen(there) : 0;
    char *name = there ? realloc(there, n + strlen(rest) + 2) : NULL;

    if (!name) {
        free(there);
        return NULL;
    }
    while (*rest) {
        size_t len = strcspn(rest, "/");

        if (len == 2 && strncmp(rest, "..", 2) == 0)
            n = (size_t)((const char *)memrchr(name, '/', n) - name);
        else if (len && !(len == 1 && *rest == '.'))
            n += (size_t)sprintf(name + n, "%s%.*s", n && name[n - 1] == '/' ? "" : "/", (int)len, rest);
        rest += len + (rest[len] == '/');
        n = n ? n : 1; /* above the root is the root */
        name[n] = 0;
    }
    return name;
}

/* As DNS compares it. NULL: no memory. */
static char *host_name(const char *name)
{
    char *lower = text_dup(span_from_str(name));

    for (char *c = lower; c && *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
    return lower;
}

static char *claimed(const struct config_service *s, bool folder)
{
    if (!set(s->name) || (folder && !set(s->state_directory)))
        return NULL;
    return folder ? folder_name(s->state_directory) : host_name(s->name);
}

static void check_unique(struct config *c, bool folder)
{
    struct claim *claims = calloc(c->service_count + 1, sizeof(*claims));
    char **owned = calloc(c->service_count + 1, sizeof(*owned));
    size_t n = 0;

    for (size_t i = 0; claims && owned && i < c->service_count; i++) {
        const struct config_service *s = &c->services[i];

        owned[i] = claimed(s, folder);
        if (owned[i])
            claims[n++] = (struct claim) { owned[i], s };
    }
    if (n)
        qsort(claims, n, sizeof(*claims), by_what);
    for (size_t i = 1, first = 0; i < n; i++) {
        if (strcmp(claims[first].what, claims[i].what) != 0)
            first = i;
        else if (!folder || strcmp(claims[first].s->name, claims[i].s->name) != 0)
            twice(c, &claims[first], &claims[i], folder);
    }
    for (size_t i = 0; owned && i < c->service_count; i++)
        free(owned[i]);
    free(owned);
    free(claims);
}

/* 0: none of its own, or one that the kernel chooses; 1: no port. */
static int dedicated_port(const struct config_service *s, uint64_t *out)
{
    const char *text = s->dedicated_port;

    *out = 0;
    if (!set(text) || strcmp(text, "false") == 0 || strcmp(text, "true") == 0)
        return 0;
    return text_parse_u64(span_from_str(text), UINT16_MAX, out) && *out ? 0 : 1;
}

static void check_dedicated_port(const struct looking *l)
{
    const struct config_service *s = l->s;
    uint64_t port, other;

    if (dedicated_port(s, &port))
        problem_at(l->c, where(l, &s->dedicated_port),
                   "%sdedicatedPort \"%.80s\" is no port: write true, false or a number from 1 to 65535",
                   l->at, s->dedicated_port);
    for (const struct config_service *o = l->c->services; o < s && port; o++)
        if (dedicated_port(o, &other) == 0 && other == port)
            problem_at(l->c, where(l, &s->dedicated_port),
                       "%sdedicatedPort %s is that of service %s too: give each its own", l->at,
                       s->dedicated_port, o->name);
}

/* ---- the process ------------------------------------------------------------------------------------ */

static void check_process(struct config *c)
{
    const char *fault = control_url_check(span_from_str(c->control_url));
    struct ip_port parsed;

    if (fault)
        problem(c, "TS_URL \"%s\": %s", c->control_url, fault);
    if (set(c->prometheus_address) && !config_listen(c->prometheus_address, &parsed))
        problem_at(
            c, place_of_process(c, &c->prometheus_address),
            "prometheusAddr \"%.80s\" is not an address: write \"127.0.0.1:9099\", or \"\" to turn it off",
            c->prometheus_address);
    if (strlen(c->socket_path) > 107)
        problem_at(c, place_of_process(c, &c->socket_path),
                   "socket \"%.200s\": the path is too long: at most 107 bytes", c->socket_path);
}

void config_check(struct config *c, bool from_file)
{
    struct looking l = { .c = c, .from_file = from_file };

    if (c->unread)
        return;
    l.named = from_file || c->service_count != 1 || c->services[0].listed;
    check_process(c);
    if (from_file && !c->service_count && !c->problem_count)
        problem_at(c, (struct config_place) { .line = 1, .column = 1 },
                   "configuration must define at least one service: write services: and a list below it");
    for (size_t i = 0; i < c->service_count; i++) {
        l.s = &c->services[i];
        name_it(&l, i);
        check_service(&l);
        check_dedicated_port(&l);
    }
    check_unique(c, false);
    check_unique(c, true);
}
