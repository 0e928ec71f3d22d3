/* The writer against a real disk and a real loop. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "ev/ev.h"
#include "state/state.h"

#define URL "https://control.example"

static char directory[64];
static char why[STATE_WHY_BYTES];
static struct ev_loop *loop;
static struct state_disk *disk;
static struct state_desk *desk;
static int answers, failures;

static int set_up(void **state)
{
    (void)state;
    assert_int_equal(crypto_init(), 0);
    strcpy(directory, "/tmp/manytails-disk-XXXXXX");
    assert_non_null(mkdtemp(directory));
    assert_int_equal(ev_loop_new(&loop), 0);
    assert_int_equal(state_disk_new(&disk), 0);
    assert_int_equal(state_desk_new(&desk, disk, loop), 0);
    answers = failures = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char command[192];

    state_desk_free(desk);
    state_disk_free(disk);
    ev_loop_free(loop);
    snprintf(command, sizeof(command), "chmod -R u+rwx %s; rm -rf %s", directory, directory);
    return system(command);
}

static void on_done(void *owner, int result)
{
    (void)owner;
    answers++;
    failures += result < 0;
}

/* Letters that are there, or will be. */
static void wait_for(int count)
{
    while (answers < count)
        assert_int_equal(ev_loop_turn(loop, SEC), 0);
}

static struct state_folder *open_folder(void)
{
    struct state_folder *f;

    assert_int_equal(state_folder_open(&f, desk, directory, URL, why), 0);
    return f;
}

/* Keys that tell their number. */
static struct state_keys keys_of(uint32_t number)
{
    struct state_keys keys;

    memset(&keys, 7, sizeof(keys));
    store_le32(keys.node.bytes, number);
    return keys;
}

static uint32_t stored_number_in(const char *path)
{
    struct state_store *s;
    struct state_keys keys;

    assert_int_equal(state_open(&s, path, why), 0);
    assert_int_equal(state_load(s, URL, &keys, why), 0);
    state_close(s);
    return load_le32(keys.node.bytes);
}

static uint32_t stored_number(void)
{
    return stored_number_in(directory);
}

static void netmap_of(struct buf *out, const char *text)
{
    buf_init(out, 1 << 20);
    assert_int_equal(buf_append_str(out, text), 0);
}

/* Makes the writer stop at a folder whose new file is a pipe that nobody reads, until let_go. */
static struct state_folder *hold(char path[192])
{
    struct state_keys keys = keys_of(1);
    struct state_folder *f;

    snprintf(path, 192, "%s/held", directory);
    assert_int_equal(state_folder_open(&f, desk, path, URL, why), 0);
    strcat(path, "/manytails.state.new");
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_int_equal(state_folder_save(f, &keys, NULL, NULL), 0);
    return f;
}

static void let_go(struct state_folder *f, const char *path)
{
    char bytes[4096];
    int fd = open(path, O_RDONLY);

    assert_true(fd >= 0);
    while (read(fd, bytes, sizeof(bytes)) > 0)
        ;
    close(fd);
    state_disk_wait(disk);
    state_folder_close(f);
}

static void keys_are_on_disk_when_the_answer_comes(void **state)
{
    (void)state;
    struct state_folder *f = open_folder();
    struct state_keys keys, got;

    for (uint32_t i = 1; i <= 3; i++) {
        keys = keys_of(i);
        assert_int_equal(state_folder_save(f, &keys, on_done, NULL), 0);
        wait_for((int)i);
        assert_int_equal(state_load(state_folder_store(f), URL, &got, why), 0);
        assert_int_equal(load_le32(got.node.bytes), i);
    }
    assert_int_equal(failures, 0);
    state_folder_close(f);
}

static void writes_of_a_folder_keep_their_order(void **state)
{
    (void)state;
    struct state_folder *f = open_folder();

    for (uint32_t i = 1; i <= 50; i++) {
        struct state_keys keys = keys_of(i);

        assert_int_equal(state_folder_save(f, &keys, on_done, NULL), 0);
    }
    wait_for(50);
    state_folder_close(f);
    state_disk_wait(disk);
    assert_int_equal(stored_number(), 50);
}

static void of_the_netmaps_that_wait_only_the_latest_is_written(void **state)
{
    (void)state;
    struct state_folder *f = open_folder();
    struct state_disk_counters counters;
    struct public_key node = { { 1 } };
    struct state_folder *held;
    struct buf text, got;
    char name[16], path[192];

    held = hold(path);
    for (int i = 0; i < 200; i++) {
        snprintf(name, sizeof(name), "map %d", i);
        netmap_of(&text, name);
        assert_int_equal(state_folder_save_netmap(f, &node, &text, on_done, NULL), 0);
        assert_null(text.data); /* it is the writer's now */
    }
    let_go(held, path);
    buf_init(&got, 1 << 20);
    assert_int_equal(state_load_netmap(state_folder_store(f), &node, &got), 0);
    assert_span_text(buf_span(&got), "map 199");
    buf_deinit(&got);
    state_disk_counters_get(disk, &counters);
    assert_int_equal(counters.replaced, 199);
    wait_for(1); /* the others are not answered */
    state_folder_close(f);
    state_disk_wait(disk);
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(answers, 1);
}

static void what_waits_is_bounded(void **state)
{
    (void)state;
    struct state_folder *folders[6], *held;
    struct public_key node = { { 1 } };
    char path[96], pipe_path[192];
    int full = 0;

    held = hold(pipe_path);

    for (size_t i = 0; i < COUNT_OF(folders); i++) {
        struct mspan room;
        struct buf text;
        int r;

        snprintf(path, sizeof(path), "%s/%zu", directory, i);
        assert_int_equal(state_folder_open(&folders[i], desk, path, URL, why), 0);
        buf_init(&text, STATE_DISK_BYTES_MAX);
        assert_int_equal(buf_reserve(&text, STATE_DISK_BYTES_MAX / 3, &room), 0);
        memset(room.data, 'x', STATE_DISK_BYTES_MAX / 3);
        buf_commit(&text, STATE_DISK_BYTES_MAX / 3);
        r = state_folder_save_netmap(folders[i], &node, &text, NULL, NULL);
        full += r == STATE_E_FULL;
        assert_true(r == 0 || (r == STATE_E_FULL && text.len == STATE_DISK_BYTES_MAX / 3));
        buf_deinit(&text);
    }
    assert_int_equal(full, 3);
    let_go(held, pipe_path);
    for (size_t i = 0; i < COUNT_OF(folders); i++)
        state_folder_close(folders[i]);
}

static void a_write_that_fails_says_so_and_the_old_file_stays(void **state)
{
    (void)state;
    struct state_folder *f = open_folder();
    struct state_keys keys = keys_of(1);
    char path[96];

    assert_int_equal(state_folder_save(f, &keys, on_done, NULL), 0);
    wait_for(1);
    snprintf(path, sizeof(path), "%s/manytails.state.new", directory);
    assert_int_equal(mkdir(path, 0700), 0); /* in the way of the new file */
    keys = keys_of(2);
    assert_int_equal(state_folder_save(f, &keys, on_done, NULL), 0);
    wait_for(2);
    assert_int_equal(failures, 1);
    state_folder_close(f);
    state_disk_wait(disk);
    assert_int_equal(stored_number(), 1);
}

#define SAVERS 40

/* While the writer is busy with something else N folders ask, one of them twice, and one cannot be written.
 */
static void keys_of_many_folders_are_made_durable_together(void **state)
{
    (void)state;
    struct state_folder *folders[SAVERS], *held;
    struct state_disk_counters counters;
    char path[SAVERS][96], pipe_path[192], in_the_way[128];
    struct state_keys keys;

    held = hold(pipe_path);
    for (uint32_t i = 0; i < SAVERS; i++) {
        snprintf(path[i], sizeof(path[i]), "%s/%u", directory, i);
        assert_int_equal(state_folder_open(&folders[i], desk, path[i], URL, why), 0);
        keys = keys_of(100 + i);
        assert_int_equal(state_folder_save(folders[i], &keys, on_done, NULL), 0);
    }
    keys = keys_of(200);
    assert_int_equal(state_folder_save(folders[0], &keys, on_done, NULL), 0);
    snprintf(in_the_way, sizeof(in_the_way), "%s/manytails.state.new", path[7]);
    assert_int_equal(mkdir(in_the_way, 0700), 0);
    let_go(held, pipe_path);
    wait_for(SAVERS + 1);
    assert_int_equal(failures, 1);
    state_disk_counters_get(disk, &counters);
    assert_in_range(counters.together, SAVERS / 2, SAVERS + 2); /* the thread may have taken some before */
    for (uint32_t i = 0; i < SAVERS; i++)
        state_folder_close(folders[i]);
    state_disk_wait(disk);
    for (uint32_t i = 0; i < SAVERS; i++)
        if (i != 7)
            assert_int_equal(stored_number_in(path[i]), i ? 100 + i : 200);
}

/* Closing and opening again at once: no lock in the way, nothing lost, no answer to a closed one. */
static void a_folder_can_be_opened_again_at_once(void **state)
{
    (void)state;

    for (uint32_t i = 1; i <= 20; i++) {
        struct state_folder *f = open_folder();
        struct state_keys keys = keys_of(i), got;

        assert_true(i == 1 || state_load(state_folder_store(f), URL, &got, why) == 0);
        assert_true(i == 1 || load_le32(got.node.bytes) == i - 1);
        assert_int_equal(state_folder_save(f, &keys, on_done, NULL), 0);
        state_folder_close(f);
    }
    state_disk_wait(disk);
    assert_int_equal(ev_loop_turn(loop, 0), 0);
    assert_int_equal(answers, 0);
    assert_int_equal(stored_number(), 20);
}

/* ---- many netmaps -------------------------------------------------------------------------------- */

#define MANY 100

/* 100 KB that all nodes see, and something of this node's own. */
static void large_netmap(struct buf *out, int node, int version)
{
    buf_init(out, 1 << 20);
    assert_int_equal(buf_printf(out, "{\"Node\":%d,\"Peers\":[", node), 0);
    for (int i = 0; i < 500; i++) {
        uint32_t x = (uint32_t)(i < version ? i + 90000 : i) * 2654435761u;

        assert_int_equal(buf_printf(out, "{\"ID\":%d,\"Key\":\"", i), 0);
        for (int k = 0; k < 16; k++, x = x * 1664525 + 1013904223)
            assert_int_equal(buf_printf(out, "%08x", x), 0);
        assert_int_equal(buf_append_str(out, "\"},"), 0);
    }
    assert_int_equal(buf_append_str(out, "]}"), 0);
}

static unsigned base_files(void)
{
    DIR *d = opendir(directory);
    unsigned n = 0;

    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        n += strncmp(e->d_name, "manytails.base-", 15) == 0;
    closedir(d);
    return n;
}

static void open_many(struct state_folder *folders[MANY])
{
    char path[96];

    for (int i = 0; i < MANY; i++) {
        snprintf(path, sizeof(path), "%s/%d", directory, i);
        assert_int_equal(state_folder_open(&folders[i], desk, path, URL, why), 0);
    }
}

static void save_many(struct state_folder *folders[MANY], int version)
{
    struct public_key node = { { 1 } };
    struct buf text;

    for (int i = 0; i < MANY; i++) {
        large_netmap(&text, i, version);
        assert_int_equal(state_folder_save_netmap(folders[i], &node, &text, on_done, NULL), 0);
        state_disk_wait(disk);
    }
}

static void assert_many(struct state_folder *folders[MANY], int version)
{
    struct public_key node = { { 1 } };
    struct buf want, got;

    for (int i = 0; i < MANY; i++) {
        large_netmap(&want, i, version);
        buf_init(&got, 1 << 20);
        assert_int_equal(state_folder_load_netmap(folders[i], &node, &got), 0);
        assert_true(span_equal(buf_span(&got), buf_span(&want)));
        buf_deinit(&want);
        buf_deinit(&got);
    }
}

static void close_many(struct state_folder *folders[MANY])
{
    for (int i = 0; i < MANY; i++)
        state_folder_close(folders[i]);
    state_disk_wait(disk);
}

/* A hundred nodes cost little more than one, on disk and to write. */
static void what_all_nodes_see_is_stored_once(void **state)
{
    (void)state;
    struct state_folder *folders[MANY];
    struct state_disk_counters c;

    open_many(folders);
    save_many(folders, 0);
    assert_many(folders, 0);
    state_disk_counters_get(disk, &c);
    assert_int_equal(c.failed, 0);
    assert_int_equal(c.bases, 1);
    assert_int_equal(base_files(), 1);
    assert_true(c.packed_bytes * 30 < c.bytes);
    close_many(folders);
    open_many(folders); /* as after a restart: the same base is used again */
    assert_many(folders, 0);
    save_many(folders, 1);
    assert_many(folders, 1);
    state_disk_counters_get(disk, &c);
    assert_int_equal(c.bases, 1);
    close_many(folders);
}

static void a_base_that_has_aged_is_replaced_and_removed(void **state)
{
    (void)state;
    struct state_folder *folders[MANY];
    struct state_disk_counters c;

    open_many(folders);
    save_many(folders, 0);
    save_many(folders, 400); /* four fifths of the peers are others now */
    assert_many(folders, 400);
    state_disk_counters_get(disk, &c);
    assert_int_equal(c.bases, 2);
    assert_int_equal(base_files(), 1);
    close_many(folders);
    assert_int_equal(base_files(), 1);
}

static void a_lost_base_costs_the_netmap_and_nothing_else(void **state)
{
    (void)state;
    struct state_folder *folders[MANY];
    struct public_key node = { { 1 } };
    char command[192];
    struct buf got;

    open_many(folders);
    save_many(folders, 0);
    snprintf(command, sizeof(command), "rm %s/manytails.base-*", directory);
    assert_int_equal(system(command), 0);
    buf_init(&got, 1 << 20);
    assert_int_equal(state_folder_load_netmap(folders[1], &node, &got), -ENOENT);
    buf_deinit(&got);
    close_many(folders);
}

/* ---- kill -9 -------------------------------------------------------------------------------- */

#define VICTIMS 6

struct victim {
    struct state_folder *folder;
    uint32_t index, number;
    int pipe;
};

/* What a victim says. */
struct said {
    uint32_t index, number;
};

static void victim_path(char path[96], uint32_t index)
{
    snprintf(path, 96, "%s/victim-%u", directory, index);
}

static void write_next(struct victim *v);

static void on_written(void *owner, int result)
{
    struct victim *v = owner;
    struct said said = { v->index, v->number };

    if (result || write(v->pipe, &said, sizeof(said)) != sizeof(said))
        _exit(1);
    write_next(v);
}

static void write_next(struct victim *v)
{
    struct public_key node = { { 1 } };
    struct state_keys keys = keys_of(++v->number);
    struct buf text;

    netmap_of(&text, "a netmap");
    if (state_folder_save_netmap(v->folder, &node, &text, NULL, NULL) ||
        state_folder_save(v->folder, &keys, on_written, v))
        _exit(1);
}

/* Each folder writes keys one after the other and tells each that was acknowledged, until all are killed. */
static _Noreturn void be_killed(int pipe)
{
    static struct victim all[VICTIMS];
    char path[96];

    if (ev_loop_new(&loop) || state_disk_new(&disk) || state_desk_new(&desk, disk, loop))
        _exit(1);
    for (uint32_t i = 0; i < VICTIMS; i++) {
        all[i] = (struct victim) { .pipe = pipe, .index = i };
        victim_path(path, i);
        if (state_folder_open(&all[i].folder, desk, path, URL, why))
            _exit(1);
        write_next(&all[i]);
    }
    _exit(ev_loop_run(loop));
}

static void what_was_acknowledged_outlives_a_kill_at_any_instant(void **state)
{
    (void)state;

    for (int round = 0; round < 12; round++) {
        uint32_t acknowledged[VICTIMS] = { 0 };
        struct said said;
        int pipes[2];
        pid_t child;

        assert_int_equal(pipe(pipes), 0);
        child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            close(pipes[0]);
            be_killed(pipes[1]);
        }
        close(pipes[1]);
        for (int i = 0; i <= round * VICTIMS; i++) {
            assert_int_equal(read(pipes[0], &said, sizeof(said)), sizeof(said));
            acknowledged[said.index] = said.number;
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        while (read(pipes[0], &said, sizeof(said)) == sizeof(said))
            acknowledged[said.index] = said.number;
        close(pipes[0]);
        for (uint32_t i = 0; i < VICTIMS; i++) {
            char path[96];
            uint32_t stored;

            victim_path(path, i);
            if (!acknowledged[i]) /* there may be no file yet */
                continue;
            stored = stored_number_in(path);
            assert_in_range(stored, acknowledged[i], acknowledged[i] + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        T(keys_are_on_disk_when_the_answer_comes),
        T(writes_of_a_folder_keep_their_order),
        T(of_the_netmaps_that_wait_only_the_latest_is_written),
        T(what_waits_is_bounded),
        T(keys_of_many_folders_are_made_durable_together),
        T(a_write_that_fails_says_so_and_the_old_file_stays),
        T(a_folder_can_be_opened_again_at_once),
        T(what_all_nodes_see_is_stored_once),
        T(a_base_that_has_aged_is_replaced_and_removed),
        T(a_lost_base_costs_the_netmap_and_nothing_else),
        T(what_was_acknowledged_outlives_a_kill_at_any_instant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
