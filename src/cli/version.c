#include <stdio.h>

#include "cli/cli.h"

int cli_version(int argc, char **argv)
{
    (void)argv;
    if (argc > 1)
        return cli_wrong_usage("version");
    printf("manytails %s\n", MANYTAILS_VERSION);
    return 0;
}
