#include "config/internal.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state/state.h"

#define SYSTEM_SOCKET "/run/manytails/manytails.sock" /* packaging/systemd/manytails.service */
#define HOSTED_CONTROL_URL "https://controlplane.tailscale.com"

/* ---- the variables ------------------------------------------------------------------------- */

static const struct config_variable_row variables[] = {
#define VARIABLE(id, name, other, text) { name, other, text },
#include "config/environment.def"
#undef VARIABLE
};

const char *config_variable(enum config_variable v)
{
    const char *value = getenv(variables[v].name);

    if ((!value || !*value) && *variables[v].other)
        value = getenv(variables[v].other);
    return value && *value ? value : NULL;
}

bool config_variable_is_true(enum config_variable v)
{
    const char *value = config_variable(v);

    return value && (strcmp(value, "1") == 0 || strcmp(value, "true") == 0);
}

bool config_variable_at(size_t index, struct config_variable_row *out)
{
    if (index >= COUNT_OF(variables))
        return false;
    *out = variables[index];
    return true;
}

/* ---- folders, socket, control server --------------------------------------------------------- */

/* The user's configuration folder + "tsnet-" + the program's name in lower case: where tsnsrv keeps it. */
static char *user_directory(const char *argv0)
{
    const char *slash = strrchr(argv0, '/');
    const char *home = getenv("HOME"), *xdg = getenv("XDG_CONFIG_HOME");
    char *path = NULL;
    int n;

    if (xdg && *xdg)
        n = asprintf(&path, "%s/tsnet-%s", xdg, slash ? slash + 1 : argv0);
    else
        n = asprintf(&path, "%s/.config/tsnet-%s", home && *home ? home : "", slash ? slash + 1 : argv0);
    if (n < 0)
        return NULL;
    for (char *c = strrchr(path, '/'); *c; c++)
        *c = (char)tolower((unsigned char)*c);
    return path;
}

static char *base_directory(const char *argv0, const char *state_flag)
{
    const char *env = config_variable(CONFIG_VARIABLE_STATE_DIR);

    if (state_flag && *state_flag)
        return text_dup(span_from_str(state_flag));
    if (env)
        return text_dup(span_from_str(env));
    return user_directory(argv0);
}

static char *socket_in(const char *base)
{
    const char *env = config_variable(CONFIG_VARIABLE_SOCKET);
    char *path;

    if (env)
        return text_dup(span_from_str(env));
    return asprintf(&path, "%s/manytails.sock", base) < 0 ? NULL : path;
}

char *config_default_socket(const char *argv0)
{
    char *base = base_directory(argv0, NULL);
    char *path = base ? socket_in(base) : NULL;

    free(base);
    /* Nobody said anything, and nothing runs as this user: then the one that systemd runs is meant. */
    if (path && !config_variable(CONFIG_VARIABLE_SOCKET) && !config_variable(CONFIG_VARIABLE_STATE_DIR) &&
        access(path, F_OK) < 0 && access(SYSTEM_SOCKET, F_OK) == 0) {
        free(path);
        path = text_dup(span_from_str(SYSTEM_SOCKET));
    }
    return path;
}

static bool exists(const char *folder, const char *name)
{
    char *path;
    bool found = asprintf(&path, "%s/%s", folder, name) >= 0;

    if (!found)
        return false;
    found = access(path, F_OK) == 0;
    free(path);
    return found;
}

/* The control server may have added a number to the name. */
static bool is_named(const char *owner, const char *service)
{
    size_t n = strlen(service);

    return strncasecmp(owner, service, n) == 0 &&
           (!owner[n] || (owner[n] == '-' && owner[n + 1] &&
                          strspn(owner + n + 1, "0123456789") == strlen(owner + n + 1)));
}

/* A service of a list or file has a folder of its own, also while it is the only one: another one may come
 * with a reload, and then its folder must not be another. Except where the base folder holds an identity: it
 * stays with the service that it belongs to, which is the only one if nothing says it. */
static bool uses_base_itself(const struct config *c, const struct config_service *s, bool listed)
{
    char owner[STATE_NAME_BYTES];

    if (!listed)
        return true;
    if (exists(c->base_directory, s->name) ||
        !(exists(c->base_directory, "manytails.state") || exists(c->base_directory, "tailscaled.state")))
        return false;
    return c->service_count == 1 || (state_owner(c->base_directory, owner) && is_named(owner, s->name));
}

static int state_directories(struct config *c, bool listed)
{
    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];
        char *path;

        if (*s->state_directory || !*s->name)
            continue;
        if (uses_base_itself(c, s, listed))
            path = text_dup(span_from_str(c->base_directory));
        else if (asprintf(&path, "%s/%s", c->base_directory, s->name) < 0)
            path = NULL;
        if (!path)
            return -ENOMEM;
        free(s->state_directory);
        s->state_directory = path;
    }
    return 0;
}

static bool any_in_base(const struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++)
        if (!*c->services[i].state_directory)
            return true;
    return false;
}

/* Its default folder has its program's name, so ours is another: who relies on it would lose the identity
 * without a word. It is not taken unasked, because tsnsrv may be running on it. */
static void tell_of_tsnsrv(struct config *c)
{
    char *old = user_directory("tsnsrv");

    if (old && strcmp(old, c->base_directory) != 0 && exists(old, "tailscaled.state") &&
        access(c->base_directory, F_OK) < 0 && any_in_base(c))
        notice(
            c,
            "tsnsrv's state in %s is not used: to keep its node, stop tsnsrv and start with TS_STATE_DIR=%s",
            old, old);
    free(old);
}

static int control_urls(struct config *c)
{
    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];

        if (*s->control_url)
            continue;
        free(s->control_url);
        s->control_url = text_dup(span_from_str(c->control_url));
        if (!s->control_url)
            return -ENOMEM;
    }
    return 0;
}

int environment_apply(struct config *c, const char *argv0, const char *state_flag)
{
    const char *url = config_variable(CONFIG_VARIABLE_CONTROL_URL);

    c->control_url = text_dup(span_from_str(url ? url : HOSTED_CONTROL_URL));
    c->base_directory = base_directory(argv0, state_flag);
    if (!c->control_url || !c->base_directory)
        return -ENOMEM;
    if (!c->socket_path || !*c->socket_path) {
        free(c->socket_path);
        c->socket_path = socket_in(c->base_directory);
        if (!c->socket_path)
            return -ENOMEM;
    }
    if (!(state_flag && *state_flag) && !config_variable(CONFIG_VARIABLE_STATE_DIR))
        tell_of_tsnsrv(c);
    int r = control_urls(c);
    return r ? r : state_directories(c, state_flag != NULL);
}
