/* test/netns-tcp - our stack behind a TUN device, the kernel's TCP on the other side of it
 *
 * One process per case, in network namespaces of its own: the parent pumps packets between the device and
 * the stack, with delay and loss of its own making; a child is the kernel's side and uses plain sockets.
 */
#ifndef MANYTAILS_TEST_NETNS_TCP_H
#define MANYTAILS_TEST_NETNS_TCP_H

#include "base/base.h"

/* Services of our stack, by port. */
#define PORT_DOWNLOAD 1000    /* reads "N\n", sends N bytes, ends */
#define PORT_UPLOAD 1001      /* reads until the end, answers "N\n" when every byte was right */
#define PORT_ECHO 1002        /* sends back, ends after the other side's end */
#define PORT_CLOSE_FIRST 1003 /* sends "hello", ends at once */
#define PORT_DEFERRED 1004    /* accepts after 300 ms, then as CLOSE_FIRST */
#define PORT_REFUSED 1005
#define PORT_CONNECT_OUT 1006 /* reads "PORT N\n", connects there, reads N bytes, answers "N\n" */
#define PORT_SILENT 1007      /* reads nothing before 1.5 s, then everything; answers as UPLOAD */
#define PORT_ABORT 1008       /* resets after the first byte */

#define KERNEL_V4 "100.64.1.1"
#define STACK_V4 "100.64.1.2"
#define KERNEL_V6 "fd7a:115c:a1e0::1"
#define STACK_V6 "fd7a:115c:a1e0::2"

static inline uint8_t pattern(uint64_t at)
{
    return (uint8_t)((at + 1) * 0x9e3779b97f4a7c15 >> 40);
}

struct kernel_case {
    const char *name;
    const char *sysctl;              /* of the kernel's side: "net/ipv4/tcp_sack=0", several with blanks */
    int (*run)(const char *address); /* in the child; 0: passed */
    double loss;                     /* of each direction */
    int delay_ms;                    /* one way */
    double seconds_max;              /* for the whole case, not counting what the case waits for on purpose */
    bool v6;
    bool reorder;  /* a packet in 50 is overtaken by the next ones */
    uint64_t rate; /* bytes per second each way; 0: no limit */
};

extern const struct kernel_case kernel_cases[];
extern const size_t kernel_case_count;

/* For --path: one transfer of so many bytes. */
extern uint64_t path_bytes;
int path_download(const char *address);
int path_upload(const char *address);

#define PUMP_SLOW 3 /* seconds_max went by */
#define RUNS_MAX \
    5 /* of a case that is slow: a machine short of time disturbs some, a stack that waits makes all slow */

/* The parent's side: runs until the child is gone and the stack is quiet. Returns 0, PUMP_SLOW or what else
 * went wrong. */
int pump_run(const struct kernel_case *c, int tun, int child, bool verbose);

#endif
