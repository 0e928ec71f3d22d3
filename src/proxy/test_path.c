#include <stdio.h>

#include "check.h"
#include "proxy/path.h"
#include "proxy/url.h"

/* ---- cleaning -------------------------------------------------------------------- */

/* Made with Go 1.26, GODEBUG=httpmuxgo121=1 (the releases tsnsrv was built with clean the decoded path, newer
 * ones the raw one): http.ServeMux with a handler at "/"; "" = not redirected. */
static const char *const cleaned[][2] = {
    { "/", "" },
    { "/a", "" },
    { "/a/", "" },
    { "/a.b/..c/.d/e..", "" },
    { "/...", "" },
    { "//", "/" },
    { "//a", "/a" },
    { "/a//b", "/a/b" },
    { "/a//", "/a/" },
    { "/a/./b", "/a/b" },
    { "/a/../b", "/b" },
    { "/..", "/" },
    { "/../", "/" },
    { "/a/..", "/" },
    { "/a/../", "/" },
    { "/a/.", "/a" },
    { "/a/./", "/a/" },
    { "/a/b/../../../c", "/c" },
    { "/%2e%2e/x", "/x" },
    { "/a/..%2fx", "/x" },
    { "/a%2F%2Fb", "/a/b" },
    { "/a%2Fb", "" },
    { "/a%2e%2e/b", "" },
    { "/a%20b//c", "/a%20b/c" },
    { "/\xc3\xa4//", "/%C3%A4/" },
    { "/a%3Fb//c", "/a%3Fb/c" },
    { "/(x)//y", "/%28x%29/y" },
};

static void unclean_paths_get_the_clean_form_of_go(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT_OF(cleaned); i++) {
        struct span raw = span_from_str(cleaned[i][0]);
        struct buf b;

        assert_true(path_escapes_valid(raw));
        assert_int_equal(path_is_clean(raw), !*cleaned[i][1]);
        if (!*cleaned[i][1])
            continue;
        buf_init(&b, 4096);
        assert_int_equal(path_append_cleaned(raw, &b), 0);
        assert_span_text(buf_span(&b), cleaned[i][1]);
        assert_true(path_is_clean(buf_span(&b)));
        buf_deinit(&b);
    }
}

static void broken_escapes_are_noticed(void **state)
{
    (void)state;

    assert_true(path_escapes_valid(span_from_str("/%41%4a%fF")));
    assert_false(path_escapes_valid(span_from_str("/%")));
    assert_false(path_escapes_valid(span_from_str("/%4")));
    assert_false(path_escapes_valid(span_from_str("/%4g")));
    assert_false(path_escapes_valid(span_from_str("/%%41")));
}

/* ---- prefixes --------------------------------------------------------------------- */

static const struct {
    const char *raw, *prefix;
    enum prefix_match want;
    const char *rest;
} prefixes[] = {
    { "/", "/", PREFIX_YES, "" },
    { "/x", "/", PREFIX_YES, "x" },
    { "/subpath", "/subpath", PREFIX_YES, "" },
    { "/subpath/hi", "/subpath", PREFIX_YES, "/hi" },
    { "/subpath/hi", "/subpath/", PREFIX_YES, "hi" },
    { "/other/subpath", "/subpath", PREFIX_NO, "" },
    { "/sub", "/subpath", PREFIX_NO, "" },
    { "/apifoo", "/api", PREFIX_INSIDE_SEGMENT, "foo" },
    { "/api", "/api/", PREFIX_NO, "" },
    { "/x", "", PREFIX_NO, "" },
    { "/x", "x", PREFIX_NO, "" },
    { "/a%20b/c", "/a b", PREFIX_YES, "/c" },           /* the escape is the only way to write it */
    { "/sub%70ath/x", "/subpath", PREFIX_NO, "" },      /* it is not, so the raw form has to match too */
    { "/subpath/%70", "/subpath", PREFIX_YES, "/%70" }, /* and does */
    { "/x%2Fy", "/x/", PREFIX_NO, "" },
    { "/x%2Fy", "/x", PREFIX_YES, "%2Fy" }, /* Go compares the decoded form */
    { "/x%2fy/z", "/x", PREFIX_YES, "%2fy/z" },
};

static void prefixes_match_whole_segments(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        struct span raw = span_from_str(prefixes[i].raw);
        size_t matched;

        assert_int_equal(path_match_prefix(raw, span_from_str(prefixes[i].prefix), &matched),
                         prefixes[i].want);
        if (prefixes[i].want != PREFIX_NO)
            assert_span_text(span_slice(raw, matched, raw.len), prefixes[i].rest);
    }
}

/* ---- joining ------------------------------------------------------------------------ */

static void check_joined(const char *base, const char *rest, const char *want)
{
    struct buf b;

    buf_init(&b, 4096);
    assert_int_equal(path_append_joined(span_from_str(base), span_from_str(rest), &b), 0);
    assert_span_text(buf_span(&b), want);
    buf_deinit(&b);
}

static void joining_leaves_exactly_one_slash(void **state)
{
    (void)state;

    check_joined("/base", "/x", "/base/x");
    check_joined("/base/", "/x", "/base/x");
    check_joined("/base/", "x", "/base/x");
    check_joined("/base", "x", "/base/x");
    check_joined("/base/", "/", "/base/");
    check_joined("/base", "", "/base");
    check_joined("/base/", "", "/base/");
    check_joined("", "/x%2Fy", "/x%2Fy");
    check_joined("", "x", "/x");
    check_joined("", "", "/");
    check_joined("/", "/", "/");
    check_joined("/b", "/\xc3\xa4|\"x\"[]^", "/b/%C3%A4%7C%22x%22[]%5E");
}

static void queries_pass_but_for_raw_bytes(void **state)
{
    (void)state;
    struct buf b;

    buf_init(&b, 4096);
    assert_int_equal(path_append_query(span_from_str("a=b&c;d=%zz|\"\xff"), &b), 0);
    assert_span_text(buf_span(&b), "a=b&c;d=%zz|\"%FF");
    buf_deinit(&b);
}

/* ---- destinations ------------------------------------------------------------------- */

static const struct {
    const char *url, *tcp, *unix_addr;
    const char *want; /* tls host port authority path query -> dialled */
} destinations[] = {
    { "http://localhost:8080", NULL, NULL, "0 localhost 8080 localhost:8080 [] [] -> localhost:8080" },
    { "localhost:8080", NULL, NULL, "0 localhost 8080 localhost:8080 [] [] -> localhost:8080" },
    { "http://h", NULL, NULL, "0 h 80 h [] [] -> h:80" },
    { "HTTPS://h/", NULL, NULL, "1 h 443 h [/] [] -> h:443" },
    { "https://h:8443/a/b?c=d#e", NULL, NULL, "1 h 8443 h:8443 [/a/b] [c=d] -> h:8443" },
    { "http://[fd7a::1]:81/x", NULL, NULL, "0 fd7a::1 81 [fd7a::1]:81 [/x] [] -> fd7a::1:81" },
    { "http://[::1]", NULL, NULL, "0 ::1 80 [::1] [] [] -> ::1:80" },
    { "http://h?q", NULL, NULL, "0 h 80 h [] [q] -> h:80" },
    { "http://h/a%2Fb", NULL, NULL, "0 h 80 h [/a%2Fb] [] -> h:80" },
    { "http://h/a|b", NULL, NULL, "0 h 80 h [/a%7Cb] [] -> h:80" },
    { "https://name.example", "127.0.0.1:80", NULL, "1 name.example 443 name.example [] [] -> 127.0.0.1:80" },
    { "http://name/", "[::1]:81", NULL, "0 name 80 name [/] [] -> ::1:81" },
    { "http://name/", NULL, "/tmp/foo.sock", "0 name 80 name [/] [] -> /tmp/foo.sock" },
    { "unix:/run/app.sock", NULL, NULL, "0 localhost 80 localhost [] [] -> /run/app.sock" },
    { "unix:///run/app.sock", NULL, NULL, "0 localhost 80 localhost [] [] -> /run/app.sock" },
};

static void destinations_are_understood(void **state)
{
    (void)state;

    for (size_t i = 0; i < COUNT_OF(destinations); i++) {
        struct destination d;
        char why[200], got[400], to[200];

        if (!destination_parse(&d, destinations[i].url, destinations[i].tcp, destinations[i].unix_addr, why,
                               sizeof(why)))
            fail_msg("%s: %s", destinations[i].url, why);
        snprintf(to, sizeof(to), "%s:%u", d.dial_host, d.dial_port);
        snprintf(got, sizeof(got), "%d %s %u %s [%s] [%s] -> %s", d.tls, d.host, d.port, d.authority, d.path,
                 d.query, d.unix_path ? d.unix_path : to);
        assert_string_equal(got, destinations[i].want);
        destination_free(&d);
    }
}

static void wrong_destinations_are_refused_with_a_sentence(void **state)
{
    (void)state;
    static const char *const wrong[][4] = {
        { "", NULL, NULL, "needed" },
        { "::--example.com", NULL, NULL, "no valid host" },
        { "ftp://h/", NULL, NULL, "scheme" },
        { "http://", NULL, NULL, "no valid host" },
        { "http://:80", NULL, NULL, "no host: write http://127.0.0.1 before the port" },
        { "http://h:0", NULL, NULL, "no valid port" },
        { "http://h:65536", NULL, NULL, "no valid port" },
        { "http://h:x", NULL, NULL, "no valid port" },
        { "http://fd7a::1", NULL, NULL, "brackets" },
        { "8080", NULL, NULL, "no host: write http://127.0.0.1 before the port" },
        { ":8080", NULL, NULL, "no host" },
        { "-", NULL, NULL, "no valid host" },
        { "http:/h", NULL, NULL, "two slashes" },
        { "https:h", NULL, NULL, "two slashes" },
        { " http://h", NULL, NULL, "blank" },
        { "http://h ", NULL, NULL, "blank" },
        { "http://[fd7a::1", NULL, NULL, "no valid host" },
        { "http://[h]", NULL, NULL, "no valid host" },
        { "http://u:p@h", NULL, NULL, "user name" },
        { "http://h /", NULL, NULL, "no valid host" },
        { "http://h/a b", NULL, NULL, "blank" },
        { "http://h/%zz", NULL, NULL, "escape" },
        { "http://h", "127.0.0.1", NULL, "host:port" },
        { "http://h", "127.0.0.1:80", "/tmp/x", "one address" },
        { "unix:run/app.sock", NULL, NULL, "absolute" },
    };

    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        struct destination d;
        char why[200];

        if (destination_parse(&d, wrong[i][0], wrong[i][1], wrong[i][2], why, sizeof(why)))
            fail_msg("%s was accepted", wrong[i][0]);
        if (!strstr(why, wrong[i][3]))
            fail_msg("%s: \"%s\" does not speak of \"%s\"", wrong[i][0], why, wrong[i][3]);
        destination_free(&d);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unclean_paths_get_the_clean_form_of_go),
        cmocka_unit_test(broken_escapes_are_noticed),
        cmocka_unit_test(prefixes_match_whole_segments),
        cmocka_unit_test(joining_leaves_exactly_one_slash),
        cmocka_unit_test(queries_pass_but_for_raw_bytes),
        cmocka_unit_test(destinations_are_understood),
        cmocka_unit_test(wrong_destinations_are_refused_with_a_sentence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
