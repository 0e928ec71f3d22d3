/* config/tree.c - a YAML file as a tree of nodes that know their place
 *
 * An alias is a second reference to the node of its anchor, never a copy, so a small file cannot become a
 * large tree. Depth, nodes and anchors have limits; who walks the tree counts its steps (CONFIG_STEPS_MAX),
 * because a path through aliases may visit a node often.
 */
#include <errno.h>
#include <yaml.h>

#include "config/internal.h"

#define ANCHORS_MAX 256

struct anchor {
    struct span name;
    struct yaml_node *node;
};

struct building {
    struct config *c;
    unsigned file;
    struct arena *arena;
    struct span text;
    yaml_parser_t parser;
    yaml_event_t event;
    bool have_event;
    size_t nodes;
    unsigned depth;
    struct yaml_node *open[CONFIG_DEPTH_MAX]; /* the collections around the current node */
    struct anchor anchors[ANCHORS_MAX];
    size_t anchor_count;
    bool failed; /* said already */
};

static struct config_place place_of(const struct building *b, yaml_mark_t mark)
{
    return (struct config_place) { .set = true,
                                   .file = (uint16_t)b->file,
                                   .line = (uint32_t)mark.line + 1,
                                   .column = (uint16_t)MIN(mark.column + 1, (size_t)UINT16_MAX) };
}

static struct yaml_node *stop(struct building *b, yaml_mark_t mark, const char *what)
{
    if (!b->failed)
        problem_at(b->c, place_of(b, mark), "%s", what);
    b->failed = true;
    return NULL;
}

/* The byte at a place of the file; 0 if there is none. */
static char byte_at(struct span text, yaml_mark_t mark)
{
    size_t line = 0, column = 0, i = 0;

    for (; i < text.len && line < mark.line; i++)
        line += text.data[i] == '\n';
    for (; i < text.len && column < mark.column; i++)
        column += i + 1 == text.len || (text.data[i + 1] & 0xc0) != 0x80; /* characters, not bytes */
    return i < text.len ? (char)text.data[i] : 0;
}

/* libyaml's words are about tokens; these are about what somebody typed. */
static const char *hint_for(const char *said, char at)
{
    static const struct {
        const char *said, *hint;
    } hints[] = {
        { "cannot start any token", ": put a value that begins with @, ` or % in quotes" },
        { "mapping values are not allowed",
          ": a second \": \" on this line; put the value in quotes, or fix the indentation" },
        { "did not find expected ',' or ']'", ": a list that began with [ is not closed" },
        { "did not find expected ',' or '}'", ": a mapping that began with { is not closed" },
        { "did not find expected node content", ": a value is missing, or a [ or { is not closed" },
        { "did not find expected key", ": the indentation is not that of the keys above" },
        { "could not find expected ':'", ": write key: value" },
        { "unexpected end of stream", ": a quote is not closed" },
        { "did not find expected '-' indicator",
          ": an entry of the list must begin with \"- \", as deep as the others" },
        { "control characters are not allowed", ": remove it" },
        { "block sequence entries are not allowed", ": begin the list on a line of its own" },
        { "violates indentation", ": indent with spaces" },
        { "UTF-8", ": save the file as UTF-8" },
        { "undefined tag handle", ": a value that begins with ! needs quotes" },
    };

    if (at == '\t')
        return strstr(said, "tab") ? ": indent with spaces" : ": it is a tab; indent with spaces";
    for (size_t i = 0; i < COUNT_OF(hints); i++)
        if (strstr(said, hints[i].said))
            return hints[i].hint;
    return "";
}

/* Where the parser stopped: a quote that is not closed is where it was opened; bytes that are no text have an
 * offset only. */
static yaml_mark_t stopped_at(const struct building *b, struct span text)
{
    const yaml_parser_t *p = &b->parser;
    yaml_mark_t mark = p->problem_mark;

    if (p->error == YAML_READER_ERROR) {
        mark = (yaml_mark_t) { 0 };
        for (size_t i = 0; i < p->problem_offset && i < text.len; i++) {
            mark.column = text.data[i] == '\n' ? 0 : mark.column + 1;
            mark.line += text.data[i] == '\n';
        }
    } else if (p->problem && strstr(p->problem, "unexpected end of stream")) {
        mark = p->context_mark;
    }
    return mark;
}

static bool next_event(struct building *b)
{
    yaml_mark_t mark;
    char text[512];
    const char *said;

    if (b->failed)
        return false;
    if (b->have_event)
        yaml_event_delete(&b->event);
    b->have_event = yaml_parser_parse(&b->parser, &b->event);
    if (b->have_event)
        return true;
    said = b->parser.problem ? b->parser.problem : "cannot be read as YAML";
    mark = stopped_at(b, b->text);
    snprintf(text, sizeof(text), "%s%s", said, hint_for(said, byte_at(b->text, mark)));
    stop(b, mark, text);
    return false;
}

static struct span text_of(const yaml_char_t *text)
{
    return span_from_str(text ? (const char *)text : "");
}

static void add_anchor(struct building *b, const yaml_char_t *name, struct yaml_node *node)
{
    if (!name)
        return;
    if (b->anchor_count == ANCHORS_MAX) {
        stop(b, b->event.start_mark, "too many anchors in one file: at most 256");
        return;
    }
    b->anchors[b->anchor_count++] = (struct anchor) { arena_copy(b->arena, text_of(name)), node };
}

static struct yaml_node *find_alias(struct building *b)
{
    struct span name = text_of(b->event.data.alias.anchor);
    char text[160];

    for (size_t i = b->anchor_count; i-- > 0;) {
        struct yaml_node *node = b->anchors[i].node;

        if (!span_equal(b->anchors[i].name, name))
            continue;
        for (unsigned k = 0; k < b->depth; k++)
            if (b->open[k] == node)
                return stop(b, b->event.start_mark, "an alias cannot stand inside what it names");
        return node;
    }
    snprintf(text, sizeof(text),
             "unknown anchor \"%.*s\": write &%.*s before the value it stands for, above this line",
             (int)MIN(name.len, (size_t)40), (const char *)name.data, (int)MIN(name.len, (size_t)40),
             (const char *)name.data);
    return stop(b, b->event.start_mark, text);
}

static struct yaml_node *node_new(struct building *b, enum yaml_kind kind)
{
    struct yaml_node *node;

    if (++b->nodes > CONFIG_NODES_MAX)
        return stop(b, b->event.start_mark, "the file has too many values");
    node = ARENA_NEW(b->arena, struct yaml_node);
    if (!node)
        return NULL;
    node->kind = kind;
    node->place = place_of(b, b->event.start_mark);
    return node;
}

static struct yaml_node *build(struct building *b);

static bool at_end(const struct building *b)
{
    return b->event.type == YAML_SEQUENCE_END_EVENT || b->event.type == YAML_MAPPING_END_EVENT;
}

/* The entries of a list or mapping whose start is the current event. */
static void build_entries(struct building *b, struct yaml_node *node)
{
    struct yaml_entry **tail = &node->entries;

    while (next_event(b) && !at_end(b)) {
        struct yaml_entry *e = ARENA_NEW(b->arena, struct yaml_entry);

        if (!e)
            return;
        if (node->kind == YAML_MAP) {
            e->key = build(b);
            if (!e->key || !next_event(b))
                return;
        }
        e->value = build(b);
        if (!e->value)
            return;
        *tail = e;
        tail = &e->next;
    }
}

/* The node that the current event begins; NULL: said, or memory is out. */
static struct yaml_node *build(struct building *b)
{
    yaml_event_t *e = &b->event;
    bool list = e->type == YAML_SEQUENCE_START_EVENT;
    struct yaml_node *node;

    if (e->type == YAML_ALIAS_EVENT)
        return find_alias(b);
    if (e->type == YAML_SCALAR_EVENT) {
        node = node_new(b, YAML_VALUE);
        if (!node)
            return NULL;
        node->plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
        node->text = arena_copy(b->arena, span_make(e->data.scalar.value, e->data.scalar.length));
        add_anchor(b, e->data.scalar.anchor, node);
        return node;
    }
    node = node_new(b, list ? YAML_LIST : YAML_MAP);
    if (!node)
        return NULL;
    if (b->depth == CONFIG_DEPTH_MAX)
        return stop(b, e->start_mark, "lists and mappings are nested too deep");
    add_anchor(b, list ? e->data.sequence_start.anchor : e->data.mapping_start.anchor, node);
    b->open[b->depth++] = node;
    build_entries(b, node);
    b->depth--;
    return b->failed || b->arena->failed ? NULL : node;
}

static void build_document(struct building *b, struct yaml_node **root)
{
    while (next_event(b) && b->event.type != YAML_STREAM_END_EVENT) {
        if (b->event.type == YAML_STREAM_START_EVENT || b->event.type == YAML_DOCUMENT_END_EVENT)
            continue;
        if (b->event.type == YAML_DOCUMENT_START_EVENT) {
            if (*root) {
                stop(b, b->event.start_mark,
                     "only one document is allowed in the file: remove what follows ---");
                return;
            }
            continue;
        }
        *root = build(b);
        if (!*root)
            return;
    }
}

int yaml_tree(struct config *c, unsigned file, struct span text, struct arena *arena, struct yaml_node **root)
{
    struct building b = { .c = c, .file = file, .arena = arena, .text = text };

    *root = NULL;
    if (!yaml_parser_initialize(&b.parser))
        return -ENOMEM;
    yaml_parser_set_input_string(&b.parser, text.len ? text.data : (const uint8_t *)"", text.len);
    build_document(&b, root);
    if (b.have_event)
        yaml_event_delete(&b.event);
    yaml_parser_delete(&b.parser);
    if (b.failed)
        *root = NULL;
    return arena->failed ? -ENOMEM : 0;
}
