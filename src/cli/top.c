/* cli/top.c - the table in a terminal: asks the process every two seconds, only while it is looked at */
#include "cli/top.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "daemon/daemon.h"

#define REFRESH_MS 2000
#define COLUMNS_DEFAULT 80
#define SCREEN_ENTER "\033[?1049h\033[?25l" /* the other screen, no cursor */
#define SCREEN_LEAVE "\033[?25h\033[?1049l"
#define SCREEN_HOME "\033[H"
#define LINE_REST "\033[K"
#define SCREEN_REST "\033[J"
#define KEYS "q quits; order by c CPU, m memory, r requests, i in, o out, n name"

struct top_options {
    bool once;
    enum top_order order;
    const char *socket;
};

/* Set by signals; there is one terminal per process. */
static volatile sig_atomic_t ended;

static void on_end(int signal)
{
    (void)signal;
    ended = 1;
}

static void on_resize(int signal)
{
    (void)signal; /* it is enough that poll returns */
}

static time_ns now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (time_ns)t.tv_sec * SEC + t.tv_nsec;
}

/* 0 or -1, said on standard error. */
static int take(struct top_sample *out, const char *socket)
{
    struct buf answer;
    int r;

    *out = (struct top_sample) { 0 };
    buf_init(&answer, DAEMON_STATUS_BYTES_MAX);
    r = cli_ask(socket, "status", &answer);
    if (!r) {
        r = top_sample_read(out, buf_span(&answer), now_ns());
        if (r)
            fprintf(stderr, "%s: the answer makes no sense: is it another version that runs?\n",
                    cli_program());
    }
    buf_deinit(&answer);
    return r ? -1 : 0;
}

static int print_once(const struct top_options *o)
{
    struct top_sample s;
    struct buf text;
    int r = take(&s, o->socket);

    buf_init(&text, DAEMON_STATUS_BYTES_MAX);
    if (!r) {
        const char *columns = getenv("COLUMNS");

        top_sample_rates(&s, NULL);
        top_sample_sort(&s, o->order);
        r = top_write(&text, &s, true, columns && atoi(columns) > 0 ? (size_t)atoi(columns) : 120, 0);
    }
    if (!r)
        fwrite(buf_span(&text).data, 1, text.len, stdout);
    buf_deinit(&text);
    top_sample_free(&s);
    return r ? 1 : 0;
}

/* ---- the terminal -------------------------------------------------------------------------- */

/* Lines end by erasing what an older, longer one left there. */
static void draw(const struct top_sample *s, bool since_start)
{
    struct winsize size = { .ws_col = COLUMNS_DEFAULT, .ws_row = 24 };
    struct buf text;
    struct span rest;

    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    buf_init(&text, 1 << 20);
    if (top_write(&text, s, since_start, MAX(size.ws_col, 20), MAX(size.ws_row, 4) - 1u))
        buf_clear(&text);
    fputs(SCREEN_HOME, stdout);
    for (rest = buf_span(&text); rest.len;) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.data) : rest.len;

        printf("%.*s" LINE_REST "\n", (int)len, (const char *)rest.data);
        rest = span_slice(rest, len + 1, rest.len);
    }
    printf("%.*s" SCREEN_REST, (int)MAX(size.ws_col, 20), KEYS); /* a row that wraps scrolls the head away */
    fflush(stdout);
    buf_deinit(&text);
}

/* True: the user, a signal or the end of the terminal says so. Returns early when the size changed, or the
 * order. */
static bool wait_key(int milliseconds, enum top_order *order, bool *redraw)
{
    struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
    int r = poll(&in, 1, milliseconds);
    char key;

    *redraw = r < 0 && errno == EINTR;
    if (ended || (r > 0 && !(in.revents & POLLIN)))
        return true;
    if (r <= 0)
        return false;
    if (read(STDIN_FILENO, &key, 1) != 1 || key == 'q' || key == 'Q' || key == 4)
        return true;
    if (top_order_of_key(key) != TOP_ORDER_COUNT) {
        *order = top_order_of_key(key);
        *redraw = true;
    }
    return false;
}

static int watch(const struct top_options *o)
{
    struct top_sample before = { 0 }, s;
    enum top_order order = o->order;
    bool redraw = false, first = true;

    if (take(&s, o->socket))
        return 1;
    top_sample_rates(&s, NULL);
    fputs(SCREEN_ENTER, stdout);
    for (;;) {
        top_sample_sort(&s, order);
        draw(&s, first);
        if (wait_key(REFRESH_MS, &order, &redraw))
            break;
        if (redraw)
            continue;
        top_sample_free(&before);
        before = s;
        if (take(&s, o->socket)) {
            top_sample_free(&before);
            fputs(SCREEN_LEAVE, stdout);
            return 1; /* the reason stands on the normal screen's error output */
        }
        top_sample_rates(&s, &before);
        first = false;
    }
    fputs(SCREEN_LEAVE, stdout);
    top_sample_free(&before);
    top_sample_free(&s);
    return 0;
}

static int in_terminal(const struct top_options *o)
{
    struct sigaction end = { .sa_handler = on_end }, resize = { .sa_handler = on_resize };
    struct termios saved, raw;
    int status;

    if (tcgetattr(STDIN_FILENO, &saved))
        return print_once(o);
    sigaction(SIGINT, &end, NULL);
    sigaction(SIGTERM, &end, NULL);
    sigaction(SIGHUP, &end, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    raw = saved;
    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    status = watch(o);
    fflush(stdout);
    tcsetattr(STDIN_FILENO, TCSANOW, &saved);
    return status;
}

int cli_top(int argc, char **argv)
{
    struct cli_arguments a = { .argc = argc, .argv = argv };
    struct top_options o = { 0 };
    enum cli_argument found;

    while ((found = cli_argument_next(&a)) == CLI_ARGUMENT_FLAG) {
        if (cli_argument_is(&a, "--once"))
            o.once = true;
        else if (cli_argument_is(&a, "--socket"))
            o.socket = a.value;
        else if ((o.order = top_order_find(a.value)) == TOP_ORDER_COUNT)
            found = cli_wrong_value(&a, "write cpu, memory, requests, in, out or name");
        if (found == CLI_ARGUMENT_WRONG)
            break;
    }
    if (found == CLI_ARGUMENT_WRONG)
        return 2;
    if (o.once || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
        return print_once(&o);
    return in_terminal(&o);
}
