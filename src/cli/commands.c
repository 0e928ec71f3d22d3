/* cli/commands.c - the table of subcommands, and the way from argv to one of them */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

const struct cli_command cli_commands[] = {
#define COMMAND(name_, arguments_, text_, examples_) { #name_, cli_##name_, arguments_, text_, examples_ },
#define FLAG(command, flag, argument, text)
#include "cli/commands.def"
#undef COMMAND
#undef FLAG
};
const size_t cli_command_count = COUNT_OF(cli_commands);

const struct cli_flag cli_flags[] = {
#define COMMAND(name, arguments, text, examples)
#define FLAG(command_, flag_, argument_, text_) { #command_, flag_, argument_, text_ },
#include "cli/commands.def"
#undef COMMAND
#undef FLAG
};
const size_t cli_flag_count = COUNT_OF(cli_flags);

static const char *program = "manytails"; /* set once, before anything reads it */

const char *cli_program(void)
{
    return program;
}

static void set_program(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    program = slash ? slash + 1 : argv0;
}

const struct cli_command *cli_command_find(const char *name)
{
    for (size_t i = 0; i < cli_command_count; i++)
        if (strcmp(name, cli_commands[i].name) == 0)
            return &cli_commands[i];
    return NULL;
}

static void print_usage(FILE *out, const struct cli_command *c)
{
    fprintf(out, "Usage: %s %s%s%s\n", program, c->name, *c->arguments ? " " : "", c->arguments);
}

void cli_command_help(FILE *out, const struct cli_command *c)
{
    const char *line = c->examples;

    print_usage(out, c);
    fprintf(out, "\n%s\n", c->text);
    for (size_t i = 0; i < cli_flag_count; i++)
        if (strcmp(cli_flags[i].command, c->name) == 0)
            fprintf(out, "\n  %s%s%s\n        %s\n", cli_flags[i].flag, *cli_flags[i].argument ? " " : "",
                    cli_flags[i].argument, cli_flags[i].text);
    fprintf(out, "\nExamples:\n\n");
    while (*line) {
        size_t len = strcspn(line, "\n");

        fprintf(out, "  %s %.*s\n", program, (int)len, line);
        line += len + (line[len] == '\n');
    }
}

int cli_wrong_usage(const char *command)
{
    print_usage(stderr, cli_command_find(command));
    return 2;
}

void cli_list_commands(FILE *out)
{
    fprintf(out,
            "manytails puts every service of this host on a tailnet under its own name.\n\n"
            "  %s -name web -plaintext -listenAddr :80 http://127.0.0.1:8080\n"
            "  %s -config services.yaml\n"
            "  %s status\n\n"
            "A command line that starts with a flag serves; `%s help flags` lists the flags. Commands:\n\n",
            program, program, program, program);
    for (size_t i = 0; i < cli_command_count; i++)
        fprintf(out, "  %-10s %s\n", cli_commands[i].name, cli_commands[i].text);
    fprintf(out, "\n`%s help COMMAND` and `%s help OPTION` say more.\n", program, program);
}

const char *cli_command_nearest(const char *name)
{
    struct text_nearest n = { .name = span_from_str(name), .distance = 3 };

    for (size_t i = 0; i < cli_command_count; i++)
        text_consider(&n, cli_commands[i].name);
    return n.found;
}

static int no_such_command(const char *name)
{
    const char *best = cli_command_nearest(name);

    fprintf(stderr, "%s: there is no command \"%s\"", program, name);
    if (best) {
        fprintf(stderr, " (did you mean \"%s\"?)\n", best);
    } else if (strstr(name, ".yaml") || strstr(name, ".yml")) {
        fprintf(stderr, ": a file to serve from follows -config, one to look at follows check\n");
    } else if (strchr(name, ':')) {
        fprintf(stderr, ": a destination is the last word, behind -name NAME and other flags\n");
    } else {
        fprintf(stderr, "\n\n");
        cli_list_commands(stderr);
    }
    return 2;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-help") == 0)
            return true;
    return false;
}

static int run_command(int argc, char **argv)
{
    const struct cli_command *c = cli_command_find(argv[0]);

    if (!c)
        return no_such_command(argv[0]);
    if (wants_help(argc, argv)) {
        cli_command_help(stdout, c);
        return 0;
    }
    return c->run(argc, argv);
}

static int run(int argc, char **argv)
{
    bool old_name;

    set_program(argc ? argv[0] : "manytails");
    /* Under its old name the program is tsnsrv and has no subcommands; a first word with a flag's dash, or
     * nothing at all, is tsnsrv's command line too. */
    old_name = strcmp(program, "tsnsrv") == 0;
    if (argc > 1 && argv[1][0] != '-' && !old_name)
        return run_command(argc - 1, argv + 1);
    if (argc < 2 && !old_name) {
        cli_list_commands(stderr);
        return 2;
    }
    if (argc == 2 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-version") == 0))
        return cli_version(1, argv);
    return cli_serve(argc, argv);
}

/* What could not be written was not done, however well the rest went. */
static int written(int status)
{
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    fprintf(stderr, "%s: standard output: %s\n", program, err_text(-errno));
    return status ? status : 1;
}

int cli_main(int argc, char **argv)
{
    return written(run(argc, argv));
}
