/* tailcfg/tailcfg.h - the control plane's wire types: JSON in, structs out; structs in, JSON out
 *
 * Nothing here remembers or decides anything: what a message means for what came before is netmap's business.
 * A map response is taken apart without building it whole: the large lists (peers, filter rules, users, DERP
 * map) stay text, which netmap recognises by its hash when another node of this process had it before, and
 * has parsed here, entry by entry, when not. So one bad entry spoils only itself.
 *
 * Tolerance: unknown fields are ignored; absent, null and empty are told apart where the protocol does; a
 * field that only informs and has a wrong type counts as absent; a wrong type where it would change who may
 * do what (keys, addresses, expiry, jailed ...) refuses the entry.
 *
 * Memory: a parsed thing lives in its arena and in the text it was parsed from: keep both until done.
 * Thread: any. Protocol: docs/protocol/tailcfg.md.
 */
#ifndef MANYTAILS_TAILCFG_TAILCFG_H
#define MANYTAILS_TAILCFG_TAILCFG_H

#include "base/base.h"
#include "crypto/crypto.h"

#define TAILCFG_MAP_RESPONSE_BYTES_MAX (64u << 20)
#define TAILCFG_NODE_BYTES_MAX (1u << 20)  /* one node's JSON */
#define TAILCFG_RULE_BYTES_MAX (4u << 20)  /* one filter rule's JSON */
#define TAILCFG_SMALL_BYTES_MAX (1u << 20) /* any other member of a map response; other responses */
#define TAILCFG_ENDPOINTS_MAX 256          /* of one node; the rest is dropped */
#define TAILCFG_DISPLAY_MAX 64             /* messages to people in one response; the rest is dropped */
#define TAILCFG_REGIONS_MAX 4096           /* of one DERP map */
#define TAILCFG_PREFIXES_MAX 8192          /* in one list of one node */

enum tailcfg_outcome {
    TAILCFG_E_JSON = 1, /* not JSON, or cut off */
    TAILCFG_E_SHAPE,    /* JSON, but not what it should be */
    TAILCFG_E_TOO_BIG,  /* over a limit above */
};

/* A bool that may not be there. */
enum tailcfg_bool { TAILCFG_UNSET, TAILCFG_FALSE, TAILCFG_TRUE };

/* ---- pieces ------------------------------------------------------------------------------------- */

struct tailcfg_texts {
    const struct span *items;
    size_t count;
};
struct tailcfg_prefixes {
    const struct ip_prefix *items;
    size_t count;
};
struct tailcfg_ids {
    const int64_t *items;
    size_t count;
};
struct tailcfg_addresses {
    const struct ip_port *items;
    size_t count;
};

/* One member of a CapMap. `values` is the text of its JSON array; empty if there are none. */
struct tailcfg_cap {
    struct span name, values;
};
struct tailcfg_caps {
    const struct tailcfg_cap *items;
    size_t count;
};

/* Times are wall-clock nanoseconds, 0 = not given or Go's zero time. */

/* ---- nodes -------------------------------------------------------------------------------------- */

struct tailcfg_node {
    int64_t id; /* never 0 */
    struct span stable_id;
    struct span name; /* full name, as sent: usually with a dot at the end */
    int64_t user, sharer;
    struct public_key key, disco_key; /* zero: none */
    int64_t key_expiry;
    struct span key_signature; /* decoded */
    struct tailcfg_prefixes addresses;
    struct tailcfg_prefixes
        allowed_ips; /* after the rules: absent means addresses, unsigned means addresses */
    struct tailcfg_prefixes primary_routes;
    struct tailcfg_addresses endpoints;
    int32_t home_derp;                     /* the legacy "DERP" string is folded in; 0: unknown */
    int32_t cap;                           /* capability version */
    struct span hostname, os;              /* from Hostinfo */
    uint16_t peerapi4_port, peerapi6_port; /* from Hostinfo.Services; 0: none */
    struct tailcfg_texts tags;
    struct tailcfg_caps caps; /* CapMap, and Capabilities that are not in it */
    int64_t created, last_seen;
    enum tailcfg_bool online;
    bool machine_authorized, unsigned_peerapi_only, expired, wireguard_only, jailed, sharee;
    struct ip masquerade_v4, masquerade_v6; /* how this peer knows us; ip_is_none: as ourselves */
};

/* 0, TAILCFG_E_*, -ENOMEM. Names and texts borrow from `text` or `a`. */
NODISCARD int tailcfg_node_parse(struct span text, struct arena *a, struct tailcfg_node *out);

/* The same in JSON, so that tailcfg_node_parse reads it back. `online` and `last_seen` are left out. */
void tailcfg_node_write(struct json_writer *w, const char *key, const struct tailcfg_node *node);

struct tailcfg_peer_change {
    int64_t id;
    int32_t home_derp, cap; /* 0: unchanged */
    bool has_caps, has_endpoints, has_key, has_key_signature, has_disco_key, has_last_seen, has_key_expiry;
    struct tailcfg_caps caps;
    struct tailcfg_addresses endpoints;
    struct public_key key, disco_key;
    struct span key_signature;
    enum tailcfg_bool online; /* UNSET: unchanged */
    int64_t last_seen, key_expiry;
};

/* ---- the other parts of a map response ----------------------------------------------------------- */

struct tailcfg_user_profile {
    int64_t id;
    struct span login_name, display_name, picture_url;
    struct tailcfg_texts groups;
};
NODISCARD int tailcfg_user_profile_parse(struct span text, struct arena *a, struct tailcfg_user_profile *out);

struct tailcfg_derp_node {
    struct span name, host_name, cert_name;
    struct span ipv4, ipv6, stun_test_ip; /* as sent: "none" switches the family off, empty means DNS */
    uint16_t derp_port;                   /* 443 if not given */
    int32_t stun_port;                    /* 3478 if not given; -1: no STUN */
    bool stun_only, insecure_for_tests, can_port80;
};
struct tailcfg_derp_region {
    int32_t id;
    struct span code, name;
    double latitude, longitude;
    double score; /* of HomeParams; multiplies measured latency, 1.0 if not given */
    bool avoid, no_measure_no_home;
    const struct tailcfg_derp_node *nodes;
    size_t node_count;
};
struct tailcfg_derp_score {
    int32_t region;
    double score;
};
struct tailcfg_derp_map {
    bool has_regions; /* false: null or absent: the regions known before stay */
    bool omit_default_regions;
    const struct tailcfg_derp_region *regions; /* by id, each once */
    size_t region_count;
    bool has_scores; /* false: the scores known before stay */
    const struct tailcfg_derp_score *scores;
    size_t score_count;
};
NODISCARD int tailcfg_derp_map_parse(struct span text, struct arena *a, struct tailcfg_derp_map *out);

struct tailcfg_dns_config {
    bool proxied; /* MagicDNS is on */
    struct tailcfg_texts domains, cert_domains;
};

struct tailcfg_port_range {
    uint16_t first, last; /* inclusive */
};
struct tailcfg_filter_destination {
    struct span ip; /* address, prefix, range or "*" */
    struct tailcfg_port_range ports;
};
struct tailcfg_cap_grant {
    struct tailcfg_prefixes destinations;
    struct tailcfg_texts caps;
    struct tailcfg_caps cap_map;
};
struct tailcfg_filter_rule {
    struct tailcfg_texts sources; /* address, prefix, range, "*" or "cap:..." */
    const struct tailcfg_filter_destination *destinations;
    size_t destination_count;
    bool has_protocols;    /* false: the default set */
    uint32_t protocols[8]; /* bit per IP protocol number */
    const struct tailcfg_cap_grant *grants;
    size_t grant_count;
    uint32_t skipped; /* entries that made no sense */
    bool ancient;     /* SrcBits or Bits are there: the whole filter must be refused */
};
NODISCARD int tailcfg_filter_rule_parse(struct span text, struct arena *a, struct tailcfg_filter_rule *out);

/* One name of PacketFilters; the old PacketFilter is the one called "base". */
struct tailcfg_filter_chunk {
    struct span name;
    struct span rules; /* text of the JSON array; empty: this name is deleted */
};

struct tailcfg_id_flag {
    int64_t id;
    bool value;
};

struct tailcfg_display_message {
    struct span id, title, text, severity;
    bool removed; /* null: no longer true */
    bool impacts_connectivity;
};

struct tailcfg_ping_request {
    struct span url, types, payload; /* payload is decoded */
    struct ip ip;                    /* ip_is_none: not given */
    bool url_is_noise, log;
};

struct tailcfg_debug {
    bool has_sleep, has_exit, disable_log_tail;
    double sleep_seconds;
    int64_t exit_code;
};

/* ---- map response --------------------------------------------------------------------------------- */

struct tailcfg_map_response {
    struct arena arena;
    bool keep_alive;
    const struct tailcfg_ping_request *ping; /* NULL: none */
    struct span pop_browser_url;
    int64_t control_time;

    struct span node;                          /* self, text; empty: unchanged */
    struct tailcfg_texts peers, peers_changed; /* each the text of one node */
    struct tailcfg_ids peers_removed;
    const struct tailcfg_peer_change *patches;
    size_t patch_count;
    const struct tailcfg_id_flag *seen_changes, *online_changes;
    size_t seen_change_count, online_change_count;

    struct span derp_map;                 /* text; empty: unchanged */
    const struct tailcfg_dns_config *dns; /* NULL: unchanged */
    struct span domain;                   /* empty: unchanged */
    bool filters_cleared;                 /* forget every chunk, then apply: */
    const struct tailcfg_filter_chunk *filters;
    size_t filter_count;
    struct tailcfg_texts user_profiles; /* each the text of one */
    enum tailcfg_bool collect_services;
    bool has_health; /* false: unchanged */
    struct tailcfg_texts health;
    bool display_cleared;
    const struct tailcfg_display_message *display;
    size_t display_count;
    bool has_tka;
    struct span tka_head;
    bool tka_disabled;
    struct tailcfg_debug debug;

    uint32_t skipped; /* entries that made no sense and were left out */
};

/* `text` is one decompressed message. 0, TAILCFG_E_*, -ENOMEM. After 0 free it with _deinit. */
NODISCARD int tailcfg_map_response_parse(struct span text, struct tailcfg_map_response *out);
void tailcfg_map_response_deinit(struct tailcfg_map_response *r);

/* ---- registration and keys -------------------------------------------------------------------------- */

struct tailcfg_register_response {
    struct arena arena;
    bool node_key_expired, machine_authorized;
    struct span auth_url, error;
    struct span node_key_signature; /* decoded; empty: none */
    int64_t user_id;
    struct span user_display_name, login_name;
};
NODISCARD int tailcfg_register_response_parse(struct span text, struct tailcfg_register_response *out);
void tailcfg_register_response_deinit(struct tailcfg_register_response *r);

/* GET /key: the server's Noise key. TAILCFG_E_SHAPE also if it is zero or missing (server too old). */
NODISCARD int tailcfg_server_key_parse(struct span text, struct public_key *out);

/* ---- requests ------------------------------------------------------------------------------------------ */

struct tailcfg_service {
    const char *proto; /* "tcp", "udp", "peerapi4", "peerapi6", "peerapi-dns-proxy" */
    uint16_t port;
    const char *description; /* NULL: none */
};

struct tailcfg_derp_latency {
    int32_t region;
    bool v6;
    double seconds;
};

/* UNSET and zero members are left out. */
struct tailcfg_netinfo {
    enum tailcfg_bool mapping_varies_by_dest_ip, working_ipv6, os_has_ipv6, working_udp, working_icmp_v4;
    enum tailcfg_bool upnp, pmp, pcp;
    bool have_port_map;
    int32_t preferred_derp; /* without it nobody reaches us through a relay */
    const char *link_type, *firewall_mode;
    const struct tailcfg_derp_latency
        *latencies; /* in a stable order: each change is a message to all peers */
    size_t latency_count;
};

/* Text members: NULL or "" are left out. */
struct tailcfg_hostinfo {
    const char *ipn_version, *hostname, *os, *os_version, *distro, *distro_version, *distro_code_name;
    const char *machine, *app, *package, *go_arch, *cloud, *env, *services_hash;
    enum tailcfg_bool container, userspace, userspace_router, app_connector, state_encrypted;
    bool shields_up, no_logs_no_support, wire_ingress, ingress_enabled;
    const char *const *request_tags;
    size_t request_tag_count;
    const struct ip_prefix *routable_ips;
    size_t routable_ip_count;
    const struct tailcfg_service *services;
    size_t service_count;
    const struct tailcfg_netinfo *netinfo; /* NULL: none yet */
};

struct tailcfg_register_request {
    int32_t version;
    struct public_key node_key, old_node_key; /* zero: "none", which is sent as the zero key */
    uint8_t nl_key[32];
    const char *auth_key; /* NULL: none. Secret: the buffer it is written to is the caller's to wipe */
    int64_t expiry;       /* 0: no wish */
    const char *followup; /* NULL: "" */
    const struct tailcfg_hostinfo *hostinfo;
    bool ephemeral;
    struct span node_key_signature; /* empty: null */
    const char *tailnet;            /* NULL: none */
};
/* Appends the JSON. 0, -ENOBUFS, -ENOMEM. */
NODISCARD int tailcfg_register_request_write(struct buf *out, const struct tailcfg_register_request *r);

enum tailcfg_endpoint_type {
    TAILCFG_ENDPOINT_UNKNOWN,
    TAILCFG_ENDPOINT_LOCAL,
    TAILCFG_ENDPOINT_STUN,
    TAILCFG_ENDPOINT_PORT_MAPPED,
    TAILCFG_ENDPOINT_STUN_LOCAL_PORT, /* address from STUN, our local port */
    TAILCFG_ENDPOINT_EXPLICIT,
};
struct tailcfg_endpoint {
    struct ip_port address;
    enum tailcfg_endpoint_type type;
};

struct tailcfg_map_request {
    int32_t version;
    struct public_key node_key, disco_key;
    bool stream, omit_peers, keep_alive, zstd;
    const struct tailcfg_hostinfo *hostinfo;
    bool endpoints_known; /* false: the member is left out, which keeps what the server has */
    const struct tailcfg_endpoint *endpoints;
    size_t endpoint_count;
    const char *tka_head; /* NULL: none */
};
NODISCARD int tailcfg_map_request_write(struct buf *out, const struct tailcfg_map_request *r);
/* Only the Hostinfo object: what a node compares to see whether an update is due. */
NODISCARD int tailcfg_hostinfo_write(struct buf *out, const struct tailcfg_hostinfo *h);

#endif
