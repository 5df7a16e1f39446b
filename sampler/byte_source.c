/* Plain bytes or gzip (any number of members, RFC 1952), told apart by the first two bytes. */
#include "sampler/byte_source.h"

#include <errno.h>
#include <string.h>

/* Have at least one byte in the buffer, unless the file has ended. */
static td_status refill(sampler_source *source) {
    if (source->zip.avail_in) return TD_OK;
    errno = 0;
    size_t got = fread(source->buffer, 1, sizeof source->buffer, source->file);
    if (got == 0 && ferror(source->file))
        return td_fail_errno(errno ? errno : EIO, "sampler", "%s: cannot be read", source->name);
    source->zip.next_in = source->buffer;
    source->zip.avail_in = (uInt)got;
    source->taken += got;
    return TD_OK;
}

td_status sampler_source_open(sampler_source *source, FILE *file, const char *name) {
    memset(&source->zip, 0, sizeof source->zip);
    source->file = file;
    source->name = name;
    source->zipped = source->member_ended = false;
    source->taken = 0;
    TD_TRY(refill(source));
    if (source->zip.avail_in < 2 || source->buffer[0] != 0x1f || source->buffer[1] != 0x8b) return TD_OK;
    if (inflateInit2(&source->zip, 15 + 16) != Z_OK)
        return td_fail(TD_ERR_MEMORY, 0, "sampler", "%s: no memory to unpack it", name);
    source->zipped = true;
    return TD_OK;
}

static td_status read_plain(sampler_source *source, uint8_t *out, size_t want, size_t *got) {
    size_t done = 0;
    while (done < want) {
        TD_TRY(refill(source));
        size_t here = source->zip.avail_in < want - done ? source->zip.avail_in : want - done;
        if (!here) break;
        memcpy(out + done, source->zip.next_in, here);
        source->zip.next_in += here;
        source->zip.avail_in -= (uInt)here;
        done += here;
    }
    *got = done;
    return TD_OK;
}

/* After a member either the file ends or another member begins. */
static td_status begin_member(sampler_source *source) {
    uint64_t offset = source->taken - source->zip.avail_in;
    if (source->zip.next_in[0] != 0x1f || inflateReset(&source->zip) != Z_OK)
        return td_fail(TD_ERR_FORMAT, 0, "sampler",
                       "%s: the gzip data ends at byte %llu, but something follows", source->name,
                       (unsigned long long)offset);
    source->member_ended = false;
    return TD_OK;
}

static td_status check_inflated(sampler_source *source, int code) {
    unsigned long long offset = source->taken - source->zip.avail_in;
    if (code == Z_STREAM_END) source->member_ended = true;
    if (code == Z_STREAM_END || code == Z_OK || code == Z_BUF_ERROR) return TD_OK;
    if (code == Z_MEM_ERROR)
        return td_fail(TD_ERR_MEMORY, code, "sampler", "%s: no memory to unpack it", source->name);
    return td_fail(TD_ERR_FORMAT, code, "sampler", "%s: damaged gzip data near byte %llu (%s)", source->name,
                   offset, source->zip.msg ? source->zip.msg : "zlib gives no reason");
}

static td_status read_zipped(sampler_source *source, uint8_t *out, size_t want, size_t *got) {
    size_t done = 0;
    while (done < want) {
        TD_TRY(refill(source));
        if (!source->zip.avail_in && source->member_ended) break;
        if (!source->zip.avail_in)
            return td_fail(TD_ERR_FORMAT, 0, "sampler",
                           "%s: the gzip data is cut short after %llu bytes; fetch the file again",
                           source->name, (unsigned long long)source->taken);
        if (source->member_ended) TD_TRY(begin_member(source));
        uInt room = want - done < (1u << 30) ? (uInt)(want - done) : 1u << 30;
        source->zip.next_out = out + done;
        source->zip.avail_out = room;
        TD_TRY(check_inflated(source, inflate(&source->zip, Z_NO_FLUSH)));
        done += room - source->zip.avail_out;
    }
    *got = done;
    return TD_OK;
}

td_status sampler_source_read(sampler_source *source, uint8_t *out, size_t want, size_t *got) {
    return source->zipped ? read_zipped(source, out, want, got) : read_plain(source, out, want, got);
}

void sampler_source_close(sampler_source *source) {
    if (source->zipped) inflateEnd(&source->zip);
    source->zipped = false;
}
