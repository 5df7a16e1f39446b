/*
 * Files read whole, and files that appear whole or not at all. Writing goes to a temporary file in the same
 * folder, which is synced, renamed over the target and the folder synced; on any failure the target is as
 * it was and the temporary is gone. What exists and is no regular file (/dev/null, /dev/stdout, a FIFO) is
 * never replaced: it is written straight away, so what was written before a failure has arrived. A symbolic
 * link stays; the file that it leads to is replaced. Any thread may call; one thread per td_file_writer.
 */
#ifndef TANDEM_BASE_FILE_H
#define TANDEM_BASE_FILE_H

#include "base/status.h"

TD_BEGIN_DECLS

typedef struct td_file_writer td_file_writer;

/* Begin a file that shall appear at `path`. *Yours* until committed or dropped. */
TD_API td_status td_file_begin(const char *path, td_file_writer **writer);
TD_API td_status td_file_write(td_file_writer *writer, const void *data, size_t bytes);
/* Make it appear; *writer becomes NULL also on failure. */
TD_API td_status td_file_commit(td_file_writer **writer);
/* Give up; the target is untouched. NULL inside is fine. */
TD_API void td_file_drop(td_file_writer **writer);

/* The three in one. */
TD_API td_status td_file_write_whole(const char *path, const void *data, size_t bytes);

/* All of a file, *yours* (td_free), with one zero byte after the end. TD_ERR_SYSTEM with the reason, or
 * TD_ERR_ARG when it is larger than `limit` bytes (0: no limit). */
TD_API td_status td_file_read(const char *path, size_t limit, void **data, size_t *bytes);

TD_END_DECLS

#endif
