#include "lab/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "lab/internal.h"
#include "lab/save.h"
#include "noise/noise.h"

#define PAGE_BYTES_MAX (1u << 20)

/* ---- HTTP around it --------------------------------------------------------------------------------- */

static void serve_key(struct lab_control *c, struct web_conn *conn, struct span target)
{
    struct public_key none = { { 0 } }, ours;
    char text[KEY_TEXT_BYTES], legacy[KEY_TEXT_BYTES], body[2 * KEY_TEXT_BYTES + 64];
    struct span version;

    if (!web_query(target, "v", &version)) {
        web_answer(conn, 400, "text/plain", NULL, span_from_str("missing version\n"));
        return;
    }
    secret_key_public(&c->key, &ours);
    snprintf(body, sizeof(body), "{\"legacyPublicKey\":\"%s\",\"publicKey\":\"%s\"}",
             key_text(legacy, "mkey:", none.bytes), key_text(text, "mkey:", ours.bytes));
    c->counters.keys++;
    web_answer(conn, 200, "application/json", NULL, span_from_str(body));
}

static void upgrade(struct lab_control *c, struct web_conn *conn, const struct http_head *head)
{
    uint8_t initiation[NOISE_INITIATION_BYTES];
    struct stream *stream;
    struct span handshake;
    struct buf rest;
    size_t len;

    if (head->method_id != HTTP_METHOD_POST ||
        !http_head_lists(head, HTTP_FIELD_UPGRADE, "tailscale-control-protocol")) {
        web_answer(conn, 400, "text/plain", NULL, span_from_str("unknown next protocol\n"));
        return;
    }
    if (!http_head_get_name(head, "X-Tailscale-Handshake", &handshake) ||
        !base64_decode(handshake, initiation, sizeof(initiation), &len) || len != sizeof(initiation)) {
        web_answer(conn, 400, "text/plain", NULL, span_from_str("invalid tailscale handshake header\n"));
        return;
    }
    buf_init(&rest, LAB_REQUEST_BYTES_MAX);
    stream = web_take(conn, &rest);
    if (stream && lab_session_new(c, stream, SPAN_OF(initiation), buf_span(&rest)))
        log_debug("lab", "a control connection did not come about");
    buf_deinit(&rest);
}

static void serve_login(struct lab_control *c, struct web_conn *conn, struct span token)
{
    if (lab_control_login(c, token, 1))
        web_answer(conn, 200, "text/plain", NULL, span_from_str("Logged in. The node joins now.\n"));
    else
        web_answer(conn, 404, "text/plain", NULL, span_from_str("No login is waiting here.\n"));
}

static void serve_approval(struct lab_control *c, struct web_conn *conn, struct span token)
{
    struct registry_node *n = registry_by_approval(&c->registry, token);

    if (!n) {
        web_answer(conn, 404, "text/plain", NULL, span_from_str("No node waits for this.\n"));
        return;
    }
    lab_control_approve(c, n);
    web_answer(conn, 200, "text/plain", NULL, span_from_str("Approved.\n"));
}

/* A page for people: who is there. */
static void serve_nodes(struct lab_control *c, struct web_conn *conn)
{
    char v4[IP_TEXT_BYTES], v6[IP_TEXT_BYTES];
    int r;

    buf_clear(&c->text);
    r = buf_printf(&c->text, "%zu nodes of %s\n\n", c->registry.node_count, LAB_DOMAIN);
    LIST_EACH (n, &c->registry.nodes, struct registry_node, link)
        if (!r)
            r = buf_printf(&c->text, "%-24s %-16s %-24s %s\n", n->name, ip_text(&n->v4, v4),
                           ip_text(&n->v6, v6),
                           !n->approved ? "waits for approval"
                           : n->online  ? "online"
                                        : "offline");
    web_answer(conn, 200, "text/plain; charset=utf-8", NULL, buf_span(&c->text));
}

static void on_request(void *ctx, struct web_conn *conn, const struct http_head *head)
{
    struct lab_control *c = ctx;
    struct span target = http_head_target(head), path = web_path(target);

    if (span_equal_str(path, "/key"))
        serve_key(c, conn, target);
    else if (span_equal_str(path, "/ts2021"))
        upgrade(c, conn, head);
    else if (text_starts_with(path, "/login/"))
        serve_login(c, conn, span_slice(path, strlen("/login/"), path.len));
    else if (text_starts_with(path, "/approve/"))
        serve_approval(c, conn, span_slice(path, strlen("/approve/"), path.len));
    else if (text_starts_with(path, "/lab/"))
        lab_admin_request(c, conn, head, span_slice(path, strlen("/lab/"), path.len));
    else if (span_equal_str(path, "/"))
        serve_nodes(c, conn);
}

/* ---- what changes ------------------------------------------------------------------------------------- */

static void on_deliver(struct ev_timer *t, time_ns now)
{
    struct lab_control *c = CONTAINER_OF(t, struct lab_control, deliver);

    (void)now;
    c->delivered = c->registry.version;
    lab_poll_deliver(c);
    if (c->ops && c->ops->changed)
        c->ops->changed(c->ctx);
}

void lab_control_changed(struct lab_control *c)
{
    if (c->delivered != c->registry.version && !ev_timer_running(&c->deliver))
        ev_timer_set(&c->deliver, ev_now(c->loop) + LAB_MAP_DELAY);
}

void lab_control_set_filter(struct lab_control *c, const char *rules)
{
    c->net.filter = rules;
    c->net.filter_at = ++c->registry.version;
    lab_control_changed(c);
}

void lab_control_approve(struct lab_control *c, struct registry_node *n)
{
    if (n->approved)
        return;
    registry_approve(&c->registry, n);
    lab_control_changed(c);
    if (c->ops && c->ops->online)
        c->ops->online(c->ctx, n);
}

void lab_control_remove(struct lab_control *c, struct registry_node *n)
{
    if (c->ops && c->ops->removed)
        c->ops->removed(c->ctx, n);
    registry_remove(&c->registry, n);
    lab_control_changed(c);
}

bool lab_control_login(struct lab_control *c, struct span token, int64_t user)
{
    if (!registry_login_finish(&c->registry, token, user))
        return false;
    lab_request_retry_logins(c);
    return true;
}

struct registry *lab_control_registry(struct lab_control *c)
{
    return &c->registry;
}

int lab_control_save(const struct lab_control *c, struct buf *out)
{
    return lab_save_write(out, &c->registry, &c->key);
}

const char *lab_control_url(const struct lab_control *c)
{
    return c->url;
}

const struct lab_control_counters *lab_control_counters(const struct lab_control *c)
{
    return &c->counters;
}

/* ---- faults ---------------------------------------------------------------------------------------------
 */

void lab_control_fault_register(struct lab_control *c, enum lab_fault fault, unsigned times)
{
    c->register_fault = fault;
    c->register_faults = times;
}

void lab_control_fault_map(struct lab_control *c, enum lab_fault fault, unsigned times)
{
    c->map_fault = fault;
    c->map_faults = times;
}

void lab_control_cut(struct lab_control *c)
{
    while (!list_empty(&c->sessions))
        lab_session_free(LIST_FIRST(&c->sessions, struct session, link));
}

void lab_control_end_streams(struct lab_control *c)
{
    LIST_EACH (p, &c->polls, struct poll, link)
        lab_poll_end(p);
}

void lab_control_send_raw(struct lab_control *c, struct span message)
{
    LIST_EACH (p, &c->polls, struct poll, link)
        lab_poll_send_raw(p, message);
}

/* ---- life ------------------------------------------------------------------------------------------------
 */

int lab_control_new(struct lab_control **out, struct ev_loop *loop, const struct lab_control_config *config)
{
    struct lab_control *c = calloc(1, sizeof(*c));
    struct web_config web = { .at = config->at, .request = on_request, .ctx = c };
    char at[IP_PORT_TEXT_BYTES];
    int r;

    if (!c)
        return -ENOMEM;
    c->loop = loop;
    c->net = config->network;
    c->ops = config->ops;
    c->ctx = config->ctx;
    registry_init(&c->registry);
    list_init(&c->sessions);
    list_init(&c->polls);
    buf_init(&c->text, LAB_MAP_BYTES_MAX);
    secret_key_generate(&c->key);
    ev_timer_init(&c->deliver, loop, on_deliver);
    c->scratch = malloc(H2_SCRATCH_BYTES);
    r = c->scratch ? 0 : -ENOMEM;
    if (!r && config->saved.len && !lab_save_read(config->saved, &c->registry, &c->key))
        r = LAB_CONTROL_E_SAVED;
    if (!r)
        r = web_new(&c->web, loop, &web);
    if (r) {
        lab_control_free(c);
        return r;
    }
    web.at.port = web_port(c->web);
    snprintf(c->url, sizeof(c->url), "http://%s", ip_port_text(&web.at, at));
    *out = c;
    return 0;
}

void lab_control_free(struct lab_control *c)
{
    if (!c)
        return;
    c->ops = NULL; /* nobody needs to hear that all nodes leave */
    web_free(c->web);
    lab_control_cut(c);
    ev_timer_stop(&c->deliver);
    registry_deinit(&c->registry);
    zip_deinit(&c->zip);
    buf_deinit(&c->text);
    wipe(&c->key, sizeof(c->key));
    free(c->scratch);
    free(c);
}
