/* base/base.h - the ground floor: what every other module may use
 *
 * Spans and cursors over bytes, owned buffers, lists, tables, slabs, addresses,
 * text forms, time and the log. Nothing here does I/O except the log, and nothing
 * here knows what a node or a packet is.
 */
#ifndef MANYTAILS_BASE_BASE_H
#define MANYTAILS_BASE_BASE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define NODISCARD __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))
#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
#define BIT(n) (1u << (n))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* OWNED(f) struct x *p = NULL: calls f(&p) when p leaves scope. */
#define OWNED(fn) __attribute__((cleanup(fn)))

/* Our own nonsense: on in release builds too, ends the process with file and line.
 * Never for anything that a byte from outside can cause. */
#define must(condition)                                  \
    do {                                                 \
        if (__builtin_expect(!(condition), 0))           \
            must_failed(#condition, __FILE__, __LINE__); \
    } while (0)
_Noreturn void must_failed(const char *condition, const char *file, int line);

/* ---- time ---------------------------------------------------------------- */

/* Nanoseconds. Monotonic unless the name says wall. Machines are handed `now`. */
typedef int64_t time_ns;
#define TIME_NEVER INT64_MAX
#define NSEC ((time_ns)1)
#define USEC ((time_ns)1000)
#define MSEC ((time_ns)1000000)
#define SEC ((time_ns)1000000000)
#define MINUTE (60 * SEC)
#define HOUR (60 * MINUTE)

/* ---- errors ---------------------------------------------------------------
 *
 * 0 done; > 0 an outcome that the function documents; < 0 is -errno, passed up
 * unchanged through err_trace, which notes where it passed (debug log).
 */
#define err_trace(r) err_trace_at((r), __FILE__, __LINE__)
int err_trace_at(int r, const char *file, int line);
/* Text of an errno (positive or negative). Static storage. */
const char *err_text(int r);

#include "base/span.h"

#include "base/addr.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/crc32.h"
#include "base/json.h"
#include "base/list.h"
#include "base/log.h"
#include "base/slab.h"
#include "base/table.h"
#include "base/text.h"

#endif
