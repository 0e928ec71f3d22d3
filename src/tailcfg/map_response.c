/* tailcfg/map_response.c - one message of the map stream, taken apart member by member */
#include "tailcfg/decode.h"

#include <errno.h>

/* Everything but the texts is small: ids, patches, messages. */
#define ARENA_BYTES_MAX (64u << 20)

/* A member's reader. Returns 0, TAILCFG_E_*, -ENOMEM. */
typedef int member_fn(struct tailcfg_map_response *r, struct span text);

/* ---- kinds of members -----------------------------------------------------------------------------------
 */

/* The tree of a small member; NULL with 0 if it is null or another type: that is skipped and counted. */
static int small(struct tailcfg_map_response *r, struct span text, enum json_kind kind, struct json **out)
{
    int e = decode_parse(text, TAILCFG_SMALL_BYTES_MAX, kind, out);

    if (e != TAILCFG_E_SHAPE)
        return e;
    if (json_text_kind(text) != JSON_KIND_NULL)
        r->skipped++;
    return 0;
}

static int read_flag(struct tailcfg_map_response *r, struct span text, bool *out)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_BOOL, &v);

    (void)json_as_bool(v, out);
    return e;
}

static int read_text(struct tailcfg_map_response *r, struct span text, struct span *out)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_STRING, &v);
    struct span s;

    if (v && json_as_string(v, &s))
        *out = arena_copy(&r->arena, s);
    return e;
}

/* Twice the room for texts; what was there is copied (the arena takes nothing back, so double). */
static struct span *more_room(struct tailcfg_map_response *r, const struct span *items, size_t count,
                              size_t *room)
{
    size_t bigger = *room ? *room * 2 : 8;
    struct span *copy = ARENA_ARRAY(&r->arena, bigger, struct span);

    if (copy && count)
        memcpy(copy, items, count * sizeof(*copy));
    *room = bigger;
    return copy;
}

/* Texts of the elements of an array; none for null. */
static int split(struct tailcfg_map_response *r, struct span text, struct tailcfg_texts *out)
{
    struct json_cursor c = json_cursor_of(text);
    struct span *items = NULL, value;
    size_t room = 0;

    *out = (struct tailcfg_texts) { 0 };
    if (json_text_kind(text) == JSON_KIND_NULL)
        return 0;
    if (json_text_kind(text) != JSON_KIND_ARRAY)
        return TAILCFG_E_SHAPE;
    while (json_cursor_next(&c, NULL, &value)) {
        if (json_text_kind(value) != JSON_KIND_OBJECT) {
            r->skipped++;
            continue;
        }
        if (out->count == room)
            items = more_room(r, items, out->count, &room);
        if (!items)
            return -ENOMEM;
        items[out->count++] = value;
    }
    out->items = items;
    return c.failed ? TAILCFG_E_JSON : 0;
}

/* {"7":true}; what is no id with a bool is skipped. */
static int read_id_flags(struct tailcfg_map_response *r, struct span text, const struct tailcfg_id_flag **out,
                         size_t *count)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);
    struct json_iter it = { 0 };
    const struct json *value;
    struct tailcfg_id_flag *items;
    struct span key;
    size_t n = 0;

    *count = 0;
    if (e || !v)
        return e;
    while (json_object_next(v, &it, &key, &value))
        n++;
    items = ARENA_ARRAY(&r->arena, n, struct tailcfg_id_flag);
    it = (struct json_iter) { 0 };
    while (items && json_object_next(v, &it, &key, &value)) {
        if (text_parse_i64(key, &items[*count].id) && json_as_bool(value, &items[*count].value))
            ++*count;
        else
            r->skipped++;
    }
    *out = items;
    return 0;
}

/* ---- members, in alphabetical order
 * -------------------------------------------------------------------------- */

static int on_collect_services(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_BOOL, &v);
    bool collect;

    if (json_as_bool(v, &collect))
        r->collect_services = collect ? TAILCFG_TRUE : TAILCFG_FALSE;
    return e;
}

static int on_control_time(struct tailcfg_map_response *r, struct span text)
{
    struct span s = SPAN_NONE;
    int e = read_text(r, text, &s);

    if (s.len && !time_parse_rfc3339(s, &r->control_time))
        r->skipped++;
    return e;
}

static int on_debug(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);

    if (e || !v)
        return e;
    r->debug.has_sleep = json_get_real(v, "SleepSeconds", &r->debug.sleep_seconds) == JSON_GOT;
    r->debug.has_exit = json_get_i64(v, "Exit", &r->debug.exit_code) == JSON_GOT;
    (void)json_get_bool(v, "DisableLogTail", &r->debug.disable_log_tail);
    return 0;
}

/* Not null is all we ask here: netmap parses it if nobody has it yet. */
static int on_derp_map(struct tailcfg_map_response *r, struct span text)
{
    if (json_text_kind(text) == JSON_KIND_OBJECT)
        r->derp_map = text;
    else if (json_text_kind(text) != JSON_KIND_NULL)
        r->skipped++;
    return 0;
}

static void read_display_message(struct tailcfg_map_response *r, const struct json *v,
                                 struct tailcfg_display_message *out)
{
    struct decode d = { .object = v, .arena = &r->arena };

    out->title = decode_text(&d, "Title");
    out->text = decode_text(&d, "Text");
    out->severity = decode_text(&d, "Severity");
    out->impacts_connectivity = decode_loose_flag(&d, "ImpactsConnectivity");
}

static int on_display_messages(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);
    struct tailcfg_display_message *items;
    struct json_iter it = { 0 };
    const struct json *value;
    struct span key;

    r->display_count = 0;
    if (e || !v)
        return e;
    items = ARENA_ARRAY(&r->arena, TAILCFG_DISPLAY_MAX, struct tailcfg_display_message);
    while (items && r->display_count < TAILCFG_DISPLAY_MAX && json_object_next(v, &it, &key, &value)) {
        struct tailcfg_display_message *m = &items[r->display_count];

        if (span_equal_str(key, "*")) {
            r->display_cleared = json_kind(value) == JSON_KIND_NULL;
            continue;
        }
        m->id = arena_copy(&r->arena, key);
        m->removed = json_kind(value) == JSON_KIND_NULL;
        read_display_message(r, value, m);
        r->display_count++;
    }
    r->display = items;
    return 0;
}

static int on_dns_config(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);
    struct decode d = { .object = v, .arena = &r->arena };
    struct tailcfg_dns_config *dns;

    if (e || !v)
        return e;
    dns = ARENA_NEW(&r->arena, struct tailcfg_dns_config);
    if (!dns)
        return -ENOMEM;
    dns->proxied = decode_loose_flag(&d, "Proxied");
    dns->domains = decode_texts(&d, "Domains", NULL);
    dns->cert_domains = decode_texts(&d, "CertDomains", NULL);
    r->dns = dns;
    return 0;
}

static int on_domain(struct tailcfg_map_response *r, struct span text)
{
    return read_text(r, text, &r->domain);
}

static int on_health(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_ARRAY, &v);
    struct span *items, s;

    if (e || !v)
        return e;
    items = ARENA_ARRAY(&r->arena, json_array_count(v), struct span);
    r->health = (struct tailcfg_texts) { .items = items };
    for (size_t i = 0; items && i < json_array_count(v); i++)
        if (json_as_string(json_array_at(v, i), &s))
            items[r->health.count++] = arena_copy(&r->arena, s);
    r->has_health = true;
    return 0;
}

static int on_keep_alive(struct tailcfg_map_response *r, struct span text)
{
    return read_flag(r, text, &r->keep_alive);
}

static int on_node(struct tailcfg_map_response *r, struct span text)
{
    if (json_text_kind(text) == JSON_KIND_NULL)
        return 0;
    if (json_text_kind(text) != JSON_KIND_OBJECT)
        return TAILCFG_E_SHAPE;
    r->node = text;
    return 0;
}

static int on_online_change(struct tailcfg_map_response *r, struct span text)
{
    return read_id_flags(r, text, &r->online_changes, &r->online_change_count);
}

/* A list is what it says; anything else but null denies: a chunk that we cannot read must not stay as it was.
 */
static void set_chunk(struct tailcfg_map_response *r, struct tailcfg_filter_chunk *chunk, struct span rules)
{
    enum json_kind kind = json_text_kind(rules);

    if (kind == JSON_KIND_ARRAY) {
        chunk->rules = rules;
    } else if (kind != JSON_KIND_NULL) {
        chunk->rules = span_from_str("[]");
        r->skipped++;
    }
}

/* The old form; read_filters puts it in front of the named ones. */
static int on_packet_filter(struct tailcfg_map_response *r, struct span text)
{
    struct tailcfg_filter_chunk *chunk;

    if (json_text_kind(text) == JSON_KIND_NULL)
        return 0;
    chunk = ARENA_NEW(&r->arena, struct tailcfg_filter_chunk);
    if (!chunk)
        return -ENOMEM;
    chunk->name = span_from_str("base");
    set_chunk(r, chunk, text);
    r->filters = chunk;
    r->filter_count = 1;
    return 0;
}

/* Called after all members were seen: PacketFilter first, then "*", then the others. */
static int read_filters(struct tailcfg_map_response *r, struct span text)
{
    struct json_cursor c = json_cursor_of(text);
    struct tailcfg_filter_chunk *items;
    struct span key, value;
    size_t count, n = r->filter_count;

    if (json_text_kind(text) != JSON_KIND_OBJECT)
        return TAILCFG_E_SHAPE;
    count = json_text_count(text);
    if (count == SIZE_MAX)
        return TAILCFG_E_JSON;
    items = ARENA_ARRAY(&r->arena, count + n, struct tailcfg_filter_chunk);
    if (!items)
        return -ENOMEM;
    if (n)
        items[0] = r->filters[0];
    while (json_cursor_next(&c, &key, &value)) {
        int e = json_unescape(key, &r->arena, &items[n].name);

        if (e)
            return e < 0 ? e : TAILCFG_E_JSON;
        if (!span_equal_str(items[n].name, "*"))
            set_chunk(r, &items[n++], value);
        else if (json_text_kind(value) == JSON_KIND_NULL)
            r->filters_cleared = true;
    }
    if (r->filters_cleared && r->filter_count) { /* it clears what PacketFilter set, too */
        items++;
        n--;
    }
    r->filters = items;
    r->filter_count = n;
    return 0;
}

static int on_peer_seen_change(struct tailcfg_map_response *r, struct span text)
{
    return read_id_flags(r, text, &r->seen_changes, &r->seen_change_count);
}

static int on_peers(struct tailcfg_map_response *r, struct span text)
{
    return split(r, text, &r->peers);
}

static int on_peers_changed(struct tailcfg_map_response *r, struct span text)
{
    return split(r, text, &r->peers_changed);
}

static int on_peers_changed_patch(struct tailcfg_map_response *r, struct span text)
{
    struct tailcfg_peer_change *items;
    struct tailcfg_texts texts;
    int e = split(r, text, &texts);

    r->patch_count = 0;
    if (e)
        return e;
    items = ARENA_ARRAY(&r->arena, texts.count, struct tailcfg_peer_change);
    for (size_t i = 0; items && i < texts.count; i++) {
        e = decode_peer_change(texts.items[i], &r->arena, &items[r->patch_count]);
        if (e < 0)
            return e;
        if (e)
            r->skipped++;
        else
            r->patch_count++;
    }
    r->patches = items;
    return 0;
}

static int on_peers_removed(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = json_text_kind(text) == JSON_KIND_NULL
                ? 0
                : decode_parse(text, TAILCFG_MAP_RESPONSE_BYTES_MAX, JSON_KIND_ARRAY, &v);
    int64_t *items;

    r->peers_removed.count = 0;
    if (e || !v)
        return e;
    items = ARENA_ARRAY(&r->arena, json_array_count(v), int64_t);
    for (size_t i = 0; items && i < json_array_count(v); i++) {
        if (json_as_i64(json_array_at(v, i), &items[r->peers_removed.count]))
            r->peers_removed.count++;
        else
            r->skipped++;
    }
    r->peers_removed.items = items;
    return 0;
}

static int on_ping_request(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);
    struct decode d = { .object = v, .arena = &r->arena };
    struct tailcfg_ping_request *ping;

    if (e || !v)
        return e;
    ping = ARENA_NEW(&r->arena, struct tailcfg_ping_request);
    if (!ping)
        return -ENOMEM;
    ping->url = decode_text(&d, "URL");
    ping->types = decode_text(&d, "Types");
    ping->payload = decode_base64(&d, "Payload", NULL);
    ping->ip = decode_ip(&d, "IP");
    ping->url_is_noise = decode_flag(&d, "URLIsNoise");
    ping->log = decode_loose_flag(&d, "Log");
    if (d.bad)
        r->skipped++;
    else
        r->ping = ping;
    return 0;
}

static int on_pop_browser_url(struct tailcfg_map_response *r, struct span text)
{
    return read_text(r, text, &r->pop_browser_url);
}

static int on_tka_info(struct tailcfg_map_response *r, struct span text)
{
    OWNED(json_freep) struct json *v = NULL;
    int e = small(r, text, JSON_KIND_OBJECT, &v);
    struct decode d = { .object = v, .arena = &r->arena };

    if (e || !v)
        return e;
    r->has_tka = true;
    r->tka_head = decode_text(&d, "Head");
    r->tka_disabled = decode_flag(&d, "Disabled");
    return d.bad ? TAILCFG_E_SHAPE : 0;
}

static int on_user_profiles(struct tailcfg_map_response *r, struct span text)
{
    return split(r, text, &r->user_profiles);
}

static const struct {
    const char *name;
    member_fn *read;
} members[] = {
    { "CollectServices", on_collect_services },
    { "ControlTime", on_control_time },
    { "DERPMap", on_derp_map },
    { "DNSConfig", on_dns_config },
    { "Debug", on_debug },
    { "DisplayMessages", on_display_messages },
    { "Domain", on_domain },
    { "Health", on_health },
    { "KeepAlive", on_keep_alive },
    { "Node", on_node },
    { "OnlineChange", on_online_change },
    { "PacketFilter", on_packet_filter },
    { "PeerSeenChange", on_peer_seen_change },
    { "Peers", on_peers },
    { "PeersChanged", on_peers_changed },
    { "PeersChangedPatch", on_peers_changed_patch },
    { "PeersRemoved", on_peers_removed },
    { "PingRequest", on_ping_request },
    { "PopBrowserURL", on_pop_browser_url },
    { "TKAInfo", on_tka_info },
    { "UserProfiles", on_user_profiles },
};

static int read_member(struct tailcfg_map_response *r, struct span name, struct span text)
{
    for (size_t i = 0; i < COUNT_OF(members); i++)
        if (span_equal_str(name, members[i].name))
            return members[i].read(r, text);
    return 0;
}

static int read_members(struct tailcfg_map_response *r, struct span text)
{
    struct json_cursor c = json_cursor_of(text);
    struct span name, value, filters = SPAN_NONE;

    if (json_text_kind(text) != JSON_KIND_OBJECT)
        return json_text_kind(text) == JSON_KIND_ABSENT ? TAILCFG_E_JSON : TAILCFG_E_SHAPE;
    while (json_cursor_next(&c, &name, &value)) {
        int e = read_member(r, name, value);

        if (e)
            return e;
        if (span_equal_str(name, "PacketFilters") && json_text_kind(value) != JSON_KIND_NULL)
            filters = value;
    }
    if (c.failed)
        return TAILCFG_E_JSON;
    return filters.len ? read_filters(r, filters) : 0;
}

int tailcfg_map_response_parse(struct span text, struct tailcfg_map_response *out)
{
    int e;

    *out = (struct tailcfg_map_response) { .keep_alive = false };
    arena_init(&out->arena, ARENA_BYTES_MAX);
    e = text.len > TAILCFG_MAP_RESPONSE_BYTES_MAX ? TAILCFG_E_TOO_BIG : read_members(out, text);
    if (!e && out->arena.failed)
        e = out->arena.held >= ARENA_BYTES_MAX / 2 ? TAILCFG_E_TOO_BIG : -ENOMEM;
    if (e)
        tailcfg_map_response_deinit(out);
    return e < 0 ? err_trace(e) : e;
}

void tailcfg_map_response_deinit(struct tailcfg_map_response *r)
{
    struct arena a = r->arena;

    arena_deinit(&a);
    *r = (struct tailcfg_map_response) { .keep_alive = false };
}
