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

static bool is_name(const char *text)
{
    return *text &&
           strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == strlen(text);
}

/* A flag with its value. NULL, or what is wrong with it. */
static const char *take_value(const struct cli_arguments *a, struct lab_config *out)
{
    if (cli_argument_is(a, "--port"))
        return parse_port(a->value, out) ? NULL : "write a number from 0 to 65471";
    if (cli_argument_is(a, "--dir")) {
        out->directory = a->value;
    } else if (cli_argument_is(a, "--open")) {
        if (out->forward_count == LAB_FORWARDS_GIVEN_MAX)
            return "too many of them";
        if (!parse_forward(a->value, &out->forwards[out->forward_count++]))
            return "write NAME, NAME:PORT, NAME=LOCALPORT or NAME:PORT=LOCALPORT";
    } else if (!is_name(a->value)) {
        return "write a host name: letters, digits and hyphens";
    } else if (out->page_count < LAB_PAGES_MAX) {
        out->pages[out->page_count++] = a->value;
    } else {
        return "too many of them";
    }
    return NULL;
}

static bool parse(int argc, char **argv, struct lab_config *out)
{
    struct cli_arguments a = { .argc = argc, .argv = argv };
    enum cli_argument found;
    const char *wrong;

    while ((found = cli_argument_next(&a)) == CLI_ARGUMENT_FLAG) {
        if (cli_argument_is(&a, "--approval"))
            out->needs_approval = true;
        else if (cli_argument_is(&a, "--no-client"))
            out->no_client = true;
        else if (cli_argument_is(&a, "--verbose"))
            log_set_level(LOG_DEBUG);
        else if ((wrong = take_value(&a, out)))
            return cli_wrong_value(&a, wrong), false;
    }
    return found == CLI_ARGUMENT_END;
}

int cli_lab(int argc, char **argv)
{
    struct lab_config config = { .port = LAB_PORT_DEFAULT, .program = cli_program() };

    log_set_level(LOG_WARN);
    if (!parse(argc, argv, &config))
        return 2;
    return lab_run(&config);
}
