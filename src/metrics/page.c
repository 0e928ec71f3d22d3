/* metrics/page.c - the text format of Prometheus, version 0.0.4 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "metrics/metrics.h"

#define FAMILIES_MAX 512

struct metrics_section {
    const struct metrics_family *family;
    struct buf samples;
};

struct metrics_page {
    struct metrics_section sections[FAMILIES_MAX];
    size_t count, last;
    size_t bytes; /* of all samples */
    bool failed;
};

int metrics_page_new(struct metrics_page **out)
{
    *out = calloc(1, sizeof(**out));
    return *out ? 0 : -ENOMEM;
}

void metrics_page_free(struct metrics_page *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->count; i++)
        buf_deinit(&p->sections[i].samples);
    free(p);
}

/* Families come in the same order for every node: the one after the last is nearly always the right one. */
static struct metrics_section *section_of(struct metrics_page *p, const struct metrics_family *f)
{
    for (size_t i = 0; i < p->count; i++) {
        size_t at = (p->last + i) % p->count;

        if (p->sections[at].family == f) {
            p->last = at;
            return &p->sections[at];
        }
    }
    must(p->count < FAMILIES_MAX);
    p->last = p->count++;
    p->sections[p->last].family = f;
    buf_init(&p->sections[p->last].samples, METRICS_BYTES_MAX);
    return &p->sections[p->last];
}

static void put(struct metrics_page *p, struct metrics_section *s, struct span text)
{
    if (p->failed || p->bytes + text.len > METRICS_BYTES_MAX || buf_append(&s->samples, text))
        p->failed = true;
    else
        p->bytes += text.len;
}

static void put_text(struct metrics_page *p, struct metrics_section *s, const char *text)
{
    put(p, s, span_from_str(text));
}

/* A label's value: backslash, quote and newline are escaped, nothing else. */
static void put_label_value(struct metrics_page *p, struct metrics_section *s, const char *value)
{
    size_t plain;

    for (; *value; value += plain) {
        plain = strcspn(value, "\\\"\n");
        put(p, s, span_make(value, plain));
        if (!value[plain])
            return;
        put_text(p, s, value[plain] == '\n' ? "\\n" : value[plain] == '"' ? "\\\"" : "\\\\");
        plain++;
    }
}

static void put_labels(struct metrics_page *p, struct metrics_section *s, const char *const *labels)
{
    for (size_t i = 0; labels && labels[i]; i += 2) {
        put_text(p, s, i ? "," : "{");
        put_text(p, s, labels[i]);
        put_text(p, s, "=\"");
        put_label_value(p, s, labels[i + 1]);
        put_text(p, s, "\"");
    }
    put_text(p, s, labels && labels[0] ? "} " : " ");
}

static void put_sample(struct metrics_page *p, const struct metrics_family *f, const char *suffix,
                       const char *const *labels, const char *value)
{
    struct metrics_section *s = section_of(p, f);

    put_text(p, s, f->name);
    put_text(p, s, suffix);
    put_labels(p, s, labels);
    put_text(p, s, value);
    put_text(p, s, "\n");
}

void metrics_put(struct metrics_page *p, const struct metrics_family *f, const char *suffix,
                 const char *const *labels, double value)
{
    char text[32];

    snprintf(text, sizeof(text), "%.9g", value);
    put_sample(p, f, suffix, labels, text);
}

void metrics_put_u64(struct metrics_page *p, const struct metrics_family *f, const char *const *labels,
                     uint64_t value)
{
    char text[24];

    snprintf(text, sizeof(text), "%" PRIu64, value);
    put_sample(p, f, "", labels, text);
}

/* ---- several into one --------------------------------------------------------------- */

void metrics_page_add(struct metrics_page *to, const struct metrics_page *from)
{
    to->failed |= from->failed;
    for (size_t i = 0; i < from->count; i++)
        put(to, section_of(to, from->sections[i].family), buf_span(&from->sections[i].samples));
}

static const char *type_text(enum metrics_type type)
{
    switch (type) {
    case METRICS_COUNTER:
        return "counter";
    case METRICS_GAUGE:
        return "gauge";
    case METRICS_SUMMARY:
        return "summary";
    case METRICS_HISTOGRAM:
        return "histogram";
    }
    return "untyped";
}

int metrics_page_write(const struct metrics_page *p, struct buf *out)
{
    int r = p->failed ? -ENOBUFS : 0;

    for (size_t i = 0; i < p->count && !r; i++) {
        const struct metrics_section *s = &p->sections[i];

        if (!s->samples.len)
            continue;
        r = buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", s->family->name, s->family->help, s->family->name,
                       type_text(s->family->type));
        if (!r)
            r = buf_append(out, buf_span(&s->samples));
    }
    return r;
}
