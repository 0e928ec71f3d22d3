#include "control/client.h"

#include <errno.h>

/* What the owner reports, completed by what this program knows about itself. */
static void complete_report(struct control_client *c, bool with_tags, struct control_report *out)
{
    struct tailcfg_hostinfo *h = &out->hostinfo;

    *out = (struct control_report) { 0 };
    c->ops->report(c->owner, out);
    h->ipn_version = MANYTAILS_VERSION "-manytails";
    h->app = "manytails";
    h->os = "linux";
    h->os_version = c->shard->os_version;
    h->machine = c->shard->machine;
    h->hostname = c->hostname;
    h->userspace = TAILCFG_TRUE;
    h->no_logs_no_support = true;
    h->request_tags = with_tags ? (const char *const *)c->tags : NULL;
    h->request_tag_count = with_tags ? c->tag_count : 0;
}

void request_deinit(struct buf *b)
{
    wipe(b->data, b->cap);
    buf_deinit(b);
}

static int write_register(struct control_client *c, const struct registration_call *call, int64_t expiry,
                          struct buf *out)
{
    struct control_report report;
    struct tailcfg_register_request r = { .version = c->version,
                                          .node_key = call->node_key,
                                          .old_node_key = call->old_node_key,
                                          .auth_key = call->with_auth_key ? c->auth_key : NULL,
                                          .followup = call->followup,
                                          .expiry = expiry,
                                          .hostinfo = &report.hostinfo,
                                          .ephemeral = c->ephemeral };
    struct mspan all;
    int status;

    complete_report(c, call->with_tags, &report);
    buf_init(out, CLIENT_REQUEST_BYTES_MAX);
    /* All room at once: growing would leave copies of the auth key behind. */
    status = buf_reserve(out, CLIENT_REQUEST_BYTES_MAX, &all);
    if (!status)
        status = tailcfg_register_request_write(out, &r);
    if (status)
        request_deinit(out);
    return status ? err_trace(status) : 0;
}

int request_register(struct control_client *c, const struct registration_call *call, struct buf *out)
{
    return write_register(c, call, 0, out);
}

int request_logout(struct control_client *c, struct buf *out)
{
    const struct registration_call call = { .node_key = c->registration.node_key,
                                            .old_node_key = c->registration.keys.old_node,
                                            .with_auth_key = c->auth_key != NULL,
                                            .with_tags = true };

    return write_register(c, &call, 123 * SEC, out); /* the reference's "far past" */
}

/* Of what a server would store and tell others; latencies change all the time and interest nobody. */
static int hash_of(const struct control_report *report, const struct public_key *node_key, uint64_t *hash)
{
    struct tailcfg_hostinfo h = report->hostinfo;
    struct tailcfg_netinfo netinfo;
    OWNED(buf_deinit) struct buf text;
    int r;

    buf_init(&text, CLIENT_REQUEST_BYTES_MAX);
    if (h.netinfo) {
        netinfo = *h.netinfo;
        netinfo.latency_count = 0;
        h.netinfo = &netinfo;
    }
    r = tailcfg_hostinfo_write(&text, &h);
    for (size_t i = 0; i < report->endpoint_count && !r; i++) {
        char address[IP_PORT_TEXT_BYTES];

        r = buf_printf(&text, "%s %d\n", ip_port_text(&report->endpoints[i].address, address),
                       report->endpoints[i].type);
    }
    if (!r)
        r = buf_append(&text, SPAN_OF(report->disco_key.bytes));
    if (!r)
        r = buf_append(&text, SPAN_OF(node_key->bytes));
    if (r)
        return err_trace(r);
    *hash = client_hash(buf_span(&text));
    return 0;
}

int request_map(struct control_client *c, bool stream, struct buf *out, struct told *told)
{
    struct control_report report;
    struct tailcfg_map_request r = { .version = c->version,
                                     .node_key = c->registration.node_key,
                                     .stream = stream,
                                     .omit_peers = !stream,
                                     .keep_alive = stream,
                                     .zstd = true,
                                     .hostinfo = &report.hostinfo };
    int status;

    complete_report(c, !(c->auth_key && c->registration.tags_refused), &report);
    r.disco_key = told->disco_key = report.disco_key;
    told->home_known = report.hostinfo.netinfo && report.hostinfo.netinfo->preferred_derp;
    r.endpoints_known = report.endpoint_count > 0;
    r.endpoints = report.endpoints;
    r.endpoint_count = report.endpoint_count;
    buf_init(out, CLIENT_REQUEST_BYTES_MAX);
    status = hash_of(&report, &r.node_key, &told->hash);
    if (!status)
        status = tailcfg_map_request_write(out, &r);
    if (status)
        request_deinit(out);
    return status ? err_trace(status) : 0;
}
