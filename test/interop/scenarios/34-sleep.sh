#!/usr/bin/env bash
# A host that slept for ten minutes asks for its mappings again, proves its direct paths and checks
# its relay connections at its next wake-up, and its service answers directly all the time.
[[ $(basename "$MANYTAILS") != reference ]] || skip "the clocks of a Go program cannot be set apart"
client c1 tun

# Nobody can put a namespace to sleep: a library adds a file's seconds to CLOCK_BOOTTIME.
cat >"$SCENARIO_DIR/clocks.c" <<'C'
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *t)
{
    long r = syscall(SYS_clock_gettime, clock, t);
    char text[16] = "";
    int fd;

    if (clock != CLOCK_BOOTTIME || (fd = open(getenv("SLEPT_FILE"), O_RDONLY)) < 0)
        return (int)r;
    if (read(fd, text, sizeof(text) - 1) > 0)
        t->tv_sec += atoi(text);
    close(fd);
    return (int)r;
}
C
cc -O1 -shared -fPIC -o "$SCENARIO_DIR/clocks.so" "$SCENARIO_DIR/clocks.c"
cat >"$SCENARIO_DIR/manytails" <<SH
#!/bin/sh
export SLEPT_FILE=$SCENARIO_DIR/slept LD_PRELOAD=$SCENARIO_DIR/clocks.so
export ASAN_OPTIONS=verify_asan_link_order=0
exec $MANYTAILS "\$@"
SH
chmod +x "$SCENARIO_DIR/manytails"
MANYTAILS=$SCENARIO_DIR/manytails

serve web "$NGINX"
ip=$(ip4 web)
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" direct c1 web
surveys() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json | jq '[.. | .surveys? // empty] | add'
}
more_surveys() { # THAN
  answers c1 "$ip" && (($(surveys) > $1))
}
before=$(surveys)
refute log_line 'the machine slept'
echo 600 >"$SCENARIO_DIR/slept"
eventually "$LIMIT" more_surveys "$before"
expect log_line 'the machine slept for (599|600) s'
eventually "$LIMIT" direct c1 web
expect says web '"relayConnected": *true'
expect download c1 "$ip"
