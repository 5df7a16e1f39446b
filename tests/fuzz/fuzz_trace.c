/* A record of a flight recorder, and what is made of it. */
#include "tools/trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    trace_file file = {0};
    trace_job job;
    bool wrong;
    if (trace_parse((const char *)data, size, "fuzz", &file) < 0) return 0;
    FILE *nowhere = fopen("/dev/null", "w");
    if (trace_merge(&file, 1, &job) >= 0) {
        trace_report(&job, size & 1, nowhere, &wrong);
        trace_write_chrome(&job, "/dev/null");
        trace_job_clear(&job);
    }
    fclose(nowhere);
    trace_clear(&file);
    return 0;
}
