/* cli/reference.c - the tables of options and commands as Markdown and as manual pages (mdoc)
 *
 * docs/ holds what these print, between markers; tools/make-reference puts it there and compares.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"

/* ---- Markdown ------------------------------------------------------------------------------ */

/* A cell of a table: a bar would end it. */
static void put_cell(FILE *out, const char *name, const char *before, const char *text, const char *after)
{
    fprintf(out, "| %s | %s", name, before);
    for (; *text; text++)
        fprintf(out, "%s%c", *text == '|' ? "\\" : "", *text);
    fprintf(out, "%s |\n", after);
}

static void put_option_markdown(FILE *out, const struct config_option *o)
{
    char text[400];

    fprintf(out, "### %s\n\n%s\n\n| | |\n|---|---|\n", *o->yaml ? o->yaml : o->flag, o->text);
    if (*o->flag) {
        snprintf(text, sizeof(text), "-%s%s%s", o->flag, *o->argument ? " " : "", o->argument);
        put_cell(out, "flag", "`", text, "`");
    }
    if (*o->key) {
        snprintf(text, sizeof(text), "%s=%s", o->key, *o->argument ? o->argument : "true");
        put_cell(out, "`-service`", "`", text, "`");
    }
    if (*o->yaml) {
        snprintf(text, sizeof(text), "%s: %s", o->yaml, o->example);
        put_cell(out, "in a file", "`", text, "`");
    }
    if (*o->fallback)
        put_cell(out, "default", "`", o->fallback, "`");
    put_cell(out, "values", "", o->range, "");
    put_cell(out, "when", "", o->why, "");
    put_cell(out, "a change", "", o->change, "");
    fprintf(out, "\n");
}

static void put_options_markdown(FILE *out)
{
    struct config_option o;

    for (int process = 0; process < 2; process++) {
        fprintf(out, "%s\n\n", process ? "## Options of the program" : "## Options of a service");
        for (size_t i = 0; config_option_at(i, &o); i++)
            if (o.process == process)
                put_option_markdown(out, &o);
    }
}

static void put_commands_markdown(FILE *out)
{
    fprintf(out, "| command | does |\n|---|---|\n");
    for (size_t i = 0; i < cli_command_count; i++) {
        char text[200];

        snprintf(text, sizeof(text), "`manytails %s%s%s`", cli_commands[i].name,
                 *cli_commands[i].arguments ? " " : "", cli_commands[i].arguments);
        for (char *c = text; *c; c++)
            if (*c == '|')
                *c = '/'; /* a bar would end the cell, also behind a backslash in code */
        put_cell(out, text, "", cli_commands[i].text, "");
    }
}

static void put_variables_markdown(FILE *out)
{
    struct config_variable_row v;
    char names[120];

    fprintf(out, "| variable | |\n|---|---|\n");
    for (size_t i = 0; config_variable_at(i, &v); i++) {
        snprintf(names, sizeof(names), *v.other ? "`%s`, `%s`" : "`%s`", v.name, v.other);
        put_cell(out, names, "", v.text, "");
    }
}

/* ---- mdoc -------------------------------------------------------------------------------------- */

/* Running text on a line of its own. */
static void put_line(FILE *out, const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", out);
    for (; *text; text++)
        fputs(*text == '\\' ? "\\e" : (char[2]) { *text, 0 }, out);
    fputc('\n', out);
}

/* An argument of a macro; quotes keep it in one piece. */
static void put_word(FILE *out, const char *text)
{
    fputc('"', out);
    for (; *text; text++)
        fputs(*text == '"' ? "\\(dq" : *text == '\\' ? "\\e" : (char[2]) { *text, 0 }, out);
    fputc('"', out);
}

static void put_option_man(FILE *out, const struct config_option *o)
{
    fputs(".It Ic ", out);
    fputs(*o->yaml ? o->yaml : o->flag, out);
    fputc('\n', out);
    put_line(out, o->text);
    fputs(".Pp\n", out);
    if (*o->fallback) {
        fputs("Default: ", out);
        put_line(out, o->fallback);
        fputs(".br\n", out);
    }
    fputs("Values: ", out);
    put_line(out, o->range);
    if (*o->yaml) {
        fputs(".br\nExample:\n.Li ", out);
        put_word(out, o->yaml);
        fputs(" : ", out);
        put_word(out, o->example);
        fputc('\n', out);
    }
    fputs(".br\n", out);
    put_line(out, o->why);
    fputs(".br\nA change: ", out);
    put_line(out, o->change);
}

static void put_options_man(FILE *out)
{
    struct config_option o;

    for (int process = 0; process < 2; process++) {
        fprintf(out, ".Ss %s\n.Bl -tag -width Ds\n",
                process ? "Options of the program" : "Options of a service");
        for (size_t i = 0; config_option_at(i, &o); i++)
            if (o.process == process && *o.yaml)
                put_option_man(out, &o);
        fputs(".El\n", out);
    }
}

/* `code` of a text becomes literal: \fB...\fR is what mdoc leaves of it within a line. */
static void put_marked_line(FILE *out, const char *text)
{
    bool code = false;

    for (; *text; text++)
        if (*text != '`')
            fputs(*text == '\\' ? "\\e" : (char[2]) { *text, 0 }, out);
        else if ((code = !code))
            fputs("\\fB", out);
        else
            fputs("\\fR", out);
    fputc('\n', out);
}

static void put_variables_man(FILE *out)
{
    struct config_variable_row v;

    fputs(".Bl -tag -width MANYTAILS_SOCKET\n", out);
    for (size_t i = 0; config_variable_at(i, &v); i++) {
        fprintf(out, ".It Ev %s%s%s\n", v.name, *v.other ? " , " : "", v.other);
        put_marked_line(out, v.text);
    }
    fputs(".El\n", out);
}

static void put_flags_man(FILE *out)
{
    struct config_option o;

    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; config_option_at(i, &o); i++) {
        if (!*o.flag)
            continue;
        fprintf(out, ".It Fl %s", o.flag);
        if (*o.argument) {
            fputs(" Ar ", out);
            put_word(out, o.argument);
        }
        fputc('\n', out);
        put_line(out, o.text);
        if (*o.fallback) {
            fputs("Default: ", out);
            put_line(out, o.fallback);
        }
    }
    fputs(".El\n", out);
}

static void put_command_flags_man(FILE *out, const struct cli_command *c)
{
    bool any = false;

    for (size_t k = 0; k < cli_flag_count; k++) {
        if (strcmp(cli_flags[k].command, c->name) != 0)
            continue;
        if (!any)
            fputs(".Bl -tag -width Ds -compact\n", out);
        any = true;
        fputs(".It Ic ", out);
        put_word(out, cli_flags[k].flag);
        if (*cli_flags[k].argument) {
            fputs(" Ar ", out);
            put_word(out, cli_flags[k].argument);
        }
        fputc('\n', out);
        put_line(out, cli_flags[k].text);
    }
    if (any)
        fputs(".El\n", out);
}

static void put_commands_man(FILE *out)
{
    fputs(".Bl -tag -width Ds\n", out);
    for (size_t i = 0; i < cli_command_count; i++) {
        const struct cli_command *c = &cli_commands[i];

        fprintf(out, ".It Cm %s", c->name);
        if (*c->arguments) {
            fputs(" Ar ", out);
            put_word(out, c->arguments);
        }
        fputc('\n', out);
        put_line(out, c->text);
        put_command_flags_man(out, c);
    }
    fputs(".El\n", out);
}

bool cli_reference(FILE *out, const char *what)
{
    static const struct {
        const char *name;
        void (*put)(FILE *out);
    } documents[] = {
        { "options-markdown", put_options_markdown }, { "commands-markdown", put_commands_markdown },
        { "options-man", put_options_man },           { "flags-man", put_flags_man },
        { "commands-man", put_commands_man },         { "variables-markdown", put_variables_markdown },
        { "variables-man", put_variables_man },
    };

    for (size_t i = 0; i < COUNT_OF(documents); i++)
        if (strcmp(what, documents[i].name) == 0) {
            documents[i].put(out);
            return true;
        }
    return false;
}
