/* Log lines when nobody reads them. Standard error is a pipe here, so the test's own words wait until the
 * end. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

#define LINES 2000

static int saved, reader;

static void take_stderr(void)
{
    int ends[2];

    saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
    close(ends[1]);
    reader = ends[0];
    assert_true(fcntl(reader, F_SETFL, O_NONBLOCK) == 0);
    log_never_wait();
}

/* What was written so far; NUL at the end. */
static size_t drain(char *out, size_t size)
{
    size_t got = 0;
    ssize_t n;

    while ((n = read(reader, out + got, size - 1 - got)) > 0)
        got += (size_t)n;
    out[got] = '\0';
    return got;
}

static size_t lines_in(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* It would wait for ever otherwise: the pipe holds 64 KiB, and nobody reads. */
static void lines_that_nobody_reads_are_lost_and_counted(void **state)
{
    (void)state;
    static char text[1 << 17];
    size_t arrived;
    bool torn;
    int full;
    char *told;

    take_stderr();
    for (int i = 0; i < LINES; i++)
        log_info("test", "line %d of many that are long enough to fill what a pipe can hold", i);
    memset(text, 'x', LOG_TOGETHER_BYTES);
    full = log_write(span_make(text, LOG_TOGETHER_BYTES)); /* a short line may still fit */
    arrived = lines_in((drain(text, sizeof(text)), text));
    torn = text[strlen(text) - 1] != '\n';
    log_info("test", "there is room again");
    drain(text, sizeof(text));
    dup2(saved, STDERR_FILENO);
    told = strstr(text, " log lines were lost");
    assert_int_equal(full, -EAGAIN);
    assert_false(torn);
    assert_true(arrived > 100 && arrived < LINES);
    assert_non_null(told);
    while (told > text && told[-1] >= '0' && told[-1] <= '9')
        told--;
    assert_int_equal(strtoul(told, NULL, 10), LINES - arrived);
    assert_non_null(strstr(text, "test: there is room again\n"));
    assert_int_equal(lines_in(text), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(lines_that_nobody_reads_are_lost_and_counted) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
