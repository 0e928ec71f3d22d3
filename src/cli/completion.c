/* cli/completion.c - completion scripts for bash, zsh and fish, from the tables of commands and options
 *
 * The scripts are written once per version and know every flag; only names of running services are asked for
 * when somebody presses the key.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"
#include "daemon/daemon.h"

/* Two flags of the serving mode that are not options of a table. */
static const struct {
    const char *flag, *argument, *text;
    bool file;
} modes[] = {
    { "config", "FILE", "YAML file with many services", true },
    { "service", "key=value,...", "One service; may be repeated", false },
};

/* What may stand behind a flag. */
struct value {
    enum { VALUE_NONE, VALUE_TEXT, VALUE_FILE, VALUE_FOLDER, VALUE_WORDS } kind;
    char words[120]; /* of WORDS: with blanks between them */
};

/* A placeholder of small letters and bars, "text|json|off", names the words. */
static struct value value_of(const char *argument, bool file, bool folder)
{
    struct value v = { .kind = !*argument ? VALUE_NONE
                               : file     ? VALUE_FILE
                               : folder   ? VALUE_FOLDER
                                          : VALUE_TEXT };

    if (v.kind == VALUE_TEXT && strchr(argument, '|') &&
        strspn(argument, "abcdefghijklmnopqrstuvwxyz|") == strlen(argument)) {
        v.kind = VALUE_WORDS;
        snprintf(v.words, sizeof(v.words), "%s", argument);
        for (char *c = v.words; *c; c++)
            if (*c == '|')
                *c = ' ';
    }
    return v;
}

static struct value value_of_flag(const struct cli_flag *f)
{
    return value_of(f->argument, strcmp(f->argument, "FILE") == 0 || strcmp(f->argument, "PATH") == 0,
                    strcmp(f->argument, "DIR") == 0);
}

static struct value value_of_option(const struct config_option *o)
{
    const char *argument = o->takes == CONFIG_TAKES_NOTHING ? "" : *o->argument ? o->argument : "VALUE";

    return value_of(argument, o->takes == CONFIG_TAKES_FILE, o->takes == CONFIG_TAKES_FOLDER);
}

/* Text inside single quotes of a shell. `special`: letters that get a backslash as well. */
static void put_quoted(const char *text, const char *special)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", stdout);
        else
            printf("%s%c", strchr(special, *text) ? "\\" : "", *text);
    }
}

/* Its own words are files or folders. */
static bool takes_files(const struct cli_command *c)
{
    return strcmp(c->name, "check") == 0;
}

static bool takes_folders(const struct cli_command *c)
{
    const char *last = strrchr(c->arguments, ' ');

    return last && strcmp(last + 1, "DIR") == 0;
}

static bool lists_topics(const char *text)
{
    return strcmp(text, "help") == 0;
}

/* ---- bash ------------------------------------------------------------------------------------ */

static void bash_command(const struct cli_command *c)
{
    printf("    %s) words='", c->name);
    for (size_t i = 0; i < cli_flag_count; i++)
        if (strcmp(cli_flags[i].command, c->name) == 0)
            printf("%s ", cli_flags[i].flag);
    if (strcmp(c->name, "completion") == 0)
        fputs("bash zsh fish", stdout);
    fputs("'", stdout);
    if (takes_files(c))
        fputs(" files=-f", stdout);
    if (takes_folders(c))
        fputs(" files=-d", stdout);
    if (strstr(c->arguments, "SERVICE"))
        fputs("\n      [[ $cur != -* ]] && words=$(manytails completion --services 2>/dev/null)", stdout);
    if (lists_topics(c->name)) {
        fputs("\n      words+=' flags", stdout);
        for (size_t i = 0; i < cli_command_count; i++)
            printf(" %s", cli_commands[i].name);
        fputs(" '$(printf '%s\\n' $flags | sed 's/^-//')", stdout);
    }
    fputs(" ;;\n", stdout);
}

/* What follows a flag that takes a value, with one dash or two. */
static void bash_value(const char *flag, struct value v)
{
    static const char *const from[] = {
        [VALUE_FILE] = "_manytails_from -f; ", [VALUE_FOLDER] = "_manytails_from -d; "
    };

    if (v.kind == VALUE_NONE)
        return;
    printf("    -%s|--%s) ", flag, flag);
    if (v.kind == VALUE_WORDS)
        printf("_manytails_from -W '%s'; ", v.words);
    else if (v.kind != VALUE_TEXT)
        fputs(from[v.kind], stdout);
    puts("return ;;");
}

static void bash_values(void)
{
    struct config_option o;

    for (size_t i = 0; i < COUNT_OF(modes); i++)
        bash_value(modes[i].flag, value_of(modes[i].argument, modes[i].file, false));
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            bash_value(o.flag, value_of_option(&o));
    for (size_t i = 0; i < cli_flag_count; i++)
        bash_value(cli_flags[i].flag + strspn(cli_flags[i].flag, "-"), value_of_flag(&cli_flags[i]));
}

static void bash(void)
{
    struct config_option o;

    puts("# bash completion of manytails; written by `manytails completion bash`\n"
         "_manytails_from() {\n"
         "  [[ $1 == -W ]] || compopt -o filenames 2>/dev/null\n"
         "  mapfile -t COMPREPLY < <(compgen \"$@\" -- \"$cur\")\n"
         "}\n"
         "_manytails() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= flags= files=");
    fputs("  flags='", stdout);
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        printf("-%s ", modes[i].flag);
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            printf("-%s ", o.flag);
    puts("'\n  COMPREPLY=()\n  case $prev in");
    bash_values();
    puts("  esac\n"
         "  if ((COMP_CWORD == 1)); then");
    fputs("    words=\"", stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        printf("%s ", cli_commands[i].name);
    puts("\"\n    [[ $cur == -* ]] && words=\"$flags --version --help\"\n  else\n    case ${COMP_WORDS[1]} "
         "in\n"
         "    -*) words=$flags ;;");
    for (size_t i = 0; i < cli_command_count; i++)
        bash_command(&cli_commands[i]);
    puts("    esac\n"
         "    [[ $files && $cur != -* ]] && { _manytails_from \"$files\"; return; }\n"
         "    [[ ${COMP_WORDS[1]} == check ]] && words=$flags\n"
         "  fi\n"
         "  _manytails_from -W \"$words\"\n"
         "}\n"
         "complete -F _manytails manytails");
}

/* ---- zsh --------------------------------------------------------------------------------------- */

#define ZSH_SPECIAL "[]:\\"

static void zsh_spec(const char *before, const char *flag, const char *argument, const char *text,
                     struct value v)
{
    printf("    '%s%s[", before, flag);
    put_quoted(text, ZSH_SPECIAL);
    fputs("]", stdout);
    if (*argument) {
        fputs(":", stdout);
        put_quoted(argument, ZSH_SPECIAL);
        if (v.kind == VALUE_WORDS)
            printf(":(%s)", v.words);
        else
            fputs(v.kind == VALUE_FILE ? ":_files" : v.kind == VALUE_FOLDER ? ":_files -/" : ": ", stdout);
    }
    fputs("'", stdout);
}

static void zsh_line(const char *before, const char *flag, const char *argument, const char *text,
                     struct value v)
{
    zsh_spec(before, flag, argument, text, v);
    putchar('\n');
}

static void zsh_command(const struct cli_command *c)
{
    printf("    %s)\n", c->name);
    if (lists_topics(c->name))
        puts("      local -a topics; topics=(flags ${commands%%:*} ${${flags%%\\[*}#\\*-})");
    fputs("      _arguments", stdout);
    for (size_t i = 0; i < cli_flag_count; i++)
        if (strcmp(cli_flags[i].command, c->name) == 0) {
            fputs(" \\\n    ", stdout);
            zsh_spec("", cli_flags[i].flag, cli_flags[i].argument, cli_flags[i].text,
                     value_of_flag(&cli_flags[i]));
        }
    if (strstr(c->arguments, "SERVICE"))
        fputs(" '*:service:_manytails_services'", stdout);
    if (strcmp(c->name, "completion") == 0)
        fputs(" '1:shell:(bash zsh fish)'", stdout);
    if (lists_topics(c->name))
        fputs(" \"1:topic:($topics)\"", stdout);
    if (strcmp(c->name, "check") == 0)
        fputs(" \"${flags[@]}\"", stdout);
    if (takes_files(c))
        fputs(" '*:file:_files'", stdout);
    if (takes_folders(c))
        fputs(" '*:folder:_files -/'", stdout);
    fputs(" ;;\n", stdout);
}

static void zsh(void)
{
    struct config_option o;

    puts("#compdef manytails\n"
         "# zsh completion of manytails; written by `manytails completion zsh`\n"
         "_manytails_services() {\n"
         "  local -a names\n"
         "  names=(${(f)\"$(manytails completion --services 2>/dev/null)\"})\n"
         "  compadd -a names\n"
         "}\n"
         "_manytails() {\n"
         "  local -a commands flags\n"
         "  commands=(");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("    '%s:", cli_commands[i].name);
        put_quoted(cli_commands[i].text, ":\\");
        puts("'");
    }
    puts("  )\n  flags=(");
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        zsh_line("*-", modes[i].flag, modes[i].argument, modes[i].text,
                 value_of(modes[i].argument, modes[i].file, false));
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            zsh_line("*-", o.flag, o.argument, o.text, value_of_option(&o));
    puts("  )\n"
         "  if ((CURRENT == 2)) && [[ $words[2] != -* ]]; then\n"
         "    _describe command commands\n"
         "    return\n"
         "  fi\n"
         "  if [[ $words[2] == -* ]]; then\n"
         "    _arguments \"${flags[@]}\" '1:destination URL: '\n"
         "    return\n"
         "  fi\n"
         "  local command=$words[2]\n"
         "  shift words; ((CURRENT--))\n"
         "  case $command in");
    for (size_t i = 0; i < cli_command_count; i++)
        zsh_command(&cli_commands[i]);
    puts("  esac\n}\n"
         "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _manytails \"$@\"; else compdef _manytails "
         "manytails; fi");
}

/* ---- fish ---------------------------------------------------------------------------------------- */

static void fish_describe(const char *text)
{
    fputs(" -d '", stdout);
    put_quoted(text, "\\");
    puts("'");
}

static void fish_option(const char *condition, const char *style, const char *flag, struct value v,
                        const char *text)
{
    static const char *const takes[] = { [VALUE_NONE] = "",
                                         [VALUE_TEXT] = " -x",
                                         [VALUE_FILE] = " -rF",
                                         [VALUE_FOLDER] = " -xa '(__fish_complete_directories)'" };

    printf("complete -c manytails -n '%s' %s %s", condition, style, flag);
    if (v.kind == VALUE_WORDS)
        printf(" -xa '%s'", v.words);
    else
        fputs(takes[v.kind], stdout);
    fish_describe(text);
}

static void fish_command(const struct cli_command *c)
{
    char condition[100];

    snprintf(condition, sizeof(condition), "__manytails_command %s", c->name);
    for (size_t i = 0; i < cli_flag_count; i++) {
        const char *flag = cli_flags[i].flag;

        if (strcmp(cli_flags[i].command, c->name) == 0)
            fish_option(condition, flag[1] == '-' ? "-l" : "-o", flag + strspn(flag, "-"),
                        value_of_flag(&cli_flags[i]), cli_flags[i].text);
    }
    if (strstr(c->arguments, "SERVICE"))
        printf("complete -c manytails -n '%s' -a '(manytails completion --services 2>/dev/null)'\n",
               condition);
    if (strcmp(c->name, "completion") == 0)
        printf("complete -c manytails -n '%s' -a 'bash zsh fish'\n", condition);
    if (takes_files(c))
        printf("complete -c manytails -n '%s' -F\n", condition);
    if (takes_folders(c))
        printf("complete -c manytails -n '%s' -a '(__fish_complete_directories)'\n", condition);
}

static void fish(void)
{
    struct config_option o;

    puts("# fish completion of manytails; written by `manytails completion fish`\n"
         "function __manytails_command\n"
         "  set -l words (commandline -opc)\n"
         "  test (count $words) -gt 1; and test $words[2] = $argv[1]\n"
         "end\n"
         "function __manytails_serving\n"
         "  set -l words (commandline -opc)\n"
         "  test (count $words) -lt 2; or string match -q -- '-*' $words[2]; or test $words[2] = check\n"
         "end\n"
         "complete -c manytails -f");
    for (size_t i = 0; i < cli_command_count; i++) {
        printf("complete -c manytails -n __fish_use_subcommand -a %s", cli_commands[i].name);
        fish_describe(cli_commands[i].text);
    }
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        fish_option("__manytails_serving", "-o", modes[i].flag,
                    value_of(modes[i].argument, modes[i].file, false), modes[i].text);
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            fish_option("__manytails_serving", "-o", o.flag, value_of_option(&o), o.text);
    for (size_t i = 0; i < cli_command_count; i++)
        fish_command(&cli_commands[i]);
    fputs("complete -c manytails -n '__manytails_command help' -a 'flags", stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        printf(" %s", cli_commands[i].name);
    for (size_t i = 0; config_option_at(i, &o); i++)
        printf(" %s", *o.yaml ? o.yaml : o.flag);
    puts("'");
}

/* Of the running process; nothing is said if there is none. */
static int services(void)
{
    struct json_cursor list;
    struct span service, name;
    struct buf answer;
    int r;

    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    r = cli_ask(NULL, "status", &answer);
    list = json_cursor_of(json_text_member(buf_span(&answer), "services"));
    while (!r && json_cursor_next(&list, NULL, &service)) {
        name = text_trim(json_text_member(service, "name")); /* a host name: nothing in it is escaped */
        if (name.len > 2)
            printf("%.*s\n", (int)name.len - 2, (const char *)name.data + 1);
    }
    buf_deinit(&answer);
    return r ? 1 : 0;
}

int cli_completion(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

    if (argc == 2 && strcmp(argv[1], "--services") == 0)
        return services();
    for (size_t i = 0; argc == 2 && i < COUNT_OF(shells); i++)
        if (strcmp(argv[1], shells[i].name) == 0) {
            shells[i].print();
            return 0;
        }
    return cli_wrong_usage("completion");
}
