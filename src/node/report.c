/* node/report.c - what control is told about a node: its endpoints, its home relay, the network */
#include "node/internal.h"

static enum tailcfg_bool fact(enum underlay_fact f)
{
    return f == UNDERLAY_UNKNOWN ? TAILCFG_UNSET : f == UNDERLAY_YES ? TAILCFG_TRUE : TAILCFG_FALSE;
}

static enum tailcfg_bool yes_or_no(bool b)
{
    return b ? TAILCFG_TRUE : TAILCFG_FALSE;
}

/* Before the first run has ended nobody knows. */
static enum tailcfg_bool measured(const struct underlay_report *report, bool b)
{
    return report->measured_at ? yes_or_no(b) : TAILCFG_UNSET;
}

static void report_netinfo(const struct node *n, struct report_scratch *scratch)
{
    const struct underlay_report *report = underlay_node_report(n->underlay);
    struct tailcfg_netinfo *info = &scratch->netinfo;
    size_t count = 0;

    *info = (struct tailcfg_netinfo) {
        .mapping_varies_by_dest_ip = fact(report->mapping_varies_by_dest_ip),
        .working_ipv6 = measured(report, report->v6),
        .os_has_ipv6 = yes_or_no(report->os_has_v6),
        .working_udp = measured(report, report->udp),
        .preferred_derp = n->home_announced,
        .latencies = scratch->latencies,
    };
    for (size_t i = 0; i < report->latency_count && count + 2 <= COUNT_OF(scratch->latencies); i++) {
        const struct underlay_region_latency *l = &report->latencies[i];

        if (l->v4_us)
            scratch->latencies[count++] = (struct tailcfg_derp_latency) { l->region, false, l->v4_us / 1e6 };
        if (l->v6_us)
            scratch->latencies[count++] = (struct tailcfg_derp_latency) { l->region, true, l->v6_us / 1e6 };
    }
    info->latency_count = count;
}

void report_fill(void *owner, struct control_report *out)
{
    struct node *n = owner;
    struct report_scratch *scratch = &n->shard->scratch;
    size_t count = 0;
    const struct underlay_endpoint *endpoints = underlay_endpoints(node_underlay(n), &count);

    secret_key_public(&n->keys.disco, &out->disco_key);
    for (size_t i = 0; i < count && i < COUNT_OF(scratch->endpoints); i++)
        scratch->endpoints[out->endpoint_count++] =
            (struct tailcfg_endpoint) { endpoints[i].address, (enum tailcfg_endpoint_type)endpoints[i].type };
    out->endpoints = scratch->endpoints;
    out->hostinfo.userspace = TAILCFG_TRUE;
    out->hostinfo.no_logs_no_support = true;
    if (!n->underlay)
        return;
    report_netinfo(n, scratch);
    if (n->home_announced)
        out->hostinfo.netinfo = &scratch->netinfo;
}

/* A home region is changed only while control hears of it; a first one is taken at once. */
void report_adopt_home(struct node *n)
{
    uint16_t home = underlay_node_report(n->underlay)->home_region;

    if (!home || home == n->home_region || (n->home_region && n->state != NODE_RUNNING))
        return;
    log_debug(n->name, "home relay region is %u now", home);
    n->home_region = home;
    relay_node_set_home(n->relay, home, ev_now(n->shard->loop));
}

void node_relay_heard(struct node *n, uint16_t region)
{
    if (region != n->home_region || region == n->home_announced)
        return;
    n->home_announced = region;
    control_client_report_changed(n->control);
}

void node_report_changed(struct node *n, unsigned what)
{
    if (!n->underlay || !n->control)
        return;
    if (what & UNDERLAY_CHANGED_HOME)
        report_adopt_home(n);
    control_client_report_changed(n->control);
}
