#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "config/config.h"
#include "daemon/daemon.h"

static void print(FILE *out, const struct buf *b)
{
    fwrite(buf_span(b).data, 1, b->len, out);
}

static void print_usage(FILE *out)
{
    struct buf usage;

    buf_init(&usage, 1 << 16);
    if (config_usage(&usage, cli_program()) == 0)
        print(out, &usage);
    buf_deinit(&usage);
}

/* One log line per notice. */
static void log_notices(const struct buf *notices)
{
    struct span rest = buf_span(notices);

    while (rest.len) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;

        log_warn(NULL, "%.*s", (int)len, (const char *)rest.data);
        rest = span_slice(rest, len + 1, rest.len);
    }
}

static int complain(const struct config *c, int outcome)
{
    switch (outcome) {
    case CONFIG_HELP:
        print_usage(stdout);
        return 0;
    case CONFIG_BAD_FLAG:
        print(stderr, &c->problems);
        print_usage(stderr);
        return 2;
    case CONFIG_INVALID:
        fprintf(stderr, "Invalid CLI usage. Errors:\n");
        print(stderr, &c->problems);
        fprintf(stderr, "\nSee `%s -help`.\n", cli_program());
        return 1;
    default:
        fprintf(stderr, "%s: %s\n", cli_program(), err_text(outcome));
        return 1;
    }
}

static bool any_verbose(const struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        if (c->services[i].verbose)
            return true;
    return false;
}

int cli_serve(int argc, char **argv)
{
    struct config config;
    int r = config_load(&config, argc, argv);
    int status;

    if (r) {
        status = complain(&config, r);
    } else {
        if (any_verbose(&config))
            log_set_level(LOG_DEBUG);
        log_notices(&config.notices);
        status = daemon_run(&config);
    }
    config_free(&config);
    return status;
}
