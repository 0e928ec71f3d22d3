/* Options of the way to the upstream and of forward auth, from each of the three sources. */
#include "config/test_world.h"

static int load_option(struct config *c, const char *option, const char *value)
{
    const char *argv[] = { "tsnsrv", option, value, NULL, NULL, NULL, NULL };

    if (strcmp(option, "-service") != 0) {
        argv[3] = "-plaintext";
        argv[4] = "-name=web";
        argv[5] = "http://127.0.0.1:8080";
    }
    return config_load(c, argv[3] ? 6 : 3, (char *const *)(uintptr_t)argv);
}

#define WEB "name=web,upstream=http://127.0.0.1:8080,plaintext=1,"

static int from_file(struct config *c, const char *lines)
{
    char text[1000];

    snprintf(text, sizeof(text), "services:\n- name: web\n  upstream: http://a\n  plaintext: true\n%s",
             lines);
    return load_yaml(c, text);
}

static void auth_options_mean_the_same_everywhere(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(
        load_option(&c, "-service",
                    WEB "authURL=https://auth.test,authPath=/verify,authTimeout=10s,authCopyHeader=Remote-"
                        "User:value2,authCopyHeader=X-G:,authInsecureHTTPS=yes,authBypassForTailnet=1"),
        0);
    assert_string_equal(c.services[0].auth_url, "https://auth.test");
    assert_string_equal(c.services[0].auth_path, "/verify");
    assert_true(c.services[0].auth_timeout == 10 * SEC);
    assert_int_equal(c.services[0].auth_copy_headers.count, 2);
    assert_string_equal(c.services[0].auth_copy_headers.items[0], "Remote-User: value2");
    assert_true(c.services[0].auth_insecure_https && c.services[0].auth_bypass_for_tailnet);
    config_free(&c);
    assert_int_equal(load_option(&c, "-authURL", "http://auth.test"), 0);
    assert_true(c.services[0].auth_timeout == 5 * SEC);
    assert_string_equal(c.services[0].auth_path, "");
    config_free(&c);
    assert_int_equal(from_file(&c, "  authURL: http://auth.test\n  authCopyHeaders:\n    Remote-User: \"\"\n"
                                   "    Remote-Groups:\n"),
                     0);
    assert_int_equal(c.problem_count, 0);
    assert_int_equal(c.services[0].auth_copy_headers.count, 2);
    config_free(&c);
}

/* A service whose auth cannot work must not start without it. */
static void wrong_auth_settings_refuse_the_service(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        { "  authURL: \"::bad\"\n", "authURL ::bad" },
        { "  authURL: ftp://a\n", "the scheme has to be http" },
        { "  authURL: http://a\n  authPath: verify\n", "authPath verify: has to begin with a slash" },
        { "  authURL: http://a\n  authCopyHeaders: {Connection: \"\"}\n",
          "authCopyHeaders: this header belongs" },
        { "  authURL: http://a\n  authCopyHeaders: {X-Tailscale-User: \"\"}\n", "set by the proxy itself" },
    };
    struct config c;

    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(from_file(&c, rows[i][0]), CONFIG_INVALID);
        assert_true(says(&c.problems, rows[i][1]));
        config_free(&c);
    }
    assert_int_equal(from_file(&c, "  authBypassForTailnet: true\n"), 0);
    assert_true(says(&c.notices, "there is no authURL"));
    config_free(&c);
}

static void values_have_their_range(void **state)
{
    (void)state;
    static const char *const bad[] = { "upstreamQueue: 0",
                                       "upstreamQueue: 16385",
                                       "upstreamIdleConnections: 1025",
                                       "upstreamMaxConnections: 16385",
                                       "upstreamQueueTimeout: 0s",
                                       "upstreamConnectTimeout: -1s",
                                       "prefixMatch: words",
                                       "accessLog: xml" };
    char line[80], name[40];
    struct config c;

    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        snprintf(line, sizeof(line), "  %s\n", bad[i]);
        snprintf(name, sizeof(name), "%.*s", (int)strcspn(bad[i], ":"), bad[i]);
        assert_int_equal(from_file(&c, line), CONFIG_INVALID);
        assert_int_equal(c.problem_count, 1);
        assert_true(says(&c.problems, name));
        config_free(&c);
    }
    assert_int_equal(load_option(&c, "-upstreamMaxConnections", "ten"), CONFIG_BAD_FLAG);
    assert_true(says(&c.problems, "a whole number is expected"));
    config_free(&c);
    assert_int_equal(
        load_option(&c, "-service", WEB "upstreamMaxConnections=8,upstreamQueue=4,upstreamIdleTimeout=5s"),
        0);
    assert_int_equal(c.services[0].upstream_max_connections, 8);
    assert_int_equal(c.services[0].upstream_queue, 4);
    assert_true(c.services[0].upstream_idle_timeout == 5 * SEC);
    assert_int_equal(c.services[0].upstream_idle_connections, 64);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(auth_options_mean_the_same_everywhere),
        cmocka_unit_test(wrong_auth_settings_refuse_the_service),
        cmocka_unit_test(values_have_their_range),
    };

    setenv("XDG_CONFIG_HOME", "/nonexistent/config", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
