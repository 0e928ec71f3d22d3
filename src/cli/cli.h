/* cli/cli.h - subcommands: one function each, one table for dispatch and help */
#ifndef MANYTAILS_CLI_CLI_H
#define MANYTAILS_CLI_CLI_H

#include "base/base.h"

/* argv[0] is the subcommand's name. Returns the exit status: 0 done, 1 failed, 2 wrong usage. */
int cli_status(int argc, char **argv);
int cli_stop(int argc, char **argv);
int cli_help(int argc, char **argv);
int cli_version(int argc, char **argv);

/* A command line that starts with a flag: tsnsrv's. argv[0] is the program. */
int cli_serve(int argc, char **argv);

/* Base name of the program as it was called. */
const char *cli_program(void);
void cli_set_program(const char *argv0);

#endif
