/* config/test_world.h - command lines and files for the tests of this folder */
#ifndef MANYTAILS_CONFIG_TEST_WORLD_H
#define MANYTAILS_CONFIG_TEST_WORLD_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "config/config.h"

#define ARGUMENTS_MAX 16

static inline int load(struct config *c, const char *const *arguments)
{
    char *argv[ARGUMENTS_MAX + 1] = { (char *)(uintptr_t) "tsnsrv" };
    int argc = 1;

    for (; arguments[argc - 1]; argc++)
        argv[argc] = (char *)(uintptr_t)arguments[argc - 1];
    return config_load(c, argc, argv);
}

#define LOAD(c, ...) load((c), (const char *const[]) { __VA_ARGS__, NULL })

static inline bool says(const struct buf *b, const char *text)
{
    struct span s = buf_span(b);

    return s.len && memmem(s.data, s.len, text, strlen(text));
}

static inline int clean_environment(void **state)
{
    (void)state;
    static const char *const names[] = {
        "TS_AUTHKEY",       "TS_AUTH_KEY",           "TS_URL",     "TS_CONTROL_URL", "TS_STATE_DIR",
        "MANYTAILS_SOCKET", "CREDENTIALS_DIRECTORY", "TS_BASE_URL"
    };

    for (size_t i = 0; i < COUNT_OF(names); i++)
        unsetenv(names[i]);
    setenv("XDG_CONFIG_HOME", "/nonexistent/config", 1);
    return 0;
}

static inline int load_yaml(struct config *c, const char *text)
{
    char path[] = "/tmp/manytails-config-XXXXXX";
    int fd = mkstemp(path), r;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    r = LOAD(c, "-config", path);
    unlink(path);
    return r;
}

#endif
