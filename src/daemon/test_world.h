/* daemon/test_world.h - a daemon without threads: the test is its shards, and reads the letters they get */
#ifndef MANYTAILS_DAEMON_TEST_WORLD_H
#define MANYTAILS_DAEMON_TEST_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "daemon/internal.h"

#define WORLD_SHARDS 2
#define WEB "name=web,upstream=http://a,plaintext=1"
#define GIT "name=git,upstream=http://b,plaintext=1"
#define WIKI "name=wiki,upstream=http://c,plaintext=1"

struct world {
    struct daemon d;
    struct daemon_shard shards[WORLD_SHARDS];
    struct list letters; /* that shards got, oldest first */
    char directory[64], path[96];
    char *argv[4];
};

static void world_on_letter(void *owner, struct ev_letter *letter, time_ns now)
{
    struct world *w = owner;

    (void)now;
    list_push_back(&w->letters, &letter->link);
}

static inline void world_turn(struct world *w)
{
    assert_int_equal(ev_loop_turn(w->d.loop, 0), 0);
}

static inline void world_init(struct world *w)
{
    *w = (struct world) { 0 };
    list_init(&w->letters);
    unsetenv("TS_AUTHKEY");
    unsetenv("TS_AUTH_KEY");
    unsetenv("TS_URL");
    unsetenv("MANYTAILS_SOCKET");
    strcpy(w->directory, "/tmp/test-daemon-XXXXXX");
    assert_non_null(mkdtemp(w->directory));
    setenv("TS_STATE_DIR", w->directory, 1);
    snprintf(w->path, sizeof(w->path), "%s/services.yaml", w->directory);
    w->argv[0] = (char *)(uintptr_t) "manytails";
    w->argv[1] = (char *)(uintptr_t) "-config";
    w->argv[2] = w->path;
    services_init(&w->d);
    buf_init(&w->d.change_log, 1 << 16);
    assert_int_equal(ev_loop_new(&w->d.loop), 0);
    progress_init(&w->d);
    w->d.terminal = false;
    w->d.argc = 3;
    w->d.argv = w->argv;
    w->d.shards = w->shards;
    w->d.shard_count = WORLD_SHARDS;
    for (size_t i = 0; i < WORLD_SHARDS; i++) {
        w->shards[i] = (struct daemon_shard) { .daemon = &w->d, .index = i };
        assert_int_equal(ev_mailbox_new(&w->shards[i].mailbox, w->d.loop, world_on_letter, w), 0);
    }
}

/* The oldest letter to a shard; NULL: none. */
static inline struct letter *world_next(struct world *w)
{
    struct list *link;

    world_turn(w);
    link = list_pop_front(&w->letters);
    return link ? CONTAINER_OF(LIST_ENTRY(link, struct ev_letter, link), struct letter, base) : NULL;
}

static inline void world_deinit(struct world *w)
{
    char command[128];

    for (struct letter *l; (l = world_next(w));)
        letter_free(l);
    for (size_t i = 0; i < WORLD_SHARDS; i++)
        ev_mailbox_free(w->shards[i].mailbox);
    progress_end(&w->d);
    services_deinit(&w->d);
    ev_loop_free(w->d.loop);
    buf_deinit(&w->d.change_log);
    snprintf(command, sizeof(command), "rm -rf %s", w->directory);
    assert_int_equal(system(command), 0);
}

/* Expects the next letter, about this service, and gives its handle. */
static inline handle world_expect(struct world *w, enum letter_kind kind, const char *name)
{
    struct letter *l = world_next(w);
    handle h;

    assert_non_null(l);
    assert_int_equal(l->kind, kind);
    h = l->service;
    assert_non_null(service_of(&w->d, h));
    assert_string_equal(service_of(&w->d, h)->name, name);
    if (l->config)
        assert_string_equal(l->config->name, name);
    letter_free(l);
    return h;
}

static inline void world_expect_silence(struct world *w)
{
    assert_null(world_next(w));
}

/* A shard says something. */
static inline void world_say(struct world *w, enum letter_kind kind, handle service, enum node_state state,
                             const char *text)
{
    struct letter *l = letter_new(kind, span_from_str(text));

    l->service = service;
    l->state = state;
    service_hear(&w->d, l);
    letter_free(l);
}

static inline void world_write(struct world *w, const char *text)
{
    FILE *f = fopen(w->path, "w");

    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

/* Goes over to these -service values, NULL at the end. */
static inline void world_apply(struct world *w, const char *const *services)
{
    char *argv[32] = { (char *)(uintptr_t) "manytails" };
    struct config empty = { 0 }, next;
    struct config_diff diff;
    struct loaded *l;
    int argc = 1;

    for (; *services; services++) {
        argv[argc++] = (char *)(uintptr_t) "-service";
        argv[argc++] = (char *)(uintptr_t)*services;
    }
    assert_int_equal(config_load(&next, argc, argv), 0);
    l = loaded_new(&next);
    assert_non_null(l);
    assert_int_equal(config_diff(&diff, w->d.loaded ? &w->d.loaded->config : &empty, &l->config), 0);
    assert_int_equal(services_apply(&w->d, l, &diff), 0);
    config_diff_free(&diff);
}

#define APPLY(w, ...) world_apply((w), (const char *const[]) { __VA_ARGS__, NULL })

#endif
