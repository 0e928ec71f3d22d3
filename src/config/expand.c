/* config/expand.c - ${NAME} in values, where the file asks for it with expandEnvironment: true
 *
 * Only values are expanded, after the file was parsed: what the environment holds cannot add keys or
 * services. A variable that is not set is a fault, never an empty value. $${NAME} stands for ${NAME}.
 */
#include <stdlib.h>

#include "config/internal.h"

#define VARIABLE_BYTES_MAX 64

/* The value of the variable that stands between the braces at `name`. */
static const char *value_of(struct yaml_reading *y, const struct yaml_node *n, struct span name)
{
    char text[VARIABLE_BYTES_MAX + 1];
    const char *value = text_copy(text, sizeof(text), name) && *text ? getenv(text) : NULL;

    if (!value)
        problem_at(y->c, n->place,
                   "the environment variable \"%.*s\" is not set: set it, or write $${ for a plain ${",
                   (int)MIN(name.len, (size_t)VARIABLE_BYTES_MAX), name.len ? (const char *)name.data : "");
    return value;
}

/* One piece of the text from *at on: text, an escaped dollar or a variable. */
static bool expand_piece(struct yaml_reading *y, const struct yaml_node *n, struct span text, size_t *at,
                         struct buf *out)
{
    struct span rest = span_slice(text, *at, text.len);
    const uint8_t *dollar = memmem(rest.data, rest.len, "${", 2), *end;
    const char *value;
    size_t before;

    if (!dollar) {
        *at = text.len;
        return buf_append(out, rest) == 0;
    }
    before = (size_t)(dollar - rest.data);
    if (before && dollar[-1] == '$') {
        *at += before + 2;
        return buf_append(out, span_make(rest.data, before - 1)) == 0 && buf_append_str(out, "${") == 0;
    }
    end = memchr(dollar, '}', rest.len - before);
    if (!end) {
        problem_at(y->c, n->place, "${ without }: write ${NAME}, or $${ for a plain ${");
        return false;
    }
    value = value_of(y, n, span_make(dollar + 2, (size_t)(end - dollar) - 2));
    *at += (size_t)(end - rest.data) + 1;
    return value && buf_append(out, span_make(rest.data, before)) == 0 && buf_append_str(out, value) == 0;
}

bool expand(struct yaml_reading *y, const struct yaml_node *n, struct span *out)
{
    struct buf text;
    size_t at = 0;
    bool ok = true;

    *out = n->text;
    if (!y->c->expand_environment || !n->text.len || !memmem(n->text.data, n->text.len, "${", 2))
        return true;
    buf_init(&text, CONFIG_VALUE_BYTES_MAX);
    while (ok && at < n->text.len)
        ok = expand_piece(y, n, n->text, &at, &text);
    if (ok)
        *out = arena_copy(y->arena, buf_span(&text));
    buf_deinit(&text);
    return ok;
}
