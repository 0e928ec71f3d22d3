/* daemon/settings.c - from the configuration to what a node is made of: the only place that knows both */
#include "daemon/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *or_null(const char *text)
{
    return text && *text ? text : NULL;
}

static struct ip_port listen_of(const char *text)
{
    struct ip_port out;

    must(config_listen(text, &out)); /* the configuration's check has seen it */
    return out;
}

static enum proxy_access_log access_log_of(const char *text)
{
    return strcmp(text, "json") == 0  ? PROXY_LOG_JSON
           : strcmp(text, "off") == 0 ? PROXY_LOG_OFF
                                      : PROXY_LOG_TEXT;
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
        .weak_ciphers = c->upstream_allow_insecure_ciphers,
        .upstream_ca_file = config_variable(CONFIG_VARIABLE_CA_FILE),
        .prefixes = (const char *const *)c->prefixes.items,
        .prefix_count = c->prefixes.count,
        .keep_prefix = !c->strip_prefix,
        .prefix_by_text = strcmp(c->prefix_match, "text") == 0,
        .keep_unclean_paths = !c->clean_paths,
        .plain_headers = !c->recommended_proxy_headers,
        .read_header_timeout = c->read_header_timeout,
        .connect_timeout = c->upstream_connect_timeout,
        .response_timeout = c->upstream_response_timeout,
        .idle_upstreams_max = c->upstream_idle_connections,
        .idle_upstream_timeout = c->upstream_idle_timeout,
        .keep_alive = c->upstream_keep_alive,
        .upstreams_max = c->upstream_max_connections,
        .queue_max = c->upstream_queue,
        .queue_timeout = c->upstream_queue_timeout,
        .access_log = access_log_of(c->access_log),
        .auth_url = or_null(c->auth_url),
        .auth_path = or_null(c->auth_path),
        .auth_timeout = c->auth_timeout,
        .auth_insecure_https = c->auth_insecure_https,
        .auth_bypass_for_tailnet = c->auth_bypass_for_tailnet,
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
        .redirect_http = c->redirect_http,
        .own_udp = *c->dedicated_port && strcmp(c->dedicated_port, "false") != 0,
        .own_udp_port = (uint16_t)atoi(c->dedicated_port), /* 0 for "true" */
        .suppress_whois = c->suppress_whois,
        .host_network_only = c->suppress_tailnet_dialer,
        .join_timeout = c->timeout,
        .proxy = proxy_settings(c),
    };
}

/* The name of "Name: value", as the configuration's check has seen it; *value is the rest. */
static char *header_name(const char *text, const char **value)
{
    const char *colon = strchr(text, ':');

    *value = colon + (colon[1] == ' ' ? 2 : 1);
    return text_dup(span_make(text, (size_t)(colon - text)));
}

static bool take_headers(struct settings *out, const struct config_service *c)
{
    struct proxy_service_config *proxy = &out->node.proxy;
    const char *value;

    for (size_t i = 0; i < c->upstream_headers.count; i++) {
        out->header_names[i] = header_name(c->upstream_headers.items[i], &value);
        out->headers[i] = (struct proxy_header) { out->header_names[i], value };
        if (!out->header_names[i])
            return false;
    }
    for (size_t i = 0; i < c->auth_copy_headers.count; i++) {
        out->copied_names[i] = header_name(c->auth_copy_headers.items[i], &value);
        if (!out->copied_names[i])
            return false;
    }
    proxy->headers = out->headers;
    proxy->header_count = c->upstream_headers.count;
    proxy->auth_copy_headers = (const char *const *)out->copied_names;
    proxy->auth_copy_count = c->auth_copy_headers.count;
    return true;
}

bool settings_fill(struct settings *out, const struct config_service *service, char why[NODE_WHY_BYTES])
{
    *out = (struct settings) { .node = node_settings(service) };
    if (service->fault) {
        snprintf(why, NODE_WHY_BYTES, "%s", service->fault);
        return false;
    }
    if (service->prefixes.count > PROXY_PREFIXES_MAX || service->upstream_headers.count > PROXY_HEADERS_MAX ||
        service->auth_copy_headers.count > PROXY_HEADERS_MAX) {
        strcpy(why, "too many prefixes or headers");
        return false;
    }
    if (!take_headers(out, service)) {
        strcpy(why, "out of memory");
        return false;
    }
    return true;
}

void settings_release(struct settings *s)
{
    for (size_t i = 0; i < COUNT_OF(s->header_names); i++)
        free(s->header_names[i]);
    for (size_t i = 0; i < COUNT_OF(s->copied_names); i++)
        free(s->copied_names[i]);
}
