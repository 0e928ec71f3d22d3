#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "cert/cert.h"
#include "tls/test_peer.h"

#define DAY (24 * HOUR)

static char folder[] = "/tmp/manytails-cert-XXXXXX", cert_path[64], key_path[64];
static struct test_cert ours, other;
static int64_t now;
static char why[CERT_WHY_BYTES];
static struct cert *cert;

static void write_file(const char *path, const char *text, size_t len)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, len, f), len);
    fclose(f);
}

/* Key and certificate in one file is common; then both settings name it. */
static void write_pair(const struct test_cert *of, const struct test_cert *key_of)
{
    char text[8192];

    write_file(cert_path, text, test_cert_pem(of, NULL, false, text, sizeof(text)));
    write_file(key_path, text, test_cert_pem(key_of, NULL, true, text, sizeof(text)));
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/manytails-cert-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(cert_path, sizeof(cert_path), "%s/cert.pem", folder);
    snprintf(key_path, sizeof(key_path), "%s/key.pem", folder);
    test_cert_make(&ours, "web.test", "DNS:web.test", NULL, 0, 90 * 24 * 3600);
    test_cert_make(&other, "other.test", "DNS:other.test", NULL, 0, 90 * 24 * 3600);
    now = (int64_t)time(NULL) * SEC + SEC;
    cert = NULL;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    cert_free(cert);
    test_cert_free(&ours);
    test_cert_free(&other);
    unlink(cert_path);
    unlink(key_path);
    rmdir(folder);
    return 0;
}

static void a_pair_is_loaded(void **state)
{
    (void)state;

    write_pair(&ours, &ours);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    assert_string_equal(why, "");
    assert_true(tls_identity_covers(cert_identity(cert), "web.test"));
    assert_true(cert_not_after(cert) > now + 89 * DAY && cert_not_after(cert) < now + 91 * DAY);
}

static void a_missing_file_is_named(void **state)
{
    (void)state;

    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, cert_path));
    assert_non_null(strstr(why, "No such file"));
    write_pair(&ours, &ours);
    unlink(key_path);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, key_path));
    assert_int_equal(cert_load(&cert, folder, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, "directory"));
}

static void a_key_of_another_certificate_is_refused(void **state)
{
    (void)state;

    write_pair(&ours, &other);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_MISMATCH);
    assert_non_null(strstr(why, cert_path));
    assert_non_null(strstr(why, key_path));
    assert_non_null(strstr(why, "does not belong"));
}

static void files_of_another_kind_are_refused(void **state)
{
    (void)state;
    static char large[CERT_FILE_BYTES_MAX + 10000];

    write_pair(&ours, &ours);
    write_file(key_path, "hello", 5);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_KEY);
    assert_non_null(strstr(why, key_path));
    write_pair(&ours, &ours);
    write_file(cert_path, "hello", 5);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    write_file(cert_path, large, sizeof(large));
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), CERT_E_FILE);
    assert_non_null(strstr(why, "256 KiB"));
}

static void validity_is_warned_about(void **state)
{
    (void)state;

    write_pair(&ours, &ours);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    assert_int_equal(cert_reload(cert, now + 77 * DAY, why), 0);
    assert_non_null(strstr(why, "expires soon"));
    assert_int_equal(cert_reload(cert, now + 100 * DAY, why), 0);
    assert_non_null(strstr(why, "expired at"));
    assert_int_equal(cert_reload(cert, now - 10 * DAY, why), 0);
    assert_non_null(strstr(why, "not valid before"));
}

static void a_reload_that_fails_changes_nothing(void **state)
{
    (void)state;
    struct tls_identity *before;

    write_pair(&ours, &ours);
    assert_int_equal(cert_load(&cert, cert_path, key_path, now, why), 0);
    before = cert_identity(cert);
    write_pair(&other, &ours);
    assert_int_equal(cert_reload(cert, now, why), CERT_E_MISMATCH);
    assert_ptr_equal(cert_identity(cert), before);
    write_pair(&other, &other);
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
        T(files_of_another_kind_are_refused),
        T(validity_is_warned_about),
        T(a_reload_that_fails_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
