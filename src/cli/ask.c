/* cli/ask.c - what commands that talk to the running process share */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "config/config.h"
#include "daemon/daemon.h"

int cli_ask(const char *socket, const char *command, struct buf *answer)
{
    char *found = socket ? text_dup(span_from_str(socket)) : config_default_socket(cli_program());
    int r = found ? daemon_ask(found, command, answer) : -ENOMEM;

    if (r == -ENOENT || r == -ECONNREFUSED)
        fprintf(stderr,
                "%s: no process answers at %s. Is it running? If it was started with another -stateDir or "
                "$TS_STATE_DIR, "
                "give its socket with --socket PATH.\n",
                cli_program(), found);
    else if (r == -EACCES)
        fprintf(stderr,
                "%s: %s: Permission denied: run this as the user that the process runs as, or as root\n",
                cli_program(), found);
    else if (r)
        fprintf(stderr, "%s: %s: %s\n", cli_program(), found ? found : "", err_text(r));
    free(found);
    return r;
}

int cli_stop(int argc, char **argv)
{
    struct cli_arguments a = { .argc = argc, .argv = argv };
    const char *socket = NULL;
    enum cli_argument found;
    struct buf answer;
    int r;

    while ((found = cli_argument_next(&a)) == CLI_ARGUMENT_FLAG)
        socket = a.value;
    if (found == CLI_ARGUMENT_WRONG)
        return 2;
    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    r = cli_ask(socket, "stop", &answer);
    buf_deinit(&answer);
    return r ? 1 : 0;
}
