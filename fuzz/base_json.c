/* fuzz/base_json.c - cursor and tree agree about what is JSON, and what was written reads back */
#include "base/base.h"

#define NODES_MAX 20000

static size_t walk(struct span text, size_t budget)
{
    struct json_cursor c = json_cursor_of(text);
    struct span key, value, before = text;

    while (budget && json_cursor_next(&c, &key, &value)) {
        must(value.len && value.data >= before.data && value.len <= before.len); /* progress, within bounds */
        before = c.rest;
        budget--;
        if (json_text_kind(value) >= JSON_KIND_ARRAY)
            budget = walk(value, budget);
    }
    return budget;
}

static void copy(struct json_writer *w, const struct json *v)
{
    struct json_iter it = { 0 };
    const struct json *member;
    struct span text;

    switch (json_kind(v)) {
    case JSON_KIND_OBJECT:
        json_object_begin(w, NULL);
        while (json_object_next(v, &it, &text, &member)) {
            json_put_key(w, text);
            copy(w, member);
        }
        json_object_end(w);
        break;
    case JSON_KIND_ARRAY:
        json_array_begin(w, NULL);
        for (size_t i = 0; i < json_array_count(v); i++)
            copy(w, json_array_at(v, i));
        json_array_end(w);
        break;
    case JSON_KIND_STRING:
        must(json_as_string(v, &text));
        json_put_span(w, NULL, text);
        break;
    default:
        json_put_i64(w, NULL, 1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    OWNED(json_freep) struct json *root = NULL, *again = NULL;
    size_t count = json_text_count(span_make(data, len));
    int r = json_parse(span_make(data, len), 1 << 20, &root);
    struct json_writer w;
    struct arena a;
    struct span out;
    struct buf b;

    walk(span_make(data, len), NODES_MAX);
    arena_init(&a, 1 << 20);
    must(json_unescape(span_make(data, len), &a, &out) >= 0);
    arena_deinit(&a);
    if (r)
        return 0;
    if (json_kind(root) == JSON_KIND_ARRAY)
        must(count == json_array_count(root)); /* a tree implies that the cursor sees the same */
    if (json_kind(root) == JSON_KIND_OBJECT)
        must(count != SIZE_MAX);
    buf_init(&b, 8 << 20);
    w = json_writer_of(&b);
    if (len < 200) { /* nesting within JSON_WRITER_DEPTH_MAX is then mostly so */
        size_t depth = 0;

        for (size_t i = 0; i < len; i++)
            depth += data[i] == '[' || data[i] == '{';
        if (depth <= JSON_WRITER_DEPTH_MAX) {
            copy(&w, root);
            must(!json_writer_done(&w));
            must(!json_parse(buf_span(&b), SIZE_MAX, &again));
        }
    }
    buf_deinit(&b);
    return 0;
}
