/* tsnsrv's own test cases of its command line, its -service lists and its files, case by case. Where this
 * program differs on purpose, the case says so. */
#include "config/internal.h"
#include "config/test_world.h"

#define PLAIN "-plaintext" /* there are no certificates from the control server here */

/* One service from flags, given and checked; `text` has to be among the problems otherwise. */
static void refused(int outcome, const char *text, const char *const *arguments)
{
    struct config c;

    assert_int_equal(load(&c, arguments), outcome);
    assert_true(says(&c.problems, text));
    config_free(&c);
}

#define REFUSED(outcome, text, ...) refused((outcome), (text), (const char *const[]) { __VA_ARGS__, NULL })

/* ---- the command line of one service ---------------------------------------------------------- */

static void accepted_command_lines(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(LOAD(&c, "-name", "foo", PLAIN, "http://example.com"), 0);
    assert_string_equal(c.services[0].name, "foo");
    config_free(&c);
    assert_int_equal(LOAD(&c, "-name", "foo", PLAIN, "-upstreamUnixAddr=/tmp/foo.sock", "http://example.com"),
                     0);
    assert_string_equal(c.services[0].upstream_unix_address, "/tmp/foo.sock");
    config_free(&c);
    assert_int_equal(LOAD(&c, "-name", "foo", PLAIN, "-upstreamTCPAddr=127.0.0.1:80", "http://example.com"),
                     0);
    assert_string_equal(c.services[0].upstream_tcp_address, "127.0.0.1:80");
    config_free(&c);
    assert_int_equal(LOAD(&c, "-name", "foo", PLAIN, "-ephemeral=true", "http://example.com"), 0);
    assert_true(c.services[0].ephemeral);
    config_free(&c);
    assert_int_equal(LOAD(&c, "-name", "foo", PLAIN, "-funnel=FALSE", "-funnelOnly=f", "http://example.com"),
                     0);
    config_free(&c);
}

static void refused_command_lines(void **state)
{
    (void)state;
    REFUSED(CONFIG_INVALID, "tsnsrv needs a -name", NULL);
    REFUSED(CONFIG_INVALID, "tsnsrv requires a destination URL", NULL);
    REFUSED(CONFIG_INVALID, "can only proxy to one address at a time", "-name", "foo", PLAIN,
            "-upstreamTCPAddr=127.0.0.1:80", "-upstreamUnixAddr=/tmp/foo.sock", "http://example.com");
    REFUSED(CONFIG_INVALID, "invalid destination URL \"::--example.com\"", "-name", "foo", PLAIN,
            "::--example.com");
    /* Accepted there, or refused for their combination; here there is no Funnel. */
    REFUSED(CONFIG_BAD_FLAG, "Funnel is not supported", "-name", "foo", "-funnel=true", "http://example.com");
    REFUSED(CONFIG_BAD_FLAG, "Funnel is not supported", "-name", "foo", PLAIN, "-funnel",
            "http://example.com");
    REFUSED(CONFIG_BAD_FLAG, "Funnel is not supported", "-name", "foo", "-funnelOnly", "http://example.com");
}

/* The rules of Go's flag package. */
static void flags_are_read_as_go_reads_them(void **state)
{
    (void)state;
    static const char *const yes[] = { "1", "t", "T", "TRUE", "true", "True" };
    static const char *const no[] = { "0", "f", "F", "FALSE", "false", "False" };
    static const char *const neither[] = { "yes", "on", "tRUE", "", "y" };
    struct config c;
    char flag[40];

    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        snprintf(flag, sizeof(flag), "--ephemeral=%s", yes[i]);
        assert_int_equal(LOAD(&c, "-name=a", PLAIN, flag, "http://a"), 0);
        assert_true(c.services[0].ephemeral);
        config_free(&c);
        snprintf(flag, sizeof(flag), "-stripPrefix=%s", no[i]);
        assert_int_equal(LOAD(&c, "-name=a", PLAIN, flag, "http://a"), 0);
        assert_false(c.services[0].strip_prefix);
        config_free(&c);
    }
    for (size_t i = 0; i < COUNT_OF(neither); i++) {
        snprintf(flag, sizeof(flag), "-ephemeral=%s", neither[i]);
        REFUSED(CONFIG_BAD_FLAG, "invalid boolean value", "-name=a", PLAIN, flag, "http://a");
    }
    /* A boolean never takes the next word; the last of two values counts; flags end at the first other word.
     */
    REFUSED(CONFIG_INVALID, "requires a destination URL", "-name", "a", "-plaintext", "true", "http://a");
    REFUSED(CONFIG_INVALID, "\"true\" is one word too many", "-name", "a", "-plaintext", "true", "http://a");
    REFUSED(CONFIG_INVALID, "move -plaintext in front", "-name", "a", "http://a", "-plaintext");
    REFUSED(CONFIG_INVALID, "needs a -name", "http://a", "http://b");
    assert_int_equal(
        LOAD(&c, "-name", "a", "-name", "b", PLAIN, "-timeout", "2m", "--timeout=90s", "--", "http://a"), 0);
    assert_string_equal(c.services[0].name, "b");
    assert_true(c.services[0].timeout == 90 * SEC);
    config_free(&c);
    REFUSED(CONFIG_INVALID, "requires a destination URL", "-name", "a", "http://a", "-plaintext");
    REFUSED(CONFIG_BAD_FLAG, "parsing duration", "-name", "a", "-timeout", "5", "http://a");
    assert_int_equal(LOAD(&c, "-name", "a", PLAIN, "-timeout", "0", "http://a"), 0);
    assert_true(c.services[0].timeout == 0);
    config_free(&c);
}

static void repeated_flags_add_up_in_order(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(LOAD(&c, "-name", "a", PLAIN, "-prefix", "/a", "-prefix", "tailnet:/b",
                          "-upstreamHeader", "X-A: 1", "-upstreamHeader", "X-A: 2", "http://a"),
                     0);
    assert_int_equal(c.services[0].prefixes.count, 2);
    assert_string_equal(c.services[0].prefixes.items[1], "tailnet:/b");
    assert_int_equal(c.services[0].upstream_headers.count, 2);
    assert_string_equal(c.services[0].upstream_headers.items[1], "X-A: 2");
    config_free(&c);
    REFUSED(CONFIG_BAD_FLAG, "tags must start with 'tag:'", "-name", "a", "-tag", "web", "http://a");
    REFUSED(CONFIG_BAD_FLAG, "header format must be 'Header-Name: value'", "-name", "a", "-upstreamHeader",
            "X-A:1", "http://a");
}

static void certificates_come_in_pairs(void **state)
{
    (void)state;
    struct config c;

    REFUSED(CONFIG_INVALID, "when providing either a certificate or key file, the other must be provided",
            "-name", "a", "-certificateFile", "c.pem", "http://a");
    REFUSED(CONFIG_INVALID, "when providing either a certificate or key file, the other must be provided",
            "-name", "a", "-keyFile", "c.key", "http://a");
    REFUSED(CONFIG_INVALID, "can not serve plaintext when using custom certificate and key", "-name", "a",
            PLAIN, "-certificateFile", "c.pem", "-keyFile", "c.key", "http://a");
    assert_int_equal(LOAD(&c, "-name", "a", "-certificateFile", "c.pem", "-keyFile", "c.key", "http://a"), 0);
    config_free(&c);
}

/* ---- modes ------------------------------------------------------------------------------------- */

static void modes_exclude_each_other(void **state)
{
    (void)state;
    REFUSED(CONFIG_INVALID, "cannot use both -config and -service flags; choose one mode", "-config",
            "x.yaml", "-service", "name=a,upstream=http://a,plaintext=1");
    REFUSED(CONFIG_INVALID, "cannot use -config with other CLI flags; use either config file or CLI mode",
            "-config", "x.yaml", "-name", "a");
    REFUSED(CONFIG_INVALID, "cannot use -config with other CLI flags", "-config", "x.yaml", "http://a");
    REFUSED(CONFIG_INVALID,
            "cannot mix -service flag with legacy single-service flags; use -service for all services",
            "-service", "name=a,upstream=http://a,plaintext=1", "-name", "b");
    REFUSED(CONFIG_INVALID, "loading config file: reading config file: ", "-config", "/nonexistent/x.yaml");
}

/* ---- files --------------------------------------------------------------------------------------- */

static void files_that_load(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c, "prometheusAddr: \":8888\"\n"
                                   "services:\n"
                                   "  - name: web\n"
                                   "    upstream: http://localhost:8080\n"
                                   "    plaintext: true\n"
                                   "    authURL: http://auth.example.com\n"
                                   "    authCopyHeaders: {Remote-User: \"\", Remote-Groups: \"\"}\n"
                                   "    prefixes: [/api, /public]\n"
                                   "    whoisTimeout: 2s\n"
                                   "    authTimeout: 10s\n"
                                   "  - name: api\n"
                                   "    upstream: http://localhost:9090\n"
                                   "    plaintext: true\n"
                                   "    ephemeral: true\n"
                                   "    tags: [tag:api, tag:prod]\n"
                                   "    upstreamHeaders: {X-Custom: value}\n"),
                     0);
    assert_string_equal(c.prometheus_address, ":8888");
    assert_int_equal(c.service_count, 2);
    assert_string_equal(c.services[0].name, "web");
    assert_string_equal(c.services[0].upstream, "http://localhost:8080");
    assert_string_equal(c.services[0].auth_url, "http://auth.example.com");
    assert_int_equal(c.services[0].auth_copy_headers.count, 2);
    assert_int_equal(c.services[0].prefixes.count, 2);
    assert_true(c.services[0].whois_timeout == 2 * SEC && c.services[0].auth_timeout == 10 * SEC);
    assert_string_equal(c.services[0].listen_address, ":443");
    assert_string_equal(c.services[1].name, "api");
    assert_true(c.services[1].ephemeral);
    assert_int_equal(c.services[1].tags.count, 2);
    assert_string_equal(c.services[1].upstream_headers.items[0], "X-Custom: value");
    config_free(&c);
    assert_int_equal(
        load_yaml(&c, "services:\n- {name: a, upstream: 'http://a', plaintext: true, authURL: 'http://b'}\n"),
        0);
    assert_string_equal(c.services[0].listen_address, ":443");
    assert_true(c.services[0].auth_timeout == 5 * SEC && c.services[0].whois_timeout == SEC);
    assert_true(c.services[0].timeout == MINUTE);
    config_free(&c);
}

static void files_that_do_not_load(void **state)
{
    (void)state;
    static const struct {
        const char *text, *problem;
    } cases[] = {
        { "services: []", "at least one service" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true}\n"
          "- {name: a, upstream: 'http://b', plaintext: true}",
          "service a: duplicate service name" },
        { "services:\n- {upstream: 'http://a', plaintext: true}", "service 0: tsnsrv needs a -name" },
        { "services:\n- {name: a, plaintext: true}", "service a: upstream URL is required" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true, funnel: true}",
          "Funnel is not supported" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true, funnelOnly: true}",
          "Funnel is not supported" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true, tags: [invalidtag]}",
          "tags must start with 'tag:'" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true, upstreamTCPAddr: 'b:1', "
          "upstreamUnixAddr: /b}",
          "can only proxy to one address at a time" },
        { "services:\n- {name: a, upstream: 'http://a', plaintext: true, timeout: 5}", "cannot unmarshal" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;

        assert_int_equal(load_yaml(&c, cases[i].text), CONFIG_INVALID);
        assert_true(says(&c.problems, cases[i].problem));
        config_free(&c);
    }
}

static void booleans_of_files(void **state)
{
    (void)state;
    static const char *const yes[] = { "true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON" };
    static const char *const no[] = { "false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF" };
    struct config c;
    char text[160];

    for (size_t i = 0; i < COUNT_OF(yes); i++) {
        snprintf(text, sizeof(text),
                 "services:\n- {name: a, upstream: 'http://a', plaintext: %s, stripPrefix: %s}\n", yes[i],
                 no[i]);
        assert_int_equal(load_yaml(&c, text), 0);
        assert_true(c.services[0].plaintext && !c.services[0].strip_prefix);
        config_free(&c);
    }
}

/* ---- -service lists ---------------------------------------------------------------------------------- */

/* The first service of a list that is accepted; the caller frees. */
static const struct config_service *list(struct config *c, const char *value)
{
    int r = LOAD(c, "-service", value);

    if (r)
        print_error("%s: %.*s", value, (int)c->problems.len, (const char *)buf_span(&c->problems).data);
    assert_int_equal(r, 0);
    return &c->services[0];
}

#define BASE "name=web,upstream=http://localhost:8080,plaintext=true"

static void lists_that_load(void **state)
{
    (void)state;
    const struct config_service *s;
    struct config c;

    s = list(&c, BASE);
    assert_string_equal(s->listen_address, ":443");
    assert_true(s->recommended_proxy_headers && s->strip_prefix && s->timeout == MINUTE &&
                s->whois_timeout == SEC);
    config_free(&c);
    s = list(&c, BASE ",funnel=N,funnelOnly=0,ephemeral=0,stripPrefix=false");
    assert_true(!s->ephemeral && !s->strip_prefix);
    config_free(&c);
    s = list(&c, BASE ",ephemeral=YES,suppressWhois=Y,insecureHTTPS=1,tsnetVerbose=True");
    assert_true(s->ephemeral && s->suppress_whois && s->insecure_https && s->verbose);
    config_free(&c);
    s = list(&c, BASE ",timeout=2m,whoisTimeout=500ms");
    assert_true(s->timeout == 2 * MINUTE && s->whois_timeout == 500 * MSEC);
    config_free(&c);
    s = list(&c, BASE ",listenAddr=:8443");
    assert_string_equal(s->listen_address, ":8443");
    config_free(&c);
    s = list(&c, BASE ",authURL=https://auth.example.com,authPath=/verify,authTimeout=10s");
    assert_string_equal(s->auth_path, "/verify");
    assert_true(s->auth_timeout == 10 * SEC);
    config_free(&c);
    s = list(&c, "name=web,upstream=http://localhost:8080,certificateFile=/c.pem,keyFile=/c.key");
    assert_string_equal(s->certificate_file, "/c.pem");
    assert_string_equal(s->key_file, "/c.key");
    config_free(&c);
    s = list(&c, BASE ",stateDir=/state/web");
    assert_string_equal(s->state_directory, "/state/web");
    config_free(&c);
    s = list(&c, BASE ",tag=tag:srv");
    assert_string_equal(s->tags.items[0], "tag:srv");
    config_free(&c);
    s = list(&c, BASE ",upstreamTCPAddr=localhost:9000");
    assert_string_equal(s->upstream_tcp_address, "localhost:9000");
    config_free(&c);
    s = list(&c, BASE ",upstreamUnixAddr=/var/run/app.sock");
    assert_string_equal(s->upstream_unix_address, "/var/run/app.sock");
    config_free(&c);
    s = list(&c, BASE ",tag=tag:api,tag=tag:prod");
    assert_int_equal(s->tags.count, 2);
    config_free(&c);
    s = list(&c, BASE ",prefix=/api,prefix=funnel:/public");
    assert_string_equal(s->prefixes.items[0], "/api");
    assert_string_equal(s->prefixes.items[1], "funnel:/public");
    config_free(&c);
    s = list(&c, BASE ",upstreamHeader=X-Custom:value1,authURL=http://a,authCopyHeader=Remote-User:value2");
    assert_string_equal(s->upstream_headers.items[0], "X-Custom: value1");
    assert_string_equal(s->auth_copy_headers.items[0], "Remote-User: value2");
    config_free(&c);
    s = list(&c, " name = web , upstream=http://localhost:8080/?a=b, plaintext = true");
    assert_string_equal(s->name, "web");
    assert_string_equal(s->upstream, "http://localhost:8080/?a=b");
    config_free(&c);
    s = list(&c, BASE ",timeout=0,whoisTimeout=0s"); /* zero means the default */
    assert_true(s->timeout == MINUTE && s->whois_timeout == SEC);
    config_free(&c);
    s = list(&c, BASE ",upstreamHeader=X-A:1,upstreamHeader=x-a:2"); /* a map: the last one counts */
    assert_int_equal(s->upstream_headers.count, 1);
    assert_string_equal(s->upstream_headers.items[0], "x-a: 2");
    config_free(&c);
}

static void values_with_commas(void **state)
{
    (void)state;
    const struct config_service *s;
    struct config c;

    s = list(&c, BASE ",upstreamHeader=X-A:1\\,2,prefix=\"/a,b\",prefix='/c,\\'d',upstreamHeader=X-B:\"q\"");
    assert_string_equal(s->upstream_headers.items[0], "X-A: 1,2");
    assert_string_equal(s->upstream_headers.items[1], "X-B: \"q\""); /* not at the beginning of the value */
    assert_string_equal(s->prefixes.items[0], "/a,b");
    assert_string_equal(s->prefixes.items[1], "/c,'d");
    config_free(&c);
    REFUSED(CONFIG_BAD_FLAG, "a quote in a -service value is not closed", "-service", BASE ",prefix=\"/a");
}

static void lists_that_do_not_load(void **state)
{
    (void)state;
    static const struct {
        const char *value, *problem;
    } cases[] = {
        { "name=web,upstream=http://localhost:8080,prometheusAddr=:9100",
          "unknown service configuration key: \"prometheusAddr\"" },
        { "upstream=http://localhost:8080", "service definition: tsnsrv needs a -name" },
        { "name=web", "service definition: upstream is required" },
        { BASE ",funnel=maybe", "setting funnel" },
        { BASE ",ephemeral=maybe", "setting ephemeral: invalid boolean value: \"maybe\"" },
        { BASE ",timeout=notaduration", "setting timeout: parsing duration" },
        { BASE ",unknownKey=value", "unknown service configuration key: \"unknownKey\"" },
        { BASE ",invalid",
          "service flag format must be key=value pairs separated by commas: invalid pair \"invalid\"" },
        { BASE ",tag=invalid", "setting tag: tags must start with 'tag:'" },
        { BASE ",upstreamHeader=InvalidHeader", "header format must be 'Name:Value'" },
    };

    for (size_t i = 0; i < COUNT_OF(cases); i++)
        REFUSED(CONFIG_BAD_FLAG, cases[i].problem, "-service", cases[i].value);
    /* Accepted there; one of the two would have overwritten the other's state. */
    REFUSED(CONFIG_INVALID, "duplicate service name", "-service", BASE, "-service", BASE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(accepted_command_lines, clean_environment),
        cmocka_unit_test_setup(refused_command_lines, clean_environment),
        cmocka_unit_test_setup(flags_are_read_as_go_reads_them, clean_environment),
        cmocka_unit_test_setup(repeated_flags_add_up_in_order, clean_environment),
        cmocka_unit_test_setup(certificates_come_in_pairs, clean_environment),
        cmocka_unit_test_setup(modes_exclude_each_other, clean_environment),
        cmocka_unit_test_setup(files_that_load, clean_environment),
        cmocka_unit_test_setup(files_that_do_not_load, clean_environment),
        cmocka_unit_test_setup(booleans_of_files, clean_environment),
        cmocka_unit_test_setup(lists_that_load, clean_environment),
        cmocka_unit_test_setup(values_with_commas, clean_environment),
        cmocka_unit_test_setup(lists_that_do_not_load, clean_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
