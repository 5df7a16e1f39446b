/* Completion scripts from an option table, for the shells that torchrun serves. They complete the options of one
 * sub-command, the values that are a choice or a file, and leave the rest, the program to run above all, to
 * what the shell does by itself. */
#include "base/options.h"

#include <string.h>

/* "tandem run": the program, and behind it the sub-command. */
typedef struct two_names {
    char program[64];
    const char *subcommand;
} two_names;

static two_names split(const td_command *command) {
    two_names n = {.subcommand = strchr(command->name, ' ')};
    n.subcommand = n.subcommand ? n.subcommand + 1 : "";
    snprintf(n.program, sizeof n.program, "%.*s", (int)strcspn(command->name, " "), command->name);
    return n;
}

static bool takes_file(const td_option *o) {
    return o->value && (strcmp(o->value, "FILE") == 0 || strcmp(o->value, "DIR") == 0);
}

static void print_names(const td_command *command, const char *before, FILE *out) {
    for (const td_option *o = command->options; o->name; o++)
        if (!o->hidden) fprintf(out, "%s%s ", before, o->name);
    fprintf(out, "%shelp", before);
}

/* --- bash ---------------------------------------------------------------------------------------------- */

static void print_bash_pattern(const td_option *o, FILE *out) {
    if (o->letter) fprintf(out, "-%c|", o->letter);
    fprintf(out, "--%s", o->name);
}

/* From the first word that is no option on, bash completes as if nothing stood before it. */
static void complete_bash(const td_command *command, FILE *out) {
    two_names n = split(command);
    fprintf(out,
            "_%s_%s() {\n"
            "    local cur=\"${COMP_WORDS[COMP_CWORD]}\" i=2\n"
            "    if ((COMP_CWORD == 1)); then COMPREPLY=($(compgen -W %s -- \"$cur\")); return; fi\n"
            "    [[ ${COMP_WORDS[1]} == %s ]] || return\n"
            "    while ((i < COMP_CWORD)); do\n"
            "        case \"${COMP_WORDS[i]}\" in\n"
            "        --) ((i++)); break ;;\n"
            "        ",
            n.program, n.subcommand, n.subcommand, n.subcommand);
    const char *separator = "";
    for (const td_option *o = command->options; o->name; o++) {
        if (!o->value) continue;
        fputs(separator, out);
        print_bash_pattern(o, out);
        separator = "|";
    }
    fputs(") ((i += 2)) ;;\n"
          "        -*) ((i++)) ;;\n"
          "        *) break ;;\n"
          "        esac\n"
          "    done\n"
          "    if ((i == COMP_CWORD)) && [[ $cur == -* ]]; then\n"
          "        COMPREPLY=($(compgen -W \"",
          out);
    print_names(command, "--", out);
    fputs("\" -- \"$cur\"))\n"
          "    elif ((i == COMP_CWORD)); then COMPREPLY=($(compgen -c -f -- \"$cur\"))\n"
          "    elif ((i < COMP_CWORD)); then COMPREPLY=($(compgen -f -- \"$cur\"))\n"
          "    else\n"
          "        case \"${COMP_WORDS[COMP_CWORD - 1]}\" in\n",
          out);
    for (const td_option *o = command->options; o->name; o++) {
        if (!o->value || !(o->choices || takes_file(o))) continue;
        fputs("        ", out);
        print_bash_pattern(o, out);
        if (o->choices)
            fprintf(out, ") COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")) ;;\n", o->choices);
        else
            fputs(") COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n", out);
    }
    fprintf(out,
            "        esac\n"
            "    fi\n"
            "}\n"
            "complete -o filenames -F _%s_%s %s\n",
            n.program, n.subcommand, n.program);
}

/* --- zsh ----------------------------------------------------------------------------------------------- */

/* An option's help inside '[...]'. */
static void print_zsh_help(const char *help, FILE *out) {
    for (; *help; help++) {
        if (*help == '\'') fputs("'\\'", out); /* and then the quote itself, which opens the next */
        if (strchr("[]:\\", *help)) fputc('\\', out);
        fputc(*help, out);
    }
}

static void print_zsh_option(const td_option *o, FILE *out) {
    if (o->letter)
        fprintf(out, "        '(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter,
                o->value ? "+" : "", o->name, o->value ? "=" : "");
    else
        fprintf(out, "        '--%s%s[", o->name, o->value ? "=" : "");
    print_zsh_help(o->help, out);
    fputc(']', out);
    if (o->value) {
        fputc(':', out);
        print_zsh_help(o->value, out);
        fputc(':', out);
    }
    if (o->choices) fprintf(out, "(%s)", o->choices);
    if (takes_file(o)) fputs("_files", out);
    fputs("' \\\n", out);
}

static void complete_zsh(const td_command *command, FILE *out) {
    two_names n = split(command);
    fprintf(out,
            "#compdef %s\n"
            "_%s() {\n"
            "    if ((CURRENT == 2)); then _values command %s; return; fi\n"
            "    [[ $words[2] == %s ]] || { _files; return }\n"
            "    shift words\n"
            "    ((CURRENT--))\n"
            "    _arguments -S \\\n",
            n.program, n.program, n.subcommand, n.subcommand);
    for (const td_option *o = command->options; o->name; o++)
        if (!o->hidden) print_zsh_option(o, out);
    fprintf(out,
            "        '(-h --help)'{-h,--help}'[this text]' \\\n"
            "        '*::program:_normal'\n"
            "}\n"
            "compdef _%s %s\n",
            n.program, n.program);
}

/* --- tcsh ---------------------------------------------------------------------------------------------- */

static void complete_tcsh(const td_command *command, FILE *out) {
    two_names n = split(command);
    fprintf(out, "complete %s 'p/1/(%s)/'", n.program, n.subcommand);
    for (const td_option *o = command->options; o->name; o++) {
        if (o->value && o->choices) fprintf(out, " 'n/--%s/(%s)/'", o->name, o->choices);
        if (takes_file(o)) fprintf(out, " 'n/--%s/f/'", o->name);
    }
    fputs(" 'c/--/(", out);
    print_names(command, "", out);
    fputs(")/' 'n/*/f/'\n", out);
}

void td_options_complete(const td_command *command, const char *shell, FILE *out) {
    if (strcmp(shell, "bash") == 0) complete_bash(command, out);
    if (strcmp(shell, "zsh") == 0) complete_zsh(command, out);
    if (strcmp(shell, "tcsh") == 0) complete_tcsh(command, out);
}
