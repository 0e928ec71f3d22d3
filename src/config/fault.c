/* config/fault.c - what is wrong, collected with its place and told in the order of the file */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/internal.h"

struct config_fault {
    struct config_place place;
    unsigned index; /* in the order of finding */
    char *text;
};

/* Control characters of a file must not reach a terminal. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

static void add(struct config *c, struct config_place at, const char *fmt, va_list args)
{
    struct config_fault *faults;
    char *text;

    if (c->problem_count++ >= CONFIG_PROBLEMS_MAX)
        return;
    faults = realloc(c->faults, (c->fault_count + 1) * sizeof(*faults));
    if (!faults)
        return;
    c->faults = faults;
    if (vasprintf(&text, fmt, args) < 0)
        return;
    make_printable(text);
    faults[c->fault_count] = (struct config_fault) { at, (unsigned)c->fault_count, text };
    c->fault_count++;
}

void problem_at(struct config *c, struct config_place at, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(c, at, fmt, args);
    va_end(args);
}

void problem(struct config *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    add(c, CONFIG_NO_PLACE, fmt, args);
    va_end(args);
}

const char *place_text(const struct config *c, struct config_place at, char out[CONFIG_PLACE_BYTES])
{
    out[0] = 0;
    if (at.line && at.file < c->file_count)
        snprintf(out, CONFIG_PLACE_BYTES, "%.400s:%u:%u: ", c->files[at.file], at.line, at.column);
    return out;
}

/* A line, if there is room: the first ones are the ones to read. */
static void add_line(struct buf *to, const char *place, const char *text)
{
    if (buf_printf(to, "%s%s\n", place, text))
        return;
}

static void notice_in(struct config *c, struct config_place at, const char *fmt, va_list args)
{
    char place[CONFIG_PLACE_BYTES], *text;

    if (vasprintf(&text, fmt, args) < 0)
        return;
    make_printable(text);
    add_line(&c->notices, place_text(c, at, place), text);
    free(text);
}

void notice(struct config *c, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    notice_in(c, CONFIG_NO_PLACE, fmt, args);
    va_end(args);
}

void doubt_at(struct config *c, struct config_place at, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    if (c->mode & CONFIG_STRICT)
        add(c, at, fmt, args);
    else
        notice_in(c, at, fmt, args);
    va_end(args);
}

static int by_place(const void *a, const void *b)
{
    const struct config_fault *x = a, *y = b;

    if (x->place.file != y->place.file)
        return x->place.file < y->place.file ? -1 : 1;
    if (x->place.line != y->place.line)
        return x->place.line < y->place.line ? -1 : 1;
    if (x->place.column != y->place.column)
        return x->place.column < y->place.column ? -1 : 1;
    return x->index < y->index ? -1 : 1;
}

/* The text without the service that it was found for. */
static const char *core(const char *text)
{
    const char *end = strncmp(text, "service ", 8) == 0 ? strstr(text, ": ") : NULL;

    return end ? end : text;
}

static bool same(const struct config_fault *a, const struct config_fault *b)
{
    return a->place.file == b->place.file && a->place.line == b->place.line &&
           a->place.column == b->place.column && strcmp(core(a->text), core(b->text)) == 0;
}

void faults_tell(struct config *c)
{
    char place[CONFIG_PLACE_BYTES];

    if (c->fault_count)
        qsort(c->faults, c->fault_count, sizeof(*c->faults), by_place);
    for (size_t i = 0; i < c->fault_count; i++) {
        /* What stands once in the file and is used by many (defaults, aliases) is said once. */
        if (i && c->faults[i].place.line && same(&c->faults[i - 1], &c->faults[i]))
            continue;
        add_line(&c->problems, place_text(c, c->faults[i].place, place), c->faults[i].text);
    }
    if (c->problem_count > CONFIG_PROBLEMS_MAX)
        add_line(&c->problems, "", "and more: mend these first");
    faults_free(c);
}

void faults_free(struct config *c)
{
    for (size_t i = 0; i < c->fault_count; i++)
        free(c->faults[i].text);
    free(c->faults);
    c->faults = NULL;
    c->fault_count = 0;
}
