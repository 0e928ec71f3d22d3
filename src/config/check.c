#include "config/internal.h"

#include <ctype.h>
#include <stdio.h>

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
    if (s->upstream_allow_insecure_ciphers)
        notice(c, "%supstreamAllowInsecureCiphers is ignored by this version", at);
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
