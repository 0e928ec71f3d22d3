/* The lock against the kernel: other processes are forked ones. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "state/lock.h"
#include "state/state.h"

static char directory[64];
static char why[STATE_WHY_BYTES];

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(crypto_init(), 0);
    strcpy(directory, "/tmp/manytails-lock-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char command[96];

    snprintf(command, sizeof(command), "rm -rf %s", directory);
    return system(command);
}

static struct folder_lock lock_it(void)
{
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct folder_lock l;

    assert_true(fd >= 0);
    assert_int_equal(folder_lock(&l, fd), 0);
    close(fd);
    return l;
}

/* What another process is told that wants the folder. */
static int told_to_another(void)
{
    pid_t child = fork();
    int status;

    assert_true(child >= 0);
    if (child == 0) {
        struct folder_lock l;
        int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        _exit(fd < 0 ? 99 : folder_lock(&l, fd));
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int open_descriptors(void)
{
    DIR *d = opendir("/proc/self/fd");
    int count = 0;

    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

static void a_lock_keeps_others_out_and_holds_no_descriptor(void **state)
{
    (void)state;
    int before = open_descriptors();
    struct folder_lock l = lock_it();

    assert_int_equal(open_descriptors(), before);
    assert_int_equal(told_to_another(), STATE_E_IN_USE);
    assert_int_equal(told_to_another(), STATE_E_IN_USE); /* asking did not free it */
    folder_unlock(&l);
    assert_int_equal(told_to_another(), 0);
    assert_int_equal(open_descriptors(), before);
}

static void a_lock_ends_with_its_process(void **state)
{
    (void)state;
    int pipes[2];
    pid_t child;
    char byte;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct folder_lock l = lock_it();

        if (l.fd != -1 || write(pipes[1], "", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(pipes[0], &byte, 1), 1);
    assert_int_equal(told_to_another(), STATE_E_IN_USE);
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_int_equal(told_to_another(), 0);
    close(pipes[0]);
    close(pipes[1]);
}

static void without_a_mapping_the_descriptor_stays(void **state)
{
    (void)state;
    struct rlimit was, none;
    struct folder_lock l;
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

    assert_int_equal(getrlimit(RLIMIT_AS, &was), 0);
    none = was;
    none.rlim_cur = 0;
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    r = folder_lock(&l, fd);
    assert_int_equal(setrlimit(RLIMIT_AS, &was), 0);
    assert_int_equal(r, 0);
    close(fd);
    assert_true(l.fd >= 0);
    assert_null(l.mapping);
    assert_int_equal(told_to_another(), STATE_E_IN_USE);
    folder_unlock(&l);
    assert_int_equal(told_to_another(), 0);
}

/* As on a file system that is mounted for reading. */
static void where_no_file_can_be_made_the_folder_itself_is_locked(void **state)
{
    (void)state;
    struct folder_lock l;
    char path[96];

    snprintf(path, sizeof(path), "%s/manytails.lock", directory);
    assert_int_equal(mkdir(path, 0700), 0);
    l = lock_it();
    assert_true(l.fd >= 0);
    assert_int_equal(told_to_another(), STATE_E_IN_USE);
    folder_unlock(&l);
    assert_int_equal(told_to_another(), 0);
}

static void remove_lock_file(void)
{
    char path[96];

    snprintf(path, sizeof(path), "%s/manytails.lock", directory);
    assert_int_equal(unlink(path), 0);
}

static int save(struct state_store *s)
{
    struct state_keys keys = { 0 };

    return state_save(s, "https://control.example", &keys);
}

static void a_lock_file_that_was_removed_is_locked_again(void **state)
{
    (void)state;
    struct state_store *s;

    assert_int_equal(state_open(&s, directory, why), 0);
    assert_int_equal(save(s), 0);
    remove_lock_file();
    assert_int_equal(save(s), 0);
    assert_int_equal(told_to_another(), STATE_E_IN_USE);
    state_close(s);
}

static void who_lost_the_folder_writes_there_no_more(void **state)
{
    (void)state;
    struct state_store *s;
    struct folder_lock other;

    assert_int_equal(state_open(&s, directory, why), 0);
    remove_lock_file();
    other = lock_it();
    assert_int_equal(save(s), -EBUSY);
    folder_unlock(&other);
    assert_int_equal(save(s), 0);
    state_close(s);
}

static void another_folder_in_its_place_is_not_written_to(void **state)
{
    (void)state;
    struct state_store *s;
    char path[80], aside[96];

    snprintf(path, sizeof(path), "%s/node", directory);
    snprintf(aside, sizeof(aside), "%s/aside", directory);
    assert_int_equal(state_open(&s, path, why), 0);
    assert_int_equal(rename(path, aside), 0);
    assert_int_equal(save(s), -ENOENT);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(save(s), -ESTALE);
    assert_int_equal(rmdir(path), 0); /* it is empty */
    assert_int_equal(rename(aside, path), 0);
    assert_int_equal(save(s), 0);
    state_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(a_lock_keeps_others_out_and_holds_no_descriptor),
        T(a_lock_ends_with_its_process),
        T(without_a_mapping_the_descriptor_stays),
        T(where_no_file_can_be_made_the_folder_itself_is_locked),
        T(a_lock_file_that_was_removed_is_locked_again),
        T(who_lost_the_folder_writes_there_no_more),
        T(another_folder_in_its_place_is_not_written_to),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
