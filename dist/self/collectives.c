/* With one rank every collective is the identity. */
#include "dist/self/collectives.h"

#include "dist/internal.h"

td_status td_self_post(td_group *group, td_work *work) {
    (void)group;
    td_work_finish(work, TD_OK);
    return TD_OK;
}
