/* filter/test_cases.h - runs lines of test/vectors/filter_verdicts.h against the filter
 *
 *   R rules   L local prefixes   C address capability   O outbound packet, 1: sent   P inbound packet, 1:
 * accepted G source destination name=value;value|name=...
 */
#ifndef MANYTAILS_FILTER_TEST_CASES_H
#define MANYTAILS_FILTER_TEST_CASES_H

#include "filter/filter.h"

#include <stdio.h>
#include <stdlib.h>

struct filter_cases {
    struct filter_rules *rules;
    const struct filter_rules *chunk[1];
    struct filter filter;
    struct filter_local local;
    struct {
        struct ip ip;
        struct span cap;
    } caps[4];
    size_t cap_count;
    unsigned verdicts[FILTER_VERDICT_COUNT];
};

static inline bool case_has_cap(const void *peer, const struct ip *source, struct span cap)
{
    const struct filter_cases *t = peer;

    for (size_t i = 0; i < t->cap_count; i++)
        if (ip_equal(&t->caps[i].ip, source) && span_equal(t->caps[i].cap, cap))
            return true;
    return false;
}

static inline struct span case_word(struct span *line)
{
    size_t n = 0;
    struct span word;

    while (n < line->len && line->data[n] != ' ')
        n++;
    word = span_slice(*line, 0, n);
    *line = span_slice(*line, n + 1, line->len);
    return word;
}

static inline void case_rules(struct filter_cases *t, struct span json)
{
    filter_rules_free(t->rules);
    filter_local_deinit(&t->local);
    filter_local_init(&t->local, 42);
    t->cap_count = 0;
    must(filter_rules_compile(json, &t->rules) == 0);
    t->chunk[0] = t->rules;
    t->filter = (struct filter) { t->chunk, 1, filter_rules_ancient(t->rules) };
}

static inline void case_local(struct filter_cases *t, struct span line)
{
    struct ip_prefix prefixes[16];
    size_t n = 0;

    while (line.len)
        must(n < COUNT_OF(prefixes) && ip_prefix_parse(case_word(&line), &prefixes[n++]));
    must(filter_local_set(&t->local, prefixes, n) == 0);
}

static inline bool case_packet(struct filter_cases *t, struct span line, bool out)
{
    const struct filter_source from = { .has_cap = case_has_cap, .peer = t };
    struct span hex = case_word(&line);
    bool want = span_equal_str(line, "1");
    struct packet_info info;
    enum filter_verdict v;
    uint8_t bytes[256], *exact;

    must(hex.len / 2 <= sizeof(bytes) && hex_decode(hex, bytes, hex.len / 2));
    exact = malloc(hex.len / 2 + 1); /* the sanitizer sees a read behind it */
    memcpy(exact, bytes, hex.len / 2);
    packet_parse(span_make(exact, hex.len / 2), &info);
    v = out ? filter_outbound(&t->local, hex.len / 2, &info)
            : filter_inbound(&t->filter, &t->local, hex.len / 2, &info, &from);
    free(exact);
    t->verdicts[v]++;
    return filter_accepts(v) == want;
}

struct case_grants {
    struct span names[16];
    struct span values[64];
    size_t owner[64], name_count, value_count;
};

static inline void case_cap(void *ctx, struct span name, struct span values)
{
    struct case_grants *g = ctx;
    struct json_cursor c = json_cursor_of(values);
    struct span value;
    size_t i = 0;

    while (i < g->name_count && !span_equal(g->names[i], name))
        i++;
    must(i < COUNT_OF(g->names));
    if (i == g->name_count)
        g->names[g->name_count++] = name;
    while (values.len && json_cursor_next(&c, NULL, &value)) {
        must(g->value_count < COUNT_OF(g->values));
        g->owner[g->value_count] = i;
        g->values[g->value_count++] = value;
    }
}

static inline int case_compare(const void *a, const void *b)
{
    const struct span *x = a, *y = b;
    int r = memcmp(x->data, y->data, MIN(x->len, y->len));

    return r ? r : (x->len > y->len) - (x->len < y->len);
}

static inline bool case_grants(struct filter_cases *t, struct span line)
{
    struct case_grants g = { .name_count = 0 };
    struct ip src, dst;
    struct buf got;
    bool same;

    must(ip_parse(case_word(&line), &src) && ip_parse(case_word(&line), &dst));
    filter_caps(&t->filter, &src, &dst, case_cap, &g);
    buf_init(&got, 10000);
    struct span sorted[16];
    memcpy(sorted, g.names, sizeof(sorted));
    qsort(sorted, g.name_count, sizeof(*sorted), case_compare);
    for (size_t i = 0; i < g.name_count; i++) {
        struct span values[64];
        size_t n = 0;

        for (size_t k = 0; k < g.value_count; k++)
            if (span_equal(g.names[g.owner[k]], sorted[i]))
                values[n++] = g.values[k];
        qsort(values, n, sizeof(*values), case_compare);
        must(!buf_append_str(&got, i ? "|" : "") && !buf_append(&got, sorted[i]) &&
             !buf_append_str(&got, "="));
        for (size_t k = 0; k < n; k++)
            must(!buf_append_str(&got, k ? ";" : "") && !buf_append(&got, values[k]));
    }
    same = span_equal(buf_span(&got), line);
    if (!same)
        printf("grants: %.*s, not %.*s\n", (int)got.len, (const char *)buf_span(&got).data, (int)line.len,
               (const char *)line.data);
    buf_deinit(&got);
    return same;
}

/* False: the filter disagrees with the line. */
static inline bool filter_case(struct filter_cases *t, const char *text)
{
    struct span line = span_from_str(text), kind = case_word(&line);

    switch (*kind.data) {
    case 'R':
        case_rules(t, line);
        return true;
    case 'L':
        case_local(t, line);
        return true;
    case 'C':
        must(t->cap_count < COUNT_OF(t->caps) && ip_parse(case_word(&line), &t->caps[t->cap_count].ip));
        t->caps[t->cap_count++].cap = line;
        return true;
    case 'G':
        return case_grants(t, line);
    default:
        return case_packet(t, line, *kind.data == 'O');
    }
}

static inline void filter_cases_end(struct filter_cases *t)
{
    filter_rules_free(t->rules);
    filter_local_deinit(&t->local);
}

#endif
