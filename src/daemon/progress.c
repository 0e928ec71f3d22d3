/* daemon/progress.c - while services come up: how many are, who waits and why, in one line
 *
 * On a terminal the line stays below the log and changes with what shards say; elsewhere it is logged once,
 * when everything should have settled. When all are up that is logged, the line is gone, and nothing happens
 * here any more until a reload starts services.
 */
#include "daemon/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NAMES_MAX 3    /* of services that wait for the same; then only how many */
#define REASONS_MAX 16 /* different ones in one line */
#define REASON_BYTES 120
#define WIDTH_DEFAULT 80

static bool is_up(const struct daemon_service *s)
{
    return s->heard && s->phase == SERVICE_UP &&
           (s->state == NODE_RUNNING || s->state == NODE_SERVING_STORED);
}

/* Up to where a person would stop reading: "control server https://x unreachable: connection refused". */
static void first_part(const char *sentence, char out[REASON_BYTES])
{
    snprintf(out, REASON_BYTES, "%.*s", (int)strcspn(sentence, ";"), sentence);
}

static void reason_of(const struct daemon_service *s, char out[REASON_BYTES])
{
    const char *sentence = s->sentence ? s->sentence : "";

    switch (s->state) {
    case NODE_NEEDS_LOGIN:
        snprintf(out, REASON_BYTES, "login: %s", s->auth_url ? s->auth_url : "the URL follows");
        return;
    case NODE_WAITING_APPROVAL:
        strcpy(out, "approval");
        return;
    case NODE_EXPIRED:
        strcpy(out, "key expired");
        return;
    case NODE_FAILED:
        first_part(sentence, out);
        return;
    case NODE_STARTING: /* a failed attempt begins with whose fault it is, the others with what is being done
                         */
        if (text_starts_with(span_from_str(sentence), "control server") ||
            text_starts_with(span_from_str(sentence), "no auth key from") ||
            text_starts_with(span_from_str(sentence), "waiting until"))
            first_part(sentence, out);
        else
            strcpy(out, "starting");
        return;
    case NODE_STOPPING:
    case NODE_STOPPED:
        strcpy(out, "stopping");
        return;
    case NODE_RUNNING:
    case NODE_SERVING_STORED:
        break;
    }
    out[0] = 0;
}

/* ---- the line ------------------------------------------------------------------------------- */

struct reason {
    char text[REASON_BYTES];
    const char *names[NAMES_MAX];
    size_t count;
};

struct waiting {
    struct reason reasons[REASONS_MAX];
    size_t reason_count, all, up, others; /* others: whose reason found no room */
};

static void add(struct waiting *w, const struct daemon_service *s)
{
    char text[REASON_BYTES];
    size_t i = 0;

    reason_of(s, text);
    while (i < w->reason_count && strcmp(w->reasons[i].text, text) != 0)
        i++;
    if (i == REASONS_MAX) {
        w->others++;
        return;
    }
    if (i == w->reason_count)
        strcpy(w->reasons[w->reason_count++].text, text);
    if (w->reasons[i].count < NAMES_MAX)
        w->reasons[i].names[w->reasons[i].count] = s->name;
    w->reasons[i].count++;
}

static void collect(const struct daemon *d, struct waiting *out)
{
    *out = (struct waiting) { .all = d->service_count };
    LIST_EACH (s, &d->services, struct daemon_service, link) {
        if (is_up(s))
            out->up++;
        else
            add(out, s);
    }
}

static void put_reason(struct buf *out, const struct reason *r, const char *before)
{
    int failed = buf_append_str(out, before);

    if (r->count > NAMES_MAX)
        failed |= buf_printf(out, "%zu services", r->count);
    for (size_t i = 0; r->count <= NAMES_MAX && i < r->count; i++)
        failed |= buf_printf(out, "%s%s", i ? ", " : "", r->names[i]);
    failed |= buf_printf(out, " (%s)", r->text);
    if (failed)
        return; /* what fits is what a line has */
}

/* Cuts at `width` columns; names and reasons may hold more than ASCII, so never inside a character. */
static void cut(struct buf *text, size_t width, char *out, size_t size)
{
    struct span s = buf_span(text);
    size_t columns = 0, len = 0, fits = 0;

    for (; len < s.len && len < size - 4; len++) {
        if ((s.data[len] & 0xc0) == 0x80)
            continue;
        if (columns + 3 <= width)
            fits = len;
        if (++columns > width)
            break;
    }
    if (len == s.len)
        snprintf(out, size, "%.*s", (int)len, (const char *)s.data);
    else
        snprintf(out, size, "%.*s...", (int)fits, (const char *)s.data);
}

bool progress_text(const struct daemon *d, size_t width, char *out, size_t size)
{
    struct waiting w;
    struct buf text;

    collect(d, &w);
    out[0] = 0;
    if (w.up == w.all)
        return false;
    buf_init(&text, 8192);
    if (buf_printf(&text, "%zu of %zu up; waiting: ", w.up, w.all) == 0)
        for (size_t i = 0; i < w.reason_count; i++)
            put_reason(&text, &w.reasons[i], i ? ", " : "");
    if (w.others && buf_printf(&text, ", and %zu more", w.others))
        w.others = 0; /* no room to say it */
    cut(&text, width, out, size);
    buf_deinit(&text);
    return true;
}

/* ---- when it is shown ------------------------------------------------------------------------- */

static size_t terminal_width(void)
{
    struct winsize size;

    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20)
        return size.ws_col - 1u;
    return WIDTH_DEFAULT - 1;
}

static bool on_terminal(void)
{
    const char *term = getenv("TERM");

    return isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

static void finish(struct daemon *d, time_ns now)
{
    d->bringing_up = false;
    log_set_footer(NULL);
    log_info(NULL, "all %zu services are up, %.1f s after they were told to start", d->service_count,
             (double)(now - d->bringing_up_since) / (double)SEC);
}

static void on_task(struct ev_task *task, time_ns now)
{
    struct daemon *d = CONTAINER_OF(task, struct daemon, progress);
    char line[LOG_FOOTER_BYTES];
    bool waiting;

    if (!d->bringing_up || d->stopping) {
        log_set_footer(NULL);
        return;
    }
    waiting = progress_text(d, d->terminal ? terminal_width() : sizeof(line) - 1, line, sizeof(line));
    if (!waiting)
        finish(d, now);
    else if (d->terminal)
        log_set_footer(line);
}

void progress_init(struct daemon *d)
{
    d->terminal = on_terminal();
    ev_task_init(&d->progress, d->loop, on_task);
}

void progress_begin(struct daemon *d)
{
    char line[LOG_FOOTER_BYTES];

    if (!d->bringing_up && !progress_text(d, sizeof(line) - 1, line, sizeof(line)))
        return; /* nobody has to come up */
    if (!d->bringing_up)
        d->bringing_up_since = ev_now(d->loop);
    d->bringing_up = true;
    ev_task_post(&d->progress);
}

void progress_changed(struct daemon *d)
{
    if (d->bringing_up)
        ev_task_post(&d->progress);
}

void progress_settled(struct daemon *d)
{
    char line[LOG_FOOTER_BYTES];

    if (d->bringing_up && !d->terminal && progress_text(d, sizeof(line) - 1, line, sizeof(line)))
        log_info(NULL, "%s", line);
}

void progress_end(struct daemon *d)
{
    ev_task_cancel(&d->progress);
    log_set_footer(NULL);
}
