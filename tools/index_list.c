#include "tools/index_list.h"

#include "base/file.h"
#include "base/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char separators[] = " \t\r\n,[]()";

static td_status refuse(const char *path, const char *text, const char *word) {
    int line = 1;
    for (const char *c = text; c < word; c++) line += *c == '\n';
    if (strncmp(word, "...", 3) == 0)
        return td_fail(
            TD_ERR_FORMAT, 0, "tools",
            "%s, line %d: the list was shortened with '...' when it was printed; print a list, not a tensor",
            path, line);
    return td_fail(TD_ERR_FORMAT, 0, "tools", "%s, line %d: '%.*s' is not a sample's number", path, line,
                   (int)(strcspn(word, separators) < 40 ? strcspn(word, separators) : 40), word);
}

/* `indices` has room for every number that the text can hold. */
static td_status parse(const char *path, const char *text, index_list *list) {
    for (const char *word = text + strspn(text, separators); *word; word += strspn(word, separators)) {
        size_t length = strcspn(word, separators);
        if (length == 6 && strncmp(word, "tensor", 6) == 0) {
            word += length;
            continue;
        }
        char *end;
        errno = 0;
        long long number = strtoll(word, &end, 10);
        if (end != word + length || errno || number < 0) return refuse(path, text, word);
        list->indices[list->count++] = number;
        word = end;
    }
    return TD_OK;
}

td_status index_list_read(const char *path, index_list *list) {
    void *text = NULL;
    size_t bytes = 0;
    index_list read = {0};
    TD_TRY(td_file_read(path, 0, &text, &bytes));
    read.indices = td_calloc(bytes / 2 + 1, sizeof *read.indices);
    td_status status = read.indices ? parse(path, text, &read) : TD_ERR_MEMORY;
    if (status < 0)
        td_free(read.indices);
    else
        *list = read;
    td_free(text);
    return status;
}
