/* moonkeeper completion: for shells. Verbs come from the table of verbs, their actions from the
 * synopses; flags are asked for when they are completed, so that there is one list of them. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

/* "get put del list" of "kv get|put|del|list ...": the second word, if it offers a choice. */
static bool actions_of(const struct cli_verb *verb, char *out, size_t capacity)
{
    const char *word = strchr(verb->synopsis, ' ');
    size_t size = word != NULL ? strcspn(++word, " ") : 0;
    if (size == 0 || size >= capacity || memchr(word, '|', size) == NULL) {
        return false;
    }
    memcpy(out, word, size);
    out[size] = 0;
    for (char *c = out; *c != 0; c++) {
        *c = strchr("|[]", *c) != NULL ? ' ' : *c;
    }
    return true;
}

static void print_verbs(const char *between)
{
    for (size_t i = 0; i < cli_verbs_count; i++) {
        printf("%s%s", i > 0 ? between : "", cli_verbs[i].name);
    }
}

static void print_bash(void)
{
    puts("# bash completion: eval \"$(moonkeeper completion bash)\"\n"
         "_moonkeeper() {\n"
         "    local word=${COMP_WORDS[COMP_CWORD]} verb=${COMP_WORDS[1]}\n"
         "    COMPREPLY=()\n"
         "    if [ \"$COMP_CWORD\" -eq 1 ]; then");
    fputs("        COMPREPLY=($(compgen -W \"", stdout);
    print_verbs(" ");
    puts("\" -- \"$word\"))\n"
         "        return\n"
         "    fi\n"
         "    if [ \"${word#-}\" != \"$word\" ]; then\n"
         "        COMPREPLY=($(compgen -W \"$(\"$1\" help \"$verb\" 2>/dev/null |\n"
         "            grep -o -- '--[a-z][a-z-]*' | sort -u)\" -- \"$word\"))\n"
         "        return\n"
         "    fi\n"
         "    case $COMP_CWORD,$verb in");
    for (size_t i = 0; i < cli_verbs_count; i++) {
        char actions[128];
        if (actions_of(&cli_verbs[i], actions, sizeof actions)) {
            printf("    2,%s) COMPREPLY=($(compgen -W \"%s\" -- \"$word\")) ;;\n",
                   cli_verbs[i].name, actions);
        }
    }
    fputs("    2,help) COMPREPLY=($(compgen -W \"", stdout);
    print_verbs(" ");
    puts("\" -- \"$word\")) ;;\n"
         "    esac\n"
         "}\n"
         "complete -o default -F _moonkeeper moonkeeper");
}

/* In single quotes, as shells have them. */
static void print_quoted(const char *text)
{
    putchar('\'');
    for (; *text != 0; text++) {
        if (*text == '\'') {
            fputs("'\\''", stdout);
        } else {
            putchar(*text);
        }
    }
    putchar('\'');
}

static void print_zsh(void)
{
    puts("#compdef moonkeeper\n"
         "# zsh completion: eval \"$(moonkeeper completion zsh)\"\n"
         "_moonkeeper() {\n"
         "    local -a verbs flags\n"
         "    verbs=(");
    for (size_t i = 0; i < cli_verbs_count; i++) {
        char line[160];
        snprintf(line, sizeof line, "%s:%s", cli_verbs[i].name, cli_verbs[i].summary);
        fputs("        ", stdout);
        print_quoted(line);
        putchar('\n');
    }
    puts("    )\n"
         "    if (( CURRENT == 2 )); then\n"
         "        _describe verb verbs\n"
         "        return\n"
         "    fi\n"
         "    if [[ $words[CURRENT] == -* ]]; then\n"
         "        flags=(${(f)\"$($words[1] help $words[2] 2>/dev/null |\n"
         "            grep -o -- '--[a-z][a-z-]*' | sort -u)\"})\n"
         "        compadd -- $flags\n"
         "        return\n"
         "    fi\n"
         "    case $CURRENT,$words[2] in");
    for (size_t i = 0; i < cli_verbs_count; i++) {
        char actions[128];
        if (actions_of(&cli_verbs[i], actions, sizeof actions)) {
            printf("    3,%s) compadd -- %s ;;\n", cli_verbs[i].name, actions);
        }
    }
    puts("    3,help) _describe verb verbs ;;\n"
         "    *) _files ;;\n"
         "    esac\n"
         "}\n"
         "compdef _moonkeeper moonkeeper");
}

int cmd_completion(struct cli *cli, int argc, char **argv)
{
    const struct usage usage = {
        .synopsis = "completion bash|zsh",
        .about = "Print a script that completes verbs and flags:\n"
                 "  eval \"$(moonkeeper completion bash)\"",
        .arguments_min = 1,
        .arguments_max = 1,
    };
    int exit_code;
    if (cli_parse(cli, argc, argv, &usage, &exit_code) < 0) {
        return exit_code;
    }
    if (strcmp(argv[0], "bash") == 0) {
        print_bash();
    } else if (strcmp(argv[0], "zsh") == 0) {
        print_zsh();
    } else {
        return cli_misuse(cli, "\"%s\" is not bash or zsh", argv[0]);
    }
    return EXIT_OK;
}
