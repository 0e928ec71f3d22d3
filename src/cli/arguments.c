/* cli/arguments.c - the command line of a subcommand, by its rows of commands.def
 *
 * As in the serving mode one dash is as good as two, and a value follows as the next word or behind "=".
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char *bare(const struct cli_flag *f)
{
    return f->flag + strspn(f->flag, "-");
}

static const struct cli_flag *find(const char *command, struct span name)
{
    for (size_t i = 0; i < cli_flag_count; i++)
        if (strcmp(cli_flags[i].command, command) == 0 && span_equal_str(name, bare(&cli_flags[i])))
            return &cli_flags[i];
    return NULL;
}

/* Without its dashes; NULL: none. */
static const char *nearest(const char *command, struct span name)
{
    struct text_nearest n = { .name = name, .distance = MIN(name.len / 2 + 1, (size_t)3) };

    for (size_t i = 0; i < cli_flag_count; i++)
        if (strcmp(cli_flags[i].command, command) == 0)
            text_consider(&n, bare(&cli_flags[i]));
    return n.found;
}

/* Says it, and the usage line. */
static enum cli_argument wrong(const struct cli_arguments *a, const char *before, const char *word,
                               const char *after)
{
    fprintf(stderr, "%s %s: %s%s%s\n", cli_program(), a->argv[0], before, word, after);
    (void)cli_wrong_usage(a->argv[0]);
    return CLI_ARGUMENT_WRONG;
}

enum cli_argument cli_wrong_value(const struct cli_arguments *a, const char *what)
{
    char after[200];

    snprintf(after, sizeof(after), " \"%.80s\": %s", a->value, what);
    return wrong(a, "", a->flag->flag, after);
}

enum cli_argument cli_argument_next(struct cli_arguments *a)
{
    const char *word, *equals, *near;
    struct span name;

    if (++a->at >= a->argc)
        return CLI_ARGUMENT_END;
    word = a->argv[a->at];
    a->flag = NULL;
    a->value = word;
    if (word[0] != '-' || !word[1])
        return a->words++ < a->words_max ? CLI_ARGUMENT_WORD : wrong(a, "one word too many: ", word, "");
    word += word[1] == '-' ? 2 : 1;
    equals = strchr(word, '=');
    name = equals ? span_make(word, (size_t)(equals - word)) : span_from_str(word);
    a->flag = find(a->argv[0], name);
    if (!a->flag) {
        char after[80];

        near = nearest(a->argv[0], name);
        snprintf(after, sizeof(after), "%s%s%s", near ? " (did you mean --" : "", near ? near : "",
                 near ? "?)" : "");
        return wrong(a, "there is no flag ", a->argv[a->at], after);
    }
    if (!*a->flag->argument)
        return equals ? wrong(a, "", a->flag->flag, " takes no value") : CLI_ARGUMENT_FLAG;
    if (equals)
        a->value = equals + 1;
    else if (a->at + 1 < a->argc)
        a->value = a->argv[++a->at];
    else
        return wrong(a, "", a->flag->flag, " needs a value behind it");
    return CLI_ARGUMENT_FLAG;
}

bool cli_argument_is(const struct cli_arguments *a, const char *flag)
{
    return strcmp(a->flag->flag, flag) == 0;
}
