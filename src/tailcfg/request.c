/* tailcfg/request.c - what we send: registration and map requests, Hostinfo in both
 *
 * Key names are exact (Go's own spelling; "sshHostKeys" and "omitDefaultRegions" style exceptions do not
 * occur here). What is empty is left out where the reference leaves it out, because servers compare.
 */
#include "tailcfg/tailcfg.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void put_text(struct json_writer *w, const char *key, const char *text)
{
    if (text && *text)
        json_put_str(w, key, text);
}

static void put_bool(struct json_writer *w, const char *key, enum tailcfg_bool v)
{
    if (v != TAILCFG_UNSET)
        json_put_bool(w, key, v == TAILCFG_TRUE);
}

static void put_flag(struct json_writer *w, const char *key, bool v)
{
    if (v)
        json_put_bool(w, key, true);
}

static void put_key(struct json_writer *w, const char *key, const char *prefix,
                    const uint8_t bytes[KEY_BYTES])
{
    char text[KEY_TEXT_BYTES];

    json_put_str(w, key, key_text(text, prefix, bytes));
}

static void put_netinfo(struct json_writer *w, const struct tailcfg_netinfo *n)
{
    char key[32];

    json_object_begin(w, "NetInfo");
    put_bool(w, "MappingVariesByDestIP", n->mapping_varies_by_dest_ip);
    put_bool(w, "WorkingIPv6", n->working_ipv6);
    put_bool(w, "OSHasIPv6", n->os_has_ipv6);
    put_bool(w, "WorkingUDP", n->working_udp);
    put_bool(w, "WorkingICMPv4", n->working_icmp_v4);
    put_flag(w, "HavePortMap", n->have_port_map);
    put_bool(w, "UPnP", n->upnp);
    put_bool(w, "PMP", n->pmp);
    put_bool(w, "PCP", n->pcp);
    if (n->preferred_derp)
        json_put_i64(w, "PreferredDERP", n->preferred_derp);
    put_text(w, "LinkType", n->link_type);
    if (n->latency_count) {
        json_object_begin(w, "DERPLatency");
        for (size_t i = 0; i < n->latency_count; i++) {
            snprintf(key, sizeof(key), "%d-v%d", n->latencies[i].region, n->latencies[i].v6 ? 6 : 4);
            json_put_real(w, key, n->latencies[i].seconds);
        }
        json_object_end(w);
    }
    put_text(w, "FirewallMode", n->firewall_mode);
    json_object_end(w);
}

static void put_routes_and_services(struct json_writer *w, const struct tailcfg_hostinfo *h)
{
    char ip[IP_TEXT_BYTES], text[IP_TEXT_BYTES + 8];

    if (h->routable_ip_count) {
        json_array_begin(w, "RoutableIPs");
        for (size_t i = 0; i < h->routable_ip_count; i++) {
            snprintf(text, sizeof(text), "%s/%u", ip_text(&h->routable_ips[i].ip, ip),
                     h->routable_ips[i].bits);
            json_put_str(w, NULL, text);
        }
        json_array_end(w);
    }
    if (h->request_tag_count) {
        json_array_begin(w, "RequestTags");
        for (size_t i = 0; i < h->request_tag_count; i++)
            json_put_str(w, NULL, h->request_tags[i]);
        json_array_end(w);
    }
    if (h->service_count) {
        json_array_begin(w, "Services");
        for (size_t i = 0; i < h->service_count; i++) {
            json_object_begin(w, NULL);
            json_put_str(w, "Proto", h->services[i].proto);
            json_put_i64(w, "Port", h->services[i].port);
            put_text(w, "Description", h->services[i].description);
            json_object_end(w);
        }
        json_array_end(w);
    }
}

static void put_hostinfo(struct json_writer *w, const char *key, const struct tailcfg_hostinfo *h)
{
    json_object_begin(w, key);
    put_text(w, "IPNVersion", h->ipn_version);
    put_text(w, "OS", h->os);
    put_text(w, "OSVersion", h->os_version);
    put_bool(w, "Container", h->container);
    put_text(w, "Env", h->env);
    put_text(w, "Distro", h->distro);
    put_text(w, "DistroVersion", h->distro_version);
    put_text(w, "DistroCodeName", h->distro_code_name);
    put_text(w, "App", h->app);
    put_text(w, "Package", h->package);
    put_text(w, "Hostname", h->hostname);
    put_flag(w, "ShieldsUp", h->shields_up);
    put_flag(w, "NoLogsNoSupport", h->no_logs_no_support);
    put_flag(w, "WireIngress", h->wire_ingress && !h->ingress_enabled); /* the second implies the first */
    put_flag(w, "IngressEnabled", h->ingress_enabled);
    put_text(w, "Machine", h->machine);
    put_text(w, "GoArch", h->go_arch);
    put_routes_and_services(w, h);
    if (h->netinfo)
        put_netinfo(w, h->netinfo);
    put_text(w, "Cloud", h->cloud);
    put_bool(w, "Userspace", h->userspace);
    put_bool(w, "UserspaceRouter", h->userspace_router);
    put_bool(w, "AppConnector", h->app_connector);
    put_text(w, "ServicesHash", h->services_hash);
    put_bool(w, "StateEncrypted", h->state_encrypted);
    json_object_end(w);
}

int tailcfg_hostinfo_write(struct buf *out, const struct tailcfg_hostinfo *h)
{
    struct json_writer w = json_writer_of(out);

    put_hostinfo(&w, NULL, h);
    return json_writer_done(&w);
}

static void put_signature(struct json_writer *w, const char *key, struct span bytes)
{
    char *text;

    if (!bytes.len) {
        json_put_null(w, key);
        return;
    }
    text = malloc(BASE64_BYTES(bytes.len));
    if (text)
        base64_encode(text, bytes);
    else
        w->error = w->error ? w->error : -ENOMEM;
    json_put_str(w, key, text);
    free(text);
}

int tailcfg_register_request_write(struct buf *out, const struct tailcfg_register_request *r)
{
    struct json_writer w = json_writer_of(out);
    char when[TIME_TEXT_BYTES];

    json_object_begin(&w, NULL);
    json_put_i64(&w, "Version", r->version);
    put_key(&w, "NodeKey", "nodekey:", r->node_key.bytes);
    put_key(&w, "OldNodeKey", "nodekey:", r->old_node_key.bytes);
    put_key(&w, "NLKey", "nlpub:", r->nl_key);
    if (r->auth_key && *r->auth_key) {
        json_object_begin(&w, "Auth");
        json_put_str(&w, "AuthKey", r->auth_key);
        json_object_end(&w);
    }
    json_put_str(&w, "Expiry", time_text_rfc3339(r->expiry, when));
    json_put_str(&w, "Followup", r->followup ? r->followup : "");
    put_hostinfo(&w, "Hostinfo", r->hostinfo);
    put_flag(&w, "Ephemeral", r->ephemeral);
    put_signature(&w, "NodeKeySignature", r->node_key_signature);
    put_text(&w, "Tailnet", r->tailnet);
    json_object_end(&w);
    return json_writer_done(&w);
}

int tailcfg_map_request_write(struct buf *out, const struct tailcfg_map_request *r)
{
    struct json_writer w = json_writer_of(out);
    char text[IP_PORT_TEXT_BYTES];

    json_object_begin(&w, NULL);
    json_put_i64(&w, "Version", r->version);
    if (r->zstd)
        json_put_str(&w, "Compress", "zstd");
    put_flag(&w, "KeepAlive", r->keep_alive);
    put_key(&w, "NodeKey", "nodekey:", r->node_key.bytes);
    put_key(&w, "DiscoKey", "discokey:", r->disco_key.bytes);
    put_flag(&w, "Stream", r->stream);
    put_hostinfo(&w, "Hostinfo", r->hostinfo);
    if (r->endpoints_known) {
        json_array_begin(&w, "Endpoints");
        for (size_t i = 0; i < r->endpoint_count; i++)
            json_put_str(&w, NULL, ip_port_text(&r->endpoints[i].address, text));
        json_array_end(&w);
        json_array_begin(&w, "EndpointTypes");
        for (size_t i = 0; i < r->endpoint_count; i++)
            json_put_i64(&w, NULL, r->endpoints[i].type);
        json_array_end(&w);
    }
    put_text(&w, "TKAHead", r->tka_head);
    put_flag(&w, "OmitPeers", r->omit_peers);
    json_object_end(&w);
    return json_writer_done(&w);
}
