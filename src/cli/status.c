#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/status.h"
#include "daemon/daemon.h"
#include "ev/ev.h"

#define WIDTH_DEFAULT 80

struct status_options {
    bool json;
    const char *socket, *name;
};

static bool parse(struct status_options *o, int argc, char **argv)
{
    struct cli_arguments a = { .argc = argc, .argv = argv, .words_max = 1 };
    enum cli_argument found;

    while ((found = cli_argument_next(&a)) != CLI_ARGUMENT_END && found != CLI_ARGUMENT_WRONG)
        if (found == CLI_ARGUMENT_WORD)
            o->name = a.value;
        else if (cli_argument_is(&a, "--socket"))
            o->socket = a.value;
        else
            o->json = true;
    return found == CLI_ARGUMENT_END;
}

/* A pipe has no width: what reads it may be as wide as it likes. */
static size_t output_width(void)
{
    struct winsize size;

    if (!isatty(STDOUT_FILENO))
        return SIZE_MAX;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col ? size.ws_col : WIDTH_DEFAULT;
}

static int print(struct span answer, const char *name)
{
    struct status_view view = { .name = name, .width = output_width(), .now = ev_wall_clock() };
    int r = status_print(stdout, answer, &view);

    if (r == 1)
        fprintf(stderr, "%s: there is no service \"%s\"\n", cli_program(), name);
    else if (r)
        fprintf(stderr, "%s: the answer makes no sense: is it another version that runs?\n", cli_program());
    return r ? 1 : 0;
}

/* The answer as it came; with a name, the object of that service. */
static int print_json(struct span answer, const char *name)
{
    struct json_cursor services = json_cursor_of(json_text_member(answer, "services"));
    struct span service;

    if (!name) {
        fwrite(answer.data, 1, answer.len, stdout);
        return 0;
    }
    while (json_cursor_next(&services, NULL, &service)) {
        char quoted[256];

        snprintf(quoted, sizeof(quoted), "\"%s\"", name);
        if (span_equal_str(text_trim(json_text_member(service, "name")), quoted)) {
            printf("%.*s\n", (int)service.len, (const char *)service.data);
            return 0;
        }
    }
    fprintf(stderr, "%s: there is no service \"%s\"\n", cli_program(), name);
    return 1;
}

int cli_status(int argc, char **argv)
{
    struct status_options o = { 0 };
    struct buf answer;
    int status = 1;

    if (!parse(&o, argc, argv))
        return 2;
    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    if (cli_ask(o.socket, "status", &answer) == 0)
        status = o.json ? print_json(buf_span(&answer), o.name) : print(buf_span(&answer), o.name);
    buf_deinit(&answer);
    return status;
}
