#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "config/config.h"
#include "daemon/daemon.h"

struct status_options {
    bool json;
    const char *socket, *name;
};

static bool parse(struct status_options *o, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];

        if (strcmp(a, "--json") == 0 || strcmp(a, "-json") == 0)
            o->json = true;
        else if ((strcmp(a, "--socket") == 0 || strcmp(a, "-socket") == 0) && i + 1 < argc)
            o->socket = argv[++i];
        else if (a[0] != '-' && !o->name)
            o->name = a;
        else
            return false;
    }
    return true;
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
        snprintf(out, 32, "%.*f %cB", v < 10 ? 1 : 0, v, units[unit]);
    return out;
}

static int64_t number(const struct json *v, const char *key)
{
    int64_t n = 0;

    json_get_i64(v, key, &n);
    return n;
}

static struct span text(const struct json *v, const char *key)
{
    struct span s = SPAN_NONE;

    json_get_string(v, key, &s);
    return s;
}

static void print_span(const struct json *v, const char *key)
{
    struct span s = text(v, key);

    for (size_t i = 0; i < s.len; i++)
        putchar(s.data[i] < 0x20 || s.data[i] == 0x7f ? '?' : s.data[i]);
}

static void print_addresses(const struct json *service)
{
    const struct json *list = NULL;
    struct span s;

    json_get_array(service, "addresses", &list);
    for (size_t i = 0; i < json_array_count(list); i++)
        if (json_as_string(json_array_at(list, i), &s))
            printf("%s%.*s", i ? " " : "  addresses  ", (int)s.len, (const char *)s.data);
    if (json_array_count(list))
        putchar('\n');
}

static void print_peers(const struct json *service)
{
    const struct json *list = NULL;
    unsigned direct = 0, relay = 0, local = 0;

    json_get_array(service, "peers", &list);
    for (size_t i = 0; i < json_array_count(list); i++) {
        struct span path = text(json_array_at(list, i), "path");

        direct += span_equal_str(path, "direct");
        relay += span_equal_str(path, "relay");
        local += span_equal_str(path, "this process");
    }
    printf("  peers      %lld known; in use: %u direct, %u by relay",
           (long long)number(service, "peersKnown"), direct, relay);
    if (local)
        printf(", %u in this process", local);
    putchar('\n');
}

/* Only if there is something to say about it. */
static void print_certificate(const struct json *service)
{
    const struct json *certificate = json_member(service, "certificate");

    if (!text(certificate, "trouble").len)
        return;
    printf("  HTTPS      ");
    print_span(certificate, "trouble");
    putchar('\n');
}

static void print_service(const struct json *service)
{
    const struct json *requests = json_member(service, "requests");
    char in[32], out[32];

    print_span(service, "name");
    printf(": ");
    print_span(service, "state");
    putchar('\n');
    if (text(service, "sentence").len) {
        printf("  ");
        print_span(service, "sentence");
        printf("\n  since      ");
        print_span(service, "since");
        putchar('\n');
    }
    if (text(service, "detail").len) {
        printf("  ");
        print_span(service, "detail");
        putchar('\n');
    }
    if (text(service, "authURL").len) {
        printf("  log in at  ");
        print_span(service, "authURL");
        putchar('\n');
    }
    print_addresses(service);
    print_certificate(service);
    if (text(service, "relay").len) {
        printf("  relay      ");
        print_span(service, "relay");
        putchar('\n');
    }
    print_peers(service);
    if (requests)
        printf("  requests   %lld (%lld active, %lld failed), %s in, %s out\n",
               (long long)number(requests, "total"), (long long)number(requests, "active"),
               (long long)number(requests, "proxyErrors"), bytes_text(number(requests, "bytesIn"), in),
               bytes_text(number(requests, "bytesOut"), out));
}

static int print_services(struct span answer, const char *name)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *list = NULL;
    int found = 0;

    if (json_parse(answer, DAEMON_STATUS_BYTES_MAX, &root) ||
        json_get_array(root, "services", &list) != JSON_GOT) {
        fprintf(stderr, "%s: the answer makes no sense: is it another version that runs?\n", cli_program());
        return 1;
    }
    for (size_t i = 0; i < json_array_count(list); i++) {
        const struct json *service = json_array_at(list, i);

        if (name && !span_equal_str(text(service, "name"), name))
            continue;
        found++;
        print_service(service);
    }
    if (name && !found) {
        fprintf(stderr, "%s: there is no service \"%s\"\n", cli_program(), name);
        return 1;
    }
    return 0;
}

int cli_status(int argc, char **argv)
{
    struct status_options o = { 0 };
    struct buf answer;
    int status = 1;

    if (!parse(&o, argc, argv))
        return cli_wrong_usage("status");
    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    if (cli_ask(o.socket, "status", &answer) == 0) {
        if (o.json) {
            fwrite(buf_span(&answer).data, 1, answer.len, stdout);
            status = 0;
        } else {
            status = print_services(buf_span(&answer), o.name);
        }
    }
    buf_deinit(&answer);
    return status;
}
