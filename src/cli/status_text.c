/* cli/status_text.c - the answer of the process in words */
#include <stdlib.h>
#include <time.h>

#include "cli/status.h"
#include "daemon/daemon.h"
#include "node/node.h"

#define LINE_BYTES 1024

/* ---- values ---------------------------------------------------------------------------- */

static struct span text(const struct json *v, const char *key)
{
    struct span s = SPAN_NONE;

    json_get_string(v, key, &s);
    return s;
}

static int64_t number(const struct json *v, const char *key)
{
    int64_t n = 0;

    json_get_i64(v, key, &n);
    return n;
}

/* Names and reasons come from outside: they must not move the cursor. */
static void put(FILE *out, struct span s)
{
    for (size_t i = 0; i < s.len; i++)
        fputc(s.data[i] < 0x20 || s.data[i] == 0x7f ? '?' : s.data[i], out);
}

static size_t columns(struct span s)
{
    size_t n = 0;

    for (size_t i = 0; i < s.len; i++)
        n += (s.data[i] & 0xc0) != 0x80;
    return n;
}

static void put_padded(FILE *out, struct span s, size_t width)
{
    put(out, s);
    for (size_t n = columns(s); n < width; n++)
        fputc(' ', out);
}

static const char *bytes_text(int64_t n, char out[32])
{
    static const char units[] = "kMGT";
    double v = (double)n;
    int unit = -1;

    while (v >= 999.5 && unit < 3) {
        v /= 1000;
        unit++;
    }
    if (unit < 0)
        snprintf(out, 32, "%lld B", (long long)n);
    else
        snprintf(out, 32, "%.*f %cB", v < 9.95 ? 1 : 0, v, units[unit]);
    return out;
}

/* "14:02", "24 Nov 14:02", "24 Nov 2025 14:02", in local time; "" if it is none. */
static const char *time_text(struct span rfc3339, int64_t now, char out[48])
{
    time_t then_s, now_s = (time_t)(now / SEC);
    struct tm then, today;
    int64_t wall;

    out[0] = 0;
    if (!time_parse_rfc3339(rfc3339, &wall) || wall <= 0)
        return out;
    then_s = (time_t)(wall / SEC);
    localtime_r(&then_s, &then);
    localtime_r(&now_s, &today);
    strftime(out, 48,
             then.tm_year != today.tm_year   ? "%e %b %Y %H:%M"
             : then.tm_yday != today.tm_yday ? "%e %b %H:%M"
                                             : "%H:%M",
             &then);
    return out + (out[0] == ' ');
}

/* "14:02:11", with the date before it unless it is today's. */
static const char *moment_text(struct span rfc3339, int64_t now, char out[48])
{
    time_t then_s, now_s = (time_t)(now / SEC);
    struct tm then, today;
    int64_t wall;

    out[0] = 0;
    if (!time_parse_rfc3339(rfc3339, &wall))
        return out;
    then_s = (time_t)(wall / SEC);
    localtime_r(&then_s, &then);
    localtime_r(&now_s, &today);
    strftime(out, 48,
             then.tm_year == today.tm_year && then.tm_yday == today.tm_yday ? "%H:%M:%S" : "%e %b %H:%M:%S",
             &then);
    return out + (out[0] == ' ');
}

static const char *duration_words(int64_t seconds, char out[32])
{
    static const struct {
        int64_t seconds;
        const char *name;
    } units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
    size_t i = 0;

    while (i + 1 < COUNT_OF(units) && seconds < units[i].seconds)
        i++;
    snprintf(out, 32, "%lld %s%s", (long long)(seconds / units[i].seconds), units[i].name,
             seconds / units[i].seconds == 1 ? "" : "s");
    return out;
}

/* ---- one service ------------------------------------------------------------------------- */

struct path_counts {
    unsigned direct, relay, local;
};

static struct path_counts count_paths(const struct json *service)
{
    const struct json *list = NULL;
    struct path_counts n = { 0 };

    json_get_array(service, "peers", &list);
    for (size_t i = 0; i < json_array_count(list); i++) {
        struct span path = text(json_array_at(list, i), "path");

        n.direct += span_equal_str(path, "direct");
        n.relay += span_equal_str(path, "relay");
        n.local += span_equal_str(path, "this process");
    }
    return n;
}

static const struct node_saying_text *saying_of(const struct json *service)
{
    for (size_t i = 0; i < NODE_SAYING_COUNT; i++)
        if (span_equal_str(text(service, "sentence"), node_sayings[i].sentence))
            return &node_sayings[i];
    return NULL;
}

static bool is_well(const struct json *service)
{
    return span_equal_str(text(service, "state"), node_state_text(NODE_RUNNING));
}

static struct span certificate_trouble(const struct json *service)
{
    return text(json_member(service, "certificate"), "trouble");
}

/* A server behind the service: NULL unless it failed, and has not answered since. */
static const struct json *failing(const struct json *service, const char *member)
{
    const struct json *b = json_member(service, member);

    return b && !text(b, "answersSince").len ? b : NULL;
}

/* "http://127.0.0.1:8080: connection refused (3 times, last at 14:02:11)" */
static void put_backend(FILE *out, const struct json *b, const struct status_view *v)
{
    char time[48];

    put(out, text(b, "url"));
    fputs(": ", out);
    if (text(b, "answersSince").len)
        fprintf(out,
                "answers again since %s; before that: ", moment_text(text(b, "answersSince"), v->now, time));
    put(out, text(b, "trouble"));
    if (number(b, "times") == 1)
        fputs(" (once, at ", out);
    else
        fprintf(out, " (%lld times, last at ", (long long)number(b, "times"));
    fprintf(out, "%s)\n", moment_text(text(b, "last"), v->now, time));
}

/* "waiting for approval in the admin console since 14:02" */
static void put_sentence(FILE *out, const struct json *service, const struct status_view *v)
{
    struct span sentence = text(service, "sentence");
    char time[48];
    const char *since = time_text(text(service, "since"), v->now, time);

    put(out, sentence.len ? sentence : text(service, "state"));
    if (*since)
        fprintf(out, " since %s", since);
}

/* What the sentence leaves open: why, and where to click. */
static struct span reason_of(const struct json *service)
{
    struct span url = text(service, "authURL");

    return url.len ? url : text(service, "detail");
}

static struct span first_address(const struct json *service)
{
    const struct json *list = NULL;
    struct span s = SPAN_NONE;

    json_get_array(service, "addresses", &list);
    if (json_array_count(list) && !json_as_string(json_array_at(list, 0), &s))
        return SPAN_NONE;
    return s;
}

/* ---- all of them: a row each, or two lines where there is no room for a row -------------------- */

static void put_row(FILE *out, const struct json *service, size_t name_width, const struct status_view *v)
{
    const struct json *requests = json_member(service, "requests");
    struct path_counts paths = count_paths(service);
    char bytes[32], peers[32];

    snprintf(peers, sizeof(peers), "%u/%u", paths.direct, paths.relay);
    put_padded(out, text(service, "name"), name_width);
    fputs("  ", out);
    put_padded(out, first_address(service), 15);
    fprintf(out, "  %9lld  %8s  %7s  ", (long long)number(requests, "total"),
            bytes_text(number(requests, "bytesOut"), bytes), peers);
    put_sentence(out, service, v);
    fputc('\n', out);
}

static void put_head(FILE *out, size_t name_width)
{
    put_padded(out, span_from_str("NAME"), name_width);
    fprintf(out, "  %-15s  %9s  %8s  %7s  %s\n", "ADDRESS", "REQUESTS", "OUT", "D/RELAY", "STATE");
}

static void put_lines(FILE *out, const struct json *service, const struct status_view *v)
{
    const struct json *requests = json_member(service, "requests");
    struct path_counts paths = count_paths(service);
    char bytes[32];

    put(out, text(service, "name"));
    fputs(": ", out);
    put_sentence(out, service, v);
    fputs("\n  ", out);
    put(out, first_address(service));
    fprintf(out, "%s%lld request%s, %s out; peers: %u direct, %u by relay\n",
            first_address(service).len ? ", " : "", (long long)number(requests, "total"),
            number(requests, "total") == 1 ? "" : "s", bytes_text(number(requests, "bytesOut"), bytes),
            paths.direct, paths.relay);
}

static void put_failing(FILE *out, const struct json *service, const char *member, const char *label,
                        size_t indent, const struct status_view *v)
{
    const struct json *b = failing(service, member);

    if (!b)
        return;
    fprintf(out, "%*s%s ", (int)indent, "", label);
    put_backend(out, b, v);
}

static void put_trouble(FILE *out, const struct json *service, size_t indent, const struct status_view *v)
{
    struct span why = is_well(service) ? SPAN_NONE : reason_of(service);

    if (why.len) {
        fprintf(out, "%*s", (int)indent, "");
        put(out, why);
        fputc('\n', out);
    }
    if (certificate_trouble(service).len) {
        fprintf(out, "%*scertificate: ", (int)indent, "");
        put(out, certificate_trouble(service));
        fputc('\n', out);
    }
    put_failing(out, service, "upstream", "upstream", indent, v);
    put_failing(out, service, "authServer", "auth server", indent, v);
}

static int by_name(const void *a, const void *b)
{
    struct span x = text(*(const struct json *const *)a, "name"),
                y = text(*(const struct json *const *)b, "name");
    int order = memcmp(x.data ? x.data : (const uint8_t *)"", y.data ? y.data : (const uint8_t *)"",
                       MIN(x.len, y.len));

    return order ? order : (x.len > y.len) - (x.len < y.len);
}

/* "57 services: 55 connected to the tailnet, 2 waiting for approval in the admin console; up for 3 hours" */
static void put_sum(FILE *out, const struct json *root, const struct json *const *services, size_t count)
{
    size_t of[NODE_SAYING_COUNT + 1] = { 0 };
    const char *before = ": ";
    char up[32];

    for (size_t i = 0; i < count; i++) {
        const struct node_saying_text *s = saying_of(services[i]);

        of[s ? (size_t)(s - node_sayings) : NODE_SAYING_COUNT]++;
    }
    fprintf(out, "%zu service%s", count, count == 1 ? "" : "s");
    for (size_t i = 0; i <= NODE_SAYING_COUNT; i++) {
        if (!of[i])
            continue;
        fprintf(out, "%s%zu %s", before, of[i],
                i < NODE_SAYING_COUNT ? node_sayings[i].sentence : "in another state");
        before = ", ";
    }
    fprintf(out, "; up for %s\n", duration_words(number(root, "uptimeSeconds"), up));
}

static void put_all(FILE *out, const struct json *root, const struct json *const *services, size_t count,
                    const struct status_view *v)
{
    bool wide = v->width >= STATUS_WIDE;
    size_t name_width = 4;

    for (size_t i = 0; i < count; i++)
        name_width = MAX(name_width, columns(text(services[i], "name")));
    if (wide && count)
        put_head(out, name_width);
    for (size_t i = 0; i < count; i++) {
        if (wide)
            put_row(out, services[i], name_width, v);
        else
            put_lines(out, services[i], v);
        put_trouble(out, services[i], wide ? name_width + 2 : 2, v);
    }
    put_sum(out, root, services, count);
}

/* ---- one of them in detail ------------------------------------------------------------------------ */

static void put_label(FILE *out, const char *label)
{
    fprintf(out, "  %-12s ", label);
}

static void put_field(FILE *out, const char *label, struct span value)
{
    if (!value.len)
        return;
    put_label(out, label);
    put(out, value);
    fputc('\n', out);
}

static void put_addresses(FILE *out, const struct json *service)
{
    const struct json *list = NULL;
    struct span s;

    json_get_array(service, "addresses", &list);
    if (!json_array_count(list))
        return;
    put_label(out, "addresses");
    for (size_t i = 0; i < json_array_count(list); i++)
        if (json_as_string(json_array_at(list, i), &s)) {
            fputs(i ? ", " : "", out);
            put(out, s);
        }
    fputc('\n', out);
}

static void put_control(FILE *out, const struct json *service)
{
    const struct json *control = json_member(service, "control");

    if (!control)
        return;
    put_label(out, "control");
    put(out, text(control, "url"));
    fprintf(out, ", connected %lld time%s\n", (long long)number(control, "connects"),
            number(control, "connects") == 1 ? "" : "s");
}

static void put_remark(FILE *out, enum node_remark remark)
{
    put_field(out, "what to do", span_from_str(node_remarks[remark].advice));
}

static void put_certificate(FILE *out, const struct json *service, const struct status_view *v)
{
    const struct json *c = json_member(service, "certificate");
    char time[48];

    if (!c)
        return;
    if (text(c, "notAfter").len) {
        put_label(out, "certificate");
        put(out, text(c, "name"));
        fprintf(out, ", valid until %s\n", time_text(text(c, "notAfter"), v->now, time));
    }
    put_field(out, "certificate", text(c, "trouble"));
    if (text(c, "trouble").len)
        put_remark(out, NODE_REMARK_CERTIFICATE);
}

/* Handshakes of clients that came to nothing. */
static void put_tls_failed(FILE *out, const struct json *failed)
{
    static const struct {
        const char *member, *words;
    } rows[] = {
        { "refused", "ended by the client (most often it does not trust the certificate)" },
        { "version", "without TLS 1.2 or 1.3" },
        { "nothing_common", "without a cipher in common" },
        { "no_tls", "no TLS at all" },
        { "timeout", "too slow" },
        { "left", "left by the client" },
        { "other", "for another reason" },
    };
    const char *between = "failed: ";

    for (size_t i = 0; failed && i < COUNT_OF(rows); i++) {
        if (!number(failed, rows[i].member))
            continue;
        if (*between == 'f')
            put_label(out, "handshakes");
        fprintf(out, "%s%lld %s", between, (long long)number(failed, rows[i].member), rows[i].words);
        between = ", ";
    }
    if (*between == ',')
        fputc('\n', out);
}

static void put_requests(FILE *out, const struct json *service)
{
    const struct json *r = json_member(service, "requests");
    char in[32], bytes_out[32];

    if (!r)
        return;
    put_label(out, "requests");
    fprintf(out, "%lld: %lld ok, %lld redirected, %lld refused, %lld failed; %lld now\n",
            (long long)number(r, "total"), (long long)number(r, "status2xx"),
            (long long)number(r, "status3xx"), (long long)number(r, "status4xx"),
            (long long)number(r, "status5xx"), (long long)number(r, "active"));
    put_label(out, "bytes");
    fprintf(out, "%s in, %s out\n", bytes_text(number(r, "bytesIn"), in),
            bytes_text(number(r, "bytesOut"), bytes_out));
    if (number(r, "proxyErrors")) {
        put_label(out, "errors");
        fprintf(out, "%lld by the upstream's fault since the start\n", (long long)number(r, "proxyErrors"));
    }
    put_tls_failed(out, json_member(service, "tlsFailed"));
}

/* Also when it answers again: who looks for yesterday's trouble finds it. */
static void put_backend_field(FILE *out, const struct json *service, enum node_remark remark,
                              const char *label, const struct status_view *v)
{
    const char *member = node_remarks[remark].member;
    const struct json *b = json_member(service, member);

    if (!b)
        return;
    put_label(out, label);
    put_backend(out, b, v);
    if (failing(service, member))
        put_remark(out, remark);
}

static void put_peer(FILE *out, const struct json *peer)
{
    char in[32], bytes_out[32];
    double latency = -1;

    fputs("    ", out);
    put_padded(out, text(peer, "name"), 20);
    fputc(' ', out);
    put(out, text(peer, "path"));
    if (text(peer, "address").len) {
        fputc(' ', out);
        put(out, text(peer, "address"));
    }
    if (json_get_real(peer, "latencyMs", &latency) == JSON_GOT && latency > 0)
        fprintf(out, ", %.1f ms", latency);
    fprintf(out, ", %s in, %s out\n", bytes_text(number(peer, "bytesIn"), in),
            bytes_text(number(peer, "bytesOut"), bytes_out));
}

static void put_peers(FILE *out, const struct json *service)
{
    const struct json *list = NULL;
    struct path_counts n = count_paths(service);

    json_get_array(service, "peers", &list);
    put_label(out, "peers");
    fprintf(out, "%lld known; in use: %u direct, %u by relay", (long long)number(service, "peersKnown"),
            n.direct, n.relay);
    if (n.local)
        fprintf(out, ", %u in this process", n.local);
    fputc('\n', out);
    for (size_t i = 0; i < json_array_count(list); i++)
        put_peer(out, json_array_at(list, i));
}

/* What the control server wants people to know. */
static void put_notices(FILE *out, const struct json *service)
{
    const struct json *list = NULL;

    json_get_array(service, "notices", &list);
    for (size_t i = 0; i < json_array_count(list); i++) {
        const struct json *n = json_array_at(list, i);

        put_field(out, "notice", text(n, "title"));
        put_field(out, "notice", text(n, "text"));
    }
}

static void put_detail(FILE *out, const struct json *service, const struct status_view *v)
{
    const struct node_saying_text *saying = saying_of(service);
    char time[48];

    put(out, text(service, "name"));
    fputs(": ", out);
    put_sentence(out, service, v);
    fputc('\n', out);
    put_field(out, "reason", text(service, "detail"));
    put_field(out, "log in at", text(service, "authURL"));
    if (saying && !is_well(service))
        put_field(out, "what to do", span_from_str(saying->advice));
    put_notices(out, service);
    put_field(out, "full name", text(service, "fullName"));
    put_addresses(out, service);
    if (text(service, "keyExpiry").len)
        put_field(out, "key expires", span_from_str(time_text(text(service, "keyExpiry"), v->now, time)));
    put_field(out, "relay", text(service, "relay"));
    put_control(out, service);
    put_certificate(out, service, v);
    put_requests(out, service);
    put_backend_field(out, service, NODE_REMARK_UPSTREAM, "upstream", v);
    put_backend_field(out, service, NODE_REMARK_AUTH, "auth server", v);
    put_peers(out, service);
    if (number(service, "blockedByPolicy")) {
        put_label(out, "refused");
        fprintf(out, "%lld packets, by the tailnet's rules\n", (long long)number(service, "blockedByPolicy"));
    }
}

/* ---- the answer --------------------------------------------------------------------------------------- */

int status_print(FILE *out, struct span answer, const struct status_view *view)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *list = NULL;
    const struct json **services;
    size_t count;
    int r = view->name ? 1 : 0;

    if (json_parse(answer, DAEMON_STATUS_BYTES_MAX, &root) ||
        json_get_array(root, "services", &list) != JSON_GOT)
        return 2;
    count = json_array_count(list);
    services = calloc(count + 1, sizeof(*services));
    if (!services)
        return 2;
    for (size_t i = 0; i < count; i++)
        services[i] = json_array_at(list, i);
    qsort(services, count, sizeof(*services), by_name);
    if (!view->name)
        put_all(out, root, services, count, view);
    for (size_t i = 0; view->name && i < count; i++)
        if (span_equal_str(text(services[i], "name"), view->name)) {
            put_detail(out, services[i], view);
            r = 0;
        }
    free(services);
    return r;
}
