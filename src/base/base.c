#include "base/base.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void must_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: must(%s) failed: this is a fault of manytails, please report it\n", file, line,
            condition);
    abort();
}

int err_trace_at(int r, const char *file, int line)
{
    if (r < 0 && log_enabled(LOG_DEBUG))
        log_line(LOG_DEBUG, NULL, "%s:%d: %s", file, line, err_text(r));
    return r;
}

const char *err_text(int r)
{
    const char *text = strerrordesc_np(r < 0 ? -r : r);

    return text ? text : "unknown error";
}
