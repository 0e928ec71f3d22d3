/* config/flags.c - the command line, by the rules of Go's flag package */
#include "config/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SERVICE_PAIRS_MAX 256

/* What the command line said, before it is known which mode it is. */
struct command_line {
    struct config *c;
    struct config_service *legacy;         /* flags of a single service collect here */
    const struct config_service *pristine; /* everything at its default */
    const char *config_path;
    const char *state_flag;
    bool legacy_flags;  /* -name or a positional argument */
    char ignored[256];  /* names of per-service flags other than -name and -stateDir */
    unsigned services;  /* -service flags seen */
    char in_list[96];   /* the one that is read: "-service web: ", or its number while it has no name */
    char *const *words; /* behind the flags */
    size_t word_count;
    bool bad;
};

static void bad_list(struct command_line *l, const char *text)
{
    problem(l->c, "%s%s", l->in_list, text);
    l->bad = true;
}

static void name_list(struct command_line *l, const struct config_service *s)
{
    if (*s->name)
        snprintf(l->in_list, sizeof(l->in_list), "-service %.63s: ", s->name);
    else
        snprintf(l->in_list, sizeof(l->in_list), "-service number %u: ", l->services);
}

/* ---- -service "key=value,..." ------------------------------------------------------ */

/* Takes the next piece of a list off its front. A comma of the value is written "\\,", or the whole value
 * stands in quotes. *more: a comma followed, so there is another piece, be it empty. NULL: done, else what is
 * wrong. */
static const char *next_piece(struct span *rest, char *out, size_t size, bool *more)
{
    size_t n = 0, i = 0;
    char quote = 0;
    bool fresh = false; /* right behind the first '=' */
    bool equals = false;

    for (; i < rest->len && (quote || rest->data[i] != ','); i++) {
        char c = (char)rest->data[i];

        if (c == '\\' && i + 1 < rest->len &&
            (rest->data[i + 1] == ',' || (quote && (char)rest->data[i + 1] == quote)))
            c = (char)rest->data[++i];
        else if (quote && c == quote) {
            quote = 0;
            continue;
        } else if (fresh && (c == '"' || c == '\'')) {
            quote = c;
            fresh = false;
            continue;
        }
        fresh = (c == '=' && !equals) || (fresh && c == ' ');
        equals |= c == '=';
        if (n + 1 == size)
            return "a -service value is longer than 4095 bytes";
        out[n++] = c;
    }
    out[n] = 0;
    *more = i < rest->len;
    *rest = span_slice(*rest, i + 1, rest->len);
    return quote ? "a quote in a -service value is not closed" : NULL;
}

/* What we lack may be said to be off. True: it was, or what is wrong was said. */
static bool feature_is_off(struct command_line *l, const struct feature *f, struct span value,
                           enum option_source source)
{
    bool on;

    if (f->kind == OPTION_BOOL && !bool_parse(value, source, &on)) {
        problem(l->c, "%ssetting %s: invalid boolean value: \"%.*s\": write true or false", l->in_list,
                f->name, (int)value.len, value.len ? (const char *)value.data : "");
        return false;
    }
    if (f->kind == OPTION_BOOL && !on)
        return true;
    problem(l->c, "%s%s%s: %s is not supported by this version", l->in_list,
            source == FROM_FLAG ? "-" : "setting ", f->name, f->what);
    return false;
}

static int service_pair(struct command_line *l, struct config_service *s, struct span piece)
{
    const uint8_t *equals = piece.len ? memchr(piece.data, '=', piece.len) : NULL;
    const struct option *o;
    struct span key, value;
    struct option_fault why;
    int r;

    if (!equals) {
        problem(l->c,
                "%sservice flag format must be key=value pairs separated by commas: invalid pair \"%.*s\"",
                l->in_list, (int)piece.len, piece.len ? (const char *)piece.data : "");
        return 1;
    }
    key = text_trim(span_make(piece.data, (size_t)(equals - piece.data)));
    value = text_trim(span_slice(piece, (size_t)(equals - piece.data) + 1, piece.len));
    o = option_find(FROM_KEY, key);
    if (!o && feature_find(key))
        return feature_is_off(l, feature_find(key), value, FROM_KEY) ? 0 : 1;
    if (!o) {
        const char *near = option_nearest(FROM_KEY, key);

        problem(l->c, "%sunknown service configuration key: \"%.*s\"%s%s%s", l->in_list, (int)key.len,
                key.data, near ? " (did you mean \"" : "", near ? near : "", near ? "\"?)" : "");
        return 1;
    }
    s->places[o - options] = (struct config_place) { .set = true };
    r = option_set(o, s, value, FROM_KEY, &why);
    if (r > 0)
        problem(l->c, "%ssetting %.*s: %s: \"%.*s\"%s%s", l->in_list, (int)key.len, key.data, why.what,
                (int)value.len, value.len ? (const char *)value.data : "", *why.instead ? ": " : "",
                why.instead);
    return r;
}

static int add_service(struct command_line *l, struct span text)
{
    struct config_service *s = config_add_service(l->c, l->pristine);
    char piece[4096];
    bool more = true;

    if (!s)
        return l->c->problem_count ? 0 : -ENOMEM;
    s->listed = true;
    l->services++;
    while (more) {
        const char *fault = next_piece(&text, piece, sizeof(piece), &more);
        int r;

        name_list(l, s);
        if (fault) {
            bad_list(l, fault);
            return 0;
        }
        r = service_pair(l, s, text_trim(span_from_str(piece)));
        if (r < 0)
            return r;
        l->bad |= r > 0;
    }
    name_list(l, s);
    if (!*s->name)
        bad_list(l, "service definition: tsnsrv needs a -name");
    if (!*s->upstream)
        bad_list(l, "service definition: upstream is required");
    return 0;
}

/* ---- flags ---------------------------------------------------------------------------- */

static void note_service_flag(struct command_line *l, const struct option *o)
{
    size_t n = strlen(l->ignored);

    snprintf(l->ignored + n, sizeof(l->ignored) - n, "%s-%s", n ? ", " : "", o->flag);
}

static int set_flag(struct command_line *l, const struct option *o, struct span name, struct span value)
{
    bool process = o->scope == OPTION_PROCESS;
    struct option_fault why;
    int r = option_set(o, process ? (void *)l->c : (void *)l->legacy, value, FROM_FLAG, &why);

    if (r > 0) {
        problem(l->c, "invalid value \"%.*s\" for flag -%.*s: %s%s%s", (int)value.len,
                value.len ? (const char *)value.data : "", (int)name.len, name.data, why.what,
                *why.instead ? ": " : "", why.instead);
        l->bad = true;
        return 0;
    }
    (process ? l->c->places : l->legacy->places)[o - options] = (struct config_place) { .set = true };
    if (span_equal_str(name, "name"))
        l->legacy_flags = true;
    else if (!process && !span_equal_str(name, "stateDir"))
        note_service_flag(l, o);
    return r;
}

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
    l->bad |= !feature_is_off(l, f, value, FROM_FLAG);
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
    struct option_fault why;
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
    l->words = argv + i;
    l->word_count = (size_t)(argc - i);
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
    if ((l->config_path || l->services) && *l->ignored)
        doubt_at(c, CONFIG_NO_PLACE, "%s: ignored next to %s: write %s", l->ignored,
                 l->config_path ? "-config" : "-service",
                 l->config_path ? "it in the file, for all services under \"defaults\""
                                : "it in each -service");
    if (l->config_path) {
        r = yaml_load(c, l->config_path);
        if (r && r != -ENOMEM)
            problem(c, "loading config file: reading config file: %s: %s", l->config_path,
                    r == -EFBIG ? "larger than 1 MiB" : err_text(r));
        return r == -ENOMEM ? r : 0;
    }
    if (l->services)
        return 0;
    s = config_add_service(c, l->legacy);
    if (s && l->word_count > 1)
        mark_bad(s, &s->upstream); /* said below, after what the check says */
    return s ? 0 : -ENOMEM;
}

/* Go's rules surprise: what follows a boolean is no value of it, and no flag follows the destination. */
static void too_many_words(struct command_line *l)
{
    const char *flag = NULL;

    if (l->word_count < 2 || l->config_path || l->services)
        return;
    for (size_t i = 0; i < l->word_count && !flag; i++)
        flag = l->words[i][0] == '-' && l->words[i][1] ? l->words[i] : NULL;
    if (flag)
        problem(l->c, "tsnsrv requires a destination URL, and nothing behind it: move %.80s in front of it",
                flag);
    else
        problem(
            l->c,
            "tsnsrv requires a destination URL, and nothing beside it: \"%.80s\" is one word too many; the "
            "value of a boolean stands behind =, as in -plaintext=true",
            l->words[0]);
}

/* Everything after the command line was understood. */
static int complete(struct command_line *l, const char *argv0)
{
    bool many = l->config_path || l->services;
    int r = choose_mode(l);

    /* A file that cannot be read, or modes that exclude each other, leave nothing to look at. */
    if (!r && (!l->c->problem_count || l->c->file_count))
        r = meaning_apply(l->c, l->config_path != NULL);
    if (!r && (!l->c->problem_count || l->c->file_count))
        r = environment_apply(l->c, argv0, many ? l->legacy->state_directory : NULL);
    if (!r && (!l->c->problem_count || l->c->file_count)) {
        r = secrets_read(l->c);
        config_check(l->c, l->config_path != NULL);
        too_many_words(l);
    }
    return r;
}

int config_load_mode(struct config *c, int argc, char *const *argv, unsigned mode)
{
    struct config_service legacy = { 0 }, pristine = { 0 };
    struct command_line l = { .c = c, .legacy = &legacy, .pristine = &pristine };
    int r;

    *c = (struct config) { .mode = mode };
    buf_init(&c->problems, 1 << 18);
    buf_init(&c->notices, 1 << 18);
    r = process_init(c);
    if (!r)
        r = service_init(&legacy);
    if (!r)
        r = service_init(&pristine);
    if (!r)
        r = parse_arguments(&l, argc, argv);
    if (!r)
        r = complete(&l, argc ? argv[0] : "manytails");
    service_free(&legacy);
    service_free(&pristine);
    faults_tell(c);
    places_free(c);
    return r ? r : c->problem_count ? CONFIG_INVALID : 0;
}

int config_load(struct config *c, int argc, char *const *argv)
{
    return config_load_mode(c, argc, argv, 0);
}
