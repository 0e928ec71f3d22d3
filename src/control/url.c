#include "control/url.h"

#include <ctype.h>
#include <stdio.h>

/* Cuts the scheme off; false if it is neither of ours. */
static bool take_scheme(struct span *s, bool *tls)
{
    static const struct {
        const char *text;
        bool tls;
    } schemes[] = { { "https://", true }, { "http://", false } };

    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        size_t len = strlen(schemes[i].text);

        if (text_equal_fold(span_slice(*s, 0, len), span_from_str(schemes[i].text))) {
            *tls = schemes[i].tls;
            *s = span_slice(*s, len, s->len);
            return true;
        }
    }
    return false;
}

static struct span until_any(struct span s, const char *stops)
{
    size_t n = 0;

    while (n < s.len && !strchr(stops, s.data[n] ? s.data[n] : stops[0]))
        n++;
    return span_slice(s, 0, n);
}

static bool host_is_name(struct span host)
{
    if (!host.len || host.len >= 254)
        return false;
    for (size_t i = 0; i < host.len; i++)
        if (!isalnum(host.data[i]) && !memchr("-._", host.data[i], 3))
            return false;
    return true;
}

/* `authority` is host, host:port, [v6] or [v6]:port. */
static const char *parse_authority(struct span authority, struct control_url *u, bool *v6)
{
    struct span host, port;
    uint64_t number = u->tls ? 443 : 80;
    struct ip ip;

    *v6 = authority.len && authority.data[0] == '[';
    if (*v6) {
        host = until_any(span_slice(authority, 1, authority.len), "]");
        if (host.len + 2 > authority.len)
            return "the IPv6 address lacks its closing bracket";
        if (!ip_parse(host, &ip))
            return "the address in brackets is not an IPv6 address";
        port = span_slice(authority, host.len + 2, authority.len);
    } else {
        host = until_any(authority, ":");
        if (!host_is_name(host))
            return "the host name is empty, too long or has characters that names do not have";
        port = span_slice(authority, host.len, authority.len);
    }
    if (port.len &&
        (port.data[0] != ':' || !text_parse_u64(span_slice(port, 1, port.len), 65535, &number) || !number))
        return "the port is not a number from 1 to 65535";
    u->port = (uint16_t)number;
    for (size_t i = 0; i < host.len; i++)
        u->host[i] = (char)tolower(host.data[i]);
    u->host[host.len] = 0;
    return NULL;
}

/* authority and text, from the other members. */
static void write_forms(struct control_url *u, bool v6)
{
    const char *open = v6 ? "[" : "", *close = v6 ? "]" : "";
    char port[8] = "";

    if (u->port != (u->tls ? 443 : 80))
        snprintf(port, sizeof(port), ":%u", u->port);
    snprintf(u->authority, sizeof(u->authority), "%s%s%s%s", open, u->host, close, port);
    snprintf(u->text, sizeof(u->text), "%s://%s%.255s%s%s", u->tls ? "https" : "http", open, u->host, close,
             port);
}

static const char *parse_base(struct span *rest, struct control_url *out)
{
    struct control_url u = { 0 };
    struct span s = *rest, authority;
    const char *wrong;
    bool v6;

    if (!take_scheme(&s, &u.tls))
        return "it must begin with https:// (or http://)";
    authority = until_any(s, "/?#");
    if (authority.len && memchr(authority.data, '@', authority.len))
        return "a user name or password does not belong in it";
    wrong = parse_authority(authority, &u, &v6);
    if (wrong)
        return wrong;
    /* The hosted service answers to two names; the one behind the cache must be one. */
    if (strcmp(u.host, "login.tailscale.com") == 0)
        snprintf(u.host, sizeof(u.host), "controlplane.tailscale.com");
    write_forms(&u, v6);
    *rest = span_slice(s, authority.len, s.len);
    *out = u;
    return NULL;
}

const char *control_url_parse(struct span text, struct control_url *out)
{
    struct span rest = text_trim(text);
    struct control_url u;
    const char *wrong = parse_base(&rest, &u);

    if (wrong)
        return wrong;
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] != '/')
            return "a path, query or fragment does not belong in it: the control server must be at the root "
                   "of its host";
    *out = u;
    return NULL;
}

bool control_url_parse_target(struct span text, struct control_url *out, struct span *target)
{
    struct span rest = text;
    struct control_url u;

    if (parse_base(&rest, &u))
        return false;
    rest = until_any(rest, "#");
    for (size_t i = 0; i < rest.len; i++)
        if (rest.data[i] <= ' ' || rest.data[i] >= 0x7f)
            return false;
    if (rest.len && rest.data[0] != '/')
        return false;
    *out = u;
    *target = rest.len ? rest : span_from_str("/");
    return true;
}
