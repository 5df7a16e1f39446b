/* The one collective of a world of one. */
#ifndef TANDEM_DIST_SELF_COLLECTIVES_H
#define TANDEM_DIST_SELF_COLLECTIVES_H

#include "dist/backend.h"

/* Sum, average and broadcast over one rank leave its data as it is. */
td_status td_self_post(td_group *group, td_work *work);

#endif
