/* config/help.c - the option table in words */
#include "config/internal.h"

/* Their names; what each does is in the manual. */
static int put_variables(struct buf *out)
{
    struct config_variable_row v;
    int r = buf_append_str(out, "\nEnvironment (manytails(1) says more):\n");

    for (size_t i = 0; !r && config_variable_at(i, &v); i++)
        r = buf_printf(out, "  %s%s%s\n", v.name, *v.other ? ", " : "", v.other);
    return r;
}

int config_usage(struct buf *out, const char *program)
{
    int r = buf_printf(
        out,
        "Usage: %s [-config FILE] OR [-service \"key=val,...\"]... OR [-name NAME [flags] URL]\n"
        "\n"
        "  %s -name web -plaintext -listenAddr :80 http://127.0.0.1:8080\n"
        "  %s -service \"name=web,upstream=http://127.0.0.1:8080,plaintext=true,listenAddr=:80\"\n"
        "  %s -config services.yaml\n"
        "\n"
        "  -config FILE\n"
        "        YAML file with many services\n"
        "  -service \"key=value,...\"\n"
        "        One service; may be repeated. Keys are the names of the flags; a comma in a value is \\,\n",
        program, program, program, program);

    for (size_t i = 0; !r && i < option_count; i++) {
        const struct option *o = &options[i];

        if (!*o->flag)
            continue;
        r = buf_printf(out, "  -%s%s%s\n        %s%s%s%s\n", o->flag, *o->argument ? " " : "", o->argument,
                       o->text, *o->fallback ? " (default " : "", o->fallback, *o->fallback ? ")" : "");
    }
    return r ? r : put_variables(out);
}

/* By any of its names; -name and --name too. */
static const struct option *find_any(const char *name)
{
    struct span s = span_from_str(name + strspn(name, "-"));
    const struct option *o = option_find(FROM_YAML, s);

    if (!o)
        o = option_find(FROM_FLAG, s);
    return o ? o : option_find(FROM_KEY, s);
}

const char *config_option_nearest(const char *name)
{
    struct span s = span_from_str(name + strspn(name, "-"));
    const char *near = option_nearest(FROM_YAML, s);

    return near ? near : option_nearest(FROM_FLAG, s);
}

static const char *change_text(const struct option *o)
{
    switch (o->change) {
    case CONFIG_COST_NODE:
        return "a reload restarts the service's node";
    case CONFIG_COST_LISTENER:
        return "a reload takes it over for new connections; those that are there go on";
    case CONFIG_COST_IN_PLACE:
    case CONFIG_COST_NOTHING:
        return "a reload takes it over without losing a connection";
    case CONFIG_COST_PROCESS:
        return "needs a new start of the program";
    }
    return "";
}

int config_option_help(struct buf *out, const char *name)
{
    const struct option *o = find_any(name);
    int r;

    if (!o)
        return 1;
    r = buf_printf(out, "%s\n\n  %s\n\n", *o->yaml ? o->yaml : o->flag, o->text);
    if (!r && *o->flag)
        r = buf_printf(out, "  flag       -%s%s%s\n", o->flag, *o->argument ? " " : "", o->argument);
    if (!r && *o->key)
        r = buf_printf(out, "  -service   %s=%s\n", o->key, *o->argument ? o->argument : "true");
    if (!r && *o->yaml)
        r = buf_printf(out, "  file       %s: %s\n", o->yaml, o->example);
    if (!r)
        r = buf_printf(out, "  default    %s\n  values     %s\n  when       %s\n  change     %s\n",
                       *o->fallback ? o->fallback : "none", o->range, o->why, change_text(o));
    return r;
}

bool config_option_at(size_t index, struct config_option *out)
{
    const struct option *o = &options[index];

    if (index >= option_count)
        return false;
    *out = (struct config_option) {
        .flag = o->flag,
        .key = o->key,
        .yaml = o->yaml,
        .fallback = o->fallback,
        .argument = o->argument,
        .text = o->text,
        .range = o->range,
        .why = o->why,
        .example = o->example,
        .change = change_text(o),
        .process = o->scope == OPTION_PROCESS,
        .takes = o->kind == OPTION_BOOL        ? CONFIG_TAKES_NOTHING
                 : o->kind == OPTION_FILE      ? CONFIG_TAKES_FILE
                 : o->kind == OPTION_DIRECTORY ? CONFIG_TAKES_FOLDER
                                               : CONFIG_TAKES_TEXT,
    };
    return true;
}
