/* cli/completion.c - completion scripts for bash, zsh and fish, from the tables of commands and options
 *
 * The scripts are written once per version and know every flag; only names of running services are asked for
 * when somebody presses the key.
 */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "config/config.h"

/* Two flags of the serving mode that are not options of a table. */
static const struct {
    const char *flag, *argument, *text;
    bool file;
} modes[] = {
    { "config", "FILE", "YAML file with many services", true },
    { "service", "key=value,...", "One service; may be repeated", false },
};

static bool names_file(const char *argument)
{
    return strcmp(argument, "FILE") == 0 || strcmp(argument, "PATH") == 0 || strcmp(argument, "DIR") == 0;
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
    const char *last = strrchr(c->arguments, ' ');

    return strcmp(c->name, "check") == 0 || names_file(last ? last + 1 : c->arguments);
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
        fputs(" files=yes", stdout);
    if (strstr(c->arguments, "SERVICE"))
        fputs("\n      [[ $cur != -* ]] && words=$(_manytails_services)", stdout);
    if (lists_topics(c->name)) {
        fputs("\n      words+=' flags", stdout);
        for (size_t i = 0; i < cli_command_count; i++)
            printf(" %s", cli_commands[i].name);
        fputs(" '$(printf '%s\\n' $flags | sed 's/^-//')", stdout);
    }
    fputs(" ;;\n", stdout);
}

/* Flags of either kind whose value is of one kind, as a pattern of `case`. */
static void bash_values(int takes)
{
    struct config_option o;
    const char *bar = "";

    for (size_t i = 0; config_option_at(i, &o); i++)
        if ((int)o.takes == takes && *o.flag) {
            printf("%s-%s|--%s", bar, o.flag, o.flag);
            bar = "|";
        }
}

static void bash(void)
{
    struct config_option o;

    puts("# bash completion of manytails; written by `manytails completion bash`\n"
         "_manytails_services() {\n"
         "  manytails status 2>/dev/null | sed -n 's/^\\([A-Za-z0-9-]*\\): .*/\\1/p'\n"
         "}\n"
         "_manytails() {\n"
         "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= flags= files=");
    fputs("  flags='", stdout);
    for (size_t i = 0; i < COUNT_OF(modes); i++)
        printf("-%s ", modes[i].flag);
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            printf("-%s ", o.flag);
    fputs("'\n  COMPREPLY=()\n  case $prev in\n    -config|--config|--socket|", stdout);
    bash_values(CONFIG_TAKES_FILE);
    puts(") compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;");
    fputs("    ", stdout);
    bash_values(CONFIG_TAKES_FOLDER);
    puts(") compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -d -- \"$cur\")); return ;;");
    fputs("    -service|--service|", stdout);
    bash_values(CONFIG_TAKES_TEXT);
    puts(") return ;;\n  esac\n"
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
         "    [[ $files && $cur != -* ]] && { compopt -o filenames 2>/dev/null; "
         "COMPREPLY=($(compgen -f -- \"$cur\")); return; }\n"
         "    [[ ${COMP_WORDS[1]} == check ]] && words=$flags\n"
         "  fi\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
         "}\n"
         "complete -F _manytails manytails");
}

/* ---- zsh --------------------------------------------------------------------------------------- */

#define ZSH_SPECIAL "[]:\\"

static void zsh_spec(const char *dash, const char *flag, const char *argument, const char *text, bool file,
                     bool folder)
{
    printf("    '*%s%s[", dash, flag);
    put_quoted(text, ZSH_SPECIAL);
    fputs("]", stdout);
    if (*argument) {
        fputs(":", stdout);
        put_quoted(argument, ZSH_SPECIAL);
        fputs(file ? ":_files" : folder ? ":_files -/" : ": ", stdout);
    }
    puts("'");
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
            printf("    '%s[", cli_flags[i].flag);
            put_quoted(cli_flags[i].text, ZSH_SPECIAL);
            fputs("]", stdout);
            if (*cli_flags[i].argument) {
                printf(":%s:%s", cli_flags[i].argument, names_file(cli_flags[i].argument) ? "_files" : " ");
            }
            fputs("'", stdout);
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
    fputs(" ;;\n", stdout);
}

static void zsh(void)
{
    struct config_option o;

    puts("#compdef manytails\n"
         "# zsh completion of manytails; written by `manytails completion zsh`\n"
         "_manytails_services() {\n"
         "  local -a names\n"
         "  names=(${(f)\"$(manytails status 2>/dev/null | sed -n 's/^\\([A-Za-z0-9-]*\\): .*/\\1/p')\"})\n"
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
        zsh_spec("-", modes[i].flag, modes[i].argument, modes[i].text, modes[i].file, false);
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            zsh_spec("-", o.flag, o.argument, o.text, o.takes == CONFIG_TAKES_FILE,
                     o.takes == CONFIG_TAKES_FOLDER);
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

static void fish_option(const char *condition, const char *style, const char *flag, bool takes, bool file,
                        const char *text)
{
    printf("complete -c manytails -n '%s' %s %s%s", condition, style, flag,
           !takes ? ""
           : file ? " -rF"
                  : " -x");
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
                        *cli_flags[i].argument, names_file(cli_flags[i].argument), cli_flags[i].text);
    }
    if (strstr(c->arguments, "SERVICE"))
        printf("complete -c manytails -n '%s' -a '(__manytails_services)'\n", condition);
    if (strcmp(c->name, "completion") == 0)
        printf("complete -c manytails -n '%s' -a 'bash zsh fish'\n", condition);
    if (takes_files(c))
        printf("complete -c manytails -n '%s' -F\n", condition);
}

static void fish(void)
{
    struct config_option o;

    puts("# fish completion of manytails; written by `manytails completion fish`\n"
         "function __manytails_services\n"
         "  manytails status 2>/dev/null | string replace -rf '^([A-Za-z0-9-]+): .*' '$1'\n"
         "end\n"
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
        fish_option("__manytails_serving", "-o", modes[i].flag, true, modes[i].file, modes[i].text);
    for (size_t i = 0; config_option_at(i, &o); i++)
        if (*o.flag)
            fish_option("__manytails_serving", "-o", o.flag, o.takes != CONFIG_TAKES_NOTHING,
                        o.takes == CONFIG_TAKES_FILE || o.takes == CONFIG_TAKES_FOLDER, o.text);
    for (size_t i = 0; i < cli_command_count; i++)
        fish_command(&cli_commands[i]);
    fputs("complete -c manytails -n '__manytails_command help' -a 'flags", stdout);
    for (size_t i = 0; i < cli_command_count; i++)
        printf(" %s", cli_commands[i].name);
    for (size_t i = 0; config_option_at(i, &o); i++)
        printf(" %s", *o.yaml ? o.yaml : o.flag);
    puts("'");
}

int cli_completion(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shells[] = { { "bash", bash }, { "zsh", zsh }, { "fish", fish } };

    for (size_t i = 0; argc == 2 && i < COUNT_OF(shells); i++)
        if (strcmp(argv[1], shells[i].name) == 0) {
            shells[i].print();
            return 0;
        }
    return cli_wrong_usage("completion");
}
