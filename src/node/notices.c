#include "node/internal.h"

#include <stdlib.h>

static void free_notice(struct notice *m)
{
    free(m->id);
    free(m->severity);
    free(m->title);
    free(m->text);
}

static void drop(struct notices *n, unsigned at)
{
    free_notice(&n->items[at]);
    n->items[at] = n->items[--n->count]; /* order means nothing */
}

void notices_deinit(struct notices *n)
{
    while (n->count)
        drop(n, n->count - 1);
    free(n->items);
    n->items = NULL;
}

/* One printable line, cut to what a person reads. */
static char *line_dup(struct span text)
{
    char *copy = text_dup(span_slice(text, 0, NOTICE_TEXT_BYTES));

    for (char *at = copy; at && *at; at++)
        if ((uint8_t)*at < ' ' || *at == 0x7f)
            *at = ' ';
    return copy;
}

static void add(struct notices *n, const char *name, const struct notice *made)
{
    n->items[n->count++] = *made;
    log_warn(name, "the control server says: %s%s%s", made->title ? made->title : "",
             made->title && made->text ? ": " : "", made->text ? made->text : "");
}

/* Without room or memory a notice is left out: it is for people, nothing depends on it. */
static bool room(struct notices *n)
{
    if (!n->items)
        n->items = calloc(NOTICES_MAX, sizeof(*n->items));
    return n->items && n->count < NOTICES_MAX;
}

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

/* Takes `made`. What is there already stays, and is not told to the log again. */
static void put(struct notices *n, const char *name, struct notice *made)
{
    unsigned at = 0;

    while (at < n->count &&
           !(same_text(n->items[at].id, made->id) && (made->id || same_text(n->items[at].text, made->text))))
        at++;
    if (at < n->count && same_text(n->items[at].title, made->title) &&
        same_text(n->items[at].text, made->text)) {
        free_notice(made);
        return;
    }
    if (at < n->count)
        drop(n, at);
    if ((made->title || made->text) && room(n))
        add(n, name, made);
    else
        free_notice(made);
}

/* ---- what comes ------------------------------------------------------------------------------ */

static void display(struct notices *n, const char *name, const struct tailcfg_display_message *m)
{
    struct notice made = { .id = line_dup(m->id) };

    if (!made.id)
        return;
    if (!m->removed) {
        made.severity = line_dup(m->severity);
        made.title = m->title.len ? line_dup(m->title) : NULL;
        made.text = m->text.len ? line_dup(m->text) : NULL;
    }
    made.impacts_connectivity = m->impacts_connectivity;
    put(n, name, &made);
}

static bool named(const struct tailcfg_map_response *r, const char *id)
{
    for (size_t i = 0; i < r->display_count; i++)
        if (span_equal_str(span_slice(r->display[i].id, 0, NOTICE_TEXT_BYTES), id))
            return true;
    return false;
}

static bool listed(const struct tailcfg_texts *lines, const char *text)
{
    for (size_t i = 0; i < lines->count; i++)
        if (span_equal_str(span_slice(lines->items[i], 0, NOTICE_TEXT_BYTES), text))
            return true;
    return false;
}

/* Drops what the response does not name any more. */
static void sweep(struct notices *n, const struct tailcfg_map_response *r, bool lines, bool messages)
{
    for (unsigned i = n->count; i-- > 0;)
        if (n->items[i].id ? messages && !named(r, n->items[i].id)
                           : lines && !listed(&r->health, n->items[i].text))
            drop(n, i);
}

void notices_apply(struct notices *n, const char *name, const struct tailcfg_map_response *r, bool first)
{
    sweep(n, r, r->has_health || first, r->display_cleared || first);
    for (size_t i = 0; r->has_health && i < r->health.count; i++) {
        struct notice made = { .text = line_dup(r->health.items[i]) };

        put(n, name, &made);
    }
    for (size_t i = 0; i < r->display_count; i++)
        display(n, name, &r->display[i]);
    if (!n->count)
        notices_deinit(n);
}

void notices_write(const struct notices *n, struct json_writer *w)
{
    json_array_begin(w, "notices");
    for (unsigned i = 0; i < n->count; i++) {
        const struct notice *m = &n->items[i];

        json_object_begin(w, NULL);
        if (m->severity && *m->severity)
            json_put_str(w, "severity", m->severity);
        if (m->title)
            json_put_str(w, "title", m->title);
        if (m->text)
            json_put_str(w, "text", m->text);
        if (m->impacts_connectivity)
            json_put_bool(w, "impactsConnectivity", true);
        json_object_end(w);
    }
    json_array_end(w);
}
