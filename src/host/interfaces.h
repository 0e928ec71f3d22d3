/* host/interfaces.h - the kernel's interfaces and addresses, updated message by message: without I/O
 *
 * rtnl_apply() reads rtnetlink messages (of a dump or as news) into the table and says whether anything
 * changed that the view may depend on; interfaces_view() applies the rules of host.h. What the view can
 * never show is not kept: IPv6 link-local addresses, and names, of which only the class counts.
 */
#ifndef MANYTAILS_HOST_INTERFACES_H
#define MANYTAILS_HOST_INTERFACES_H

#include "host/host.h"

#define INTERFACES_GLOBAL_V6_PER_SUBNET 2 /* the reference's: addresses of one /64 handed out */

enum interface_class {
    INTERFACE_ORDINARY,
    INTERFACE_CONTAINER, /* bridge of an engine, or one end of a virtual pair */
    INTERFACE_TUNNEL,    /* another overlay network: never */
    INTERFACE_LOOPBACK,
};

struct interface {
    uint32_t index;
    uint8_t class;
    bool up;
};

struct interface_address {
    struct ip ip;
    uint32_t interface;
    uint8_t prefix_bits;
    bool usable; /* not tentative, failed or deprecated */
};

/* The way out, as the kernel answers for an address far away. */
struct interface_route {
    uint32_t interface; /* 0: none */
    struct ip gateway;  /* none: directly attached */
};

struct interfaces {
    struct interface *list; /* by index */
    size_t count, cap;
    struct interface_address *addresses; /* in no order */
    size_t address_count, address_cap;
    struct interface_route default_v4, default_v6;
    struct host_counters counters;
};

void interfaces_init(struct interfaces *t);
void interfaces_deinit(struct interfaces *t);
void interfaces_clear(struct interfaces *t); /* before a new dump; counters stay */

/* What a run of messages touched. */
#define INTERFACES_VIEW BIT(0)  /* the view may differ */
#define INTERFACES_ROUTE BIT(1) /* the way out may differ: ask the kernel again */

unsigned interfaces_link(struct interfaces *t, uint32_t index, bool up, enum interface_class class);
unsigned interfaces_link_gone(struct interfaces *t, uint32_t index);
unsigned interfaces_address_set(struct interfaces *t, const struct interface_address *a);
unsigned interfaces_address_gone(struct interfaces *t, uint32_t index, const struct ip *ip);

/* From the name and the kind that the kernel gives virtual interfaces ("bridge", "veth"; NULL: none). */
enum interface_class interfaces_classify(const char *name, const char *kind, bool loopback);

void interfaces_view(const struct interfaces *t, struct host_view *out);

/* How long to look away when news begin. */
struct interfaces_patience {
    time_ns settle; /* 0: HOST_SETTLE */
    time_ns last;   /* burst read */
};

time_ns interfaces_settle(struct interfaces_patience *p, time_ns now);
void interfaces_settled(struct interfaces_patience *p, bool changed, time_ns now);

/* One or more rtnetlink messages, as a read returned them; 4-byte aligned. Returns INTERFACES_*. */
unsigned rtnl_apply(struct interfaces *t, struct span messages);
/* The answer to "which way to that address?". */
void rtnl_apply_route(struct span messages, struct interface_route *out);

#endif
