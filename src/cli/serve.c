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

static void print_usage(void)
{
    struct buf usage;

    buf_init(&usage, 1 << 16);
    if (config_usage(&usage, cli_program()) == 0)
        print(stdout, &usage);
    buf_deinit(&usage);
}

/* The first line of it, and where the rest is. */
static void print_usage_line(void)
{
    struct buf usage;

    buf_init(&usage, 1 << 16);
    if (config_usage(&usage, cli_program()) == 0)
        fprintf(
            stderr, "%.*s\nSee `%s -help`.\n",
            (int)((const uint8_t *)memchr(buf_span(&usage).data, '\n', usage.len) - buf_span(&usage).data),
            (const char *)buf_span(&usage).data, cli_program());
    buf_deinit(&usage);
}

static int complain(const struct config *c, int outcome)
{
    switch (outcome) {
    case CONFIG_HELP:
        print_usage();
        return 0;
    case CONFIG_BAD_FLAG: /* all flags would hide what was said */
        print(stderr, &c->problems);
        print_usage_line();
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

int cli_serve(int argc, char **argv)
{
    struct config config;
    int r = config_load(&config, argc, argv);
    int status;

    if (r) {
        status = complain(&config, r);
    } else {
        log_never_wait();
        status = daemon_run(&config, argc, argv);
    }
    config_free(&config);
    return status;
}
