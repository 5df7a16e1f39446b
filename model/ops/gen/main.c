/* gen_ops OPS.DEF HEADER|PARTS|CALLS|INFO|DOCS OUT: reads the rows, checks them, writes one file. */
#include "model/ops/gen/emit.h"

#include <stdlib.h>
#include <string.h>

static char *read_whole(const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in) return NULL;
    size_t length = 0, room = 1 << 16;
    char *text = malloc(room);
    while (text) {
        size_t got = fread(text + length, 1, room - length - 1, in);
        length += got;
        if (!got) break;
        if (length + 1 == room) text = realloc(text, room *= 2);
    }
    fclose(in);
    if (text) text[length] = 0;
    return text;
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        void (*emit)(const gen_file *, FILE *);
    } kinds[] = {{"header", emit_header},
                 {"parts", emit_parts},
                 {"calls", emit_calls},
                 {"info", emit_info},
                 {"docs", emit_docs}};
    if (argc != 4) {
        fputs("usage: gen_ops OPS.DEF header|parts|calls|info|docs OUT\n", stderr);
        return 2;
    }
    char *text = read_whole(argv[1]);
    if (!text) {
        fprintf(stderr, "gen_ops: %s cannot be read\n", argv[1]);
        return 1;
    }
    gen_file file;
    gen_fault fault;
    if (!gen_parse(text, &file, &fault) || !gen_check(&file, &fault)) {
        fprintf(stderr, "%s:%d:%d: %s\n", argv[1], fault.at.line, fault.at.column, fault.text);
        return 1;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].name, argv[2]) != 0) continue;
        FILE *out = fopen(argv[3], "w");
        if (!out) break;
        kinds[i].emit(&file, out);
        bool failed = ferror(out);
        if (fclose(out) || failed) break;
        gen_file_free(&file);
        free(text);
        return 0;
    }
    fprintf(stderr, "gen_ops: no %s written to %s\n", argv[2], argv[3]);
    return 1;
}
