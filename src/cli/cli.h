/* cli/cli.h - what a person can type: subcommands, one file each, one table (commands.def)
 *
 * A command line that starts with a flag is tsnsrv's and goes to cli_serve. Everything else is a word of the
 * table. Thread: the main one.
 */
#ifndef MANYTAILS_CLI_CLI_H
#define MANYTAILS_CLI_CLI_H

#include <stdio.h>

#include "base/base.h"

struct cli_command {
    const char *name;
    int (*run)(int argc, char **argv); /* argv[0]: its name. Exit status: 0 done, 1 failed, 2 wrong usage */
    const char *arguments, *text, *examples;
};

struct cli_flag {
    const char *command, *flag, *argument, *text;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;
extern const struct cli_flag cli_flags[];
extern const size_t cli_flag_count;

#define COMMAND(name, arguments, text, examples) int cli_##name(int argc, char **argv);
#define FLAG(command, flag, argument, text)
#include "cli/commands.def"
#undef COMMAND
#undef FLAG

/* A command line that starts with a flag: tsnsrv's. argv[0] is the program. */
int cli_serve(int argc, char **argv);

/* The whole program; the exit status. */
int cli_main(int argc, char **argv);

/* ---- arguments.c: a subcommand's own command line ---- */

struct cli_arguments {
    int argc;
    char **argv;        /* argv[0]: the command */
    unsigned words_max; /* words without a dash that it takes */
    /* What was found last. */
    const struct cli_flag *flag; /* NULL: a word */
    const char *value;           /* of the flag, or the word */
    int at;
    unsigned words;
};

enum cli_argument { CLI_ARGUMENT_END, CLI_ARGUMENT_FLAG, CLI_ARGUMENT_WORD, CLI_ARGUMENT_WRONG };

/* The next one. WRONG: what it is was said, with the usage line; exit with 2. */
enum cli_argument cli_argument_next(struct cli_arguments *a);
/* The flag that was found is this one, spelled as in commands.def. */
bool cli_argument_is(const struct cli_arguments *a, const char *flag);
/* Its value is none: says so, with `what` is wrong. CLI_ARGUMENT_WRONG. */
enum cli_argument cli_wrong_value(const struct cli_arguments *a, const char *what);

/* Asks the process behind `socket` (NULL: where one is by default) and says on standard error why it could
 * not. 0 or -errno. */
NODISCARD int cli_ask(const char *socket, const char *command, struct buf *answer);

/* reload.c: what the process answered, in words. Exit status. */
int reload_print(struct span answer, FILE *out, FILE *err);

/* Base name of the program as it was called. */
const char *cli_program(void);

const struct cli_command *cli_command_find(const char *name); /* NULL: none */
const char *cli_command_nearest(const char *name);            /* NULL: none is near */
/* Usage, flags and examples of one. */
void cli_command_help(FILE *out, const struct cli_command *command);
/* The tables as text for a document: "options-markdown", "options-man", "flags-man", "commands-man",
 * "commands-markdown". False: there is none of that name. docs/ is made of it (tools/make-reference). */
bool cli_reference(FILE *out, const char *what);
/* The usage line on standard error, and 2: `return cli_wrong_usage("status");` */
int cli_wrong_usage(const char *command);
/* The list of all of them. */
void cli_list_commands(FILE *out);

#endif
