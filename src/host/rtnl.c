/* host/rtnl.c - rtnetlink messages taken apart (rtnetlink(7)) */
#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>

#include "host/interfaces.h"

/* Copies a text attribute that may lack its NUL. */
static void copy_text(char *out, size_t size, const struct nlattr *a)
{
    size_t len = strnlen(mnl_attr_get_payload(a), MIN(mnl_attr_get_payload_len(a), size - 1));

    memcpy(out, mnl_attr_get_payload(a), len);
    out[len] = '\0';
}

/* IFLA_LINKINFO holds IFLA_INFO_KIND: "veth", "bridge", ... */
static void copy_kind(char *out, size_t size, const struct nlattr *info)
{
    const struct nlattr *a;

    mnl_attr_for_each_nested(a, info)
    {
        if (mnl_attr_get_type(a) == IFLA_INFO_KIND)
            copy_text(out, size, a);
    }
}

static unsigned apply_link(struct interfaces *t, const struct nlmsghdr *h)
{
    const struct ifinfomsg *m = mnl_nlmsg_get_payload(h);
    char name[IFNAMSIZ] = "", kind[32] = "";
    const struct nlattr *a;

    if (m->ifi_family == AF_BRIDGE)
        return 0; /* ports of a bridge: the same interfaces once more */
    if (h->nlmsg_type == RTM_DELLINK)
        return interfaces_link_gone(t, (uint32_t)m->ifi_index);
    mnl_attr_for_each(a, h, sizeof(*m))
    {
        if (mnl_attr_get_type(a) == IFLA_IFNAME)
            copy_text(name, sizeof(name), a);
        else if (mnl_attr_get_type(a) == IFLA_LINKINFO)
            copy_kind(kind, sizeof(kind), a);
    }
    return interfaces_link(t, (uint32_t)m->ifi_index, m->ifi_flags & IFF_UP,
                           interfaces_classify(name, kind, m->ifi_flags & IFF_LOOPBACK));
}

static bool copy_ip(struct ip *out, const struct nlattr *a, uint8_t family)
{
    uint16_t len = mnl_attr_get_payload_len(a);

    if (family == AF_INET && len == 4)
        *out = ip_from_v4(mnl_attr_get_payload(a));
    else if (family == AF_INET6 && len == 16)
        *out = ip_from_v6(mnl_attr_get_payload(a));
    else
        return false;
    return true;
}

static unsigned apply_address(struct interfaces *t, const struct nlmsghdr *h)
{
    const struct ifaddrmsg *m = mnl_nlmsg_get_payload(h);
    struct interface_address found = { .interface = m->ifa_index, .prefix_bits = m->ifa_prefixlen };
    uint32_t flags = m->ifa_flags;
    bool has_ip = false, has_local = false;
    const struct nlattr *a;

    if (m->ifa_family == AF_INET6 && m->ifa_scope == RT_SCOPE_LINK)
        return 0;
    mnl_attr_for_each(a, h, sizeof(*m))
    {
        uint16_t type = mnl_attr_get_type(a);

        /* Of a point-to-point interface IFA_ADDRESS is the other end, IFA_LOCAL is ours. */
        if (type == IFA_LOCAL)
            has_ip = has_local = copy_ip(&found.ip, a, m->ifa_family);
        else if (type == IFA_ADDRESS && !has_local)
            has_ip = copy_ip(&found.ip, a, m->ifa_family);
        else if (type == IFA_FLAGS && mnl_attr_get_payload_len(a) == sizeof(flags))
            flags = mnl_attr_get_u32(a);
    }
    if (!has_ip)
        return 0;
    if (h->nlmsg_type == RTM_DELADDR)
        return interfaces_address_gone(t, found.interface, &found.ip);
    found.usable = !(flags & (IFA_F_TENTATIVE | IFA_F_DADFAILED | IFA_F_DEPRECATED));
    return interfaces_address_set(t, &found);
}

static bool holds(const struct nlmsghdr *h, size_t body)
{
    return h->nlmsg_len >= NLMSG_HDRLEN + MNL_ALIGN(body);
}

static unsigned apply_one(struct interfaces *t, const struct nlmsghdr *h)
{
    t->counters.messages++;
    switch (h->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        return holds(h, sizeof(struct ifinfomsg)) ? apply_link(t, h) : 0;
    case RTM_NEWADDR:
    case RTM_DELADDR:
        return holds(h, sizeof(struct ifaddrmsg)) ? apply_address(t, h) : 0;
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return INTERFACES_ROUTE; /* only default routes come through the socket's filter */
    default:
        return 0;
    }
}

/* mnl_nlmsg_ok, and what it leaves out: lengths beyond 2 GiB, padding behind the buffer. */
static bool message_ok(const struct nlmsghdr *h, int left)
{
    return mnl_nlmsg_ok(h, left) && h->nlmsg_len <= (uint32_t)left &&
           MNL_ALIGN(h->nlmsg_len) <= (uint32_t)left;
}

unsigned rtnl_apply(struct interfaces *t, struct span messages)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)messages.data;
    int left = (int)messages.len;
    unsigned what = 0;

    while (message_ok(h, left)) {
        what |= apply_one(t, h);
        h = mnl_nlmsg_next(h, &left);
    }
    return what;
}

void rtnl_apply_route(struct span messages, struct interface_route *out)
{
    const struct nlmsghdr *h = (const struct nlmsghdr *)(const void *)messages.data;
    const struct rtmsg *m;
    const struct nlattr *a;

    *out = (struct interface_route) { .interface = 0 };
    if (!message_ok(h, (int)messages.len) || h->nlmsg_type != RTM_NEWROUTE || !holds(h, sizeof(*m)))
        return; /* an error: no way there */
    m = mnl_nlmsg_get_payload(h);
    if (m->rtm_type != RTN_UNICAST)
        return;
    mnl_attr_for_each(a, h, sizeof(*m))
    {
        if (mnl_attr_get_type(a) == RTA_OIF && mnl_attr_get_payload_len(a) == sizeof(uint32_t))
            out->interface = mnl_attr_get_u32(a);
        else if (mnl_attr_get_type(a) == RTA_GATEWAY)
            (void)copy_ip(&out->gateway, a, m->rtm_family);
    }
}
