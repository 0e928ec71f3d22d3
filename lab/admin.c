/* lab/admin.c - POST /lab/...: what a script does to the lab (help in the table below)
 *
 * Only with the header "X-Lab: 1": a page in a browser cannot send that to another origin without being asked
 * first, and nobody here says yes.
 */
#include <stdio.h>

#include "lab/internal.h"

static struct registry_node *named(struct lab_control *c, struct span name)
{
    char text[REGISTRY_NAME_BYTES];

    return text_copy(text, sizeof(text), name) ? registry_by_name(&c->registry, text) : NULL;
}

static bool approve(struct lab_control *c, struct span name)
{
    struct registry_node *n = named(c, name);

    if (n)
        lab_control_approve(c, n);
    return n;
}

static bool expire(struct lab_control *c, struct span name)
{
    struct registry_node *n = named(c, name);

    if (n)
        registry_expire(&c->registry, n, ev_wall_clock() - SEC);
    return n;
}

static bool forget(struct lab_control *c, struct span name)
{
    struct registry_node *n = named(c, name);

    if (n)
        lab_control_remove(c, n);
    return n;
}

static bool cut(struct lab_control *c, struct span argument)
{
    (void)argument;
    lab_control_end_streams(c);
    return true;
}

static bool nonsense(struct lab_control *c, struct span argument)
{
    (void)argument;
    lab_control_send_raw(c, span_from_str("{\"Peers\":[nonsense"));
    return true;
}

/* "on" or "off": nodes that join from now on wait for approval. */
static bool approval(struct lab_control *c, struct span argument)
{
    c->registry.needs_approval = span_equal_str(argument, "on");
    return c->registry.needs_approval || span_equal_str(argument, "off");
}

/* "open": everybody may everything; "closed": nobody may anything. */
static bool filter(struct lab_control *c, struct span argument)
{
    bool closed = span_equal_str(argument, "closed");

    if (!closed && !span_equal_str(argument, "open"))
        return false;
    lab_control_set_filter(c, closed ? "[]" : NULL);
    return true;
}

/* "rate-limit", or "rate-limit/3" for three requests. */
static bool read_fault(struct span argument, enum lab_fault *fault, unsigned *times)
{
    static const char *const names[] = {
#define X(name, text) [LAB_FAULT_##name] = text,
        LAB_FAULTS(X)
#undef X
    };
    const uint8_t *slash = argument.len ? memchr(argument.data, '/', argument.len) : NULL;
    struct span name = slash ? span_make(argument.data, (size_t)(slash - argument.data)) : argument;
    uint64_t count = 1;

    if (slash && !text_parse_u64(span_slice(argument, name.len + 1, argument.len), 1000000, &count))
        return false;
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (span_equal_str(name, names[i])) {
            *fault = (enum lab_fault)i;
            *times = (unsigned)count;
            return true;
        }
    return false;
}

static bool fault_register(struct lab_control *c, struct span argument)
{
    return read_fault(argument, &c->register_fault, &c->register_faults);
}

static bool fault_map(struct lab_control *c, struct span argument)
{
    return read_fault(argument, &c->map_fault, &c->map_faults);
}

static const struct action {
    const char *name;
    bool (*run)(struct lab_control *c, struct span argument); /* false: not possible */
    const char *text;
} actions[] = {
    { "approve/", approve, "NAME: approve a node that waits for it" },
    { "expire/", expire, "NAME: its key has expired a second ago" },
    { "remove/", forget, "NAME: it is no member any more" },
    { "approval/", approval, "on|off: nodes that join from now on wait for approval" },
    { "filter/", filter, "open|closed: what nodes let each other do" },
    { "cut", cut, "every map stream ends" },
    { "nonsense", nonsense, "every map stream gets a message that is none" },
    { "fault/register/", fault_register,
      "rate-limit|broken|refuse|silent|nonsense[/TIMES]: next registrations" },
    { "fault/map/", fault_map, "the same for map requests" },
};

static void answer_help(struct lab_control *c, struct web_conn *conn)
{
    int r;

    buf_clear(&c->text);
    r = buf_append_str(&c->text, "POST, with the header \"X-Lab: 1\":\n\n");
    for (size_t i = 0; !r && i < COUNT_OF(actions); i++)
        r = buf_printf(&c->text, "  /lab/%s  %s\n", actions[i].name, actions[i].text);
    web_answer(conn, r ? 500 : 200, "text/plain", NULL, buf_span(&c->text));
}

void lab_admin_request(struct lab_control *c, struct web_conn *conn, const struct http_head *head,
                       struct span what)
{
    struct span mark;

    if (head->method_id != HTTP_METHOD_POST) {
        answer_help(c, conn);
        return;
    }
    if (!http_head_get_name(head, "X-Lab", &mark) || !span_equal_str(mark, "1")) {
        web_answer(conn, 403, "text/plain", NULL,
                   span_from_str("without the header \"X-Lab: 1\" nothing happens\n"));
        return;
    }
    for (size_t i = 0; i < COUNT_OF(actions); i++) {
        struct span argument = span_slice(what, strlen(actions[i].name), what.len);
        bool done;

        if (!text_starts_with(what, actions[i].name))
            continue;
        done = actions[i].run(c, argument);
        lab_control_changed(c);
        web_answer(conn, done ? 200 : 404, "text/plain", NULL,
                   span_from_str(done ? "done\n" : "there is no such node, or no such word\n"));
        return;
    }
    answer_help(c, conn);
}
