#include "lab/lab.h"

#include <errno.h>
#include <stdio.h>

#include "lab/file.h"
#include "lab/save.h"

#define SAVE_DELAY (200 * MSEC)
#define PATH_BYTES 4096

static struct ip_port loopback(uint16_t port)
{
    static const uint8_t v4[4] = { 127, 0, 0, 1 };

    return (struct ip_port) { ip_from_v4(v4), port };
}

/* The n-th of the lab's ports. */
static uint16_t port_of(const struct lab *lab, unsigned n)
{
    return lab->config->port ? (uint16_t)(lab->config->port + n) : 0;
}

static int failed(struct lab *lab, int r, const char *part, uint16_t port)
{
    if (r && port)
        snprintf(lab->part, sizeof(lab->part), "%s on port %u", part, port);
    else if (r)
        snprintf(lab->part, sizeof(lab->part), "%.*s", (int)sizeof(lab->part) - 1, part);
    return r;
}

/* Relay and STUN; what the map says of them. */
static int open_relay(struct lab *lab, struct lab_network *network)
{
    struct lab_relay_config config = { .at = loopback(port_of(lab, 1)) };
    struct ip_port stun = loopback(port_of(lab, 2));
    char host[IP_TEXT_BYTES];
    int r = tls_server_new(&lab->tls);

    if (!r)
        r = tls_identity_self_signed(&lab->identity, ip_text(&config.at.ip, host), network->pin);
    if (r)
        return failed(lab, r, "the relay's certificate", 0);
    config.tls = lab->tls;
    config.identity = lab->identity;
    r = lab_relay_new(&lab->relay, lab->loop, &config);
    if (r)
        return failed(lab, r, "the relay", config.at.port);
    r = lab_stun_new(&lab->stun, lab->loop, &stun);
    if (r)
        return failed(lab, r, "STUN", stun.port);
    network->relay = loopback(lab_relay_port(lab->relay));
    network->stun_port = lab_stun_port(lab->stun);
    return 0;
}

static int open_client(struct lab *lab, char why[NODE_WHY_BYTES])
{
    char state[4096];
    struct lab_client_config config = {
        .name = LAB_CLIENT_NAME,
        .control_url = lab_control_url(lab->control),
        .auth_key = lab->client_key->text,
        .state_directory = state,
    };
    int r;

    if (lab->config->no_client)
        return 0;
    if ((size_t)snprintf(state, sizeof(state), "%s/client", lab->directory) >= sizeof(state))
        return failed(lab, -ENAMETOOLONG, "the client's folder", 0);
    r = lab_client_new(&lab->client, lab->loop, &config, why);
    for (size_t i = 0; !r && i < lab->config->forward_count; i++) {
        const struct lab_forward_config *f = &lab->config->forwards[i];

        r = failed(lab, lab_client_forward(lab->client, f->host, f->port, f->at, &lab->opened[i]),
                   "a loopback port for a service", f->at);
    }
    return *lab->part ? r : failed(lab, r, "the client", 0);
}

static int open_pages(struct lab *lab)
{
    struct ip_port at = loopback(0);

    for (size_t i = 0; i < lab->config->page_count; i++) {
        int r = lab_page_new(&lab->pages[i], lab->loop, lab->config->pages[i], &at);

        if (r)
            return failed(lab, r, "a page", 0);
    }
    return 0;
}

static void print_reachable(void *ctx, const struct registry_node *n)
{
    struct lab *lab = ctx;
    char ip[IP_TEXT_BYTES];
    uint16_t port;

    if (strcmp(n->name, LAB_CLIENT_NAME) == 0 || !n->approved)
        return;
    port = lab_open_service(lab, n->name);
    if (port)
        printf("  %-16s %-16s http://127.0.0.1:%u/\n", n->name, ip_text(&n->v4, ip), port);
    else
        printf("  %-16s %-16s joined\n", n->name, ip_text(&n->v4, ip));
}

static void print_online(void *ctx, const struct registry_node *n)
{
    struct lab *lab = ctx;

    if (!n->online)
        printf("  %-16s left\n", n->name);
    else if (!n->approved)
        printf("  %-16s waits for approval: open %s/approve/%s\n", n->name, lab_control_url(lab->control),
               n->approval);
    else if (n->home_region) /* it was here before; else it is shown when others can reach it */
        print_reachable(ctx, n);
}

static void print_login(void *ctx, const char *name, const char *url)
{
    (void)ctx;
    printf("  %-16s has no auth key: open %s\n", name, url);
}

/* ---- what is kept -------------------------------------------------------------------------------- */

static bool state_path(const struct lab *lab, char out[PATH_BYTES])
{
    return (size_t)snprintf(out, PATH_BYTES, "%s/lab.json", lab->directory) < PATH_BYTES;
}

static void save(struct lab *lab)
{
    char path[PATH_BYTES];
    struct buf text;
    int r;

    ev_timer_stop(&lab->save);
    buf_init(&text, LAB_SAVE_BYTES_MAX);
    r = lab_control_save(lab->control, &text);
    if (!r && state_path(lab, path))
        r = lab_file_write(path, buf_span(&text));
    if (r)
        fprintf(stderr, "%s: the lab's state cannot be written: %s\n", path, err_text(r));
    if (text.len)
        wipe(text.data + text.start, text.len);
    buf_deinit(&text);
}

static void on_save(struct ev_timer *t, time_ns now)
{
    (void)now;
    save(CONTAINER_OF(t, struct lab, save));
}

static void on_changed(void *ctx)
{
    struct lab *lab = ctx;

    if (lab->kept && !ev_timer_running(&lab->save))
        ev_timer_set(&lab->save, ev_now(lab->loop) + SAVE_DELAY);
}

static const struct lab_control_ops control_ops = {
    .changed = on_changed,
    .reachable = print_reachable,
    .online = print_online,
    .login = print_login,
};

static int use_registry(struct lab *lab)
{
    struct registry *r = lab_control_registry(lab->control);

    registry_user_add(r, "you@lab", "You");
    lab->key = r->key_count ? &r->keys[0] : registry_key_add(r, 1, "");
    must(lab->key);
    lab->key->reusable = true;
    lab->client_key = r->key_count > 1 ? &r->keys[1] : registry_key_add(r, 1, "");
    must(lab->client_key);
    lab->client_key->reusable = lab->client_key->preapproved = true; /* the services wait, not the browser */
    r->needs_approval = lab->config->needs_approval;
    return 0;
}

/* With what an earlier lab left in the folder. */
static int open_control(struct lab *lab, struct lab_control_config *config, char why[NODE_WHY_BYTES])
{
    char path[PATH_BYTES];
    struct buf saved;
    int r;

    buf_init(&saved, LAB_SAVE_BYTES_MAX);
    r = state_path(lab, path) ? lab_file_read(path, &saved) : -ENAMETOOLONG;
    if (r && r != -ENOENT) {
        buf_deinit(&saved);
        return failed(lab, r, path, 0);
    }
    config->saved = buf_span(&saved);
    r = lab_control_new(&lab->control, lab->loop, config);
    if (saved.len)
        wipe(saved.data + saved.start, saved.len);
    buf_deinit(&saved);
    if (r == LAB_CONTROL_E_SAVED)
        snprintf(why, NODE_WHY_BYTES,
                 "lab.json in its folder is not what a lab wrote: remove it to begin anew");
    if (r)
        return failed(lab, r, "the control server", config->at.port);
    lab->kept = lab->config->directory != NULL;
    return use_registry(lab);
}

int lab_open(struct lab *lab, struct ev_loop *loop, const struct lab_config *config, const char *directory,
             char why[NODE_WHY_BYTES])
{
    struct lab_control_config control = { .ops = &control_ops, .ctx = lab };
    int r;

    *lab = (struct lab) { .loop = loop, .config = config, .directory = directory };
    why[0] = '\0';
    ev_timer_init(&lab->save, loop, on_save);
    control.at = loopback(port_of(lab, 0));
    r = open_relay(lab, &control.network);
    if (!r)
        r = open_control(lab, &control, why);
    if (!r)
        r = open_pages(lab);
    return r ? r : open_client(lab, why);
}

uint16_t lab_open_service(struct lab *lab, const char *name)
{
    uint16_t port = 0, wanted = port_of(lab, LAB_PORT_SERVICES + lab->opened_later);
    int r;

    if (!lab->client)
        return 0;
    if (lab->opened_later >= LAB_PORTS - LAB_PORT_SERVICES)
        wanted = 0;
    r = lab_client_forward(lab->client, name, LAB_SERVICE_PORT, wanted, &port);
    if (r == -EADDRINUSE)
        r = lab_client_forward(lab->client, name, LAB_SERVICE_PORT, 0, &port);
    if (r)
        return 0;
    lab->opened_later += port == wanted;
    return port;
}

void lab_close(struct lab *lab)
{
    lab_client_free(lab->client);
    if (lab->kept)
        save(lab);
    ev_timer_stop(&lab->save);
    lab_control_free(lab->control);
    lab_relay_free(lab->relay);
    lab_stun_free(lab->stun);
    for (size_t i = 0; i < LAB_PAGES_MAX; i++)
        lab_page_free(lab->pages[i]);
    tls_identity_unref(lab->identity);
    tls_server_unref(lab->tls);
}
