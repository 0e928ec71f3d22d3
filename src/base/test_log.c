#include <fcntl.h>
#include <unistd.h>

#include "check.h"

/* What is written to standard error while `fn` runs. */
static size_t capture(void (*fn)(void), char *out, size_t size)
{
    int pipe_fds[2], before = dup(STDERR_FILENO);
    ssize_t n;

    assert_int_equal(pipe2(pipe_fds, O_NONBLOCK), 0);
    assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    fn();
    assert_true(dup2(before, STDERR_FILENO) >= 0);
    n = read(pipe_fds[0], out, size - 1);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    close(before);
    out[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

static void one_line(void)
{
    log_info("web", "hello %d\x1b[2J", 7);
}

static void a_line_is_text_and_ends(void **state)
{
    (void)state;
    char said[4096];
    size_t n = capture(one_line, said, sizeof(said));

    assert_non_null(strstr(said, "Z info web: hello 7?[2J"));
    assert_int_equal(said[n - 1], '\n');
}

static void nothing_to_clear(void)
{
    log_set_footer(NULL);
}

static void without_a_footer_no_control_byte_is_written(void **state)
{
    (void)state;
    char said[4096];

    assert_int_equal(capture(nothing_to_clear, said, sizeof(said)), 0);
    capture(one_line, said, sizeof(said));
    assert_null(strchr(said, '\r'));
}

static void footer_and_line(void)
{
    log_set_footer("1 of 2 up");
    log_set_footer("1 of 2 up"); /* stands there already */
    one_line();
    log_set_footer("");
    one_line();
}

/* Erased before the line, written again after it; and gone in the end. */
static void lines_go_above_the_footer(void **state)
{
    (void)state;
    char said[8192], *at, *second;

    capture(footer_and_line, said, sizeof(said));
    assert_memory_equal(said, "\r\x1b[K1 of 2 up\r\x1b[K", 17);
    at = strstr(said, "hello 7?[2J\n1 of 2 up\r\x1b[K");
    assert_non_null(at);
    second = strstr(at + 10, "hello 7");
    assert_non_null(second);
    assert_null(strstr(second, "1 of 2 up"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_text_and_ends),
        cmocka_unit_test(without_a_footer_no_control_byte_is_written),
        cmocka_unit_test(lines_go_above_the_footer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
