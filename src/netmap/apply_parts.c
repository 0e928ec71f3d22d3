/* netmap/apply_parts.c - users, filter chunks and the relay map of a message */
#include "netmap/view.h"

#include <errno.h>
#include <stdlib.h>

/* ---- users
 * ---------------------------------------------------------------------------------------------------- */

static int compare_users(const void *ctx, const void *a, const void *b)
{
    const struct document *const *x = a, *const *y = b;

    (void)ctx;
    return ((*x)->user.id > (*y)->user.id) - ((*x)->user.id < (*y)->user.id);
}

void part_users_drop(const struct netmap *n, struct part_users *p)
{
    for (uint32_t i = 0; i < p->count; i++)
        document_unref(n->store, p->items[i]);
    free(p->items);
    *p = (struct part_users) { .items = NULL };
}

/* Of each id the last one stays. */
static void unique_users(const struct netmap *n, struct part_users *p)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < p->count; i++) {
        if (kept && p->items[kept - 1]->user.id == p->items[i]->user.id)
            document_unref(n->store, p->items[--kept]);
        p->items[kept++] = p->items[i];
    }
    p->count = kept;
}

static bool same_users(const struct netmap *n, const struct part_users *p)
{
    if (n->user_count != p->count)
        return false;
    for (uint32_t i = 0; i < p->count; i++)
        if (n->users[i] != p->items[i])
            return false;
    return true;
}

int part_users_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                       struct part_users *out, uint32_t *skipped)
{
    uint32_t old = first ? 0 : n->user_count;
    int e;

    *out = (struct part_users) { .items = NULL };
    if (!first && !r->user_profiles.count)
        return 0;
    out->items = calloc(old + r->user_profiles.count + 1, sizeof(*out->items));
    if (!out->items)
        return err_trace(-ENOMEM);
    while (out->count < old) {
        out->items[out->count] = document_ref(n->users[out->count]);
        out->count++;
    }
    for (size_t i = 0; i < r->user_profiles.count; i++) {
        e = out->count < NETMAP_USERS_MAX
                ? store_document(n->store, DOCUMENT_USER, r->user_profiles.items[i], &out->items[out->count])
                : NETMAP_E_BAD_NODE;
        if (e < 0) {
            part_users_drop(n, out);
            return e;
        }
        if (e)
            ++*skipped;
        else
            out->count++;
    }
    e = view_sort(out->items, out->count, sizeof(*out->items), compare_users, NULL);
    if (e) {
        part_users_drop(n, out);
        return e;
    }
    unique_users(n, out);
    out->changed = !same_users(n, out);
    return 0;
}

void part_users_commit(struct netmap *n, struct part_users *p)
{
    struct part_users old = { n->users, n->user_count, false };

    if (!p->changed) {
        part_users_drop(n, p);
        return;
    }
    n->users = p->items;
    n->user_count = p->count;
    part_users_drop(n, &old);
}

/* ---- filter chunks
 * ---------------------------------------------------------------------------------------------- */

void part_chunks_drop(const struct netmap *n, struct part_chunks *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        document_unref(n->store, p->items[i].rules);
        free(p->items[i].name);
    }
    free(p->items);
    *p = (struct part_chunks) { .items = NULL };
}

static struct chunk *find_chunk(const struct part_chunks *p, struct span name)
{
    for (uint32_t i = 0; i < p->count; i++)
        if (span_equal_str(name, p->items[i].name))
            return &p->items[i];
    return NULL;
}

/* A chunk that makes no sense, or one too many, denies. */
static int compile_chunk(const struct netmap *n, struct span rules, struct document **out, uint32_t *skipped)
{
    int e = store_document(n->store, DOCUMENT_RULES, rules, out);

    if (e <= 0)
        return e;
    ++*skipped;
    e = store_document(n->store, DOCUMENT_RULES, span_from_str("[]"), out);
    must(e <= 0);
    return e;
}

static void remove_chunk(const struct netmap *n, struct part_chunks *p, struct chunk *c)
{
    document_unref(n->store, c->rules);
    free(c->name);
    *c = p->items[--p->count];
}

static int set_chunk(const struct netmap *n, struct part_chunks *p, const struct tailcfg_filter_chunk *in,
                     uint32_t *skipped)
{
    struct chunk *c = find_chunk(p, in->name);
    struct document *rules;
    int e;

    if (!in->rules.len) {
        if (c)
            remove_chunk(n, p, c);
        return 0;
    }
    if (!c && (p->count == NETMAP_CHUNKS_MAX || (in->name.len && memchr(in->name.data, 0, in->name.len)))) {
        ++*skipped;
        return 0;
    }
    e = compile_chunk(n, in->rules, &rules, skipped);
    if (e)
        return e;
    if (c) {
        document_unref(n->store, c->rules);
        c->rules = rules;
        return 0;
    }
    c = &p->items[p->count];
    c->rules = rules;
    c->name = text_dup(in->name);
    if (!c->name) {
        document_unref(n->store, rules);
        return err_trace(-ENOMEM);
    }
    p->count++;
    return 0;
}

static int copy_chunks(const struct netmap *n, struct part_chunks *out)
{
    for (uint32_t i = 0; i < n->chunk_count; i++) {
        char *name = text_dup(span_from_str(n->chunks[i].name));

        if (!name)
            return err_trace(-ENOMEM);
        out->items[out->count++] = (struct chunk) { name, document_ref(n->chunks[i].rules) };
    }
    return 0;
}

/* Chunks have no order, and each document is there once. */
static bool same_chunks(const struct netmap *n, const struct part_chunks *p)
{
    if (n->chunk_count != p->count)
        return false;
    for (uint32_t i = 0; i < n->chunk_count; i++) {
        const struct chunk *c = find_chunk(p, span_from_str(n->chunks[i].name));

        if (!c || c->rules != n->chunks[i].rules)
            return false;
    }
    return true;
}

int part_chunks_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                        struct part_chunks *out, uint32_t *skipped)
{
    bool fresh = first || r->filters_cleared;
    int e = 0;

    *out = (struct part_chunks) { .items = NULL };
    if (!fresh && !r->filter_count)
        return 0;
    out->items = calloc(n->chunk_count + r->filter_count + 1, sizeof(*out->items));
    if (!out->items)
        return err_trace(-ENOMEM);
    if (!fresh)
        e = copy_chunks(n, out);
    for (size_t i = 0; i < r->filter_count && !e; i++)
        e = set_chunk(n, out, &r->filters[i], skipped);
    if (e) {
        part_chunks_drop(n, out);
        return e;
    }
    out->changed = !same_chunks(n, out);
    return 0;
}

void part_chunks_commit(struct netmap *n, struct part_chunks *p)
{
    struct part_chunks old = { n->chunks, n->chunk_count, false };

    if (!p->changed) {
        part_chunks_drop(n, p);
        return;
    }
    n->chunks = p->items;
    n->chunk_count = p->count;
    part_chunks_drop(n, &old);
}

/* ---- relay map
 * ---------------------------------------------------------------------------------------------------- */

static struct span scores_of(struct span map)
{
    return json_text_member(json_text_member(map, "HomeParams"), "RegionScore");
}

static bool is_object(struct span text)
{
    return json_text_kind(text) == JSON_KIND_OBJECT;
}

/* Regions and scores are replaced each for itself; what the new map leaves out is taken from the old one. */
static int merge_maps(struct span old, struct span new, struct buf *out)
{
    struct span source = is_object(json_text_member(new, "Regions")) ? new : old;
    struct span scores = is_object(scores_of(new)) ? scores_of(new) : scores_of(old);
    struct span regions = json_text_member(source, "Regions"),
                omit = json_text_member(source, "omitDefaultRegions");
    struct json_writer w = json_writer_of(out);

    json_object_begin(&w, NULL);
    if (is_object(scores)) {
        json_object_begin(&w, "HomeParams");
        json_put_raw(&w, "RegionScore", scores);
        json_object_end(&w);
    }
    if (is_object(regions))
        json_put_raw(&w, "Regions", regions);
    if (omit.len)
        json_put_raw(&w, "omitDefaultRegions", omit);
    json_object_end(&w);
    return json_writer_done(&w);
}

int part_derp_prepare(const struct netmap *n, const struct tailcfg_map_response *r, bool first,
                      struct document **out, uint32_t *skipped)
{
    struct document *old = first ? NULL : n->derp_map, *made = NULL;
    struct buf merged;
    int e = 0;

    *out = NULL;
    if (!r->derp_map.len) {
        *out = old ? document_ref(old) : NULL;
        return 0;
    }
    buf_init(&merged, 2 * TAILCFG_SMALL_BYTES_MAX);
    if (old && (!is_object(json_text_member(r->derp_map, "Regions")) ||
                (!is_object(scores_of(r->derp_map)) && old->derp_map.has_scores)))
        e = merge_maps(old->text, r->derp_map, &merged);
    if (!e)
        e = store_document(n->store, DOCUMENT_DERP_MAP, merged.len ? buf_span(&merged) : r->derp_map, &made);
    buf_deinit(&merged);
    if (e < 0)
        return e;
    *skipped += e > 0; /* makes no sense: the old one stays */
    *out = !e ? made : old ? document_ref(old) : NULL;
    return 0;
}
