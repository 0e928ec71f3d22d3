/* cli/status.h - what `manytails status` shows, from the JSON that the process gives
 *
 * A pure function of the answer, the time and the width of the terminal. Sentences are those of NODE_SAYINGS.
 */
#ifndef MANYTAILS_CLI_STATUS_H
#define MANYTAILS_CLI_STATUS_H

#include <stdio.h>

#include "base/base.h"

#define STATUS_WIDE 100 /* columns from which a service is one row of a table */

struct status_view {
    const char *name; /* one service, in detail; NULL: all of them */
    size_t width;     /* of the terminal */
    int64_t now;      /* wall clock: a time of today is shown without its date */
};

/* 0; 1: there is no service of that name; 2: the answer makes no sense. */
NODISCARD int status_print(FILE *out, struct span answer, const struct status_view *view);

#endif
