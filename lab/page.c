#include "lab/page.h"

#include <errno.h>
#include <stdlib.h>

#include "lab/web.h"

#define TEXT_BYTES_MAX 16384

struct lab_page {
    struct web *web;
    char name[LAB_PAGE_NAME_BYTES];
};

/* What a proxy tells about who asks. */
static const char *const shown[] = {
    "Host",
    "X-Forwarded-For",
    "X-Tailscale-User-LoginName",
    "X-Tailscale-User-DisplayName",
    "X-Tailscale-Node-Name",
};

static bool is_label(const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < len; i++)
        if (!((name[i] >= 'a' && name[i] <= 'z') || (name[i] >= '0' && name[i] <= '9') || name[i] == '-'))
            return false;
    return len && len < LAB_PAGE_NAME_BYTES;
}

/* Others chose these bytes. */
static int put_escaped(struct buf *out, struct span s)
{
    int r = 0;

    for (size_t i = 0; !r && i < s.len; i++)
        switch (s.data[i]) {
        case '<':
            r = buf_append_str(out, "&lt;");
            break;
        case '>':
            r = buf_append_str(out, "&gt;");
            break;
        case '&':
            r = buf_append_str(out, "&amp;");
            break;
        default:
            r = buf_append(out, span_slice(s, i, 1));
        }
    return r;
}

static int put_page(struct buf *out, const struct lab_page *p, const struct http_head *head)
{
    int r = buf_printf(out,
                       "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>%s</title>\n"
                       "<style>body{font:1.1rem/1.6 sans-serif;margin:4rem auto;max-width:40rem}"
                       "td{padding-right:2rem}</style>\n"
                       "<h1>%s</h1>\n<p>This is the service <b>%s</b>. The request came through the tailnet, "
                       "and this is what it told about who asks:</p>\n<table>\n",
                       p->name, p->name, p->name);

    for (size_t i = 0; !r && i < COUNT_OF(shown); i++) {
        struct span value;

        if (!http_head_get_name(head, shown[i], &value))
            continue;
        r = buf_printf(out, "<tr><td>%s<td>", shown[i]);
        if (!r)
            r = put_escaped(out, value);
        if (!r)
            r = buf_append_str(out, "\n");
    }
    return r ? r : buf_append_str(out, "</table>\n");
}

static void on_request(void *ctx, struct web_conn *c, const struct http_head *head)
{
    struct lab_page *p = ctx;
    struct buf text;

    buf_init(&text, TEXT_BYTES_MAX);
    if (put_page(&text, p, head))
        web_answer(c, 500, NULL, NULL, SPAN_NONE);
    else
        web_answer(c, 200, "text/html; charset=utf-8", NULL, buf_span(&text));
    buf_deinit(&text);
}

int lab_page_new(struct lab_page **out, struct ev_loop *loop, const char *name, const struct ip_port *at)
{
    struct lab_page *p;
    struct web_config config = { .at = *at, .request = on_request };
    int r;

    if (!is_label(name))
        return -EINVAL;
    p = calloc(1, sizeof(*p));
    if (!p)
        return -ENOMEM;
    text_copy(p->name, sizeof(p->name), span_from_str(name));
    config.ctx = p;
    r = web_new(&p->web, loop, &config);
    if (r) {
        free(p);
        return r;
    }
    *out = p;
    return 0;
}

void lab_page_free(struct lab_page *p)
{
    if (!p)
        return;
    web_free(p->web);
    free(p);
}

uint16_t lab_page_port(const struct lab_page *p)
{
    return web_port(p->web);
}
