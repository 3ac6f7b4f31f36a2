/* corral completion SHELL: a completion script made from the tables of commands and options. */
#include <string.h>

#include "cli/cli.h"

static const struct opt opts[] = {{0}};

static bool takes_value(const struct opt *o)
{
    return o->type != OPT_BOOL;
}

/* text, with what the shell would take apart inside '...' (and what `also` lists) made harmless. */
static void print_quoted(const char *text, const char *also)
{
    for (const char *p = text; *p; p++) {
        if (*p == '\'')
            fputs("'\\''", stdout);
        else if (strchr(also, *p))
            printf("\\%c", *p);
        else
            putchar(*p);
    }
}

static void print_choices(const char *choices)
{
    for (const char *p = choices; *p; p++) putchar(*p == '|' ? ' ' : *p);
}

static void bash(void)
{
    fputs("_corral() {\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
          "    COMPREPLY=()\n"
          "    if [ \"$COMP_CWORD\" = 1 ]; then\n"
          "        words='--help --version",
          stdout);
    for (const struct command_row *r = command_table; r->command; r++) printf(" %s", r->command->name);
    fputs("'\n        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "        return\n    fi\n"
          "    case \"${COMP_WORDS[1]} $prev\" in\n",
          stdout);
    for (const struct command_row *r = command_table; r->command; r++)
        for (const struct opt *o = r->command->opts; o->name; o++) {
            if (!o->choices) continue;
            printf("    '%s --%s') words='", r->command->name, o->name);
            print_choices(o->choices);
            fputs("' ;;\n", stdout);
        }
    fputs("    *)\n        case \"$cur ${COMP_WORDS[1]}\" in\n", stdout);
    for (const struct command_row *r = command_table; r->command; r++) {
        printf("        '-'*' %s') words='--help", r->command->name);
        for (const struct opt *o = r->command->opts; o->name; o++)
            if (o->name[0]) printf(" --%s", o->name);
        fputs("' ;;\n", stdout);
    }
    fputs("        esac ;;\n    esac\n"
          "    [ -n \"$words\" ] && COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
          "}\n"
          "complete -o default -F _corral corral\n",
          stdout);
}

static void zsh_option(const struct opt *o)
{
    fputs("        ", stdout);
    if (o->letter)
        printf("'(-%c --%s)'{-%c,--%s}'[", o->letter, o->name, o->letter, o->name);
    else
        printf("'%s--%s[", o->type == OPT_LIST ? "*" : "", o->name);
    print_quoted(o->help ? o->help : "", "[]:");
    putchar(']');
    if (takes_value(o)) printf(":%s:", o->arg ? o->arg : "value");
    if (o->choices) {
        putchar('(');
        print_choices(o->choices);
        putchar(')');
    } else if (takes_value(o) && o->arg && !strcmp(o->arg, "FILE")) {
        fputs("_files", stdout);
    }
    fputs("' \\\n", stdout);
}

static void zsh(void)
{
    fputs("#compdef corral\n_corral() {\n    local -a commands\n    commands=(\n", stdout);
    for (const struct command_row *r = command_table; r->command; r++) {
        printf("        '%s:", r->command->name);
        print_quoted(r->command->summary, ":");
        fputs("'\n", stdout);
    }
    fputs(
        "    )\n    if (( CURRENT == 2 )); then\n        _describe command commands\n        return\n    fi\n"
        "    local command=$words[2]\n    shift words\n    (( CURRENT-- ))\n    case $command in\n",
        stdout);
    for (const struct command_row *r = command_table; r->command; r++) {
        printf("    %s) _arguments \\\n", r->command->name);
        for (const struct opt *o = r->command->opts; o->name; o++)
            if (o->name[0]) zsh_option(o);
        fputs("        '--help[what the command takes]' '*:file:_files' ;;\n", stdout);
    }
    fputs("    esac\n}\ncompdef _corral corral\n", stdout);
}

static void fish(void)
{
    for (const struct command_row *r = command_table; r->command; r++) {
        printf("complete -c corral -n __fish_use_subcommand -f -a %s -d '", r->command->name);
        print_quoted(r->command->summary, "");
        fputs("'\n", stdout);
    }
    for (const struct command_row *r = command_table; r->command; r++)
        for (const struct opt *o = r->command->opts; o->name; o++) {
            if (!o->name[0]) continue;
            printf("complete -c corral -n '__fish_seen_subcommand_from %s' -l %s", r->command->name, o->name);
            if (o->letter) printf(" -s %c", o->letter);
            if (o->choices) {
                fputs(" -x -a '", stdout);
                print_choices(o->choices);
                fputs("'", stdout);
            } else if (takes_value(o)) {
                fputs(" -r", stdout);
            }
            fputs(" -d '", stdout);
            print_quoted(o->help ? o->help : "", "");
            fputs("'\n", stdout);
        }
}

static int completion_main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*print)(void);
    } shell[] = {{"bash", bash}, {"zsh", zsh}, {"fish", fish}};
    struct error e = {0};
    const char *word[1] = {NULL};
    size_t n_word;
    if (opt_parse(opts, argc, argv, word, &n_word, 1, &e) != OK) return cli_usage_error(&cmd_completion, &e);
    for (size_t i = 0; i < COUNT_OF(shell); i++) {
        if (!n_word || strcmp(word[0], shell[i].name) != 0) continue;
        shell[i].print();
        return EXIT_OK;
    }
    if (n_word)
        (void)fail(&e, ERR_ARG, "'%s' is none of bash, zsh, fish", word[0]);
    else
        (void)fail(&e, ERR_ARG, "name a shell: bash, zsh or fish");
    return cli_usage_error(&cmd_completion, &e);
}

const struct command cmd_completion = {
    .name = "completion",
    .args = "bash|zsh|fish",
    .summary = "print a completion script for a shell",
    .help = "Examples:\n"
            "  bash:  source <(corral completion bash)          in ~/.bashrc\n"
            "  zsh:   source <(corral completion zsh)           in ~/.zshrc, after compinit\n"
            "  fish:  corral completion fish > ~/.config/fish/completions/corral.fish\n",
    .opts = opts,
    .run = completion_main,
};
