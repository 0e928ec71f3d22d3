#include "sim.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define CUTS_MAX 8
#define NAMES_MAX 8
#define STUN_MAX 8

struct ev_loop {
    time_ns now;
};

struct ev_udp {
    ev_udp_fn *fn;
    void *owner;
    struct ip_port local;
    struct ip public_ip;
    enum sim_nat nat;
    bool open;
};

/* What a NAT remembers. EASY ignores `remote` for the port, both use it as the filter. */
struct mapping {
    const struct ev_udp *socket;
    struct ip_port remote;
    uint16_t port;
};

struct flight {
    struct list link; /* by time */
    time_ns at;
    struct ip_port from, to;
    void (*fn)(void *ctx); /* not a datagram: a call */
    void *ctx;
    size_t len;
    uint8_t bytes[];
};

static struct {
    struct ev_loop loop;
    struct list timers; /* unsorted: there are few */
    struct list tasks;
    struct list mailboxes;
    struct list flights;
    size_t flight_count;
    struct ev_udp sockets[SIM_SOCKETS_MAX];
    size_t socket_count;
    struct mapping mappings[SIM_MAPPINGS_MAX];
    size_t mapping_count;
    struct ip cuts[CUTS_MAX];
    size_t cut_count;
    struct ip_port stun[STUN_MAX];
    size_t stun_count;
    struct {
        const char *name;
        struct ip ip;
    } names[NAMES_MAX];
    size_t name_count;
    struct ev_udp next_host;
    time_ns delay;
    unsigned loss_percent;
    int send_error;
    uint64_t seed;
    time_ns last_timer_at;
    uint16_t next_port;
    struct sim_counters counters;
} world;

static struct ip ip_of(const char *text)
{
    struct ip ip;

    must(ip_parse(span_from_str(text), &ip));
    return ip;
}

/* ---- world ------------------------------------------------------------------------------ */

void sim_start(time_ns now)
{
    memset(&world, 0, sizeof(world));
    world.loop.now = now;
    world.delay = 10 * MSEC;
    world.seed = 1;
    world.next_port = 20000;
    list_init(&world.timers);
    list_init(&world.tasks);
    list_init(&world.mailboxes);
    list_init(&world.flights);
}

void sim_stop(void)
{
    must(list_empty(&world.timers) && list_empty(&world.tasks) && list_empty(&world.mailboxes));
    for (size_t i = 0; i < world.socket_count; i++)
        must(!world.sockets[i].open);
    LIST_EACH (f, &world.flights, struct flight, link) {
        list_remove(&f->link);
        free(f);
    }
}

struct ev_loop *sim_loop(void)
{
    return &world.loop;
}

time_ns sim_now(void)
{
    return world.loop.now;
}

const struct sim_counters *sim_counters(void)
{
    return &world.counters;
}

void sim_next_host(const char *local_ip, const char *public_ip, enum sim_nat nat)
{
    world.next_host =
        (struct ev_udp) { .local.ip = ip_of(local_ip), .public_ip = ip_of(public_ip), .nat = nat };
}

void sim_stun_server(const char *address)
{
    must(world.stun_count < STUN_MAX);
    must(ip_port_parse(span_from_str(address), &world.stun[world.stun_count++]));
}

void sim_name(const char *name, const char *ip)
{
    must(world.name_count < NAMES_MAX);
    world.names[world.name_count].name = name;
    world.names[world.name_count++].ip = ip_of(ip);
}

void sim_set_delay(time_ns one_way)
{
    world.delay = one_way;
}

void sim_set_loss(unsigned percent)
{
    world.loss_percent = percent;
}

void sim_send_error(int error)
{
    world.send_error = error;
}

void sim_cut(const char *ip, bool cut)
{
    struct ip which = ip_of(ip);
    size_t kept = 0;

    for (size_t i = 0; i < world.cut_count; i++)
        if (!ip_equal(&world.cuts[i], &which))
            world.cuts[kept++] = world.cuts[i];
    world.cut_count = kept;
    if (cut) {
        must(world.cut_count < CUTS_MAX);
        world.cuts[world.cut_count++] = which;
    }
}

static bool is_cut(const struct ip *ip)
{
    for (size_t i = 0; i < world.cut_count; i++)
        if (ip_equal(&world.cuts[i], ip))
            return true;
    return false;
}

/* ---- on the way ------------------------------------------------------------------------------ */

static void put(struct flight *f)
{
    must(++world.flight_count <= SIM_IN_FLIGHT_MAX);
    LIST_EACH (other, &world.flights, struct flight, link)
        if (other->at > f->at) {
            list_insert(&other->link, &f->link);
            return;
        }
    list_push_back(&world.flights, &f->link);
}

static struct flight *make(time_ns delay, struct span bytes)
{
    struct flight *f = calloc(1, sizeof(*f) + bytes.len);

    must(f != NULL && bytes.len <= SIM_DATAGRAM_BYTES_MAX);
    f->at = world.loop.now + delay;
    f->len = bytes.len;
    if (bytes.len)
        memcpy(f->bytes, bytes.data, bytes.len);
    return f;
}

void sim_inject(const struct ip_port *from, const struct ip_port *to, struct span bytes)
{
    struct flight *f = make(world.delay, bytes);

    f->from = *from;
    f->to = *to;
    put(f);
}

void sim_later(time_ns delay, void (*fn)(void *ctx), void *ctx)
{
    struct flight *f = make(delay, SPAN_NONE);

    f->fn = fn;
    f->ctx = ctx;
    put(f);
}

static struct mapping *find_mapping(const struct ev_udp *u, const struct ip_port *remote)
{
    for (size_t i = 0; i < world.mapping_count; i++)
        if (world.mappings[i].socket == u && ip_port_equal(&world.mappings[i].remote, remote))
            return &world.mappings[i];
    return NULL;
}

void sim_nat_forget(const char *public_ip)
{
    struct ip ip = ip_of(public_ip);
    size_t kept = 0;

    for (size_t i = 0; i < world.mapping_count; i++)
        if (!ip_equal(&world.mappings[i].socket->public_ip, &ip))
            world.mappings[kept++] = world.mappings[i];
    world.mapping_count = kept;
}

/* The address that `remote` sees; remembers that we wrote there. */
static struct ip_port translate_out(const struct ev_udp *u, const struct ip_port *remote)
{
    struct mapping *m = find_mapping(u, remote);
    uint16_t port = 0;

    if (u->nat == SIM_NAT_NONE)
        return u->local;
    if (!m) {
        for (size_t i = 0; i < world.mapping_count && u->nat == SIM_NAT_EASY; i++)
            if (world.mappings[i].socket == u)
                port = world.mappings[i].port;
        must(world.mapping_count < SIM_MAPPINGS_MAX);
        m = &world.mappings[world.mapping_count++];
        *m = (struct mapping) { .socket = u, .remote = *remote, .port = port ? port : world.next_port++ };
    }
    return (struct ip_port) { u->public_ip, m->port };
}

/* The socket that a datagram for this address reaches, or NULL. */
static struct ev_udp *translate_in(const struct ip_port *from, const struct ip_port *to)
{
    for (size_t i = 0; i < world.socket_count; i++) {
        struct ev_udp *u = &world.sockets[i];
        struct mapping *m = find_mapping(u, from);

        if (!u->open)
            continue;
        if (u->nat == SIM_NAT_NONE ? ip_port_equal(&u->local, to)
                                   : m && m->port == to->port && ip_equal(&u->public_ip, &to->ip))
            return u;
    }
    return NULL;
}

/* RFC 8489: XOR-MAPPED-ADDRESS and nothing else, written by hand. */
static void answer_stun(const struct ip_port *server, const struct flight *f)
{
    uint8_t answer[32] = { 0x01, 0x01, 0, 12 };

    if (f->len < 20)
        return;
    memcpy(answer + 4, f->bytes + 4, 16);
    answer[21] = 0x20;
    answer[23] = 8;
    answer[25] = 1;
    store_be16(answer + 26, f->from.port ^ 0x2112);
    store_be32(answer + 28, load_be32(ip_v4_bytes(&f->from.ip)) ^ 0x2112a442);
    sim_inject(server, &f->from, SPAN_OF(answer));
}

static void arrive(struct flight *f)
{
    struct ev_udp *u;
    struct ev_datagram d = { .bytes = { f->bytes, f->len }, .from = f->from };

    if (f->fn) {
        f->fn(f->ctx);
        return;
    }
    if (is_cut(&f->from.ip) || is_cut(&f->to.ip)) {
        world.counters.lost++;
        return;
    }
    for (size_t i = 0; i < world.stun_count; i++)
        if (ip_port_equal(&world.stun[i], &f->to)) {
            world.counters.stun_requests++;
            answer_stun(&world.stun[i], f);
            return;
        }
    u = translate_in(&f->from, &f->to);
    world.counters.filtered += !u;
    world.counters.delivered += u != NULL;
    if (u)
        u->fn(u->owner, &d, 1, world.loop.now);
}

bool sim_batch(const struct ip_port *to, struct ev_datagram *datagrams, size_t count)
{
    struct ev_udp *u = count ? translate_in(&datagrams[0].from, to) : NULL;

    if (u)
        u->fn(u->owner, datagrams, count, world.loop.now);
    return u != NULL;
}

/* ---- time ---------------------------------------------------------------------------------------- */

static struct ev_timer *next_timer(void)
{
    struct ev_timer *next = NULL;

    LIST_EACH (t, &world.timers, struct ev_timer, link)
        if (!next || t->at < next->at)
            next = t;
    return next;
}

static void run_posted(void);

void sim_run(time_ns duration)
{
    time_ns end = world.loop.now + duration;

    for (;;) {
        run_posted();

        struct ev_timer *t = next_timer();
        struct flight *f = LIST_FIRST(&world.flights, struct flight, link);
        time_ns timer_at = t ? t->at : TIME_NEVER, flight_at = f ? f->at : TIME_NEVER;

        if (MIN(timer_at, flight_at) > end)
            break;
        world.loop.now = MAX(world.loop.now, MIN(timer_at, flight_at));
        if (flight_at <= timer_at) {
            list_remove(&f->link);
            world.flight_count--;
            arrive(f);
            free(f);
        } else {
            list_remove(&t->link);
            world.counters.timers_fired++;
            world.counters.timer_instants += world.loop.now != world.last_timer_at;
            world.last_timer_at = world.loop.now;
            t->fn(t, world.loop.now);
        }
    }
    world.loop.now = end;
}

time_ns ev_now(const struct ev_loop *loop)
{
    return loop->now;
}

int64_t ev_wall_clock(void)
{
    return SIM_WALL_START + world.loop.now;
}

time_ns ev_clock(void)
{
    return world.loop.now;
}

/* This machine never sleeps. */
void ev_loop_watch_sleep(struct ev_loop *loop, void (*fn)(void *owner, time_ns slept, time_ns now),
                         void *owner)
{
    (void)loop;
    (void)fn;
    (void)owner;
}

uint64_t ev_loop_wakeups(const struct ev_loop *loop)
{
    (void)loop;
    return world.counters.timers_fired;
}

void ev_timer_init(struct ev_timer *t, struct ev_loop *loop, void (*fn)(struct ev_timer *, time_ns now))
{
    *t = (struct ev_timer) { .loop = loop, .fn = fn };
}

void ev_timer_set(struct ev_timer *t, time_ns at)
{
    list_remove(&t->link);
    if (at == TIME_NEVER)
        return;
    t->at = at;
    list_push_back(&world.timers, &t->link);
}

void ev_timer_stop(struct ev_timer *t)
{
    list_remove(&t->link);
}

/* ---- tasks and letters ------------------------------------------------------------------------------- */

void ev_task_init(struct ev_task *t, struct ev_loop *loop, void (*fn)(struct ev_task *, time_ns now))
{
    *t = (struct ev_task) { .loop = loop, .fn = fn };
}

void ev_task_post(struct ev_task *t)
{
    if (!list_linked(&t->link))
        list_push_back(&world.tasks, &t->link);
}

void ev_task_cancel(struct ev_task *t)
{
    list_remove(&t->link);
}

/* Letters may come from other threads; they are read when sim_run looks at them. */
struct ev_mailbox {
    struct list link; /* in the world */
    void (*fn)(void *owner, struct ev_letter *letter, time_ns now);
    void *owner;
    pthread_mutex_t lock;
    struct list letters;
};

int ev_mailbox_new(struct ev_mailbox **out, struct ev_loop *loop,
                   void (*fn)(void *owner, struct ev_letter *letter, time_ns now), void *owner)
{
    struct ev_mailbox *m = calloc(1, sizeof(*m));

    (void)loop;
    if (!m)
        return -ENOMEM;
    *m = (struct ev_mailbox) { .fn = fn, .owner = owner };
    pthread_mutex_init(&m->lock, NULL);
    list_init(&m->letters);
    list_push_back(&world.mailboxes, &m->link);
    *out = m;
    return 0;
}

static bool read_letter(struct ev_mailbox *m)
{
    struct list *link;

    pthread_mutex_lock(&m->lock);
    link = list_pop_front(&m->letters);
    pthread_mutex_unlock(&m->lock);
    if (link)
        m->fn(m->owner, LIST_ENTRY(link, struct ev_letter, link), world.loop.now);
    return link != NULL;
}

void ev_mailbox_free(struct ev_mailbox *m)
{
    if (!m)
        return;
    while (read_letter(m))
        ;
    list_remove(&m->link);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void ev_mailbox_post(struct ev_mailbox *m, struct ev_letter *letter)
{
    pthread_mutex_lock(&m->lock);
    list_push_back(&m->letters, &letter->link);
    pthread_mutex_unlock(&m->lock);
}

/* What a turn of the loop does before it sleeps. */
static void run_posted(void)
{
    bool again = true;

    while (again) {
        struct list *link = list_pop_front(&world.tasks);

        again = link != NULL;
        if (link) {
            struct ev_task *t = LIST_ENTRY(link, struct ev_task, link);

            t->fn(t, world.loop.now);
        }
        LIST_EACH (m, &world.mailboxes, struct ev_mailbox, link)
            again |= read_letter(m);
    }
}

/* ---- datagrams ---------------------------------------------------------------------------------------- */

int ev_udp_open(struct ev_udp **out, struct ev_loop *loop, uint16_t port, ev_udp_fn *fn, void *owner)
{
    struct ev_udp *u = &world.sockets[world.socket_count++];

    (void)loop;
    must(world.socket_count <= SIM_SOCKETS_MAX);
    *u = world.next_host;
    u->local.port = port ? port : (uint16_t)(41641 + world.socket_count);
    u->fn = fn;
    u->owner = owner;
    u->open = true;
    *out = u;
    return 0;
}

void ev_udp_close(struct ev_udp *u)
{
    if (u)
        u->open = false;
}

int ev_udp_rebind(struct ev_udp *u)
{
    (void)u;
    world.counters.rebinds++;
    return 0;
}

uint16_t ev_udp_port(const struct ev_udp *u, bool v4)
{
    return v4 ? u->local.port : 0;
}

int ev_udp_send(struct ev_udp *u, const struct ip_port *to, struct span bytes, size_t segment)
{
    if (world.send_error)
        return world.send_error;
    if (!ip_is_v4(&to->ip))
        return -EAFNOSUPPORT;
    if (is_cut(&u->local.ip))
        return 0;
    while (bytes.len) {
        struct span one = span_slice(bytes, 0, segment);
        struct ip_port from = translate_out(u, to);

        bytes = span_slice(bytes, one.len, bytes.len);
        world.counters.sent++;
        world.seed = world.seed * 6364136223846793005u + 1442695040888963407u;
        if ((world.seed >> 33) % 100 < world.loss_percent)
            world.counters.lost++;
        else
            sim_inject(&from, to, one);
    }
    return 0;
}

/* ---- names
 * -------------------------------------------------------------------------------------------------- */

struct ev_resolve {
    ev_resolve_fn *fn;
    void *owner;
    const struct ip *ip; /* NULL: no such name */
    struct ip literal;
    bool cancelled;
};

static void resolved(void *ctx)
{
    struct ev_resolve *r = ctx;

    world.counters.resolved++;
    if (!r->cancelled)
        r->fn(r->owner, r->ip ? 0 : -ENOENT, r->ip, r->ip != NULL);
    free(r);
}

int ev_resolve_start(struct ev_resolve **out, struct ev_loop *loop, const char *name, ev_resolve_fn *fn,
                     void *owner)
{
    struct ev_resolve *r = calloc(1, sizeof(*r));

    (void)loop;
    if (!r)
        return -ENOMEM;
    *r = (struct ev_resolve) { .fn = fn, .owner = owner };
    for (size_t i = 0; i < world.name_count; i++)
        if (strcmp(world.names[i].name, name) == 0)
            r->ip = &world.names[i].ip;
    if (ip_parse(span_from_str(name), &r->literal))
        r->ip = &r->literal;
    sim_later(5 * MSEC, resolved, r);
    *out = r;
    return 0;
}

void ev_resolve_cancel(struct ev_resolve *r)
{
    if (r)
        r->cancelled = true;
}
