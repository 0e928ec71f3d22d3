/* config/meaning.c - what an absent or zero value means, and where that differs from tsnsrv */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "config/internal.h"

/* In files and lists, tsnsrv takes a zero for "not given". */
static int zero_means_default(struct config_service *s)
{
    if (!s->timeout)
        s->timeout = MINUTE;
    if (!s->whois_timeout)
        s->whois_timeout = SEC;
    if (!s->auth_timeout)
        s->auth_timeout = 5 * SEC;
    if (*s->listen_address)
        return 0;
    free(s->listen_address);
    s->listen_address = text_dup(span_from_str(":443"));
    return s->listen_address ? 0 : -ENOMEM;
}

/* Both are true here when absent, as tsnsrv's documents say; its files mean false. */
static void old_defaults(struct config *c)
{
    bool said = place_of_process(c, &c->old_yaml_defaults).set;
    char names[200] = "";
    size_t affected = 0;

    for (size_t i = 0; i < c->service_count; i++) {
        struct config_service *s = &c->services[i];
        bool headers = place_of_option(s, &s->recommended_proxy_headers).set;
        bool strip = place_of_option(s, &s->strip_prefix).set || !s->prefixes.count;

        if (c->old_yaml_defaults && !headers)
            s->recommended_proxy_headers = false;
        if (c->old_yaml_defaults && !place_of_option(s, &s->strip_prefix).set)
            s->strip_prefix = false;
        if (said || (headers && strip))
            continue;
        if (affected++ < 3)
            snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s%.50s",
                     affected > 1 ? ", " : "", s->name);
    }
    if (affected)
        notice(c,
               "recommendedProxyHeaders or stripPrefix is not set for %zu service%s (%s%s): that means true "
               "here, "
               "and false in tsnsrv's files; write \"oldYAMLDefaults: true\" for tsnsrv's reading, or false "
               "to end "
               "this notice",
               affected, affected == 1 ? "" : "s", names, affected > 3 ? ", ..." : "");
}

/* The one host name that everybody writes there. */
static int localhost(struct config *c)
{
    char *address;

    if (!text_starts_with(span_from_str(c->prometheus_address), "localhost:"))
        return 0;
    if (asprintf(&address, "127.0.0.1%s", strchr(c->prometheus_address, ':')) < 0)
        return -ENOMEM;
    free(c->prometheus_address);
    c->prometheus_address = address;
    return 0;
}

int meaning_apply(struct config *c, bool from_file)
{
    for (size_t i = 0; i < c->service_count; i++) {
        int r = from_file || c->services[i].listed ? zero_means_default(&c->services[i]) : 0;

        if (r)
            return r;
    }
    if (from_file)
        old_defaults(c);
    return localhost(c);
}
