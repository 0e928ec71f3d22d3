/* lab/run.c - the command: a folder, the lab in it, what a person has to know about it, Ctrl-C */
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lab/file.h"
#include "lab/lab.h"

#define ENVIRONMENT_BYTES_MAX 65536
#define PATH_BYTES 4096

struct run {
    struct lab lab;
    struct ev_loop *loop;
    char directory[PATH_BYTES], environment[PATH_BYTES + 16];
    bool temporary; /* the folder is ours alone */
};

/* ---- the folder ------------------------------------------------------------------------------------ */

static int folder_open(struct run *run, const char *given)
{
    const char *base = getenv("TMPDIR");

    if (given) {
        snprintf(run->directory, sizeof(run->directory), "%s", given);
        return mkdir(given, 0700) < 0 && errno != EEXIST ? -errno : 0;
    }
    snprintf(run->directory, sizeof(run->directory), "%s/manytails-tailnet.XXXXXX",
             base && *base ? base : "/tmp");
    if (!mkdtemp(run->directory))
        return -errno;
    run->temporary = true;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
    (void)st;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void folder_close(struct run *run)
{
    if (*run->environment)
        unlink(run->environment);
    if (run->temporary && nftw(run->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS))
        fprintf(stderr, "%s could not be removed: %s\n", run->directory, strerror(errno));
}

/* ---- what a script has to know --------------------------------------------------------------------- */

/* "OPEN_my_service='http://...'": what no variable's name may have becomes an underscore. */
static int put_variable(struct buf *out, const char *prefix, const char *name, const char *scheme,
                        uint16_t port)
{
    int r = buf_append_str(out, prefix);

    for (const char *c = name; !r && *c; c++) {
        bool fine = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');

        r = buf_append(out, fine ? span_make(c, 1) : span_from_str("_"));
    }
    return r ? r : buf_printf(out, "='%s127.0.0.1:%u'\n", scheme, port);
}

static int environment_text(const struct lab *lab, struct buf *out)
{
    int r = buf_printf(out, "TS_URL='%s'\nTS_AUTHKEY='%s'\nexport TS_URL TS_AUTHKEY\n",
                       lab_control_url(lab->control), lab->key->text);

    if (!r)
        r = put_variable(out, "LAB_RELAY", "", "", lab_relay_port(lab->relay));
    if (!r)
        r = put_variable(out, "LAB_STUN", "", "", lab_stun_port(lab->stun));
    for (size_t i = 0; !r && i < lab->config->page_count; i++)
        r = put_variable(out, "PAGE_", lab->config->pages[i], "http://", lab_page_port(lab->pages[i]));
    for (size_t i = 0; !r && lab->client && i < lab->config->forward_count; i++)
        r = put_variable(out, "OPEN_", lab->config->forwards[i].host, "http://", lab->opened[i]);
    return r;
}

/* For this user only: it has the auth key. */
static int environment_write(struct run *run)
{
    struct buf text;
    int r;

    if ((size_t)snprintf(run->environment, sizeof(run->environment), "%s/lab.env", run->directory) >=
        sizeof(run->environment))
        return -ENAMETOOLONG;
    buf_init(&text, ENVIRONMENT_BYTES_MAX);
    r = environment_text(&run->lab, &text);
    if (!r)
        r = lab_file_write(run->environment, buf_span(&text));
    buf_deinit(&text);
    return r;
}

static void introduce(const struct run *run)
{
    const struct lab *lab = &run->lab;
    const char *url = lab_control_url(lab->control), *key = lab->key->text;

    printf("A tailnet on this machine's loopback. It lasts until Ctrl-C.\n\n"
           "  control server  %s   (open it to see who is there)\n"
           "  auth key        %s   (for any number of nodes)\n"
           "  relay (DERP)    127.0.0.1:%u, STUN at 127.0.0.1:%u\n"
           "  for scripts     %s\n\n"
           "Put services on it:\n\n"
           "  TS_URL=%s TS_AUTHKEY=%s \\\n"
           "    %s -config services.yaml\n\n"
           "Join with Tailscale's own client:\n\n"
           "  tailscaled --tun=userspace-networking --statedir=DIR --socket=DIR/ts.sock &\n"
           "  tailscale --socket=DIR/ts.sock up --login-server=%s --auth-key=%s\n\n"
           "Faults on cue: %s/lab/help\n\n",
           url, key, lab_relay_port(lab->relay), lab_stun_port(lab->stun), run->environment, url, key,
           lab->config->program, url, key, url);
    for (size_t i = 0; i < lab->config->page_count; i++)
        printf("  page %-11s http://127.0.0.1:%u/   (an upstream for a service)\n", lab->config->pages[i],
               lab_page_port(lab->pages[i]));
    for (size_t i = 0; lab->client && i < lab->config->forward_count; i++)
        printf("  %-16s port %u: http%s://127.0.0.1:%u/ once it has joined\n", lab->config->forwards[i].host,
               lab->config->forwards[i].port, lab->config->forwards[i].port == 443 ? "s" : "",
               lab->opened[i]);
    printf("Who joins is shown here%s:\n\n",
           lab->client ? ", with an address for a browser that leads to its port 80" : "");
}

/* ---- the command --------------------------------------------------------------------------------------- */

static void on_signal(void *owner, int number)
{
    struct run *run = owner;

    (void)number;
    ev_loop_stop(run->loop);
}

static int complain(const struct run *run, int r, const char *why)
{
    if (r == -EADDRINUSE)
        fprintf(stderr,
                "%s: %s: somebody else listens there. Choose other ports with --port N, or --port 0.\n",
                run->lab.config->program, run->lab.part);
    else
        fprintf(stderr, "%s: %s: %s\n", run->lab.config->program, *run->lab.part ? run->lab.part : "the lab",
                *why ? why : err_text(r));
    return 1;
}

static int run_in_folder(struct run *run, const struct lab_config *config)
{
    char why[NODE_WHY_BYTES] = "";
    int r = lab_open(&run->lab, run->loop, config, run->directory, why);

    if (!r)
        r = environment_write(run);
    if (r) {
        r = complain(run, r, why);
    } else {
        introduce(run);
        r = ev_loop_run(run->loop);
        printf("\nThe lab ends.\n");
    }
    lab_close(&run->lab);
    return r ? 1 : 0;
}

int lab_run(const struct lab_config *config)
{
    static const int signals[] = { SIGINT, SIGTERM };
    struct run run = { .lab.config = config };
    int r = crypto_init();

    signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!r)
        r = ev_loop_new(&run.loop);
    if (!r)
        r = ev_signals_start(run.loop, signals, COUNT_OF(signals), on_signal, &run);
    if (!r)
        r = folder_open(&run, config->directory);
    if (r)
        fprintf(stderr, "%s: %s: %s\n", config->program, *run.directory ? run.directory : "the lab",
                err_text(r));
    else
        r = run_in_folder(&run, config);
    folder_close(&run);
    if (run.loop)
        ev_signals_stop(run.loop);
    ev_loop_free(run.loop);
    crypto_thread_end();
    return r ? 1 : 0;
}
