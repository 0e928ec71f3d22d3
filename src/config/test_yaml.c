#include <sys/stat.h>

#include "config/internal.h"
#include "config/test_world.h"

#define WEB "{name: web, upstream: 'http://a', plaintext: true}"

/* A folder with files in it, gone at the end. */
struct folder {
    char path[64];
    char *files[16];
    unsigned count;
};

static void folder_open(struct folder *f)
{
    *f = (struct folder) { .path = "/tmp/manytails-yaml-XXXXXX" };
    assert_non_null(mkdtemp(f->path));
}

static const char *folder_write(struct folder *f, const char *name, const char *text)
{
    char *path;
    FILE *file;

    assert_true(f->count < COUNT_OF(f->files));
    assert_true(asprintf(&path, "%s/%s", f->path, name) > 0);
    f->files[f->count++] = path;
    file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    fclose(file);
    return path;
}

static void folder_close(struct folder *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        assert_int_equal(unlink(f->files[i]), 0);
        free(f->files[i]);
    }
    assert_int_equal(rmdir(f->path), 0);
}

static void defaults_are_for_services_that_do_not_say_it_themselves(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c, "services:\n"
                                   "- {name: a, upstream: 'http://a'}\n"
                                   "- {name: b, upstream: 'http://b', listenAddr: ':8080', tags: [tag:own], "
                                   "upstreamHeaders: {X-Own: '1'}}\n"
                                   "defaults:\n"
                                   "  plaintext: true\n"
                                   "  listenAddr: ':80'\n"
                                   "  tags: [tag:all, tag:web]\n"
                                   "  upstreamHeaders: {X-All: '1'}\n"),
                     0);
    assert_true(c.services[0].plaintext);
    assert_string_equal(c.services[0].listen_address, ":80");
    assert_int_equal(c.services[0].tags.count, 2);
    assert_string_equal(c.services[1].listen_address, ":8080");
    assert_int_equal(c.services[1].tags.count, 1);
    assert_string_equal(c.services[1].tags.items[0], "tag:own");
    assert_int_equal(c.services[1].upstream_headers.count, 1);
    assert_string_equal(c.services[1].upstream_headers.items[0], "X-Own: 1");
    config_free(&c);
}

static void anchors_aliases_and_merge_keys_work(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(
        load_yaml(&c, "services:\n"
                      "- &web {name: web, upstream: &up 'http://a', plaintext: true, tags: &t [tag:a]}\n"
                      "- {<<: *web, name: git, listenAddr: ':80'}\n"
                      "- {name: doc, upstream: *up, <<: [{plaintext: yes}, *web], tags: *t}\n"),
        0);
    assert_int_equal(c.service_count, 3);
    assert_string_equal(c.services[1].name, "git");
    assert_string_equal(c.services[1].upstream, "http://a");
    assert_string_equal(c.services[1].tags.items[0], "tag:a");
    assert_string_equal(c.services[2].upstream, "http://a");
    assert_true(c.services[2].plaintext);
    config_free(&c);
}

/* The folder's files in the order of their names, each with the defaults of the file that includes it. */
static void a_folder_is_included_in_the_order_of_names(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    const char *path;

    folder_open(&f);
    folder_write(&f, "20-b.yaml", "services:\n- {name: b, upstream: 'http://b', listenAddr: ':81'}\n");
    folder_write(&f, "10-a.yml",
                 "defaults: {listenAddr: ':82'}\nservices:\n- {name: a, upstream: 'http://a'}\n");
    folder_write(&f, "README", "services: [");
    path = folder_write(&f, "main",
                        "include: .\ndefaults: {plaintext: true, listenAddr: ':80'}\n"
                        "services:\n- {name: first, upstream: 'http://x'}\n");
    assert_int_equal(LOAD(&c, "-config", path), 0);
    assert_int_equal(c.service_count, 3);
    assert_string_equal(c.services[0].name, "first");
    assert_string_equal(c.services[1].name, "a");
    assert_string_equal(c.services[1].listen_address, ":82");
    assert_string_equal(c.services[2].name, "b");
    assert_true(c.services[2].plaintext);
    assert_string_equal(c.services[2].listen_address, ":81");
    assert_int_equal(c.file_count, 3);
    config_free(&c);
    folder_close(&f);
}

/* The limit is on files inside each other, not on files beside each other. */
static void a_folder_may_hold_more_files_than_includes_may_be_nested(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    const char *path;
    char name[24], text[96];

    folder_open(&f);
    for (int i = 0; i < CONFIG_INCLUDE_DEPTH_MAX + 4; i++) {
        snprintf(name, sizeof(name), "%02d.yaml", i);
        snprintf(text, sizeof(text), "services:\n- {name: s%d, upstream: 'http://a', plaintext: true}\n", i);
        folder_write(&f, name, text);
    }
    path = folder_write(&f, "main", "include: ['*.yaml']\n");
    assert_int_equal(LOAD(&c, "-config", path), 0);
    assert_int_equal(c.service_count, CONFIG_INCLUDE_DEPTH_MAX + 4);
    assert_string_equal(c.services[11].name, "s11");
    config_free(&c);
    folder_close(&f);
}

static void a_pattern_that_matches_nothing_yet_is_no_fault(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c, "include: /nonexistent/*.yaml\nservices:\n- " WEB "\n"), 0);
    assert_true(says(&c.notices, "there is no such file yet"));
    config_free(&c);
    assert_int_equal(load_yaml(&c, "include: /nonexistent/a.yaml\nservices:\n- " WEB "\n"), CONFIG_INVALID);
    config_free(&c);
}

static void variables_are_replaced_only_where_the_file_asks_for_it(void **state)
{
    (void)state;
    struct config c;

    setenv("CONFIG_TEST_HOST", "h: {x", 1);
    assert_int_equal(load_yaml(&c, "services:\n- {name: web, upstream: 'http://a', plaintext: true, "
                                   "upstreamHeaders: {X-A: '${CONFIG_TEST_HOST}'}}\n"),
                     0);
    assert_string_equal(c.services[0].upstream_headers.items[0], "X-A: ${CONFIG_TEST_HOST}");
    config_free(&c);
    assert_int_equal(load_yaml(&c,
                               "services:\n- {name: web, upstream: 'http://a', plaintext: true, "
                               "upstreamHeaders: {X-A: '<${CONFIG_TEST_HOST}> $${CONFIG_TEST_HOST} $5'}}\n"
                               "expandEnvironment: true\n"),
                     0);
    assert_string_equal(c.services[0].upstream_headers.items[0], "X-A: <h: {x> ${CONFIG_TEST_HOST} $5");
    config_free(&c);
    unsetenv("CONFIG_TEST_HOST");
}

/* tsnsrv's documents say true, its files mean false: said once, with a switch for its reading. */
static void absent_booleans_mean_true_unless_the_old_reading_is_asked_for(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c, "services:\n- " WEB "\n"), 0);
    assert_true(c.services[0].recommended_proxy_headers && c.services[0].strip_prefix);
    assert_true(says(&c.notices, "is not set for 1 service (web): that means true here"));
    config_free(&c);
    assert_int_equal(load_yaml(&c,
                               "oldYAMLDefaults: true\nservices:\n- " WEB
                               "\n- {name: b, upstream: 'http://a', plaintext: true, stripPrefix: true}\n"),
                     0);
    assert_false(c.services[0].recommended_proxy_headers || c.services[0].strip_prefix);
    assert_false(c.services[1].recommended_proxy_headers);
    assert_true(c.services[1].strip_prefix);
    assert_false(says(&c.notices, "is not set for"));
    config_free(&c);
    assert_int_equal(load_yaml(&c, "oldYAMLDefaults: false\nservices:\n- " WEB "\n"), 0);
    assert_true(c.services[0].recommended_proxy_headers);
    assert_false(says(&c.notices, "is not set for"));
    config_free(&c);
}

static void zero_and_empty_mean_the_default_as_in_tsnsrv(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c,
                               "services:\n- {name: web, upstream: 'http://a', plaintext: true, timeout: 0s, "
                               "whoisTimeout: 0s, listenAddr: ''}\n"),
                     0);
    assert_true(c.services[0].timeout == MINUTE && c.services[0].whois_timeout == SEC);
    assert_string_equal(c.services[0].listen_address, ":443");
    config_free(&c);
}

static void metrics_can_be_turned_off_and_default_to_loopback(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(load_yaml(&c, "services:\n- " WEB "\n"), 0);
    assert_string_equal(c.prometheus_address, "127.0.0.1:9099");
    config_free(&c);
    assert_int_equal(load_yaml(&c, "prometheusAddr: ''\nservices:\n- " WEB "\n"), 0);
    assert_string_equal(c.prometheus_address, "");
    config_free(&c);
    assert_int_equal(load_yaml(&c, "prometheusAddr: 'localhost:9100'\nservices:\n- " WEB "\n"), 0);
    assert_string_equal(c.prometheus_address, "127.0.0.1:9100");
    config_free(&c);
}

/* Flags of the process beat the file; those of one service are named and ignored, in tsnsrv silently. */
static void flags_beside_a_file(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    const char *path;

    folder_open(&f);
    path = folder_write(&f, "main.yaml", "prometheusAddr: ':8888'\nservices:\n- " WEB "\n");
    assert_int_equal(LOAD(&c, "-prometheusAddr", ":7777", "-stateDir", "/base", "-config", path), 0);
    assert_string_equal(c.prometheus_address, ":7777");
    assert_string_equal(c.services[0].state_directory, "/base/web");
    config_free(&c);
    assert_int_equal(LOAD(&c, "-timeout", "2m", "-tag", "tag:a", "-config", path), 0);
    assert_true(says(&c.notices, "-timeout, -tag: ignored next to -config"));
    assert_true(c.services[0].timeout == MINUTE);
    config_free(&c);
    folder_close(&f);
}

static void header_values_and_keys_come_from_files_and_credentials(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    const char *token;
    char text[512];

    folder_open(&f);
    token = folder_write(&f, "token", "  Bearer s3cret\n");
    folder_write(&f, "authkey", "hskey-from-systemd\n");
    setenv("CREDENTIALS_DIRECTORY", f.path, 1);
    snprintf(text, sizeof(text),
             "services:\n- name: web\n  upstream: http://a\n  plaintext: true\n"
             "  authkeyPath: credential:authkey\n"
             "  upstreamHeaders: {X-A: '1'}\n"
             "  upstreamHeaderFiles: {Authorization: %s, X-B: credential:token}\n",
             token);
    assert_int_equal(load_yaml(&c, text), 0);
    assert_string_equal(c.services[0].auth_key, "hskey-from-systemd");
    assert_int_equal(c.services[0].upstream_headers.count, 3);
    assert_string_equal(c.services[0].upstream_headers.items[1], "Authorization: Bearer s3cret");
    assert_string_equal(c.services[0].upstream_headers.items[2], "X-B: Bearer s3cret");
    snprintf(text, sizeof(text), "X-B: %s", token); /* what the sandbox has to allow */
    assert_string_equal(c.services[0].upstream_header_files.items[1], text);
    config_free(&c);
    assert_int_equal(load_yaml(&c, "services:\n- {name: web, upstream: 'http://a', plaintext: true, "
                                   "authkeyPath: 'credential:../authkey'}\n"),
                     CONFIG_INVALID);
    assert_true(says(&c.problems, "a credential has a name without slashes"));
    config_free(&c);
    folder_close(&f);
}

static void an_oauth_client_secret_is_completed_by_its_service(void **state)
{
    (void)state;
    static const char yaml[] =
        "services:\n- {name: web, upstream: 'http://a', plaintext: true, tags: [tag:web], "
        "ephemeral: true, controlURL: 'https://hs.example', authkeyPath: %s}\n";
    static const struct {
        const char *secret, *base, *want;
    } cases[] = {
        { "tskey-client-a", NULL,
          "tskey-client-a?ephemeral=true&preauthorized=false&baseURL=https://api.tailscale.com" },
        { "tskey-client-a", "https://b.example",
          "tskey-client-a?ephemeral=true&preauthorized=false&baseURL=https://b.example" },
        { "hskey-client-a\n", NULL,
          "hskey-client-a?ephemeral=true&preauthorized=false&baseURL=https://hs.example" },
        { "hskey-client-a?ephemeral=0&preauthorized=1&baseURL=http://127.0.0.1:80/", "https://b.example",
          "hskey-client-a?ephemeral=false&preauthorized=true&baseURL=http://127.0.0.1" },
    };
    struct folder f;
    char text[512];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct config c;

        folder_open(&f);
        unsetenv("TS_BASE_URL");
        if (cases[i].base)
            setenv("TS_BASE_URL", cases[i].base, 1);
        snprintf(text, sizeof(text), yaml, folder_write(&f, "secret", cases[i].secret));
        assert_int_equal(load_yaml(&c, text), 0);
        assert_string_equal(c.services[0].auth_key, cases[i].want);
        assert_true(c.services[0].ephemeral == (i < 3)); /* what the secret says counts */
        assert_true(says(&c.notices, "its OAuth client secret says ephemeral=false") == (i == 3));
        config_free(&c);
        folder_close(&f);
    }
}

static void an_oauth_client_secret_that_cannot_be_used_is_refused_without_being_told(void **state)
{
    (void)state;
    static const struct {
        const char *secret, *tags, *base, *want;
    } cases[] = {
        { "tskey-client-s3cret", "[]", "", "at least one tag" },
        { "tskey-client-s3cret?ephemeral=0&s3cret=1", "[tag:a]", "", "number 2 behind the \"?\"" },
        { "tskey-client-s3cret?preauthorized=s3cret", "[tag:a]", "", "preauthorized is true or false" },
        { "tskey-client-s3cret?baseURL=s3cret", "[tag:a]", "", "it must begin with https://" },
        { "tskey-client-s3cret s3cret", "[tag:a]", "", "has a character that secrets do not have" },
        { "tskey-client-s3cret", "[tag:a]", "ftp://b",
          "TS_BASE_URL \"ftp://b\": it must begin with https://" },
    };
    struct folder f;
    struct config c;
    char text[512];

    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        folder_open(&f);
        setenv("TS_BASE_URL", cases[i].base, 1);
        snprintf(
            text, sizeof(text),
            "services:\n- {name: web, upstream: 'http://a', plaintext: true, tags: %s, authkeyPath: %s}\n",
            cases[i].tags, folder_write(&f, "key", cases[i].secret));
        assert_int_equal(load_yaml(&c, text), CONFIG_INVALID);
        assert_true(says(&c.problems, cases[i].want));
        assert_true(says(&c.problems, ":2:"));
        assert_false(says(&c.problems, "s3cret"));
        config_free(&c);
        setenv("TS_AUTHKEY", cases[i].secret, 1);
        snprintf(text, sizeof(text),
                 "services:\n- {name: web, upstream: 'http://a', plaintext: true, tags: %s}\n",
                 cases[i].tags);
        assert_int_equal(load_yaml(&c, text), CONFIG_INVALID);
        assert_true(says(&c.problems, ":2:3: service web: TS_AUTHKEY: "));
        assert_true(says(&c.problems, cases[i].want));
        assert_false(says(&c.problems, "s3cret"));
        config_free(&c);
        unsetenv("TS_AUTHKEY");
        folder_close(&f);
    }
}

/* A key file that cannot be read matters only to a node that has yet to register. */
static void a_registered_node_does_without_its_key_file(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    char text[512];

    folder_open(&f);
    snprintf(text, sizeof(text),
             "services:\n- {name: web, upstream: 'http://a', plaintext: true, authkeyPath: /nonexistent/key, "
             "stateDir: %s}\n",
             f.path);
    assert_int_equal(load_yaml(&c, text), CONFIG_INVALID);
    assert_true(says(&c.problems, ":2:67: service web: authkeyPath \"/nonexistent/key\": No such file"));
    config_free(&c);
    folder_write(&f, "manytails.state", "{}");
    assert_int_equal(load_yaml(&c, text), 0);
    assert_true(says(&c.notices, "Could not read authkey from file"));
    assert_null(c.services[0].auth_key);
    config_free(&c);
    folder_close(&f);
}

/* One service of many whose secret cannot be read does not start; the others do. */
static void a_missing_secret_concerns_its_service_only(void **state)
{
    (void)state;
    struct config c;

    assert_int_equal(
        load_yaml(&c, "services:\n- {name: web, upstream: 'http://a', plaintext: true, authkeyPath: "
                      "/nonexistent/key}\n"
                      "- {name: git, upstream: 'http://a', plaintext: true}\n"
                      "- {name: doc, upstream: 'http://a', plaintext: true, upstreamHeaderFiles: {X: "
                      "/nonexistent/token}}\n"),
        0);
    assert_non_null(strstr(c.services[0].fault, ":2:67: authkeyPath \"/nonexistent/key\": No such file"));
    assert_null(c.services[1].fault);
    assert_non_null(
        strstr(c.services[2].fault, "upstreamHeaderFiles \"X\": /nonexistent/token: No such file"));
    assert_true(says(&c.notices, "service web: authkeyPath"));
    config_free(&c);
}

/* Whatever is only ignored when serving is a fault for `manytails check`. */
static void strict_mode_refuses_what_would_be_ignored(void **state)
{
    (void)state;
    struct folder f;
    struct config c;
    const char *path;
    char *argv[] = { (char *)(uintptr_t) "manytails", (char *)(uintptr_t) "-config", NULL, NULL };

    folder_open(&f);
    path = folder_write(&f, "main.yaml",
                        "services:\n- {name: web, upstream: 'http://a', plaintext: true, x-y: 1}\n");
    argv[2] = (char *)(uintptr_t)path;
    assert_int_equal(config_load_mode(&c, 3, argv, 0), 0);
    assert_true(says(&c.notices, "main.yaml:2:54: unknown key \"x-y\" is ignored"));
    config_free(&c);
    assert_int_equal(config_load_mode(&c, 3, argv, CONFIG_STRICT), CONFIG_INVALID);
    assert_true(says(&c.problems, "main.yaml:2:54: unknown key \"x-y\""));
    config_free(&c);
    folder_close(&f);
}

static void listen_addresses_in_all_their_forms(void **state)
{
    (void)state;
    static const struct {
        const char *text, *plain;
    } good[] = { { ":443", ":443" },
                 { ":https", ":443" },
                 { ":http", ":80" },
                 { "100.64.0.1:80", "100.64.0.1:80" },
                 { "[fd7a:115c:a1e0::1]:https", "[fd7a:115c:a1e0::1]:443" },
                 { "0.0.0.0:80", ":80" },
                 { "[::]:80", ":80" } };
    static const char *const bad[] = { "",    ":",       "443",        ":0",       ":65536",
                                       ":-1", "host:80", "100.64.0.1", ":https x", "fd7a::1:80x" };

    for (size_t i = 0; i < COUNT_OF(good); i++) {
        struct ip_port got, want = { 0 };

        assert_true(config_listen(good[i].text, &got));
        if (good[i].plain[0] == ':')
            want.port = (uint16_t)atoi(good[i].plain + 1);
        else
            assert_true(ip_port_parse(span_from_str(good[i].plain), &want));
        assert_true(ip_port_equal(&got, &want));
    }
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct ip_port got;

        assert_false(config_listen(bad[i], &got));
    }
}

/* 30 lines that stand for 3^29 values are read at once; a walk that would take as long is stopped. */
static void small_files_stay_small(void **state)
{
    (void)state;
    struct config c;
    char text[8192];
    size_t n = 0;

    n += (size_t)snprintf(text + n, sizeof(text) - n, "defaults:\n  <<: [&m0 {plaintext: true}");
    for (int i = 1; i < 40; i++)
        n += (size_t)snprintf(text + n, sizeof(text) - n, ", &m%d {<<: [*m%d, *m%d]}", i, i - 1, i - 1);
    snprintf(text + n, sizeof(text) - n, "]\nservices:\n- " WEB "\n");
    assert_int_equal(load_yaml(&c, text), CONFIG_INVALID);
    assert_true(says(&c.problems, "refers to itself too often"));
    assert_int_equal(c.problem_count, 1);
    config_free(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(defaults_are_for_services_that_do_not_say_it_themselves, clean_environment),
        cmocka_unit_test_setup(anchors_aliases_and_merge_keys_work, clean_environment),
        cmocka_unit_test_setup(a_folder_is_included_in_the_order_of_names, clean_environment),
        cmocka_unit_test_setup(a_folder_may_hold_more_files_than_includes_may_be_nested, clean_environment),
        cmocka_unit_test_setup(a_pattern_that_matches_nothing_yet_is_no_fault, clean_environment),
        cmocka_unit_test_setup(variables_are_replaced_only_where_the_file_asks_for_it, clean_environment),
        cmocka_unit_test_setup(absent_booleans_mean_true_unless_the_old_reading_is_asked_for,
                               clean_environment),
        cmocka_unit_test_setup(zero_and_empty_mean_the_default_as_in_tsnsrv, clean_environment),
        cmocka_unit_test_setup(metrics_can_be_turned_off_and_default_to_loopback, clean_environment),
        cmocka_unit_test_setup(flags_beside_a_file, clean_environment),
        cmocka_unit_test_setup(header_values_and_keys_come_from_files_and_credentials, clean_environment),
        cmocka_unit_test_setup(a_registered_node_does_without_its_key_file, clean_environment),
        cmocka_unit_test_setup(an_oauth_client_secret_is_completed_by_its_service, clean_environment),
        cmocka_unit_test_setup(an_oauth_client_secret_that_cannot_be_used_is_refused_without_being_told,
                               clean_environment),
        cmocka_unit_test_setup(a_missing_secret_concerns_its_service_only, clean_environment),
        cmocka_unit_test_setup(strict_mode_refuses_what_would_be_ignored, clean_environment),
        cmocka_unit_test_setup(listen_addresses_in_all_their_forms, clean_environment),
        cmocka_unit_test_setup(small_files_stay_small, clean_environment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
