/* --help from an option table: what it does, an example, the options in two columns. */
#include "base/options.h"

#include <string.h>
#include <unistd.h>

static int print_name(const td_option *o, FILE *out) {
    int width =
        o->letter ? fprintf(out, "  -%c, --%s", o->letter, o->name) : fprintf(out, "      --%s", o->name);
    if (o->value) width += fprintf(out, " %s", o->value);
    return width;
}

static int name_width(const td_option *o) {
    return (int)strlen(o->name) + 8 + (o->value ? (int)strlen(o->value) + 1 : 0);
}

static bool is_shown(const td_option *o, bool all) { return !o->hidden && (all || !o->rare); }

static void print_options(const td_command *command, bool all, const char *bold, const char *plain,
                          FILE *out) {
    int widest = 12;
    const char *group = "Options"; /* that is still to be printed */
    for (const td_option *o = command->options; o->name; o++)
        if (is_shown(o, all) && name_width(o) > widest && name_width(o) <= 34) widest = name_width(o);
    for (const td_option *o = command->options; o->name; o++) {
        if (o->group) group = o->group;
        if (!is_shown(o, all)) continue;
        if (group) fprintf(out, "%s%s%s\n", bold, group, plain);
        group = NULL;
        int width = print_name(o, out);
        if (width > widest) {
            fputc('\n', out);
            width = 0;
        }
        fprintf(out, "%*s%s\n", widest + 2 - width, "", o->help);
    }
    fprintf(out, "%-*s%s\n", widest + 2, "  -h, --help", "this text");
}

static void print_help(const td_command *command, bool all, FILE *out) {
    bool terminal = isatty(fileno(out));
    const char *bold = terminal ? "\033[1m" : "", *plain = terminal ? "\033[0m" : "";
    fprintf(out, "%s\n\n", command->summary);
    if (command->example) fprintf(out, "%sExample%s\n%s\n\n", bold, plain, command->example);
    fprintf(out, "%sUsage%s  %s [options]%s%s\n\n", bold, plain, command->name,
            command->positional ? " " : "", command->positional ? command->positional : "");
    print_options(command, all, bold, plain, out);
}

void td_options_help(const td_command *command, FILE *out) { print_help(command, false, out); }
void td_options_help_all(const td_command *command, FILE *out) { print_help(command, true, out); }
