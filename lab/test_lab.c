/* The whole lab and a service on it, in one loop: two processes' worth of nodes that know of each other only
 * what control, relay and the wire tell them. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lab/lab.h"
#include "lab/test_world.h"
#include "lab/web.h"
#include "tls/tls.h"

static struct lab_config config;
static struct lab lab;
static char directory[] = "/tmp/manytails-test-lab.XXXXXX", state[sizeof(directory) + 16];
static struct host *host;
static struct node_process *process;
static struct node_shard *shard;
static struct node *service;

static void on_state(void *ctx, struct node *n, enum node_state s, const char *sentence)
{
    (void)ctx;
    (void)n;
    (void)s;
    (void)sentence;
}

static void on_url(void *ctx, struct node *n, const char *url)
{
    (void)ctx;
    (void)n;
    (void)url;
}

static void on_stopped(void *ctx, struct node *n)
{
    (void)ctx;
    (void)n;
}

static const struct node_ops ops = { .state_changed = on_state, .auth_url = on_url, .stopped = on_stopped };

static void open_service(const char *name, const char *upstream)
{
    struct node_process_config process_config = { .shard_count = 1 };
    struct node_config node = { .name = name,
                                .control_url = lab_control_url(lab.control),
                                .auth_key = lab.key->text,
                                .state_directory = state,
                                .listen = { .port = LAB_SERVICE_PORT },
                                .proxy = { .name = name, .upstream = upstream } };
    char why[NODE_WHY_BYTES];

    assert_int_equal(node_process_new(&process, &process_config, why), 0);
    assert_int_equal(node_shard_new(&shard, process, 0, loop), 0);
    assert_int_equal(host_new(&host, loop, NULL, NULL), 0);
    node_shard_set_host(shard, host_view_get(host));
    assert_int_equal(node_new(&service, shard, &node, &ops, NULL, why), 0);
    node_start(service);
}

static int open_all(void **test)
{
    char why[NODE_WHY_BYTES];

    (void)test;
    log_set_level(LOG_ERROR);
    if (world_open(test))
        return -1;
    config = (struct lab_config) {
        .program = "manytails", .pages = { "web" }, .page_count = 1, .forward_count = 1
    };
    config.forwards[0] = (struct lab_forward_config) { .host = "web", .port = LAB_SERVICE_PORT };
    memcpy(directory + sizeof(directory) - 7, "XXXXXX", 6);
    assert_non_null(mkdtemp(directory));
    snprintf(state, sizeof(state), "%s/service", directory);
    return lab_open(&lab, loop, &config, directory, why);
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static int close_all(void **test)
{
    node_free(service);
    service = NULL;
    host_free(host);
    host = NULL;
    node_shard_free(shard);
    shard = NULL;
    node_process_free(process);
    process = NULL;
    lab_close(&lab);
    tls_thread_end();
    return world_close(test) | nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#define REQUEST "GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"

static void fetch(struct caller *c, uint16_t port)
{
    call(c, port);
    say(c, REQUEST);
    wait_until(c->ended || c->failed);
}

static void a_page_comes_from_its_server_through_the_tunnel_to_a_loopback_port(void **test)
{
    (void)test;
    char upstream[64];
    struct caller c = { 0 };

    snprintf(upstream, sizeof(upstream), "http://127.0.0.1:%u", lab_page_port(lab.pages[0]));
    open_service("web", upstream);
    wait_until(lab_relay_guests(lab.relay) == 2); /* both can be reached */
    fetch(&c, lab.opened[0]);
    assert_true(heard(&c, "HTTP/1.1 200 "));
    assert_true(heard(&c, "the service <b>web</b>"));
    assert_true(heard(&c, "<td>X-Tailscale-User-LoginName<td>you@lab"));
    assert_true(heard(&c, "<td>X-Tailscale-Node-Name<td>" LAB_CLIENT_NAME));
    hang_up(&c);
    assert_int_equal(lab_client_counters(lab.client)->connections, 1);
}

/* Else its loopback ports would be refused, and nobody would know whom to approve. */
static void the_labs_own_client_needs_no_approval(void **test)
{
    (void)test;
    struct registry *r = lab_control_registry(lab.control);

    r->needs_approval = true;
    open_service("web", "http://127.0.0.1:1");
    wait_until(r->node_count == 2);
    LIST_EACH (n, &r->nodes, struct registry_node, link)
        assert_int_equal(n->approved, strcmp(n->name, LAB_CLIENT_NAME) == 0);
}

#define LONG_BYTES (WEB_ANSWER_BYTES_MAX - 4096) /* a head fits in front */

static void answer_long(void *ctx, struct web_conn *c, const struct http_head *head)
{
    (void)head;
    web_answer(c, 200, "text/plain", NULL, span_make(ctx, LONG_BYTES));
}

/* What the nodes of both ends have moved: they are the first of their shards, and share a thread here. */
static struct account_traffic moved(enum account_part part, enum account_direction way)
{
    return account_cell_of(account_charge_of(1, part))->traffic[way];
}

/* `packets` of at most `room` bytes of the answer each. */
static void assert_carried(const char *what, struct account_traffic t, size_t room)
{
    size_t least = (LONG_BYTES + room - 1) / room;

    /* Room for requests, acknowledgements, a handshake, and a few packets twice. */
    if (t.bytes < LONG_BYTES || t.bytes > LONG_BYTES + LONG_BYTES / 4 || t.packets < least ||
        t.packets > 2 * least)
        fail_msg("%s: %lu bytes in %lu packets", what, (unsigned long)t.bytes, (unsigned long)t.packets);
}

static void a_long_answer_is_counted_by_every_part_that_carries_it(void **test)
{
    (void)test;
    char *body = malloc(LONG_BYTES), upstream[64];
    struct web_config web = { .at = on_loopback(0), .request = answer_long, .ctx = body };
    struct account_traffic outer, in, out;
    struct web *server;
    struct caller c;

    assert_non_null(body);
    memset(body, 'a', LONG_BYTES);
    assert_int_equal(web_new(&server, loop, &web), 0);
    snprintf(upstream, sizeof(upstream), "http://127.0.0.1:%u", web_port(server));
    open_service("web", upstream);
    wait_until(lab_relay_guests(lab.relay) == 2);
    fetch(&c, lab.opened[0]);
    for (int way = ACCOUNT_IN; way <= ACCOUNT_OUT; way++) {
        assert_carried("netstack", moved(ACCOUNT_NETSTACK, way), 1240);
        assert_carried("wireguard", moved(ACCOUNT_WIREGUARD, way), 1240);
        outer = moved(ACCOUNT_PATHS, way); /* some went through the relay, before there was a path */
        outer.bytes += moved(ACCOUNT_RELAY, way).bytes;
        outer.packets += moved(ACCOUNT_RELAY, way).packets;
        assert_carried("paths and relay", outer, 1240);
        assert_true(moved(ACCOUNT_CONTROL, way).bytes > 1000);
        assert_true(moved(ACCOUNT_CONTROL, way).packets > 2);
        /* Of relays only, here. */
        assert_true(moved(ACCOUNT_TLS, way).bytes > moved(ACCOUNT_RELAY, way).bytes);
        assert_true(moved(ACCOUNT_TLS, way).packets > 4);
        assert_int_equal(moved(ACCOUNT_OTHER, way).bytes, 0);
    }
    in = moved(ACCOUNT_PROXY, ACCOUNT_IN);
    out = moved(ACCOUNT_PROXY, ACCOUNT_OUT);
    assert_int_equal(in.bytes, strlen(REQUEST));
    assert_int_equal(out.bytes, c.got.len);
    assert_int_equal(in.packets + out.packets, 0);
    hang_up(&c);
    web_free(server);
    free(body);
}

static void a_port_of_a_node_that_is_not_there_resets(void **test)
{
    (void)test;
    struct caller c;

    wait_until(lab_client_running(lab.client));
    try_to_call(&c, lab.opened[0]);
    wait_until(c.ended || c.failed);
    assert_int_equal(c.got.len, 0);
    assert_int_equal(lab_client_counters(lab.client)->refused, 1);
    hang_up(&c);
}

static void the_same_service_keeps_its_port_and_another_gets_another(void **test)
{
    (void)test;
    uint16_t port = lab_open_service(&lab, "web");

    assert_int_equal(port, lab.opened[0]);
    assert_int_equal(lab_open_service(&lab, "web"), port);
    assert_int_not_equal(lab_open_service(&lab, "git"), port);
}

/* What others put into headers must not become part of the page. */
static void a_page_escapes_what_it_is_told(void **test)
{
    (void)test;
    struct caller c;

    call(&c, lab_page_port(lab.pages[0]));
    say(&c, "GET / HTTP/1.1\r\nHost: web\r\nX-Tailscale-Node-Name: <script>&\r\nConnection: close\r\n\r\n");
    wait_until(c.ended);
    assert_true(heard(&c, "&lt;script&gt;&amp;"));
    assert_false(heard(&c, "<script>"));
    hang_up(&c);
}

static void a_page_has_a_name_that_a_node_can_have(void **test)
{
    (void)test;
    static const char *const names[] = { "", "Web", "a.b", "a b", "<b>" };
    struct ip_port at = on_loopback(0);
    struct lab_page *p;

    for (size_t i = 0; i < COUNT_OF(names); i++)
        assert_int_equal(lab_page_new(&p, loop, names[i], &at), -EINVAL);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
    const struct CMUnitTest tests[] = {
        TEST(the_labs_own_client_needs_no_approval),
        TEST(a_page_comes_from_its_server_through_the_tunnel_to_a_loopback_port),
        TEST(a_long_answer_is_counted_by_every_part_that_carries_it),
        TEST(a_port_of_a_node_that_is_not_there_resets),
        TEST(the_same_service_keeps_its_port_and_another_gets_another),
        TEST(a_page_escapes_what_it_is_told),
        TEST(a_page_has_a_name_that_a_node_can_have),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
