#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* Everything a person can type after the program's name. */
static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *usage, *text;
} commands[] = {
    { "status", cli_status, "[--json] [--socket PATH] [NAME]",
      "show each service: state in words, addresses, relay, peers, requests" },
    { "stop", cli_stop, "[--socket PATH]", "end the running process: requests under way may finish" },
    { "help", cli_help, "[flags]", "this list, or the flags of the serving mode" },
    { "version", cli_version, "", "print the version" },
};

static const char *program = "manytails";

const char *cli_program(void)
{
    return program;
}

void cli_set_program(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');

    program = slash ? slash + 1 : argv0;
}

static void list_commands(FILE *out)
{
    fprintf(out,
            "manytails puts every service of this host on a tailnet under its own name.\n\n"
            "  %s -name web -plaintext -listenAddr :80 http://127.0.0.1:8080\n"
            "  %s -config services.yaml\n"
            "  %s status\n\n"
            "A command line that starts with a flag serves; `%s help flags` lists the flags. Commands:\n\n",
            program, program, program, program);
    for (size_t i = 0; i < COUNT_OF(commands); i++)
        fprintf(out, "  %-8s %-34s %s\n", commands[i].name, commands[i].usage, commands[i].text);
}

int cli_help(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "flags") == 0)
        return cli_serve(2, (char *[]) { argv[0], (char *)(uintptr_t) "-help", NULL });
    list_commands(stdout);
    return 0;
}

int cli_version(int argc, char **argv)
{
    (void)argc;
    (void)argv;
    printf("manytails %s\n", MANYTAILS_VERSION);
    return 0;
}

int main(int argc, char **argv)
{
    cli_set_program(argc ? argv[0] : "manytails");
    /* Under its old name the program is tsnsrv and has no subcommands; a first word with a flag's dash, a
     * lone URL, or nothing at all is tsnsrv's command line too. */
    if (argc > 1 && argv[1][0] != '-' && strcmp(program, "tsnsrv") != 0) {
        for (size_t i = 0; i < COUNT_OF(commands); i++)
            if (strcmp(argv[1], commands[i].name) == 0)
                return commands[i].run(argc - 1, argv + 1);
        fprintf(stderr, "%s: there is no command \"%s\"\n\n", program, argv[1]);
        list_commands(stderr);
        return 2;
    }
    if (argc < 2 && strcmp(program, "tsnsrv") != 0) {
        list_commands(stderr);
        return 2;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0)
        return cli_version(1, argv);
    return cli_serve(argc, argv);
}
