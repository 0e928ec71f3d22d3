/* Two of our relay nodes, or many, through a real derper. Run by ./run, which also makes certificates.
 *
 *   relay-derper talk OPTIONS -- DERPER...   packets both ways; the derper is killed and started again
 *   relay-derper idle COUNT OPTIONS -- DERPER...   what COUNT connections at rest cost
 *
 *   host=NAME address=IP port=N   the derper      ca=FILE   roots      cert=NAME   CertName of the map
 *   plain=1   without TLS
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "relay/relay.h"

#define NODES_MAX 2000

struct options {
    const char *host, *address, *ca, *cert;
    uint16_t port;
    bool plain;
    char **derper;
};

struct person {
    struct relay_node *node;
    struct public_key key;
    int received, troubles;
    size_t last_len;
    time_ns latency;
};

static struct ev_loop *loop;
static pid_t derper;

static void die(const char *what)
{
    printf("not ok: %s\n", what);
    if (derper > 0)
        kill(derper, SIGTERM);
    exit(1);
}

static void derper_start(const struct options *o)
{
    derper = fork();
    if (derper == 0) {
        execv(o->derper[0], o->derper);
        perror(o->derper[0]);
        _exit(127);
    }
}

static void derper_kill(void)
{
    kill(derper, SIGKILL);
    waitpid(derper, NULL, 0);
    derper = 0;
}

static void on_received(void *ctx, uint16_t region, const struct public_key *from, struct mspan packet,
                        time_ns now)
{
    struct person *p = ctx;

    (void)region;
    (void)from;
    (void)now;
    p->received++;
    p->last_len = packet.len;
}

static void on_trouble(void *ctx, uint16_t region, time_ns now)
{
    (void)region;
    (void)now;
    ((struct person *)ctx)->troubles++;
}

static void on_probed(void *ctx, uint16_t region, time_ns latency, time_ns now)
{
    (void)region;
    (void)now;
    ((struct person *)ctx)->latency = latency;
}

static const struct relay_ops ops = { .received = on_received, .trouble = on_trouble, .probed = on_probed };

static void person_open(struct person *p, struct relay_shard *s, const struct options *o)
{
    struct tailcfg_derp_node server = {
        .name = span_from_str("901a"),
        .host_name = span_from_str(o->host),
        .cert_name = span_from_str(o->cert),
        .ipv4 = span_from_str(o->address),
        .ipv6 = span_from_str("none"),
        .derp_port = o->port,
    };
    struct tailcfg_derp_region region = {
        .id = 901, .code = span_from_str("lab1"), .nodes = &server, .node_count = 1
    };
    struct tailcfg_derp_map map = { .has_regions = true, .regions = &region, .region_count = 1 };
    struct secret_key secret;
    struct relay_config config = {
        .name = "person", .node_key = &secret, .plain_http = o->plain, .ops = &ops, .ctx = p
    };

    secret_key_generate(&secret);
    secret_key_public(&secret, &p->key);
    if (relay_node_new(&p->node, s, &config) || relay_node_set_map(p->node, &map, ev_now(loop)))
        die("out of memory");
    relay_node_set_home(p->node, 901, ev_now(loop));
}

static bool up(const struct person *p)
{
    struct relay_status s;

    relay_node_status(p->node, ev_now(loop), &s);
    return s.home_connected;
}

/* Turns until the condition holds; the last sentence of p tells why not. */
#define WAIT(seconds, condition, what)               \
    do {                                             \
        time_ns limit_ = ev_clock() + (seconds)*SEC; \
        while (!(condition)) {                       \
            if (ev_clock() > limit_)                 \
                die(what);                           \
            if (ev_loop_turn(loop, 50 * MSEC))       \
                die("the loop failed");              \
        }                                            \
        printf("ok: %s\n", what);                    \
    } while (0)

static void exchange(struct person *a, struct person *b, const char *what)
{
    static const size_t sizes[] = { 1, 148, 1280, 16384, 65536 };
    static uint8_t packet[65536];

    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        int before_a = a->received, before_b = b->received;

        relay_node_send(a->node, 901, &b->key, span_make(packet, sizes[i]), ev_now(loop));
        relay_node_send(b->node, 901, &a->key, span_make(packet, sizes[i]), ev_now(loop));
        time_ns limit = ev_clock() + 5 * SEC;
        while (a->received == before_a || b->received == before_b)
            if (ev_clock() > limit || ev_loop_turn(loop, 50 * MSEC))
                die(what);
        if (a->last_len != sizes[i] || b->last_len != sizes[i])
            die("a packet changed its length");
    }
    printf("ok: %s\n", what);
}

static void talk(struct relay_shard *s, const struct options *o)
{
    struct person alice = { 0 }, bob = { 0 };
    struct relay_status status;

    derper_start(o);
    person_open(&alice, s, o);
    person_open(&bob, s, o);
    WAIT(15, up(&alice) && up(&bob), "both nodes are connected");
    exchange(&alice, &bob, "packets of 1 to 65536 bytes go both ways");
    for (int i = 0; i < 20; i++)
        exchange(&alice, &bob, "again");

    if (relay_node_probe(alice.node, 901, ev_now(loop)))
        die("out of memory");
    WAIT(10, alice.latency > 0, "the region's latency is measured over its own port");

    derper_kill();
    WAIT(10, !up(&alice) && !up(&bob) && alice.troubles && bob.troubles, "a killed relay is noticed");
    relay_node_status(alice.node, ev_now(loop), &status);
    printf("ok: it says \"%s\"\n", status.sentence);
    derper_start(o);
    WAIT(20, up(&alice) && up(&bob), "a restarted relay is found again");
    exchange(&alice, &bob, "packets go both ways again");

    relay_node_check(alice.node, ev_now(loop), ev_now(loop));
    time_ns until = ev_clock() + 7 * SEC;
    while (ev_clock() < until)
        if (ev_loop_turn(loop, 100 * MSEC))
            die("the loop failed");
    if (!up(&alice))
        die("the relay answers a ping");
    printf("ok: the relay answers a ping\n");
    relay_node_free(alice.node);
    relay_node_free(bob.node);
    derper_kill();
}

static long resident_bytes(void)
{
    long size = 0, resident = 0;
    FILE *f = fopen("/proc/self/statm", "r");

    if (!f || fscanf(f, "%ld %ld", &size, &resident) != 2)
        die("/proc/self/statm cannot be read");
    fclose(f);
    return resident * sysconf(_SC_PAGESIZE);
}

static bool all_up(const struct person *all, int count)
{
    for (int i = 0; i < count; i++)
        if (!up(&all[i]))
            return false;
    return true;
}

static double cpu_seconds(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void idle(struct relay_shard *s, const struct options *o, int count)
{
    static struct person all[NODES_MAX];
    int warm = 20;
    long heap, resident;
    uint64_t wakeups;
    double cpu;
    time_ns begun;

    derper_start(o);
    for (int i = 0; i < warm; i++)
        person_open(&all[i], s, o);
    WAIT(20, all_up(all, warm), "the first nodes are connected");
    malloc_trim(0);
    heap = (long)mallinfo2().uordblks;
    resident = resident_bytes();
    begun = ev_clock();
    cpu = cpu_seconds();
    for (int i = warm; i < count; i++)
        person_open(&all[i], s, o);
    WAIT(120, all_up(all, count), "all nodes are connected");
    printf("%d more connections in %.2f s, %.2f ms CPU each\n", count - warm,
           (double)(ev_clock() - begun) / (double)SEC, (cpu_seconds() - cpu) * 1e3 / (count - warm));
    for (time_ns until = ev_clock() + 2 * SEC; ev_clock() < until;)
        if (ev_loop_turn(loop, 100 * MSEC))
            die("the loop failed");
    malloc_trim(0);
    printf("per connection at rest: %ld bytes of heap, %ld resident\n",
           ((long)mallinfo2().uordblks - heap) / (count - warm),
           (resident_bytes() - resident) / (count - warm));
    wakeups = ev_loop_wakeups(loop);
    cpu = cpu_seconds();
    begun = ev_clock();
    while (ev_clock() - begun < 70 * SEC) /* a keep-alive of each */
        if (ev_loop_turn(loop, 70 * SEC))
            die("the loop failed");
    printf("in %.0f s at rest: %llu wake-ups, %.4f s CPU\n", (double)(ev_clock() - begun) / (double)SEC,
           (unsigned long long)(ev_loop_wakeups(loop) - wakeups), cpu_seconds() - cpu);
    if (!all_up(all, count))
        die("a connection was lost at rest");
    for (int i = 0; i < count; i++)
        relay_node_free(all[i].node);
    derper_kill();
}

static const char *value(const char *argument, const char *name)
{
    size_t len = strlen(name);

    return strncmp(argument, name, len) == 0 && argument[len] == '=' ? argument + len + 1 : NULL;
}

static void parse(int argc, char **argv, struct options *o)
{
    *o = (struct options) { .host = "derp.lab.test", .address = "127.0.0.1", .cert = "" };
    for (int i = 2; i < argc && !o->derper; i++) {
        const char *v;

        if ((v = value(argv[i], "host")))
            o->host = v;
        else if ((v = value(argv[i], "address")))
            o->address = v;
        else if ((v = value(argv[i], "ca")))
            o->ca = v;
        else if ((v = value(argv[i], "cert")))
            o->cert = v;
        else if ((v = value(argv[i], "port")))
            o->port = (uint16_t)atoi(v);
        else if (value(argv[i], "plain"))
            o->plain = true;
        else if (strcmp(argv[i], "--") == 0)
            o->derper = argv + i + 1;
    }
    if (!o->derper || !o->port)
        die("usage: relay-derper talk|idle ... port=N -- DERPER...");
}

int main(int argc, char **argv)
{
    struct relay_pacer *pacer = NULL;
    struct relay_shard *shard = NULL;
    struct tls_client *tls = NULL;
    char why[TLS_WHY_BYTES] = "";
    struct options o;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    parse(argc, argv, &o);
    log_set_level(argc > 1 && strcmp(argv[1], "talk") == 0 ? LOG_INFO : LOG_WARN);
    if (crypto_init() || ev_loop_new(&loop) || relay_pacer_new(&pacer) || tls_client_new(&tls, o.ca, why) ||
        relay_shard_new(&shard, loop, pacer, tls, NULL))
        die(why[0] ? why : "out of memory");
    if (strcmp(argv[1], "talk") == 0)
        talk(shard, &o);
    else
        idle(shard, &o, argc > 2 ? MIN(atoi(argv[2]), NODES_MAX) : 0);
    relay_shard_free(shard);
    relay_pacer_free(pacer);
    tls_client_unref(tls);
    ev_loop_free(loop);
    printf("done\n");
    return 0;
}
