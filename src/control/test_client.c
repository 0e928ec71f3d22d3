#include "control/test_server.h"

#include "control/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* One world: a loop, a server, some clients; and what the server has seen. */
#define CLIENTS_MAX 3

enum callback { CALLBACK_NONE, CALLBACK_STATE, CALLBACK_URL, CALLBACK_KEYS, CALLBACK_MAP, CALLBACK_LOGOUT };

struct node {
    struct control_client *client;
    struct secret_key disco;
    uint16_t port; /* of the endpoint that it reports */
    int home;
    bool home_comes;
    struct control_keys keys;
    int keys_result;
    enum callback free_in; /* frees itself in this callback */
    unsigned maps, firsts, urls, logged_out;
    bool logout_done;
    char url[128];
    const char *key_now; /* what on_auth_key finds; NULL: nothing */
    unsigned key_reads;
};

static struct {
    struct ev_loop *loop;
    struct control_gate *gate;
    struct control_shard *shard;
    struct test_server *server;
    struct node nodes[CLIENTS_MAX];

    /* how the server behaves */
    bool applies_streams; /* like headscale */
    unsigned not_found;   /* map requests to answer with 404 */
    bool deleted;         /* until the next registration; streams stay open and silent, as on headscale */
    bool without_node;    /* first messages lack the self node, once */
    int64_t key_expiry;
    const char *register_answer;
    unsigned hold_register; /* the how-manieth registration is not answered; 0: all are */

    /* what it has seen */
    unsigned registers, streams, updates, heads, posts;
    char last_register[4096], last_stream[4096], last_update[4096], last_post[4096];
    struct test_request *stream;
    struct test_request *waiting_register; /* a followup, or held */
} w;

/* ---- the server's side ----------------------------------------------------------------------------- */

/* Text of a member's string value, from a body of ours. */
static const char *member(const char *body, const char *name, char *out, size_t size)
{
    char key[64];
    const char *at;

    snprintf(key, sizeof(key), "\"%s\":\"", name);
    at = strstr(body, key);
    out[0] = 0;
    if (at)
        text_copy(out, size, span_make(at + strlen(key), strcspn(at + strlen(key), "\"")));
    return out;
}

static void first_message(struct test_request *r, const char *request)
{
    char node[128], disco[128], expiry[TIME_TEXT_BYTES], json[1024];

    snprintf(
        json, sizeof(json),
        "{\"Node\":{\"ID\":1,\"StableID\":\"1\",\"Name\":\"a.test.\",\"User\":1,\"Key\":\"%s\",%s%s%s%s%s%s"
        "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true},\"Domain\":\"test\"}",
        member(request, "NodeKey", node, sizeof(node)), w.applies_streams ? "\"DiscoKey\":\"" : "",
        w.applies_streams ? member(request, "DiscoKey", disco, sizeof(disco)) : "",
        w.applies_streams ? "\"," : "", w.key_expiry ? "\"KeyExpiry\":\"" : "",
        w.key_expiry ? time_text_rfc3339(w.key_expiry, expiry) : "", w.key_expiry ? "\"," : "");
    test_stream_send(r, w.without_node ? "{\"Domain\":\"test\"}" : json);
    w.without_node = false;
}

static void serve_map(struct test_request *r, const char *body)
{
    if (w.not_found || w.deleted) {
        w.not_found -= !w.deleted;
        test_answer(r, 404, "node not found");
        return;
    }
    if (strstr(body, "\"Stream\":true")) {
        w.streams++;
        snprintf(w.last_stream, sizeof(w.last_stream), "%s", body);
        w.stream = r;
        test_stream_open(r);
        first_message(r, body);
        return;
    }
    assert_non_null(strstr(body, "\"OmitPeers\":true"));
    w.updates++;
    snprintf(w.last_update, sizeof(w.last_update), "%s", body);
    test_answer(r, 200, "");
}

static void serve(void *ctx, struct test_request *r, const char *method, const char *path, const char *body)
{
    (void)ctx;
    if (!method[0]) { /* closed */
        w.stream = w.stream == r ? NULL : w.stream;
        w.waiting_register = w.waiting_register == r ? NULL : w.waiting_register;
    } else if (strcmp(path, "/machine/map") == 0) {
        serve_map(r, body);
    } else if (strcmp(path, "/machine/register") == 0) {
        w.registers++;
        w.deleted = false;
        snprintf(w.last_register, sizeof(w.last_register), "%s", body);
        if (strstr(body, "\"Followup\":\"http") || w.registers == w.hold_register)
            w.waiting_register = r;
        else
            test_answer(r, 200, w.register_answer ? w.register_answer : "{\"MachineAuthorized\":true}");
    } else if (strcmp(method, "HEAD") == 0) {
        w.heads++;
        test_answer(r, 200, "");
    } else {
        assert_string_equal(path, "/c2n-answer");
        w.posts++;
        snprintf(w.last_post, sizeof(w.last_post), "%s", body);
        test_answer(r, 200, "");
    }
}

/* ---- the node's side ----------------------------------------------------------------------------------- */

static void maybe_free(struct node *n, enum callback in)
{
    if (n->free_in != in)
        return;
    control_client_free(n->client);
    n->client = NULL;
    n->free_in = CALLBACK_NONE;
}

static void on_state(void *owner, struct control_client *c)
{
    (void)c;
    maybe_free(owner, CALLBACK_STATE);
}

static void on_url(void *owner, const char *url)
{
    struct node *n = owner;

    n->urls++;
    snprintf(n->url, sizeof(n->url), "%s", url ? url : "");
    maybe_free(n, CALLBACK_URL);
}

static int on_keys(void *owner, const struct control_keys *keys)
{
    struct node *n = owner;

    n->keys = *keys;
    maybe_free(n, CALLBACK_KEYS);
    return n->keys_result;
}

static int on_map(void *owner, const struct tailcfg_map_response *m, bool first, time_ns now)
{
    struct node *n = owner;

    (void)now;
    n->maps++;
    n->firsts += first;
    maybe_free(n, CALLBACK_MAP);
    assert_true(!first || m->node.data[0] == '{'); /* lives on, whatever we do to the client */
    return 0;
}

static void on_report(void *owner, struct control_report *out)
{
    struct node *n = owner;
    static struct tailcfg_endpoint endpoint;
    static struct tailcfg_netinfo netinfo;

    assert_true(ip_port_parse(span_from_str("192.0.2.7:1"), &endpoint.address));
    endpoint.address.port = n->port;
    endpoint.type = TAILCFG_ENDPOINT_STUN;
    netinfo = (struct tailcfg_netinfo) { .preferred_derp = n->home };
    out->endpoints = &endpoint;
    out->endpoint_count = 1;
    out->hostinfo.netinfo = &netinfo;
    secret_key_public(&n->disco, &out->disco_key);
}

static void on_logged_out(void *owner, bool done)
{
    struct node *n = owner;

    n->logged_out++;
    n->logout_done = done;
    maybe_free(n, CALLBACK_LOGOUT);
}

static bool on_auth_key(void *owner, char out[CONTROL_AUTH_KEY_BYTES_MAX + 1])
{
    struct node *n = owner;

    n->key_reads++;
    strcpy(out, n->key_now ? n->key_now : "");
    return n->key_now != NULL;
}

/* A node whose home is not known yet waits for it. */
static bool on_before_map(void *owner, time_ns now)
{
    const struct node *n = owner;

    (void)now;
    return n->home_comes;
}

static const struct control_ops ops = { on_state,  on_url,        on_keys,      on_map,
                                        on_report, on_logged_out, on_before_map };

static struct node *start(int i, const char *auth_key)
{
    struct node *n = &w.nodes[i];
    struct control_config config = { .name = "a",
                                     .control_url = test_server_url(w.server),
                                     .hostname = "a",
                                     .auth_key = auth_key,
                                     .auth_key_now = on_auth_key,
                                     .keys = n->keys };

    secret_key_generate(&config.machine_key);
    secret_key_generate(&n->disco);
    n->port = 1000;
    n->home = 4;
    assert_int_equal(control_client_new(&n->client, w.shard, &config, &ops, n), 0);
    control_client_start(n->client);
    return n;
}

static int setup_server(bool early_payload)
{
    struct test_server_config config = { .handle = serve, .early_payload = early_payload };

    memset(&w, 0, sizeof(w));
    log_set_level(LOG_ERROR);
    assert_int_equal(ev_loop_new(&w.loop), 0);
    assert_int_equal(control_gate_new(&w.gate, NULL), 0);
    assert_int_equal(control_shard_new(&w.shard, w.gate, w.loop), 0);
    w.server = test_server_new(w.loop, &config);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_server(true);
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < CLIENTS_MAX; i++)
        control_client_free(w.nodes[i].client);
    test_server_free(w.server);
    control_shard_free(w.shard);
    control_gate_free(w.gate);
    ev_loop_free(w.loop);
    return 0;
}

static void turn(time_ns wait)
{
    assert_true(ev_loop_turn(w.loop, wait) >= 0);
}

/* Turns until the condition holds; the limit only bounds a hang. */
#define until(condition)                                           \
    do {                                                           \
        for (time_ns end = ev_clock() + 60 * SEC; !(condition);) { \
            turn(20 * MSEC);                                       \
            if (ev_clock() > end)                                  \
                fail_msg("never: %s", #condition);                 \
        }                                                          \
    } while (0)

static void pass(time_ns time)
{
    for (time_ns end = ev_clock() + time; ev_clock() < end;)
        turn(MIN(10 * MSEC, time));
}

static struct control_status status_of(const struct node *n)
{
    struct control_status s;

    control_client_status(n->client, ev_now(w.loop), &s);
    return s;
}

/* Whatever it waits for after a failure is over. */
static bool hurried(struct node *n)
{
    struct control_client *c = n->client;

    if (c->retry_at > ev_now(w.loop) || c->poll_at > ev_now(w.loop)) {
        c->retry_at = c->poll_at = 0;
        client_again(c);
    }
    return true;
}

#define running(n) (status_of(n).state == CONTROL_RUNNING)

/* ---- tests --------------------------------------------------------------------------------------------- */

static void auth_key_joins_and_one_update_publishes_the_rest(void **state)
{
    (void)state;
    struct node *n = start(0, "secret-key");
    char disco[128], sent[128];

    until(running(n));
    assert_int_equal(w.registers, 1);
    assert_int_equal(n->firsts, 1);
    assert_non_null(strstr(w.last_register, "\"AuthKey\":\"secret-key\""));
    until(w.updates == 1);
    member(w.last_stream, "DiscoKey", disco, sizeof(disco));
    assert_string_equal(member(w.last_update, "DiscoKey", sent, sizeof(sent)), disco);
    for (int i = 0; i < 2; i++) { /* both kinds say everything */
        const char *body = i ? w.last_update : w.last_stream;

        assert_non_null(strstr(body, "\"PreferredDERP\":4"));
        assert_non_null(strstr(body, "\"Endpoints\":[\"192.0.2.7:1000\"],\"EndpointTypes\":[2]"));
        assert_non_null(strstr(body, "\"Hostname\":\"a\""));
    }
    pass(300 * MSEC);
    assert_int_equal(w.updates, 1);
    assert_int_equal(w.registers, 1);
    assert_int_equal(w.streams, 1);
}

static void server_that_takes_the_stream_request_gets_no_update_for_it(void **state)
{
    (void)state;
    struct node *n;

    w.applies_streams = true;
    n = start(0, "k");
    until(running(n));
    pass(300 * MSEC);
    assert_int_equal(w.updates, 0);
    n->port = 2000;
    control_client_report_changed(n->client);
    until(w.updates == 1);
    assert_non_null(strstr(w.last_update, "192.0.2.7:2000"));
}

/* Also where the server took the rest from the stream request, as headscale does. */
static void a_home_relay_is_told_at_once_whatever_the_number_of_nodes(void **state)
{
    (void)state;
    struct node *n;

    w.applies_streams = true;
    for (int i = 0; i < CLIENTS_MAX; i++) {
        start(i, "k");
        w.nodes[i].home = 0;
    }
    for (int i = 0; i < CLIENTS_MAX; i++)
        until(running(&w.nodes[i]));
    pass(300 * MSEC);
    assert_int_equal(w.updates, 0);
    n = &w.nodes[CLIENTS_MAX / 2];
    n->home = 4;
    control_client_report_changed(n->client);
    assert_true(update_deadline(n->client) <= ev_now(w.loop) + CLIENT_UPDATE_SETTLE);
    until(w.updates == 1);
    assert_non_null(strstr(w.last_update, "\"PreferredDERP\":4"));
    pass(300 * MSEC);
    n->port = 2000;
    control_client_report_changed(n->client); /* as all the others, when an address changes */
    assert_true(update_deadline(n->client) > ev_now(w.loop) + CLIENT_UPDATE_SETTLE);
}

static unsigned held_back(void)
{
    unsigned count = 0;

    for (int i = 0; i < CLIENTS_MAX; i++)
        count += w.nodes[i].client && w.nodes[i].client->registered && w.nodes[i].client->held;
    return count;
}

static void nodes_of_one_moment_register_before_the_second_stream_is_opened(void **state)
{
    (void)state;

    w.hold_register = 3;
    for (int i = 0; i < CLIENTS_MAX; i++)
        start(i, "k");
    until(w.waiting_register && held_back() == 1 && w.streams == 1);
    test_answer(w.waiting_register, 200, "{\"MachineAuthorized\":true}");
    until(w.streams == 3);
    assert_int_equal(held_back(), 0);
}

static void a_registration_without_end_holds_up_no_stream_for_long(void **state)
{
    (void)state;

    w.hold_register = 3;
    for (int i = 0; i < CLIENTS_MAX; i++)
        start(i, "k");
    until(w.waiting_register && held_back() == 1 && w.streams == 1);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (w.nodes[i].client->held) {
            assert_true(w.nodes[i].client->held_until <= ev_now(w.loop) + CLIENT_STREAM_HOLD);
            w.nodes[i].client->held_until = 0;
            client_again(w.nodes[i].client);
        }
    until(w.streams == 2);
    assert_non_null(w.waiting_register);
}

static void a_home_relay_that_comes_is_in_the_request_for_the_stream(void **state)
{
    (void)state;
    struct node *first = start(0, "k"), *n;

    w.applies_streams = true;
    until(running(first));
    n = start(1, "k");
    n->home = 0;
    n->home_comes = true;
    until(held_back() == 1);
    assert_int_equal(w.streams, 1);
    n->home = 4;
    control_client_report_changed(n->client);
    until(w.streams == 2);
    assert_non_null(strstr(w.last_stream, "\"PreferredDERP\":4"));
    assert_int_equal(w.updates, 0);
}

static void changes_of_one_moment_are_one_update_and_no_change_is_none(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(w.updates == 1);
    for (int i = 0; i < 5; i++) {
        n->port++;
        control_client_report_changed(n->client);
    }
    until(w.updates == 2);
    for (int i = 0; i < 5; i++)
        control_client_report_changed(n->client);
    pass(400 * MSEC);
    assert_int_equal(w.updates, 2);
    assert_non_null(strstr(w.last_update, "192.0.2.7:1005"));
}

static void keys_that_cannot_be_stored_are_not_used(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    n->keys_result = -ENOSPC;
    until(status_of(n).state == CONTROL_FAILED);
    pass(100 * MSEC);
    assert_int_equal(w.streams, 0);
    assert_non_null(strstr(status_of(n).sentence, "the new node key cannot be stored: "));
    assert_true(status_of(n).retry_at != TIME_NEVER);
}

/* As a node does it: the key is written by another thread, and nothing is asked with it before it is there.
 */
static void a_key_that_is_still_being_stored_is_not_used(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    n->keys_result = CONTROL_KEYS_LATER;
    until(w.registers == 1);
    pass(100 * MSEC);
    assert_int_equal(w.streams, 0);
    assert_int_equal(w.registers, 1);
    control_client_keys_stored(n->client, -ENOSPC);
    until(status_of(n).state == CONTROL_FAILED);
    assert_non_null(strstr(status_of(n).sentence, "the new node key cannot be stored: "));
    n->client->login_at = 0; /* not the whole pause */
    client_again(n->client);
    until(w.registers == 2 && n->client->keys_pending);
    control_client_keys_stored(n->client, 0);
    until(running(n));
    assert_int_equal(w.streams, 1);
    control_client_keys_stored(n->client, -EIO); /* an answer too many changes nothing */
    pass(20 * MSEC);
    assert_true(running(n));
}

static void lost_connection_comes_back_without_registering(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(running(n));
    test_server_drop_all(w.server);
    until(!running(n));
    assert_non_null(
        strstr(status_of(n).sentence, "closed the connection; trying again in 1 s; serving from"));
    until(hurried(n) && running(n));
    assert_int_equal(w.registers, 1);
    assert_int_equal(w.streams, 2);
    assert_int_equal(n->firsts, 2);
    assert_int_equal(test_server_keys_served(w.server), 1); /* cached */
}

static void changed_server_key_is_fetched_again(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(running(n));
    test_server_new_key(w.server);
    test_server_drop_all(w.server);
    until(!running(n));
    until(hurried(n) && running(n));
    assert_int_equal(test_server_keys_served(w.server), 2);
}

static void nodes_share_one_fetch_of_the_key(void **state)
{
    (void)state;
    for (int i = 0; i < CLIENTS_MAX; i++)
        start(i, "k");
    for (int i = 0; i < CLIENTS_MAX; i++)
        until(running(&w.nodes[i]));
    assert_int_equal(test_server_keys_served(w.server), 1);
    assert_int_equal(test_server_connections(w.server), CLIENTS_MAX);
}

static void login_link_is_shown_once_and_followed_up_with_the_same_key(void **state)
{
    (void)state;
    struct node *n;
    char key[128], again[128];

    w.register_answer = "{\"AuthURL\":\"http://login.test/a/1\"}";
    n = start(0, NULL);
    until(w.waiting_register);
    assert_int_equal(status_of(n).state, CONTROL_NEEDS_LOGIN);
    assert_string_equal(n->url, "http://login.test/a/1");
    assert_non_null(strstr(status_of(n).sentence, "open http://login.test/a/1"));
    member(w.last_register, "NodeKey", key, sizeof(key));
    /* The connection breaks while the person is busy. */
    test_server_drop_all(w.server);
    until(hurried(n) && test_server_connections(w.server) == 2 && w.waiting_register);
    assert_string_equal(member(w.last_register, "NodeKey", again, sizeof(again)), key);
    assert_int_equal(status_of(n).state, CONTROL_NEEDS_LOGIN);
    assert_int_equal(n->urls, 1);
    test_answer(w.waiting_register, 200, "{\"MachineAuthorized\":true}");
    until(running(n));
    assert_string_equal(n->url, "");
    assert_int_equal(n->urls, 2);
}

static void deleted_node_is_registered_anew(void **state)
{
    (void)state;
    struct node *n;

    w.not_found = 2;
    n = start(0, "k");
    until(hurried(n) && running(n));
    assert_int_equal(w.registers, 2);
    assert_int_equal(test_server_connections(w.server), 1);
}

static void update_finds_out_that_the_node_was_deleted(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(w.updates == 1);
    w.deleted = true;
    n->port++;
    control_client_report_changed(n->client);
    until(hurried(n) && w.registers == 2 && running(n));
    until(w.updates == 2);
    assert_int_equal(test_server_connections(w.server), 1);
}

static void stream_without_the_node_in_it_is_begun_anew(void **state)
{
    (void)state;
    struct node *n;

    w.without_node = true;
    n = start(0, "k");
    until(hurried(n) && running(n));
    assert_int_equal(w.streams, 2);
    assert_int_equal(n->firsts, 1);
    assert_int_equal(n->maps, 1);
}

static void expired_key_is_renewed_with_the_auth_key(void **state)
{
    (void)state;
    struct node *n;
    char old[128], key[128], text[128];

    w.key_expiry = ev_wall_clock() + SEC / 5;
    n = start(0, "k");
    until(running(n));
    member(w.last_register, "NodeKey", old, sizeof(old));
    w.key_expiry = 0;
    until(w.registers == 2);
    assert_string_equal(member(w.last_register, "OldNodeKey", text, sizeof(text)), old);
    member(w.last_register, "NodeKey", key, sizeof(key));
    assert_string_not_equal(key, old);
    until(running(n) && w.streams == 2);
    assert_string_equal(member(w.last_stream, "NodeKey", text, sizeof(text)), key);
    assert_int_equal(test_server_connections(w.server), 1);
}

/* The old stream says, quicker than our disk is, that nothing is expired any more: the server means the key
 * that it has just been told, so that one has to be used and nothing else. */
static void a_renewed_key_that_is_still_being_stored_is_not_given_up(void **state)
{
    (void)state;
    struct node *n;
    char key[128], text[128], json[512], expiry[TIME_TEXT_BYTES];

    w.key_expiry = ev_wall_clock() + SEC / 5;
    n = start(0, "k");
    until(running(n));
    w.key_expiry = 0;
    n->keys_result = CONTROL_KEYS_LATER;
    until(w.registers == 2 && n->client->keys_pending);
    member(w.last_register, "NodeKey", key, sizeof(key));
    snprintf(json, sizeof(json),
             "{\"Node\":{\"ID\":1,\"Name\":\"a.test.\",\"Key\":\"%s\",\"KeyExpiry\":\"%s\","
             "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true}}",
             key, time_text_rfc3339(ev_wall_clock() + HOUR, expiry));
    test_stream_send(w.stream, json);
    until(n->maps == 2);
    pass(20 * MSEC);
    control_client_keys_stored(n->client, 0);
    until(running(n) && w.streams == 2);
    assert_string_equal(member(w.last_stream, "NodeKey", text, sizeof(text)), key);
    assert_int_equal(w.registers, 2);
}

static void expired_key_without_auth_key_needs_a_person_and_an_extension_helps(void **state)
{
    (void)state;
    struct node *n;
    char json[512], node[128], expiry[TIME_TEXT_BYTES];

    w.key_expiry = ev_wall_clock() + SEC / 5;
    n = start(0, NULL);
    until(running(n));
    w.register_answer = "{\"AuthURL\":\"http://login.test/a/2\"}";
    until(w.waiting_register);
    assert_int_equal(status_of(n).state, CONTROL_NEEDS_LOGIN);
    assert_true(status_of(n).stream_open); /* or nobody could tell us of an extension */
    snprintf(json, sizeof(json),
             "{\"Node\":{\"ID\":1,\"Name\":\"a.test.\",\"Key\":\"%s\",\"KeyExpiry\":\"%s\","
             "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true}}",
             member(w.last_stream, "NodeKey", node, sizeof(node)),
             time_text_rfc3339(ev_wall_clock() + HOUR, expiry));
    test_stream_send(w.stream, json);
    until(running(n));
    assert_string_equal(n->url, "");
    until(!w.waiting_register); /* cancelled */
    assert_int_equal(w.streams, 1);
}

static void better_auth_key_is_tried_at_once(void **state)
{
    (void)state;
    struct node *n;

    w.register_answer = "{\"Error\":\"invalid pre auth key\"}";
    n = start(0, "wrong");
    until(status_of(n).state == CONTROL_FAILED);
    assert_non_null(strstr(status_of(n).sentence, "the auth key was refused: invalid pre auth key; trying "));
    assert_true(status_of(n).retry_at - ev_now(w.loop) > MINUTE);
    w.register_answer = NULL;
    assert_int_equal(control_client_set_auth_key(n->client, "wrong"), 0); /* the same one again: nothing */
    assert_true(status_of(n).retry_at - ev_now(w.loop) > MINUTE);
    assert_int_equal(control_client_set_auth_key(n->client, "right--TLcredential"), 0);
    until(running(n));
    assert_non_null(strstr(w.last_register, "\"AuthKey\":\"right\""));
}

static void attempt_now(struct node *n)
{
    n->client->login_at = ev_now(w.loop);
    client_again(n->client);
}

static void an_attempt_after_a_refusal_has_the_key_as_it_is_by_then(void **state)
{
    (void)state;
    struct node *n;

    w.register_answer = "{\"Error\":\"invalid pre auth key\"}";
    n = start(0, "old");
    until(n->client->registration.failures == 1);
    assert_int_equal(n->key_reads, 0); /* the first attempt has what the configuration had */
    n->key_now = "old";
    attempt_now(n);
    until(w.registers == 2);
    assert_int_equal(n->key_reads, 1);
    assert_non_null(strstr(w.last_register, "\"AuthKey\":\"old\""));
    until(n->client->registration.failures == 2);
    n->key_now = NULL; /* the file cannot be read: the key that we have stays */
    attempt_now(n);
    until(w.registers == 3);
    assert_non_null(strstr(w.last_register, "\"AuthKey\":\"old\""));
    until(n->client->registration.failures == 3);
    n->key_now = "fresh";
    w.register_answer = NULL;
    attempt_now(n);
    until(running(n));
    assert_int_equal(w.registers, 4);
    assert_non_null(strstr(w.last_register, "\"AuthKey\":\"fresh\""));
}

static void nonsense_in_the_stream_costs_the_connection(void **state)
{
    (void)state;
    static const char *const nonsense[] = { "{\"Peers\":", "\x28\xb5\x2f\xfd", "[]", "" };

    for (size_t i = 0; i < COUNT_OF(nonsense); i++) {
        struct node *n = i ? &w.nodes[0] : start(0, "k");
        unsigned firsts;

        until(hurried(n) && running(n) && w.stream);
        firsts = n->firsts;
        test_stream_send(w.stream, nonsense[i]);
        until(!running(n));
        until(hurried(n) && n->firsts > firsts);
    }
    assert_int_equal(w.registers, 1);
}

static void silent_stream_is_given_up(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(running(n));
    n->client->watchdog = ev_now(w.loop); /* two minutes later */
    client_again(n->client);
    until(!running(n));
    assert_non_null(strstr(status_of(n).sentence, "no message on the map stream for two minutes"));
}

static void keepalives_are_not_maps(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(running(n) && w.stream);
    for (int i = 0; i < 3; i++)
        test_stream_send(w.stream, "{\"KeepAlive\":true}");
    until(status_of(n).keepalives == 3);
    assert_int_equal(n->maps, 1);
    test_stream_send(w.stream, "{\"PeersRemoved\":[2]}");
    until(n->maps == 2);
    assert_int_equal(n->firsts, 1);
}

static void pings_are_answered_where_they_ask_for_it(void **state)
{
    (void)state;
    struct node *n = start(0, "k");
    char outside[200];

    until(running(n) && w.stream);
    test_stream_send(w.stream, "{\"KeepAlive\":true,\"PingRequest\":{\"URL\":\"https://unused/inside?id=1\","
                               "\"URLIsNoise\":true}}");
    until(w.heads == 1);
    test_stream_send(w.stream,
                     "{\"PingRequest\":{\"URL\":\"https://unused/inside?id=1\",\"URLIsNoise\":true}}");
    /* "POST /echo HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi" */
    test_stream_send(w.stream,
                     "{\"PingRequest\":{\"URL\":\"https://unused/c2n-answer\",\"Types\":\"c2n\",\"Payload\":"
                     "\"UE9TVCAvZWNobyBIVFRQLzEuMQ0KQ29udGVudC1MZW5ndGg6IDINCg0KaGk=\"}}");
    until(w.posts == 1);
    assert_non_null(strstr(w.last_post, "HTTP/1.1 200 OK\r\n"));
    assert_string_equal(w.last_post + strlen(w.last_post) - 6, "\r\n\r\nhi");
    snprintf(outside, sizeof(outside), "{\"PingRequest\":{\"URL\":\"%s/outside\"}}",
             test_server_url(w.server));
    test_stream_send(w.stream, outside);
    until(status_of(n).pings == 3 && list_empty(&n->client->pings));
    assert_int_equal(w.heads, 1); /* the repeated one was not answered again */
}

static void logout_says_a_past_expiry_and_forgets_the_key(void **state)
{
    (void)state;
    struct node *n = start(0, "k");
    struct secret_key none = { { 0 } };

    until(running(n));
    control_client_logout(n->client);
    until(n->logged_out);
    assert_true(n->logout_done);
    assert_non_null(strstr(w.last_register, "\"Expiry\":\"1970-01-01T00:02:03Z\""));
    assert_memory_equal(&n->keys.node, &none, sizeof(none));
    until(status_of(n).state == CONTROL_LOGGED_OUT);
    control_client_start(n->client);
    until(running(n));
}

static void stop_and_start_again(void **state)
{
    (void)state;
    struct node *n = start(0, "k");

    until(running(n));
    control_client_stop(n->client);
    until(status_of(n).state == CONTROL_STOPPED);
    control_client_start(n->client);
    until(running(n));
    assert_int_equal(w.registers, 2);
}

static void exit_order_stops_this_node_only(void **state)
{
    (void)state;
    struct node *a = start(0, "k"), *b;

    until(running(a) && w.stream);
    test_stream_send(w.stream, "{\"Debug\":{\"Exit\":3}}");
    b = start(1, "k");
    until(status_of(a).state == CONTROL_FAILED && running(b));
    assert_non_null(strstr(status_of(a).sentence, "the control server told this node to stop"));
    assert_int_equal(status_of(a).retry_at, TIME_NEVER);
}

static void client_may_be_freed_in_every_callback(void **state)
{
    (void)state;
    for (enum callback in = CALLBACK_STATE; in <= CALLBACK_LOGOUT; in++) {
        struct node *n;

        w.register_answer = in == CALLBACK_URL ? "{\"AuthURL\":\"http://login.test/a/1\"}" : NULL;
        memset(&w.nodes[0], 0, sizeof(w.nodes[0]));
        w.nodes[0].free_in = in;
        n = start(0, in == CALLBACK_URL ? NULL : "k");
        if (in == CALLBACK_LOGOUT) {
            until(running(n));
            control_client_logout(n->client);
        }
        until(!n->client);
        pass(20 * MSEC);
    }
}

static void works_without_early_payload_too(void **state)
{
    (void)state;
    struct node *n;

    teardown(NULL);
    setup_server(false);
    n = start(0, "k");
    until(running(n));
}

static void unreachable_server_is_said_in_words(void **state)
{
    (void)state;
    struct node *n = start(0, "k");
    struct test_server_config config = { .handle = serve };

    test_server_free(w.server); /* nothing listens there now */
    until(status_of(n).state == CONTROL_FAILED);
    assert_non_null(strstr(status_of(n).sentence, " unreachable: connection refused; trying again in 1 s"));
    w.server = test_server_new(w.loop, &config);
}

static void configuration_is_checked(void **state)
{
    (void)state;
    const char *bad_tags[] = { "svc" }, *good_tags[] = { "tag:svc-1" };
    struct control_config config = { .control_url = "https://a.test/path", .hostname = "a" };
    struct control_client *c = NULL;

    assert_int_equal(control_client_new(&c, w.shard, &config, &ops, NULL), CONTROL_E_URL);
    config.control_url = "https://a.test";
    config.request_tags = bad_tags;
    config.request_tag_count = 1;
    assert_int_equal(control_client_new(&c, w.shard, &config, &ops, NULL), CONTROL_E_CONFIG);
    config.request_tags = good_tags;
    assert_int_equal(control_client_new(&c, w.shard, &config, &ops, NULL), 0);
    control_client_free(c);
}

static size_t held(const struct node *n)
{
    struct account_memory m = { 0 };

    control_client_memory(n->client, &m);
    assert_int_equal(account_memory_sum(&m), m.bytes[ACCOUNT_CONTROL]);
    return m.bytes[ACCOUNT_CONTROL];
}

/* No frame of the server is on its way: all buffers are given back. */
static void memory_grows_by_a_connection_and_falls_with_it(void **state)
{
    (void)state;
    struct node *a = start(0, "k"), *b;
    size_t stopped, connected;

    control_client_stop(a->client);
    until(status_of(a).state == CONTROL_STOPPED);
    stopped = held(a);
    assert_in_range(stopped, sizeof(struct control_client), sizeof(struct control_client) + 1024);
    control_client_start(a->client);
    until(running(a) && w.updates == 1);
    pass(50 * MSEC);
    connected = held(a) - stopped;
    /* Noise, TCP, HTTP/2 with one request open, and no buffer: nghttp2's part is the most of it. */
    assert_in_range(connected, sizeof(struct noise_session) + 4096, sizeof(struct noise_session) + 16384);
    b = start(1, "k"); /* as much as the first, and that one no more than before */
    until(running(b) && w.updates == 2);
    pass(50 * MSEC);
    assert_in_range(held(a), stopped + connected - 256, stopped + connected + 256);
    assert_in_range(held(b), stopped + connected - 256, stopped + connected + 256);
    control_client_stop(a->client);
    until(status_of(a).state == CONTROL_STOPPED);
    assert_in_range(held(a), stopped, stopped + 256);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(auth_key_joins_and_one_update_publishes_the_rest),
        T(server_that_takes_the_stream_request_gets_no_update_for_it),
        T(a_home_relay_is_told_at_once_whatever_the_number_of_nodes),
        T(nodes_of_one_moment_register_before_the_second_stream_is_opened),
        T(a_registration_without_end_holds_up_no_stream_for_long),
        T(a_home_relay_that_comes_is_in_the_request_for_the_stream),
        T(changes_of_one_moment_are_one_update_and_no_change_is_none),
        T(keys_that_cannot_be_stored_are_not_used),
        T(a_key_that_is_still_being_stored_is_not_used),
        T(lost_connection_comes_back_without_registering),
        T(changed_server_key_is_fetched_again),
        T(nodes_share_one_fetch_of_the_key),
        T(login_link_is_shown_once_and_followed_up_with_the_same_key),
        T(deleted_node_is_registered_anew),
        T(update_finds_out_that_the_node_was_deleted),
        T(stream_without_the_node_in_it_is_begun_anew),
        T(expired_key_is_renewed_with_the_auth_key),
        T(a_renewed_key_that_is_still_being_stored_is_not_given_up),
        T(expired_key_without_auth_key_needs_a_person_and_an_extension_helps),
        T(better_auth_key_is_tried_at_once),
        T(an_attempt_after_a_refusal_has_the_key_as_it_is_by_then),
        T(nonsense_in_the_stream_costs_the_connection),
        T(silent_stream_is_given_up),
        T(keepalives_are_not_maps),
        T(pings_are_answered_where_they_ask_for_it),
        T(logout_says_a_past_expiry_and_forgets_the_key),
        T(stop_and_start_again),
        T(exit_order_stops_this_node_only),
        T(client_may_be_freed_in_every_callback),
        T(works_without_early_payload_too),
        T(unreachable_server_is_said_in_words),
        T(configuration_is_checked),
        T(memory_grows_by_a_connection_and_falls_with_it),
    };

    must(!crypto_init());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
