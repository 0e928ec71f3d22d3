/* base/log.h - one line per event, to standard error (part of base.h)
 *
 * Lines look like `2026-11-24T16:20:01.123Z info web: control: registered as web.lab.test`.
 * Secrets have no printer and never get here. Lines that a peer can cause at will are
 * rate limited per call site.
 */
#ifndef MANYTAILS_BASE_LOG_H
#define MANYTAILS_BASE_LOG_H

#include "base/base.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Process wide, set once before threads start; default LOG_INFO. */
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);

/* Standard error may be a pipe or a terminal that nobody reads. After this call, before threads start,
 * nothing here waits for a reader: a line that there is no room for is dropped and counted, and the next one
 * that gets through says how many were. */
void log_never_wait(void);
/* Whole lines as they are, newlines included; up to LOG_TOGETHER_BYTES stay together. 0; -EAGAIN: no room
 * now; other -errno: nobody will ever read it. */
#define LOG_TOGETHER_BYTES 4096
NODISCARD int log_write(struct span lines);
/* What every line begins with: time, level, who. The length; cut to size. */
size_t log_line_head(char *out, size_t size, enum log_level level, const char *who);

/* `who` names the node or part the line is about (NULL: the process). */
void log_line(enum log_level level, const char *who, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A text that stays below the last line of a terminal: lines are written above it. At most LOG_FOOTER_BYTES,
 * one row, no control bytes; NULL or "": none. Any thread; the caller knows that standard error is a
 * terminal. */
#define LOG_FOOTER_BYTES 512
void log_set_footer(const char *text);

#define log_error(who, ...) log_line(LOG_ERROR, who, __VA_ARGS__)
#define log_warn(who, ...) log_line(LOG_WARN, who, __VA_ARGS__)
#define log_info(who, ...) log_line(LOG_INFO, who, __VA_ARGS__)
#define log_debug(who, ...)                        \
    do {                                           \
        if (log_enabled(LOG_DEBUG))                \
            log_line(LOG_DEBUG, who, __VA_ARGS__); \
    } while (0)

/* At most `burst` lines at once and one more a second; what was held back is counted in the next line. */
struct log_limit {
    int64_t next_ns;
    uint32_t tokens, suppressed;
};
#define LOG_LIMIT_BURST 5
bool log_limit_pass(struct log_limit *limit, time_ns now, uint32_t *suppressed);

#endif
