/* cli/lab.c - manytails lab: a private tailnet on loopback, until Ctrl-C */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/cli.h"
#include "lab/lab.h"

/* "git", "git:8080", "git=18080", "git:8080=18080". False: not such a thing. */
static bool parse_forward(const char *text, struct lab_forward_config *out)
{
    struct span rest = span_from_str(text);
    const uint8_t *equals = memchr(rest.data, '=', rest.len), *colon;
    uint64_t port = LAB_SERVICE_PORT, at = 0;

    if (equals) {
        size_t len = (size_t)(equals - rest.data);

        if (!text_parse_u64(span_slice(rest, len + 1, rest.len), UINT16_MAX, &at))
            return false;
        rest.len = len;
    }
    colon = memchr(rest.data, ':', rest.len);
    if (colon) {
        size_t len = (size_t)(colon - rest.data);

        if (!text_parse_u64(span_slice(rest, len + 1, rest.len), UINT16_MAX, &port) || !port)
            return false;
        rest.len = len;
    }
    out->port = (uint16_t)port;
    out->at = (uint16_t)at;
    return rest.len && text_copy(out->host, sizeof(out->host), rest);
}

static bool parse_port(const char *text, struct lab_config *out)
{
    uint64_t port;

    if (!text_parse_u64(span_from_str(text), UINT16_MAX - LAB_PORTS, &port))
        return false;
    out->port = (uint16_t)port;
    return true;
}

/* A flag with its value. False: unknown, or the value is none. */
static bool parse_valued(const char *flag, const char *value, struct lab_config *out)
{
    if (strcmp(flag, "--port") == 0)
        return parse_port(value, out);
    if (strcmp(flag, "--dir") == 0)
        out->directory = value;
    else if (strcmp(flag, "--open") == 0)
        return out->forward_count < LAB_FORWARDS_GIVEN_MAX &&
               parse_forward(value, &out->forwards[out->forward_count++]);
    else if (strcmp(flag, "--page") == 0 && out->page_count < LAB_PAGES_MAX)
        out->pages[out->page_count++] = value;
    else
        return false;
    return true;
}

static bool parse(int argc, char **argv, struct lab_config *out)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--approval") == 0)
            out->needs_approval = true;
        else if (strcmp(argv[i], "--no-client") == 0)
            out->no_client = true;
        else if (strcmp(argv[i], "--verbose") == 0)
            log_set_level(LOG_DEBUG);
        else if (i + 1 < argc && parse_valued(argv[i], argv[i + 1], out))
            i++;
        else
            return false;
    }
    return true;
}

int cli_lab(int argc, char **argv)
{
    struct lab_config config = { .port = LAB_PORT_DEFAULT, .program = cli_program() };

    log_set_level(LOG_WARN);
    if (!parse(argc, argv, &config))
        return cli_wrong_usage("lab");
    return lab_run(&config);
}
