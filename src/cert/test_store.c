/* Certificates that are replaced in all the ways in which that is done, over the kernel's inotify. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cert/store.h"
#include "check.h"
#include "test_certs.h"

static char folder[64];
static struct ev_loop *loop;
static struct cert_store *store;
static struct cert_entry *entry;
static char why[CERT_WHY_BYTES];

static const char *in_folder(const char *name)
{
    static char paths[8][PATH_MAX];
    static size_t at;
    char *out = paths[at++ % COUNT_OF(paths)];

    snprintf(out, PATH_MAX, "%s/%s", folder, name);
    return out;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");

    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

static void make_link(const char *name, const char *target)
{
    assert_int_equal(symlink(target, in_folder(name)), 0);
}

static void rename_in(const char *from, const char *to)
{
    assert_int_equal(rename(in_folder(from), in_folder(to)), 0);
}

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/manytails-store-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(cert_store_new(&store, loop), 0);
    entry = NULL;
    return 0;
}

static int teardown(void **state)
{
    char command[200];

    (void)state;
    cert_store_put(entry);
    cert_store_free(store);
    ev_loop_free(loop);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

static void get(bool may_wait)
{
    assert_int_equal(
        cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), may_wait, &entry, why), 0);
}

static const char *shown(void)
{
    static char name[TLS_NAME_BYTES_MAX + 1];

    return cert_entry_identity(entry) ? tls_identity_name(cert_entry_identity(entry), name) : "nothing";
}

static void until_shown(const char *name)
{
    while (strcmp(shown(), name) != 0)
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
    assert_string_equal(cert_entry_trouble(entry), "");
}

static void until_trouble(const char *text)
{
    while (!strstr(cert_entry_trouble(entry), text))
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
}

static void start_with_web(void)
{
    write_file("cert.pem", web_cert);
    write_file("key.pem", web_key);
    get(false);
    assert_string_equal(shown(), "web.test");
}

static void files_that_are_written_over_are_read_again(void **state)
{
    (void)state;
    start_with_web();
    write_file("cert.pem", other_cert);
    write_file("key.pem", other_key);
    until_shown("other.test");
}

static void files_that_are_renamed_into_place_are_read_again(void **state)
{
    (void)state;
    start_with_web();
    write_file("new-cert", other_cert);
    write_file("new-key", other_key);
    rename_in("new-cert", "cert.pem");
    rename_in("new-key", "key.pem");
    until_shown("other.test");
}

/* cert.pem -> ..data/cert.pem, ..data -> ..1; the whole of ..data is exchanged at once. */
static void a_folder_exchanged_as_kubernetes_does_it_is_read_again(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_folder("..1"), 0700), 0);
    assert_int_equal(mkdir(in_folder("..2"), 0700), 0);
    assert_int_equal(mkdir(in_folder("..3"), 0700), 0);
    write_file("..1/cert.pem", web_cert);
    write_file("..1/key.pem", web_key);
    write_file("..2/cert.pem", other_cert);
    write_file("..2/key.pem", other_key);
    write_file("..3/cert.pem", web_cert);
    write_file("..3/key.pem", web_key);
    make_link("..data", "..1");
    make_link("cert.pem", "..data/cert.pem");
    make_link("key.pem", "..data/key.pem");
    get(false);
    assert_string_equal(shown(), "web.test");
    make_link("..tmp", "..2");
    rename_in("..tmp", "..data");
    until_shown("other.test");
    make_link("..tmp", "..3"); /* the new place is watched as the old one was */
    rename_in("..tmp", "..data");
    until_shown("web.test");
}

/* live/cert.pem -> ../archive/cert1.pem, an absolute link to the folder in front of it. */
static void links_exchanged_as_certbot_does_it_are_read_again(void **state)
{
    (void)state;
    assert_int_equal(mkdir(in_folder("live"), 0700), 0);
    assert_int_equal(mkdir(in_folder("archive"), 0700), 0);
    write_file("archive/cert1.pem", web_cert);
    write_file("archive/key1.pem", web_key);
    make_link("live/cert.pem", "../archive/cert1.pem");
    make_link("live/key.pem", "../archive/key1.pem");
    make_link("current", in_folder("live"));
    assert_int_equal(cert_store_get(store, in_folder("current/cert.pem"), in_folder("current/key.pem"), false,
                                    &entry, why),
                     0);
    write_file("archive/cert2.pem", other_cert);
    write_file("archive/key2.pem", other_key);
    assert_int_equal(unlink(in_folder("live/cert.pem")), 0);
    assert_int_equal(unlink(in_folder("live/key.pem")), 0);
    make_link("live/cert.pem", "../archive/cert2.pem");
    make_link("live/key.pem", "../archive/key2.pem");
    until_shown("other.test");
}

static void a_pair_that_does_not_match_changes_nothing_and_is_told(void **state)
{
    (void)state;
    start_with_web();
    write_file("cert.pem", other_cert);
    until_trouble("certificate file changed, reload failed: ");
    assert_non_null(strstr(cert_entry_trouble(entry), "does not belong to this certificate"));
    assert_string_equal(shown(), "web.test");
    write_file("key.pem", other_key);
    until_shown("other.test");
}

static void a_file_that_is_removed_changes_nothing_and_is_told(void **state)
{
    (void)state;
    start_with_web();
    assert_int_equal(unlink(in_folder("key.pem")), 0);
    until_trouble("No such file or directory");
    assert_string_equal(shown(), "web.test");
    write_file("key.pem", web_key);
    while (*cert_entry_trouble(entry))
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
}

static void files_may_come_late_where_that_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), false, &entry, why),
                     CERT_E_FILE);
    entry = NULL;
    get(true);
    assert_null(cert_entry_identity(entry));
    assert_non_null(strstr(cert_entry_trouble(entry), "waiting for the certificate: "));
    write_file("cert.pem", web_cert);
    write_file("key.pem", web_key);
    until_shown("web.test");
}

static void even_their_folder_may_come_late(void **state)
{
    (void)state;
    assert_int_equal(
        cert_store_get(store, in_folder("a/cert.pem"), in_folder("a/key.pem"), true, &entry, why), 0);
    assert_int_equal(mkdir(in_folder("a"), 0700), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ev_loop_turn(loop, 0), 0);
    write_file("a/cert.pem", web_cert);
    write_file("a/key.pem", web_key);
    until_shown("web.test");
}

static void rubbish_is_no_reason_to_wait(void **state)
{
    (void)state;
    write_file("cert.pem", "rubbish");
    write_file("key.pem", web_key);
    assert_int_equal(cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), true, &entry, why),
                     CERT_E_FILE);
    entry = NULL;
}

static int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void one_pair_is_held_once_and_one_descriptor_serves_all(void **state)
{
    struct cert_entry *again, *third;
    int before = open_descriptors();

    (void)state;
    start_with_web();
    assert_int_equal(open_descriptors(), before + 1);
    assert_int_equal(cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), false, &again, why),
                     0);
    assert_ptr_equal(again, entry);
    write_file("c2", other_cert);
    write_file("k2", other_key);
    assert_int_equal(cert_store_get(store, in_folder("c2"), in_folder("k2"), false, &third, why), 0);
    assert_int_equal(open_descriptors(), before + 1);
    cert_store_put(again);
    cert_store_put(third);
    write_file("cert.pem", other_cert);
    write_file("key.pem", other_key);
    until_shown("other.test"); /* the folder is still watched for the one that is left */
    cert_store_put(entry);
    entry = NULL;
    assert_int_equal(open_descriptors(), before);
}

/* A reload of the configuration looks at the files by itself and says what is wrong with them. */
static void asking_again_reads_again_unless_waiting_is_allowed(void **state)
{
    struct cert_entry *again = NULL;

    (void)state;
    start_with_web();
    write_file("cert.pem", other_cert);
    assert_int_equal(cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), false, &again, why),
                     CERT_E_MISMATCH);
    assert_string_equal(shown(), "web.test");
    write_file("key.pem", other_key);
    assert_int_equal(cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), false, &again, why),
                     0);
    assert_string_equal(shown(), "other.test");
    assert_ptr_equal(again, entry);
    cert_store_put(again);
}

static void links_in_a_circle_end(void **state)
{
    (void)state;
    make_link("cert.pem", "key.pem");
    make_link("key.pem", "cert.pem");
    assert_int_not_equal(
        cert_store_get(store, in_folder("cert.pem"), in_folder("key.pem"), false, &entry, why), 0);
    entry = NULL;
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(files_that_are_written_over_are_read_again),
        T(files_that_are_renamed_into_place_are_read_again),
        T(a_folder_exchanged_as_kubernetes_does_it_is_read_again),
        T(links_exchanged_as_certbot_does_it_are_read_again),
        T(a_pair_that_does_not_match_changes_nothing_and_is_told),
        T(a_file_that_is_removed_changes_nothing_and_is_told),
        T(files_may_come_late_where_that_is_allowed),
        T(even_their_folder_may_come_late),
        T(rubbish_is_no_reason_to_wait),
        T(one_pair_is_held_once_and_one_descriptor_serves_all),
        T(asking_again_reads_again_unless_waiting_is_allowed),
        T(links_in_a_circle_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
