#include "base/base.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048
#define CLEAR_ROW "\r\x1b[K" /* ECMA-48: erase in line */

static _Atomic int threshold = LOG_INFO;

static pthread_mutex_t footer_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic bool footer_shown;
static char footer[LOG_FOOTER_BYTES]; /* under the lock */

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&threshold, (int)level, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&threshold, memory_order_relaxed);
}

static size_t line_head(char *line, size_t size, enum log_level level, const char *who)
{
    static const char *const names[] = { "error", "warn", "info", "debug" };
    struct timespec now;
    struct tm utc;
    size_t n;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    n = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    n += (size_t)snprintf(line + n, size - n, ".%03ldZ %s %s%s", now.tv_nsec / 1000000, names[level],
                          who ? who : "", who ? ": " : "");
    return MIN(n, size - 1);
}

/* A log line is text on somebody's terminal: bytes from outside must not move its cursor. */
static void defuse(char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
            text[i] = '?';
}

/* One write, so that lines of several threads do not mix. */
static void put(const char *text, size_t len)
{
    if (write(STDERR_FILENO, text, len) < 0)
        return; /* nowhere left to say it */
}

/* The line above the footer. */
static void put_above(const char *line, size_t len)
{
    char text[sizeof(CLEAR_ROW) + LINE_BYTES_MAX + LOG_FOOTER_BYTES];
    int n;

    pthread_mutex_lock(&footer_lock);
    n = snprintf(text, sizeof(text), "%s%.*s%s", footer_shown ? CLEAR_ROW : "", (int)len, line, footer);
    put(text, (size_t)n);
    pthread_mutex_unlock(&footer_lock);
}

void log_set_footer(const char *text)
{
    char row[sizeof(CLEAR_ROW) + LOG_FOOTER_BYTES];
    int n;

    pthread_mutex_lock(&footer_lock);
    if (strncmp(footer, text ? text : "", sizeof(footer) - 1) != 0) {
        snprintf(footer, sizeof(footer), "%s", text ? text : "");
        n = snprintf(row, sizeof(row), CLEAR_ROW "%s", footer);
        put(row, (size_t)n);
        footer_shown = *footer;
    }
    pthread_mutex_unlock(&footer_lock);
}

void log_line(enum log_level level, const char *who, const char *fmt, ...)
{
    char line[LINE_BYTES_MAX];
    va_list args;
    size_t n;
    int text;

    if (!log_enabled(level))
        return;
    n = line_head(line, sizeof(line) - 1, level, who);
    va_start(args, fmt);
    text = vsnprintf(line + n, sizeof(line) - 1 - n, fmt, args);
    va_end(args);
    if (text > 0)
        n += MIN((size_t)text, sizeof(line) - 2 - n);
    defuse(line, n);
    line[n++] = '\n';
    if (footer_shown)
        put_above(line, n);
    else
        put(line, n);
}

bool log_limit_pass(struct log_limit *limit, time_ns now, uint32_t *suppressed)
{
    if (now >= limit->next_ns) {
        int64_t gained = limit->next_ns ? 1 + (now - limit->next_ns) / SEC : LOG_LIMIT_BURST;

        limit->tokens = (uint32_t)MIN((int64_t)LOG_LIMIT_BURST, (int64_t)limit->tokens + gained);
        limit->next_ns = now + SEC;
    }
    if (!limit->tokens) {
        limit->suppressed++;
        return false;
    }
    limit->tokens--;
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    return true;
}
