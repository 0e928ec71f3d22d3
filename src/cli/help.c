#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"

/* The command or option that is nearest; NULL if nothing is near. */
static const char *nearest_topic(const char *name)
{
    const char *command = cli_command_nearest(name), *option = config_option_nearest(name);
    struct span s = span_from_str(name + strspn(name, "-"));

    if (!command || !option)
        return command ? command : option;
    return text_distance(s, span_from_str(option)) < text_distance(s, span_from_str(command)) ? option
                                                                                              : command;
}

/* An option of the serving mode by any of its names, or what is near. */
static int option_help(const char *name)
{
    const char *near = nearest_topic(name);
    struct buf text;
    int r;

    buf_init(&text, 1 << 16);
    r = config_option_help(&text, name);
    if (r == 0)
        fwrite(buf_span(&text).data, 1, text.len, stdout);
    else if (r < 0)
        fprintf(stderr, "%s: %s\n", cli_program(), err_text(r));
    else
        fprintf(stderr, "%s: \"%s\" is neither a command nor an option%s%s%s\n", cli_program(), name,
                near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
    buf_deinit(&text);
    return r ? 2 : 0;
}

int cli_help(int argc, char **argv)
{
    const char *topic = argc > 1 ? argv[1] : "";
    const struct cli_command *command;

    if (argc > 2)
        return cli_wrong_usage("help");
    if (argc < 2) {
        cli_list_commands(stdout);
        return 0;
    }
    if (strcmp(topic, "flags") == 0)
        return cli_serve(2, (char *[]) { argv[0], (char *)(uintptr_t) "-help", NULL });
    if (strncmp(topic, "--reference=", 12) == 0)
        return cli_reference(stdout, topic + 12) ? 0 : cli_wrong_usage("help");
    command = cli_command_find(topic);
    if (!command)
        return option_help(topic);
    cli_command_help(stdout, command);
    return 0;
}
