/* daemon/settings.c - from the configuration to what a node is made of: the only place that knows both */
#include "daemon/internal.h"

#include <stdlib.h>
#include <string.h>

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static struct ip_port listen_of(const char *text)
{
    struct span s = span_from_str(text);
    struct ip_port out = { 0 };
    uint64_t port = 0;

    if (s.len && s.data[0] == ':' && text_parse_u64(span_slice(s, 1, s.len), UINT16_MAX, &port))
        out.port = (uint16_t)port;
    else
        must(ip_port_parse(s, &out)); /* the configuration's check has seen it */
    return out;
}

/* A line per option. */
static struct proxy_service_config proxy_settings(const struct config_service *c)
{
    return (struct proxy_service_config) {
        .name = c->name,
        .upstream = c->upstream,
        .upstream_tcp_addr = or_null(c->upstream_tcp_address),
        .upstream_unix_addr = or_null(c->upstream_unix_address),
        .insecure_https = c->insecure_https,
        .upstream_ca_file = getenv("SSL_CERT_FILE"),
        .prefixes = (const char *const *)c->prefixes.items,
        .prefix_count = c->prefixes.count,
        .keep_prefix = !c->strip_prefix,
        .plain_headers = !c->recommended_proxy_headers,
        .read_header_timeout = c->read_header_timeout,
    };
}

static struct node_config node_settings(const struct config_service *c)
{
    return (struct node_config) {
        .name = c->name,
        .control_url = c->control_url,
        .auth_key = c->auth_key,
        .ephemeral = c->ephemeral,
        .tags = (const char *const *)c->tags.items,
        .tag_count = c->tags.count,
        .state_directory = c->state_directory,
        .listen = listen_of(c->listen_address),
        .certificate_file = or_null(c->certificate_file),
        .key_file = or_null(c->key_file),
        .suppress_whois = c->suppress_whois,
        .host_network_only = c->suppress_tailnet_dialer,
        .join_timeout = c->timeout,
        .proxy = proxy_settings(c),
    };
}

/* "Name: value", as the configuration's check has seen it. */
static bool take_header(struct settings *out, const char *text)
{
    const char *colon = strchr(text, ':');
    char *name = text_dup(span_make(text, (size_t)(colon - text)));
    size_t i = out->node.proxy.header_count;

    if (!name)
        return false;
    out->header_names[i] = name;
    out->headers[i] = (struct proxy_header) { name, colon + (colon[1] == ' ' ? 2 : 1) };
    out->node.proxy.header_count = i + 1;
    return true;
}

bool settings_fill(struct settings *out, const struct config_service *service, char why[NODE_WHY_BYTES])
{
    *out = (struct settings) { .node = node_settings(service) };
    out->node.proxy.headers = out->headers;
    if (service->prefixes.count > PROXY_PREFIXES_MAX || service->upstream_headers.count > PROXY_HEADERS_MAX) {
        strcpy(why, "too many prefixes or headers");
        return false;
    }
    for (size_t i = 0; i < service->upstream_headers.count; i++)
        if (!take_header(out, service->upstream_headers.items[i])) {
            strcpy(why, "out of memory");
            return false;
        }
    return true;
}

void settings_release(struct settings *s)
{
    for (size_t i = 0; i < COUNT_OF(s->header_names); i++)
        free(s->header_names[i]);
}
