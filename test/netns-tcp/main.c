/* netns-tcp [-v] [WORD]: runs the cases whose names contain WORD (all without). Exit 77 if this machine
 * lets us have neither network namespaces nor a TUN device.
 *
 * netns-tcp --path MS LOSS REORDER RATE MB: the same transfer both ways over one path (one-way delay in ms,
 * loss 0..1, reordering 0|1, MB/s): ours sends in the download, the kernel's CUBIC in the upload. SEED in the
 * environment chooses which packets are lost: compare over many, luck makes a factor of three. */
#include "netns-tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP 77

static bool write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool good = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return good;
}

/* A network namespace; as an ordinary user inside a user namespace where we are root. */
static bool enter_namespace(void)
{
    unsigned uid = geteuid(), gid = getegid();
    char map[64];

    if (unshare(CLONE_NEWNET) == 0)
        return true;
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET))
        return false;
    snprintf(map, sizeof(map), "0 %u 1", uid);
    if (!write_file("/proc/self/uid_map", map) || !write_file("/proc/self/setgroups", "deny"))
        return false;
    snprintf(map, sizeof(map), "0 %u 1", gid);
    return write_file("/proc/self/gid_map", map);
}

static int open_device(void)
{
    struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI };
    int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return -1;
    strcpy(request.ifr_name, "peer0");
    if (ioctl(fd, TUNSETIFF, &request)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool configure(const struct kernel_case *c)
{
    char settings[256], path[256];

    if (system("ip link set lo up && ip addr add " KERNEL_V4 "/24 dev peer0 && "
               "ip addr add " KERNEL_V6
               "/64 dev peer0 nodad && ip link set peer0 mtu 1280 txqueuelen 5000 up"))
        return false;
    snprintf(settings, sizeof(settings), "%s", c->sysctl ? c->sysctl : "");
    for (char *rest, *one = strtok_r(settings, " ", &rest); one; one = strtok_r(NULL, " ", &rest)) {
        char *value = strchr(one, '=');

        *value++ = 0;
        snprintf(path, sizeof(path), "/proc/sys/%s", one);
        if (!write_file(path, value)) {
            fprintf(stderr, "%s: %s\n", path, strerror(errno));
            return false;
        }
    }
    return true;
}

/* In a process of its own. */
static int run_case(const struct kernel_case *c, bool verbose)
{
    int tun, child;

    if (!enter_namespace() || (tun = open_device()) < 0 || !configure(c)) {
        fprintf(stderr, "no namespace, no device or no ip command: %s\n", strerror(errno));
        return SKIP;
    }
    fflush(NULL);
    child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        close(tun);
        exit(c->run(c->v6 ? STACK_V6 : STACK_V4));
    }
    int r = pump_run(c, tun, child, verbose);

    if (r)
        kill(child, SIGKILL);
    return r;
}

static int in_child(const struct kernel_case *c, bool verbose)
{
    int status = 1, child;

    fflush(NULL);
    child = fork();
    if (child == 0)
        exit(run_case(c, verbose));
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run_path(char **argv)
{
    struct kernel_case c = { .delay_ms = atoi(argv[0]),
                             .loss = atof(argv[1]),
                             .reorder = atoi(argv[2]),
                             .rate = (uint64_t)(atof(argv[3]) * 1e6),
                             .seconds_max = 120 };

    path_bytes = (uint64_t)(atof(argv[4]) * 1e6);
    c.name = "download";
    c.run = path_download;
    if (in_child(&c, getenv("VERBOSE") != NULL))
        return 1;
    c.name = "upload";
    c.run = path_upload;
    return in_child(&c, getenv("VERBOSE") != NULL);
}

int main(int argc, char **argv)
{
    if (argc == 7 && strcmp(argv[1], "--path") == 0)
        return run_path(argv + 2);

    bool verbose = argc > 1 && strcmp(argv[1], "-v") == 0;
    const char *word = argc > 1 + verbose ? argv[1 + verbose] : "";
    int passed = 0, failed = 0, skipped = 0;

    for (size_t i = 0; i < kernel_case_count; i++) {
        int status;

        if (!strstr(kernel_cases[i].name, word))
            continue;
        status = PUMP_SLOW;
        for (int run = 0; run < RUNS_MAX && status == PUMP_SLOW; run++)
            status = in_child(&kernel_cases[i], verbose);
        if (status && status != SKIP)
            printf("FAILED %s\n", kernel_cases[i].name);
        passed += status == 0;
        skipped += status == SKIP;
        failed += status && status != SKIP;
    }
    printf("%d passed, %d failed, %d skipped\n", passed, failed, skipped);
    return failed || (!passed && !skipped) ? 1 : passed ? 0 : SKIP;
}
