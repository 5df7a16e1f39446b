/* A list of sample numbers in a text file, as PyTorch or a script prints it. */
#ifndef TANDEM_TOOLS_INDEX_LIST_H
#define TANDEM_TOOLS_INDEX_LIST_H

#include "base/status.h"

typedef struct index_list {
    int64_t *indices; /* td_free */
    int64_t count;
} index_list;

/* Read `path`: numbers with spaces, commas, line ends and brackets between; "tensor" before a bracket is
 * fine. Several lists are one after another. TD_ERR_FORMAT names the line of what is no number. */
td_status index_list_read(const char *path, index_list *list);

#endif
