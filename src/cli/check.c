#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"
#include "control/control.h"

/* Every line of `text` with something before it. */
static void print_lines(FILE *out, const char *before, const struct buf *text)
{
    struct span rest = buf_span(text);

    while (rest.len) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;

        fprintf(out, "%s%.*s\n", before, (int)len, (const char *)rest.data);
        rest = span_slice(rest, len + 1, rest.len);
    }
}

static void print_service(const struct config *c, const struct config_service *s)
{
    printf("  %s: %s on %s -> %s%s%s\n", s->name, s->plaintext ? "http" : "https", s->listen_address,
           s->upstream, *s->upstream_unix_address || *s->upstream_tcp_address ? " at " : "",
           *s->upstream_unix_address ? s->upstream_unix_address : s->upstream_tcp_address);
    printf("      state %s; %s\n", s->state_directory,
           s->auth_key && control_oauth_is(s->auth_key) ? "auth keys are made with an OAuth client secret"
           : *s->auth_key_path                          ? "auth key from a file"
           : s->auth_key                                ? "auth key from the environment"
                         : "no auth key: a login URL is printed if it is not registered yet");
    if (strcmp(s->control_url, c->control_url) != 0)
        printf("      control server %s\n", s->control_url);
    if (s->tags.count || s->ephemeral) {
        printf("      registers %s", s->ephemeral ? "as ephemeral node" : "with");
        for (size_t i = 0; i < s->tags.count; i++)
            printf("%s%s", i || s->ephemeral ? ", " : " ", s->tags.items[i]);
        putchar('\n');
    }
    for (size_t i = 0; i < s->prefixes.count; i++)
        printf("%s%s%s", i ? ", " : "      only paths ", s->prefixes.items[i],
               i + 1 < s->prefixes.count ? ""
               : s->strip_prefix         ? " (removed before forwarding)\n"
                                         : " (kept)\n");
}

static int good(const struct config *c)
{
    printf("%zu service%s would run, control server %s:\n", c->service_count,
           c->service_count == 1 ? "" : "s", c->control_url);
    for (size_t i = 0; i < c->service_count; i++)
        print_service(c, &c->services[i]);
    print_lines(stdout, "note: ", &c->notices);
    return 0;
}

static int bad(const struct config *c, int outcome)
{
    if (outcome < 0) {
        fprintf(stderr, "%s: %s\n", cli_program(), err_text(outcome));
        return 1;
    }
    print_lines(stderr, "", &c->problems);
    if (outcome == CONFIG_BAD_FLAG)
        return cli_wrong_usage("check");
    return 1;
}

/* The command line of the serving mode; a lone word is a file. */
int cli_check(int argc, char **argv)
{
    char *file_only[] = { argv[0], (char *)(uintptr_t) "-config", argc > 1 ? argv[1] : NULL, NULL };
    struct config config;
    int r;

    if (argc < 2)
        return cli_wrong_usage("check");
    if (argc > 2 && argv[1][0] != '-') {
        fprintf(stderr, "%s check: one file, or flags and a destination: what is \"%.80s\" behind %.80s?\n",
                cli_program(), argv[2], argv[1]);
        return cli_wrong_usage("check");
    }
    if (argc == 2 && argv[1][0] != '-') {
        argv = file_only;
        argc = 3;
    }
    argv[0] = (char *)(uintptr_t)cli_program(); /* it names the default state folder */
    r = config_load_mode(&config, argc, argv, CONFIG_STRICT | CONFIG_FILES);
    r = r ? bad(&config, r) : good(&config);
    config_free(&config);
    return r;
}
