/*
 * Command-line options from a table. A sub-command describes its options once; parsing, --help, "did you
 * mean" and the shells' completion all come from that table. Values go into a struct of the caller. Nothing
 * is allocated: text values point into argv or the environment. Any thread may call.
 */
#ifndef TANDEM_BASE_OPTIONS_H
#define TANDEM_BASE_OPTIONS_H

#include "base/status.h"

#include <stdio.h>

TD_BEGIN_DECLS

typedef enum td_option_kind {
    TD_OPTION_FLAG,      /* bool: --json sets true, --no-json false */
    TD_OPTION_INT,       /* int64_t within [min, max] */
    TD_OPTION_SIZE,      /* int64_t bytes: 4096, 64K, 25M, 1G (powers of 1024) */
    TD_OPTION_REAL,      /* double within [min, max] when min < max */
    TD_OPTION_SECONDS,   /* double seconds: 10, 0.5, 500ms, 2m, 1h; "inf" */
    TD_OPTION_TEXT,      /* const char * */
    TD_OPTION_CHOICE,    /* const char *, one of `choices` */
    TD_OPTION_REAL_PAIR, /* double[2]: 0.9,0.999 */
    TD_OPTION_LIST,      /* td_option_list: the option may come again and again */
    TD_OPTION_PARSED,    /* whatever `parse` makes of the text */
} td_option_kind;

enum { TD_OPTION_LIST_MOST = 64 };
typedef struct td_option_list {
    const char *items[TD_OPTION_LIST_MOST];
    int count;
} td_option_list;

typedef struct td_option {
    const char *name; /* "batch-size", without dashes; underscores are accepted for its dashes */
    char letter;      /* 'n' for -n, or 0 */
    td_option_kind kind;
    size_t offset;       /* offsetof(struct, member) */
    const char *value;   /* the name of its value in --help: "N", "FILE"; NULL for a flag */
    const char *help;    /* one line; a default, where there is one, is written here */
    const char *choices; /* "sgd adam adamw", for a choice */
    double min, max;     /* of a number; both 0 means any */
    bool hidden;         /* accepted, not shown in any help */
    bool rare;           /* shown by td_options_help_all only */
    const char *also;    /* other names for it, as "np slots" */
    const char *group;   /* on the first of a group: the group's heading in the help */
    td_status (*parse)(const char *text, void *member); /* of TD_OPTION_PARSED; its failure says why */
} td_option;

typedef struct td_command {
    const char *name;         /* "tandem train" */
    const char *summary;      /* one line: what it does */
    const char *example;      /* shown first in --help; several lines allowed */
    const td_option *options; /* ends with a row whose name is NULL */
    const char *positional;   /* "PROGRAM [ARGS]" in the usage line, or NULL when none are taken */
    bool stop_at_positional;  /* what follows the first positional belongs to it (tandem run) */
    const char *environment;  /* "PET_": where PET_BATCH_SIZE is set, it is the default of --batch-size */
} td_command;

/*
 * Parse argv[1..] into `values`, which holds the defaults on entry; variables of the environment come before
 * them, where the command has a prefix for these (a flag's is 0 or 1; an empty one counts for none). Takes
 * --name value, --name=value, -n 2, -n2, and any name of two letters or more with one dash too, as mpirun
 * does; "--" ends options. *rest is the number of positional arguments, moved in order to argv[1..*rest].
 * TD_PENDING: --help or -h was given, nothing else is to be done but td_options_help. TD_ERR_ARG: unknown
 * option or bad value, with the nearest known one in the record; `values` is then half filled.
 */
TD_API td_status td_options_parse(const td_command *command, int argc, char **argv, void *values, int *rest);

/* Print --help: example first, then the options, the first form without the rare ones. Bold only where `out`
 * is a terminal. */
TD_API void td_options_help(const td_command *command, FILE *out);
TD_API void td_options_help_all(const td_command *command, FILE *out);

/* Print a script by which a shell ("bash", "zsh" or "tcsh") completes the options of "PROGRAM SUBCOMMAND". */
TD_API void td_options_complete(const td_command *command, const char *shell, FILE *out);

/* The known name nearest to `word`, or NULL when none is near. `known` ends with NULL. */
TD_API const char *td_nearest_name(const char *word, const char *const *known);

TD_END_DECLS

#endif
