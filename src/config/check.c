#include "config/internal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/control.h"
#include "proxy/proxy.h"

static bool set(const char *text)
{
    return text && *text;
}

/* "service web: " in files and lists, "" on the command line of one service. */
static const char *place(const struct config_service *s, size_t index, bool named, char out[128])
{
    if (!named)
        out[0] = 0;
    else if (set(s->name))
        snprintf(out, 128, "service %.60s: ", s->name);
    else
        snprintf(out, 128, "service %zu: ", index);
    return out;
}

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

/* ":443", "443"? no: a colon is needed; "[fd7a::1]:443", "100.64.0.1:80". Names of services are not looked
 * up. */
static bool listen_address_ok(const char *text)
{
    struct span s = span_from_str(text);
    struct ip_port parsed;
    uint64_t port;

    if (s.len && s.data[0] == ':')
        return text_parse_u64(span_slice(s, 1, s.len), UINT16_MAX, &port) && port > 0;
    return ip_port_parse(s, &parsed) && parsed.port > 0;
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

static void check_dedicated_port(struct config *c, size_t index)
{
    const struct config_service *s = &c->services[index];
    uint64_t port, other;

    if (dedicated_port(s, &port))
        problem(c,
                "service %s: dedicatedPort \"%s\" is no port: write true, false or a number from 1 to 65535",
                s->name, s->dedicated_port);
    for (size_t i = 0; i < index && port; i++)
        if (dedicated_port(&c->services[i], &other) == 0 && other == port)
            problem(c, "service %s: dedicatedPort %s is that of service %s too: give each its own", s->name,
                    s->dedicated_port, c->services[i].name);
}

static void check_certificate(struct config *c, const struct config_service *s, const char *at)
{
    bool both = set(s->certificate_file) && set(s->key_file);

    if (!both && (set(s->certificate_file) || set(s->key_file)))
        problem(c, "%swhen providing either a certificate or key file, the other must be provided", at);
    if (s->plaintext && both)
        problem(c, "%scan not serve plaintext when using custom certificate and key", at);
    if (!s->plaintext && !set(s->certificate_file) && !set(s->key_file))
        problem(c,
                "%scertificates from the control server are not supported by this version: set plaintext, or "
                "give "
                "certificateFile and keyFile",
                at);
}

static void check_upstream(struct config *c, const struct config_service *s, const char *at)
{
    char why[PROXY_WHY_BYTES];

    if (set(s->upstream_tcp_address) && set(s->upstream_unix_address))
        return; /* said below */
    if (!proxy_upstream_check(s->upstream, set(s->upstream_tcp_address) ? s->upstream_tcp_address : NULL,
                              set(s->upstream_unix_address) ? s->upstream_unix_address : NULL, why))
        problem(c, "%sinvalid destination URL \"%s\": %s", at, s->upstream, why);
}

static void check_range(struct config *c, const char *at, const char *name, uint32_t value, uint32_t least,
                        uint32_t most)
{
    if (value < least || value > most)
        problem(c, "%s%s %u: write a number from %u to %u", at, name, value, least, most);
}

static void check_positive(struct config *c, const char *at, const char *name, time_ns value)
{
    if (value <= 0)
        problem(c, "%s%s has to be longer than nothing, as 10s", at, name);
}

static void check_proxying(struct config *c, const struct config_service *s, const char *at)
{
    if (strcmp(s->prefix_match, "segment") != 0 && strcmp(s->prefix_match, "text") != 0)
        problem(c, "%sprefixMatch \"%s\": write segment or text", at, s->prefix_match);
    check_range(c, at, "upstreamMaxConnections", s->upstream_max_connections, 0, PROXY_CONNECTIONS_MAX);
    check_range(c, at, "upstreamQueue", s->upstream_queue, 1, PROXY_CONNECTIONS_MAX);
    check_range(c, at, "upstreamIdleConnections", s->upstream_idle_connections, 1, PROXY_IDLE_UPSTREAMS_MAX);
    check_positive(c, at, "upstreamConnectTimeout", s->upstream_connect_timeout);
    check_positive(c, at, "upstreamQueueTimeout", s->upstream_queue_timeout);
    check_positive(c, at, "upstreamIdleTimeout", s->upstream_idle_timeout);
    check_positive(c, at, "upstreamKeepAlive", s->upstream_keep_alive);
}

/* What a request must not slip past: a fault here keeps the service from starting. */
static void check_auth(struct config *c, const struct config_service *s, const char *at)
{
    struct proxy_service_config settings = { .auth_url = s->auth_url, .auth_path = s->auth_path };
    const char *names[CONFIG_LIST_MAX];
    char *copies[CONFIG_LIST_MAX];
    char why[PROXY_WHY_BYTES];

    if (!set(s->auth_url)) {
        if (set(s->auth_path) || s->auth_copy_headers.count || s->auth_bypass_for_tailnet)
            notice(c, "%sthere is no authURL: nobody is asked, and the other auth options have no effect",
                   at);
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
        problem(c, "%s%s", at, why);
    for (size_t i = 0; i < s->auth_copy_headers.count; i++)
        free(copies[i]);
}

static void check_service(struct config *c, const struct config_service *s, size_t index, bool named,
                          bool from_file)
{
    char at[128];

    place(s, index, named, at);
    if (!set(s->name))
        problem(c, "%stsnsrv needs a -name", at);
    else if (!is_dns_label(s->name))
        problem(c, "%sname \"%s\" is no host name: use letters, digits and hyphens, at most 63", at, s->name);
    if (!set(s->upstream))
        problem(c,
                from_file ? "%supstream URL is required"
                : named   ? "%supstream is required"
                          : "%stsnsrv requires a destination URL",
                at);
    else
        check_upstream(c, s, at);
    check_certificate(c, s, at);
    check_proxying(c, s, at);
    check_auth(c, s, at);
    if (set(s->upstream_tcp_address) && set(s->upstream_unix_address))
        problem(
            c, "%scan only proxy to one address at a time, pass either -upstreamUnixAddr or -upstreamTCPAddr",
            at);
    if (set(s->control_url) && strcmp(s->control_url, c->control_url) != 0) {
        const char *fault = control_url_check(span_from_str(s->control_url));

        if (fault)
            problem(c, "%scontrolURL \"%s\": %s", at, s->control_url, fault);
    }
    if (!listen_address_ok(s->listen_address))
        problem(c, "%slistenAddr \"%s\" is not an address: write \":80\" or \"100.64.0.1:80\"", at,
                s->listen_address);
    for (size_t i = 0; i < s->tags.count; i++)
        if (!text_starts_with(span_from_str(s->tags.items[i]), "tag:") || strlen(s->tags.items[i]) < 5)
            problem(c, "%stag \"%s\": tags must start with 'tag:'", at, s->tags.items[i]);
}

void config_check(struct config *c, bool from_file)
{
    const char *url_fault = c->control_url ? control_url_check(span_from_str(c->control_url)) : NULL;
    bool named = from_file || c->service_count != 1 || c->services[0].line < 0;

    if (url_fault)
        problem(c, "TS_URL \"%s\": %s", c->control_url, url_fault);
    if (set(c->prometheus_address))
        notice(c, "prometheusAddr is ignored: metrics are not served by this version");
    if (from_file && !c->service_count)
        problem(c, "configuration must define at least one service");
    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];

        check_service(c, s, i, named, from_file);
        check_dedicated_port(c, i);
        for (size_t k = 0; k < i && set(s->name); k++)
            if (set(c->services[k].name) && strcmp(c->services[k].name, s->name) == 0)
                problem(c, "service %s: duplicate service name", s->name);
        for (size_t k = 0; k < i && set(s->state_directory); k++)
            if (set(c->services[k].state_directory) &&
                strcmp(c->services[k].state_directory, s->state_directory) == 0)
                problem(c, "service %s: stateDir \"%s\" is that of service %s too: give each its own",
                        s->name, s->state_directory, c->services[k].name);
    }
}
