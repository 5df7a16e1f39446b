/* Says who it is in which job, as `launcher rank/world local/local world`, or why it cannot know. */
#include "dist/job.h"

#include <stdio.h>

int main(void) {
    td_job *job;
    if (td_job_open(&job) < 0) {
        fprintf(stderr, "%s\n", td_error_last()->text);
        return 1;
    }
    printf("%s %d/%d %d/%d\n", td_launcher_name(td_job_launcher(job)), td_job_rank(job),
           td_job_world_size(job), td_job_local_rank(job), td_job_local_world_size(job));
    td_job_close(&job);
    return 0;
}
