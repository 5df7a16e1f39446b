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

void td_options_help(const td_command *command, FILE *out) {
    bool terminal = isatty(fileno(out));
    const char *bold = terminal ? "\033[1m" : "", *plain = terminal ? "\033[0m" : "";
    fprintf(out, "%s\n\n", command->summary);
    if (command->example) fprintf(out, "%sExample%s\n%s\n\n", bold, plain, command->example);
    fprintf(out, "%sUsage%s  %s [options]%s%s\n\n", bold, plain, command->name,
            command->positional ? " " : "", command->positional ? command->positional : "");
    int widest = 12;
    for (const td_option *o = command->options; o->name; o++)
        if (!o->hidden && name_width(o) > widest && name_width(o) <= 34) widest = name_width(o);
    fprintf(out, "%sOptions%s\n", bold, plain);
    for (const td_option *o = command->options; o->name; o++) {
        if (o->hidden) continue;
        int width = print_name(o, out);
        if (width > widest) {
            fputc('\n', out);
            width = 0;
        }
        fprintf(out, "%*s%s\n", widest + 2 - width, "", o->help);
    }
    fprintf(out, "%-*s%s\n", widest + 2, "  -h, --help", "this text");
}
