/* config/flags.c - the command line, by the rules of Go's flag package */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVICE_PAIRS_MAX 256

/* What the command line said, before it is known which mode it is. */
struct command_line {
    struct config *c;
    struct config_service *legacy; /* flags of a single service collect here */
    const char *config_path;
    const char *state_flag;
    bool legacy_flags;  /* -name or a positional argument */
    bool service_flags; /* a per-service flag other than -name and -stateDir */
    unsigned services;  /* -service flags seen */
    bool bad;
};

static void bad_flag(struct command_line *l, const char *text, struct span what)
{
    problem(l->c, "%s%.*s", text, (int)what.len, what.len ? (const char *)what.data : "");
    l->bad = true;
}

/* ---- -service "key=value,..." ------------------------------------------------------ */

/* Takes the next piece of a list off its front; "\\," is a comma of the value. *more: a comma followed, so
 * there is another piece, be it empty. False: longer than the room. */
static bool next_piece(struct span *rest, char *out, size_t size, bool *more)
{
    size_t n = 0, i = 0;

    for (; i < rest->len && rest->data[i] != ','; i++) {
        if (rest->data[i] == '\\' && i + 1 < rest->len && rest->data[i + 1] == ',')
            i++;
        if (n + 1 < size)
            out[n++] = (char)rest->data[i];
    }
    out[n] = 0;
    *more = i < rest->len;
    *rest = span_slice(*rest, i + 1, rest->len);
    return i < size;
}

static int service_pair(struct command_line *l, struct config_service *s, struct span piece)
{
    const uint8_t *equals = piece.len ? memchr(piece.data, '=', piece.len) : NULL;
    const struct option *o;
    struct span key, value;
    const char *why = "";
    int r;

    if (!equals) {
        problem(l->c,
                "service flag format must be key=value pairs separated by commas: invalid pair \"%.*s\"",
                (int)piece.len, piece.len ? (const char *)piece.data : "");
        return 1;
    }
    key = text_trim(span_make(piece.data, (size_t)(equals - piece.data)));
    value = text_trim(span_slice(piece, (size_t)(equals - piece.data) + 1, piece.len));
    o = option_find(FROM_KEY, key);
    if (!o && feature_find(key)) {
        if (text_equal_fold(value, span_from_str("false")) || text_equal_fold(value, span_from_str("no")) ||
            span_equal_str(value, "0"))
            return 0;
        problem(l->c, "setting %.*s: %s is not supported by this version", (int)key.len, key.data,
                feature_find(key)->what);
        return 1;
    }
    if (!o) {
        const char *near = option_nearest(FROM_KEY, key);

        problem(l->c, "unknown service configuration key: \"%.*s\"%s%s%s", (int)key.len, key.data,
                near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
        return 1;
    }
    r = option_set(o, s, value, FROM_KEY, &why);
    if (r > 0)
        problem(l->c, "setting %.*s: %s: \"%.*s\"", (int)key.len, key.data, why, (int)value.len,
                value.len ? (const char *)value.data : "");
    return r;
}

static int add_service(struct command_line *l, struct span text)
{
    struct config_service *s = config_add_service(l->c);
    char piece[4096];
    bool more = true;

    if (!s)
        return -ENOMEM;
    s->line = -1; /* from a -service flag */
    l->services++;
    while (more) {
        int r;

        if (!next_piece(&text, piece, sizeof(piece), &more)) {
            bad_flag(l, "a -service value is longer than 4095 bytes", SPAN_NONE);
            return 0;
        }
        r = service_pair(l, s, text_trim(span_from_str(piece)));
        if (r < 0)
            return r;
        l->bad |= r > 0;
    }
    if (!*s->name)
        bad_flag(l, "service definition: tsnsrv needs a -name", SPAN_NONE);
    if (!*s->upstream)
        bad_flag(l, "service definition: upstream is required", SPAN_NONE);
    return 0;
}

/* ---- flags ---------------------------------------------------------------------------- */

static int set_flag(struct command_line *l, const struct option *o, struct span name, struct span value)
{
    const char *why = "";
    int r =
        option_set(o, o->scope == OPTION_PROCESS ? (void *)l->c : (void *)l->legacy, value, FROM_FLAG, &why);

    if (r > 0) {
        problem(l->c, "invalid value \"%.*s\" for flag -%.*s: %s", (int)value.len,
                value.len ? (const char *)value.data : "", (int)name.len, name.data, why);
        l->bad = true;
        return 0;
    }
    if (span_equal_str(name, "name"))
        l->legacy_flags = true;
    else if (o->scope == OPTION_SERVICE && !span_equal_str(name, "stateDir"))
        l->service_flags = true;
    return r;
}

enum { FLAG_OK, FLAG_NEXT, FLAG_STOP };

static bool flag_is_bool(struct span name)
{
    const struct option *o = option_find(FROM_FLAG, name);
    const struct feature *f = feature_find(name);

    return o ? o->kind == OPTION_BOOL : f && f->kind == OPTION_BOOL;
}

static int apply_flag(struct command_line *l, struct span name, struct span value)
{
    const struct option *o = option_find(FROM_FLAG, name);
    const struct feature *f = feature_find(name);

    if (span_equal_str(name, "config")) {
        l->config_path = (const char *)value.data; /* of argv: lives as long as the program */
        return 0;
    }
    if (span_equal_str(name, "service"))
        return add_service(l, value);
    if (o)
        return set_flag(l, o, name, value);
    must(f);
    if (f->kind != OPTION_BOOL || !(span_equal_str(value, "false") || span_equal_str(value, "0"))) {
        problem(l->c, "-%s: %s is not supported by this version", f->name, f->what);
        l->bad = true;
    }
    return 0;
}

static bool flag_known(struct span name)
{
    return option_find(FROM_FLAG, name) || feature_find(name) || span_equal_str(name, "config") ||
           span_equal_str(name, "service");
}

/* One flag at argv[*i]; moves *i past its value. */
static int parse_flag(struct command_line *l, int argc, char *const *argv, int *i)
{
    const char *arg = argv[*i] + (argv[*i][1] == '-' ? 2 : 1);
    const char *equals = strchr(arg, '=');
    struct span name = equals ? span_make(arg, (size_t)(equals - arg)) : span_from_str(arg);
    struct span value;

    if (span_equal_str(name, "h") || span_equal_str(name, "help"))
        return CONFIG_HELP;
    if (!flag_known(name)) {
        const char *near = option_nearest(FROM_FLAG, name);

        problem(l->c, "flag provided but not defined: -%.*s%s%s%s", (int)name.len, name.data,
                near ? " (did you mean -" : "", near ? near : "", near ? "?)" : "");
        return CONFIG_BAD_FLAG;
    }
    if (equals)
        value = span_from_str(equals + 1);
    else if (flag_is_bool(name))
        value = span_from_str("true");
    else if (*i + 1 < argc)
        value = span_from_str(argv[++*i]);
    else {
        problem(l->c, "flag needs an argument: -%.*s", (int)name.len, name.data);
        return CONFIG_BAD_FLAG;
    }
    return apply_flag(l, name, value);
}

/* Flags up to the first argument that is none; then the destination. */
static int parse_arguments(struct command_line *l, int argc, char *const *argv)
{
    const char *why;
    int i = 1, r;

    for (; i < argc && argv[i][0] == '-' && argv[i][1]; i++) {
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        r = parse_flag(l, argc, argv, &i);
        if (r)
            return r;
    }
    if (l->bad)
        return CONFIG_BAD_FLAG;
    if (i < argc)
        l->legacy_flags = true;
    if (argc - i == 1)
        return option_set(option_find(FROM_YAML, span_from_str("upstream")), l->legacy,
                          span_from_str(argv[i]), FROM_YAML, &why);
    return 0; /* none, or too many: the check says that a destination is needed */
}

/* ---- modes ----------------------------------------------------------------------------- */

static int choose_mode(struct command_line *l)
{
    struct config *c = l->c;
    struct config_service *s;
    int r;

    if (l->config_path && l->services)
        problem(c, "cannot use both -config and -service flags; choose one mode");
    if (l->config_path && l->legacy_flags)
        problem(c, "cannot use -config with other CLI flags; use either config file or CLI mode");
    if (l->services && l->legacy_flags)
        problem(c,
                "cannot mix -service flag with legacy single-service flags; use -service for all services");
    if (c->problem_count)
        return 0;
    if ((l->config_path || l->services) && l->service_flags)
        notice(c, "flags of a single service are ignored next to %s; set them per service",
               l->config_path ? "-config" : "-service");
    if (l->config_path) {
        r = yaml_load(c, l->config_path);
        if (r && r != -ENOMEM)
            problem(c, "loading config file: reading config file: %s: %s", l->config_path, err_text(r));
        return r == -ENOMEM ? r : 0;
    }
    if (l->services)
        return 0;
    s = config_add_service(c);
    if (!s)
        return -ENOMEM;
    service_free(s);
    *s = *l->legacy;
    *l->legacy = (struct config_service) { 0 };
    return 0;
}

int config_load(struct config *c, int argc, char *const *argv)
{
    struct config_service legacy;
    struct command_line l = { .c = c, .legacy = &legacy };
    int r;

    *c = (struct config) { 0 };
    buf_init(&c->problems, 1 << 18);
    buf_init(&c->notices, 1 << 18);
    r = service_init(&legacy);
    if (!r)
        r = parse_arguments(&l, argc, argv);
    if (!r)
        r = choose_mode(&l);
    if (!r && !c->problem_count) {
        const char *state = l.config_path || l.services ? legacy.state_directory : NULL;

        r = environment_apply(c, argc ? argv[0] : "manytails", state);
        if (!r)
            config_check(c, l.config_path != NULL);
    }
    service_free(&legacy);
    return r ? r : c->problem_count ? CONFIG_INVALID : 0;
}
