# shellcheck shell=bash
# What 57 services may cost at most: wake-ups, system calls and allocations at rest, system calls for a network interface
# that comes, allocations per request, descriptors, and memory after traffic.

# A limit is what the program takes, three times measured on a machine short of time, and less than one thing more per
# service (or per request): measured 9 allocations in 1,000 requests; at rest 135 wake-ups and 114 allocations in 30 s; 13 to
# 100 system calls for the interface; 8.7 to 10.5 MB.

SERVICES=57
REST=30 # seconds

# The release build where there is one: sanitizers have an allocator of their own, and memory of their own.
release=$INTEROP_DIR/../../build/release/src/manytails
if [[ -x $release ]]; then
  MANYTAILS=$release
  gcc -O2 -shared -fPIC -o "$SCENARIO_DIR/alloc-count.so" "$INTEROP_DIR/alloc-count.c"
  export ALLOC_COUNT=$SCENARIO_DIR/allocations
fi

# at_most LIMIT VALUE WHAT
at_most() {
  echo "$3: $2, at most $1"
  [[ $2 -le $1 ]] || {
    echo "$3: $2 is more than $1"
    return 1
  }
}

wakeups() { # of all threads: each time that one slept
  cat "/proc/$pid"/task/*/status | awk '/^voluntary/ {n += $2} END {print n}'
}

allocations() {
  od -An -t u8 -N 8 "$ALLOC_COUNT" | tr -d ' '
}

# system_calls COMMAND...: how many it makes while the command runs, strace's own stop and start aside.
system_calls() {
  local tracer
  strace -f -qq -o "$SCENARIO_DIR/strace" -p "$pid" &
  tracer=$!
  eventually "$LIMIT" grep -q '^TracerPid:[[:space:]]*[1-9]' "/proc/$pid/status"
  "$@"
  kill -INT "$tracer"
  wait "$tracer" || true
  grep -vcE -- '--- SIG|resumed>' "$SCENARIO_DIR/strace" # each call once, signals not at all
}

interface_comes_and_goes() {
  ip -n "$NS_SUT" link add guard0 type veth peer name guard1
  ip -n "$NS_SUT" addr add 203.0.113.1/24 dev guard0
  ip -n "$NS_SUT" link set guard0 up
  sleep 1 # the time it is there, not a wait for something
  ip -n "$NS_SUT" link del guard0
  sleep 4 # and the time to look at it
}

configure
for ((i = 1; i <= SERVICES; i++)); do
  service "guard$i" "$NGINX"
done
if [[ -n ${ALLOC_COUNT:-} ]]; then
  sut_env spawn "$(sut_daemon)" "$NS_SUT" env LD_PRELOAD="$SCENARIO_DIR/alloc-count.so" "$MANYTAILS" -config "$(sut_dir)/services.yaml"
else
  launch
fi
# shellcheck disable=SC2046 # one word each
eventually_alive all_online $(service_names)
pid=$(alive)
client c1 tun
eventually "$LIMIT" sees c1 guard57
for ((i = 1; i <= SERVICES; i++)); do
  eventually "$LIMIT" answers c1 "$(ip4 "guard$i")"
done

step "requests"
url=http://$(ip4 guard1)/1k
on c1 curl -sS --fail -o /dev/null --max-time 120 "$url?[1-200]" # what is made once is made
if [[ -n ${ALLOC_COUNT:-} ]]; then
  before=$(allocations)
  on c1 curl -sS --fail -o /dev/null --max-time 120 "$url?[1-1000]"
  at_most 100 $(($(allocations) - before)) "allocations in 1000 requests" || fail "too many"
fi

step "rest"
sleep 75 # the paths and keys of the traffic above are quiet by then
before=$(wakeups)
[[ -z ${ALLOC_COUNT:-} ]] || allocated=$(allocations)
sleep "$REST"
at_most $((3 * SERVICES)) $(($(wakeups) - before)) "wake-ups in $REST s" || fail "too many"
[[ -z ${ALLOC_COUNT:-} ]] || at_most $((3 * SERVICES - 1)) $(($(allocations) - allocated)) "allocations in $REST s at rest" || fail "too many"
at_most $((3 * SERVICES)) "$(system_calls interface_comes_and_goes)" "system calls while an interface comes and goes" || fail "too many"

step "what is held"
# What ARCHITECTURE.md says, to the one: two a service, two a shard, and seven.
descriptors() {
  find "/proc/$pid/fd" -type l -printf '%l\n' | sort
}
only_those() { # an upstream connection is kept for a minute, the thread that writes for two seconds
  local threads=("/proc/$pid/task"/*) wanted
  wanted=$((2 * SERVICES + 2 * (${#threads[@]} - 1) + 7))
  same "$wanted" "$(descriptors | wc -l)" "descriptors" || {
    descriptors | sed 's/\[[0-9]*\]//' | uniq -c
    in_ns "$NS_SUT" ss -tunp
    return 1
  }
}
eventually 60 only_those
if [[ -n ${ALLOC_COUNT:-} ]]; then
  at_most 12288 "$(awk '/^VmRSS/ {print $2}' "/proc/$pid/status")" "RSS in KiB after traffic" || fail "too much"
fi
