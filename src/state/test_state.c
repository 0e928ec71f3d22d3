#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "state/state.h"

#define URL "https://control.example"

static char directory[64];
static char why[STATE_WHY_BYTES];

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(crypto_init(), 0);
    strcpy(directory, "/tmp/manytails-state-XXXXXX");
    assert_non_null(mkdtemp(directory));
    strcat(directory, "/a/b");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[128];

    directory[strlen("/tmp/manytails-state-XXXXXX")] = 0;
    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static struct state_store *open_store(void)
{
    struct state_store *s = NULL;

    assert_int_equal(state_open(&s, directory, why), 0);
    return s;
}

/* Keys come back as they were saved, in a file that only its owner may read. */
static void keys_come_back(void **state)
{
    (void)state;
    struct state_store *s = open_store();
    struct state_keys first, again;
    char path[96];
    struct stat st;

    assert_int_equal(state_load(s, URL, &first, why), STATE_E_FRESH);
    secret_key_generate(&first.node);
    memset(&first.old_node, 7, sizeof(first.old_node));
    assert_int_equal(state_save(s, URL, &first), 0);
    state_close(s);
    s = open_store();
    assert_int_equal(state_load(s, URL, &again, why), 0);
    assert_memory_equal(&first, &again, sizeof(first));
    snprintf(path, sizeof(path), "%s/manytails.state", directory);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    state_close(s);
}

/* Another control server: the device keeps its machine key and has no node key there. */
static void another_server_starts_without_node_key(void **state)
{
    (void)state;
    struct state_store *s = open_store();
    struct state_keys first, other;
    uint8_t zero[KEY_BYTES] = { 0 };

    assert_int_equal(state_load(s, URL, &first, why), STATE_E_FRESH);
    secret_key_generate(&first.node);
    assert_int_equal(state_save(s, URL, &first), 0);
    assert_int_equal(state_load(s, "https://other.example", &other, why), 0);
    assert_memory_equal(&first.machine, &other.machine, KEY_BYTES);
    assert_memory_equal(other.node.bytes, zero, KEY_BYTES);
    assert_int_equal(state_load(s, URL, &other, why), 0); /* looking did not cost the first one's key */
    assert_memory_equal(&first.node, &other.node, KEY_BYTES);
    state_close(s);
}

static void one_process_per_folder(void **state)
{
    (void)state;
    struct state_store *s = open_store(), *second = NULL;

    assert_int_equal(state_open(&second, directory, why), STATE_E_IN_USE);
    assert_non_null(strstr(why, "in use"));
    state_close(s);
}

static void write_keys_file(const char *text, size_t len)
{
    char path[96];
    int fd;

    snprintf(path, sizeof(path), "%s/manytails.state", directory);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, len), (ssize_t)len);
    close(fd);
}

static int files_like(const char *part)
{
    DIR *dir = opendir(directory);
    struct dirent *entry;
    int count = 0;

    while ((entry = readdir(dir)))
        count += strstr(entry->d_name, part) != NULL;
    closedir(dir);
    return count;
}

/* Every cut of a good file is noticed, and the bytes are kept under another name. */
static void a_damaged_file_is_set_aside(void **state)
{
    (void)state;
    struct state_store *s = open_store();
    struct state_keys keys, loaded;
    char good[2048], path[96];
    ssize_t len;
    int fd;

    assert_int_equal(state_load(s, URL, &keys, why), STATE_E_FRESH);
    secret_key_generate(&keys.node);
    assert_int_equal(state_save(s, URL, &keys), 0);
    snprintf(path, sizeof(path), "%s/manytails.state", directory);
    fd = open(path, O_RDONLY);
    len = read(fd, good, sizeof(good));
    close(fd);
    for (ssize_t cut = 0; cut < len; cut += 13) {
        write_keys_file(good, (size_t)cut);
        assert_int_equal(state_load(s, URL, &loaded, why), STATE_E_DAMAGED);
        assert_non_null(strstr(why, "kept as"));
        assert_memory_not_equal(&loaded.machine, &keys.machine, KEY_BYTES);
        assert_true(files_like("manytails.state.damaged") >= 1);
        assert_int_equal(access(path, F_OK), -1);
    }
    state_close(s);
}

static void netmap_belongs_to_its_node_key(void **state)
{
    (void)state;
    struct state_store *s = open_store();
    struct public_key a = { { 1 } }, b = { { 2 } };
    struct buf out;

    buf_init(&out, 1000);
    assert_int_equal(state_load_netmap(s, &a, &out), -ENOENT);
    assert_int_equal(state_save_netmap(s, &a, span_from_str("{\"x\":1}")), 0);
    assert_int_equal(state_load_netmap(s, &b, &out), -ENOENT);
    assert_int_equal(state_load_netmap(s, &a, &out), 0);
    assert_span_text(buf_span(&out), "{\"x\":1}");
    buf_deinit(&out);
    state_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(keys_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_server_starts_without_node_key, set_up, tear_down),
        cmocka_unit_test_setup_teardown(one_process_per_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_file_is_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(netmap_belongs_to_its_node_key, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
