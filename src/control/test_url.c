#include "check.h"

#include "control/url.h"

static struct control_url parsed(const char *text)
{
    struct control_url u;

    assert_null(control_url_parse(span_from_str(text), &u));
    return u;
}

static void scheme_decides_tls_and_port(void **state)
{
    (void)state;
    struct control_url u = parsed("https://controlplane.tailscale.com");

    assert_true(u.tls);
    assert_int_equal(u.port, 443);
    assert_string_equal(u.authority, "controlplane.tailscale.com");
    u = parsed("HTTP://127.0.0.1:8080///");
    assert_false(u.tls);
    assert_int_equal(u.port, 8080);
    assert_string_equal(u.authority, "127.0.0.1:8080");
    assert_string_equal(u.text, "http://127.0.0.1:8080");
}

static void equal_servers_have_equal_text(void **state)
{
    (void)state;
    static const char *const same[] = { "https://Hs.Example", "https://hs.example/", "https://hs.example:443",
                                        " https://HS.example:443// " };

    for (size_t i = 0; i < COUNT_OF(same); i++)
        assert_string_equal(parsed(same[i]).text, "https://hs.example");
    assert_string_equal(parsed("https://login.tailscale.com").text, "https://controlplane.tailscale.com");
}

static void ipv6_literals_keep_their_brackets_where_they_belong(void **state)
{
    (void)state;
    struct control_url u = parsed("https://[2001:DB8::1]:8443");

    assert_string_equal(u.host, "2001:db8::1");
    assert_string_equal(u.authority, "[2001:db8::1]:8443");
    assert_string_equal(u.text, "https://[2001:db8::1]:8443");
    assert_string_equal(parsed("http://[::1]").authority, "[::1]");
}

static void what_cannot_work_is_refused_in_words(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "hs.example",
        "ftp://hs.example",
        "https://",
        "https:///",
        "https://hs.example/headscale",
        "https://hs.example?x",
        "https://hs.example/#x",
        "https://user@hs.example",
        "https://user:pw@hs.example",
        "https://hs.example:0",
        "https://hs.example:65536",
        "https://hs.example:",
        "https://hs.example:80x",
        "https://hs exam.ple",
        "https://hs\r\nX: y",
        "https://[::1",
        "https://[nonsense]",
        "https://[::1]8080",
        "https://:443",
    };
    struct control_url u;

    for (size_t i = 0; i < COUNT_OF(bad); i++)
        assert_non_null(control_url_parse(span_from_str(bad[i]), &u));
}

static void host_of_254_bytes_is_refused(void **state)
{
    (void)state;
    char text[300] = "https://";
    struct control_url u;

    memset(text + 8, 'a', 253);
    assert_null(control_url_parse(span_make(text, 8 + 253), &u));
    memset(text + 8, 'a', 254);
    assert_non_null(control_url_parse(span_make(text, 8 + 254), &u));
}

static void target_of_a_ping_is_split_off(void **state)
{
    (void)state;
    struct control_url u;
    struct span target;

    assert_true(
        control_url_parse_target(span_from_str("http://hs:8080/machine/ping-response?id=a#f"), &u, &target));
    assert_span_text(target, "/machine/ping-response?id=a");
    assert_string_equal(u.authority, "hs:8080");
    assert_true(control_url_parse_target(span_from_str("https://unused"), &u, &target));
    assert_span_text(target, "/");
    assert_false(control_url_parse_target(span_from_str("https://h/a b"), &u, &target));
    assert_false(control_url_parse_target(span_from_str("https://h/\r\nX: y"), &u, &target));
    assert_false(control_url_parse_target(span_from_str("https://h?x"), &u, &target));
    assert_false(control_url_parse_target(span_from_str("gopher://h/"), &u, &target));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scheme_decides_tls_and_port),
        cmocka_unit_test(equal_servers_have_equal_text),
        cmocka_unit_test(ipv6_literals_keep_their_brackets_where_they_belong),
        cmocka_unit_test(what_cannot_work_is_refused_in_words),
        cmocka_unit_test(host_of_254_bytes_is_refused),
        cmocka_unit_test(target_of_a_ping_is_split_off),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
