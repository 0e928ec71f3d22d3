#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cert/cert.h"
#include "check.h"
#include "test_certs.h"

#define DAY (24 * HOUR)

static char folder[] = "/tmp/manytails-cert-XXXXXX", cert_path[64], key_path[64];
static int64_t now; /* the first day */
static char why[CERT_WHY_BYTES];
static struct cert *cert;

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

static void write_pair(const char *chain, const char *key)
{
    write_file(cert_path, chain, strlen(chain));
    write_file(key_path, key, strlen(key));
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/manytails-cert-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    assert_true(time_parse_rfc3339(span_from_str("2026-11-25T00:00:00Z"), &now));
    cert = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cert_free(cert);
    unlink(cert_path);
    unlink(key_path);
    rmdir(folder);
    return 0;
}

static void a_pair_is_loaded(void **state)
{
    (void)state;

    write_pair(web_cert, web_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    assert_string_equal(why, "");
    assert_true(tls_identity_covers(cert_identity(cert), "web.test"));
    assert_true(cert_not_after(cert) > now + 3648 * DAY && cert_not_after(cert) < now + 3651 * DAY);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;

    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, cert_path));
    assert_non_null(strstr(why, "No such file"));
    write_pair(web_cert, web_key);
    unlink(key_path);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, key_path));
    assert_int_equal(cert_load(&cert, folder, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, "directory"));
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    (void)state;

    write_pair(web_cert, other_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_MISMATCH);
    assert_non_null(strstr(why, cert_path));
    assert_non_null(strstr(why, key_path));
    assert_non_null(strstr(why, "does not belong"));
}

static void a_chain_that_begins_with_the_authority_is_refused_with_what_to_do(void **state)
{
    (void)state;
    char chain[2 * 4096];

    snprintf(chain, sizeof(chain), "%s%s", other_cert, web_cert);
    write_pair(chain, web_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_MISMATCH);
    assert_non_null(strstr(why, "has to come first"));
    snprintf(chain, sizeof(chain), "%s%s", web_cert, other_cert);
    write_pair(chain, web_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
}

static void files_of_another_kind_are_refused(void **state)
{
    (void)state;
    static char large[CERT_FILE_BYTES_MAX + 10000];

    write_pair(web_cert, web_key);
    write_file(key_path, "hello", 5);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_KEY);
    assert_non_null(strstr(why, key_path));
    write_pair(web_cert, web_key);
    write_file(cert_path, "hello", 5);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    write_file(cert_path, large, sizeof(large));
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, "256 KiB"));
}

static void validity_is_warned_about(void **state)
{
    (void)state;

    write_pair(web_cert, web_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    assert_int_equal(cert_reload(cert, now + 3640 * DAY, why), 0);
    assert_non_null(strstr(why, "expires soon"));
    assert_int_equal(cert_reload(cert, now + 3660 * DAY, why), 0);
    assert_non_null(strstr(why, "expired at"));
    assert_int_equal(cert_reload(cert, now - 10 * DAY, why), 0);
    assert_non_null(strstr(why, "not valid before"));
}

static void a_reload_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct tls_identity *before;

    write_pair(web_cert, web_key);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    before = cert_identity(cert);
    write_pair(other_cert, web_key);
    assert_int_equal(cert_reload(cert, now, why), CERT_E_MISMATCH);
    assert_ptr_equal(cert_identity(cert), before);
    write_pair(other_cert, other_key);
    assert_int_equal(cert_reload(cert, now, why), 0);
    assert_true(tls_identity_covers(cert_identity(cert), "other.test"));
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_pair_is_loaded),
        T(a_missing_file_is_named),
        T(a_key_of_another_certificate_is_refused),
        T(a_chain_that_begins_with_the_authority_is_refused_with_what_to_do),
        T(files_of_another_kind_are_refused),
        T(validity_is_warned_about),
        T(a_reload_that_fails_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
