/* cli/reload.c - the configuration of the running process, loaded anew */
#include <stdio.h>

#include "cli/cli.h"
#include "daemon/daemon.h"

/* What each action is called, done and only planned, and what happens to the connections of such a service.
 */
static const struct action {
    const char *name, *done, *planned, *connections;
} actions[] = {
    { "add", "added", "would be added", "" },
    { "change", "changed", "would change", "; requests under way finish with the old settings" },
    { "restart", "restarts", "would restart", "; its connections have 10 s to finish, then they are cut" },
    { "remove", "removed", "would be removed", "; its connections have 10 s to finish, then they are cut" },
};

static const struct action *action_of(const struct json *service)
{
    struct span name = SPAN_NONE;

    json_get_string(service, "action", &name);
    for (size_t i = 0; i < COUNT_OF(actions); i++)
        if (span_equal_str(name, actions[i].name))
            return &actions[i];
    return NULL;
}

static void print_change(FILE *out, const struct json *service, bool dry)
{
    const struct action *a = action_of(service);
    struct span name = SPAN_NONE, options = SPAN_NONE;

    json_get_string(service, "name", &name);
    json_get_string(service, "options", &options);
    fprintf(out, "%.*s: %s", (int)name.len, (const char *)name.data,
            !a    ? "is touched in a way that this version has no word for"
            : dry ? a->planned
                  : a->done);
    if (options.len)
        fprintf(out, " (%.*s)", (int)options.len, (const char *)options.data);
    fprintf(out, "%s\n", a ? a->connections : "");
}

static size_t print_lines(FILE *out, const struct json *v, const char *key, const char *before)
{
    const struct json *list = NULL;
    struct span line;

    json_get_array(v, key, &list);
    for (size_t i = 0; i < json_array_count(list); i++)
        if (json_as_string(json_array_at(list, i), &line))
            fprintf(out, "%s%.*s\n", before, (int)line.len, (const char *)line.data);
    return json_array_count(list);
}

static void print_changes(FILE *out, const struct json *decided, bool dry)
{
    const struct json *list = NULL;
    struct span process = SPAN_NONE;
    int64_t unchanged = 0;

    json_get_array(decided, "services", &list);
    json_get_i64(decided, "unchanged", &unchanged);
    for (size_t i = 0; i < json_array_count(list); i++)
        print_change(out, json_array_at(list, i), dry);
    fprintf(out, "%lld service%s left alone\n", (long long)unchanged, unchanged == 1 ? "" : "s");
    if (json_get_string(decided, "needsRestart", &process) == JSON_GOT)
        fprintf(out, "these need a restart of the program: %.*s\n", (int)process.len,
                (const char *)process.data);
}

int reload_print(struct span answer, FILE *out, FILE *err)
{
    OWNED(json_freep) struct json *root = NULL;
    const struct json *decided = NULL;
    bool ok = false, dry = false;

    if (json_parse(answer, DAEMON_STATUS_BYTES_MAX, &root) ||
        json_get_object(root, "reload", &decided) != JSON_GOT) {
        fprintf(err, "%s: the answer makes no sense: is it another version that runs?\n", cli_program());
        return 1;
    }
    json_get_bool(decided, "ok", &ok);
    json_get_bool(decided, "dryRun", &dry);
    if (!ok) {
        print_lines(err, decided, "problems", "");
        fprintf(err, "Nothing was changed.\n");
        return 1;
    }
    print_lines(err, decided, "notices", "note: ");
    print_changes(out, decided, dry);
    return print_lines(err, root, "kept", "keeps its old settings: ") ? 1 : 0;
}

int cli_reload(int argc, char **argv)
{
    struct cli_arguments a = { .argc = argc, .argv = argv };
    const char *socket = NULL;
    enum cli_argument found;
    struct buf answer;
    bool dry = false;
    int status = 1;

    while ((found = cli_argument_next(&a)) == CLI_ARGUMENT_FLAG)
        if (cli_argument_is(&a, "--socket"))
            socket = a.value;
        else
            dry = true;
    if (found == CLI_ARGUMENT_WRONG)
        return 2;
    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    if (cli_ask(socket, dry ? "reload --dry-run" : "reload", &answer) == 0)
        status = reload_print(buf_span(&answer), stdout, stderr);
    buf_deinit(&answer);
    return status;
}
