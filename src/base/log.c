#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES_MAX 2048
#define CLEAR_ROW "\r\x1b[K" /* ECMA-48: erase in line */

static _Atomic int threshold = LOG_INFO;
static int out_fd = STDERR_FILENO; /* this and the next are written before threads start */
static bool ask_first;             /* whether there is room: the descriptor itself would wait */
static _Atomic uint64_t lost;

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

size_t log_line_head(char *line, size_t size, enum log_level level, const char *who)
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

/* The mode "do not wait" belongs to an open file, and that of standard error is shared with whoever started
 * us: a pipe or terminal is opened anew. A socket cannot be; it is asked for room first (a quarter of its
 * buffer or more, which is more than we write at once). A file never makes anybody wait. */
void log_never_wait(void)
{
    struct stat st;
    int fd;

    if (fstat(STDERR_FILENO, &st) < 0)
        return;
    ask_first = S_ISSOCK(st.st_mode);
    if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
        return;
    fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0)
        out_fd = fd;
    else
        ask_first = true;
}

/* One write: up to PIPE_BUF bytes go whole or not at all, so lines of several threads do not mix. */
static int put(const char *text, size_t len)
{
    struct pollfd ready = { .fd = out_fd, .events = POLLOUT };
    ssize_t n;

    if (ask_first && (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLOUT)))
        return -EAGAIN;
    n = write(out_fd, text, len);
    return n >= 0 ? 0 : errno == EINTR ? -EAGAIN : -errno;
}

/* The line above the footer. */
static int put_above(const char *line, size_t len)
{
    char text[sizeof(CLEAR_ROW) + LOG_TOGETHER_BYTES + LOG_FOOTER_BYTES];
    int n, r;

    pthread_mutex_lock(&footer_lock);
    n = snprintf(text, sizeof(text), "%s%.*s%s", footer_shown ? CLEAR_ROW : "", (int)len, line, footer);
    r = put(text, (size_t)n);
    pthread_mutex_unlock(&footer_lock);
    return r;
}

int log_write(struct span lines)
{
    return footer_shown ? put_above((const char *)lines.data, lines.len)
                        : put((const char *)lines.data, lines.len);
}

static void tell_lost(void)
{
    uint64_t count = atomic_exchange_explicit(&lost, 0, memory_order_relaxed);
    char line[200];
    size_t n;

    if (!count)
        return;
    n = log_line_head(line, sizeof(line) - 1, LOG_WARN, NULL);
    n += (size_t)snprintf(line + n, sizeof(line) - n,
                          "%llu log lines were lost: who reads the log is too slow\n",
                          (unsigned long long)count);
    if (log_write(span_make(line, n)))
        atomic_fetch_add_explicit(&lost, count, memory_order_relaxed);
}

void log_set_footer(const char *text)
{
    char row[sizeof(CLEAR_ROW) + LOG_FOOTER_BYTES];
    int n;

    pthread_mutex_lock(&footer_lock);
    if (strncmp(footer, text ? text : "", sizeof(footer) - 1) != 0) {
        snprintf(footer, sizeof(footer), "%s", text ? text : "");
        n = snprintf(row, sizeof(row), CLEAR_ROW "%s", footer);
        (void)put(row, (size_t)n);
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
    n = log_line_head(line, sizeof(line) - 1, level, who);
    va_start(args, fmt);
    text = vsnprintf(line + n, sizeof(line) - 1 - n, fmt, args);
    va_end(args);
    if (text > 0)
        n += MIN((size_t)text, sizeof(line) - 2 - n);
    defuse(line, n);
    line[n++] = '\n';
    if (atomic_load_explicit(&lost, memory_order_relaxed))
        tell_lost();
    if (log_write(span_make(line, n)))
        atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
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
