#include "state/state.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define HEAD_BYTES 16384 /* of the stored netmap: it begins with the node itself */

/* The first label of the name that the control server gave to the node, in lower case. */
static bool first_label(struct span netmap, char name[STATE_NAME_BYTES])
{
    static const char member[] = "\"Name\":\"";
    const char *at = netmap.len ? memmem(netmap.data, netmap.len, member, strlen(member)) : NULL;
    const char *end = (const char *)netmap.data + netmap.len;
    size_t n = 0;

    for (at = at ? at + strlen(member) : end; at < end && *at != '.' && *at != '"'; at++) {
        if (n + 1 == STATE_NAME_BYTES)
            return false;
        name[n++] = (char)(*at >= 'A' && *at <= 'Z' ? *at + 32 : *at);
    }
    name[n] = 0;
    return n && at < end;
}

static bool stored_owner(const char *directory, char name[STATE_NAME_BYTES])
{
    uint8_t head[HEAD_BYTES];
    char path[4096];
    ssize_t n;
    int fd, length = snprintf(path, sizeof(path), "%s/%s", directory, "manytails.netmap");

    name[0] = 0;
    if (length < 0 || (size_t)length >= sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, head, sizeof(head));
    if (fd >= 0)
        close(fd);
    return n > 0 && first_label(span_make(head, (size_t)n), name);
}

/* tsnsrv's own file knows the host name that was asked for. */
static bool foreign_owner(const char *directory, char name[STATE_NAME_BYTES])
{
    struct state_foreign found;
    char why[STATE_WHY_BYTES];
    bool known = state_foreign_read(directory, &found, why) == 0 && *found.host_name;

    for (size_t i = 0; known && i < STATE_NAME_BYTES; i++)
        name[i] = (char)(found.host_name[i] >= 'A' && found.host_name[i] <= 'Z' ? found.host_name[i] + 32
                                                                                : found.host_name[i]);
    wipe(&found, sizeof(found));
    return known;
}

bool state_owner(const char *directory, char name[STATE_NAME_BYTES])
{
    return stored_owner(directory, name) || foreign_owner(directory, name);
}
