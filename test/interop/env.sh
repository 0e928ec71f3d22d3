# shellcheck shell=bash
# Settings and helpers shared by the scripts of the lab. Source it, do not run it.
#
# A lab is a folder (LAB_DIR: keys, databases, sockets, process ids) and a set
# of network namespaces (NS_PREFIX). Two labs share nothing, so two runs can
# go on at once. Each value below can be set in the environment.

INTEROP_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

: "${LAB_DIR:?is not set: it names the folder of the lab, see README.md}"
: "${LOG_DIR:=$LAB_DIR/logs}"
: "${NS_PREFIX:=mt}"
mkdir -p "$LAB_DIR" "$LOG_DIR"
LAB_DIR=$(cd "$LAB_DIR" && pwd)
LOG_DIR=$(cd "$LOG_DIR" && pwd)

NS_CORE=$NS_PREFIX-core # control server, relay, STUN
NS_SUT=$NS_PREFIX-sut   # the system under test and its upstreams

# 198.18.0.0/15 is set aside for benchmarks (RFC 2544): nobody's real network.
LAB_NET=198.18.0
CORE_IP=$LAB_NET.1
# headscale's address without TLS. At a public one, a Tailscale client that has
# lost its control server only tries TLS on port 443 from then on.
PLAIN_IP=10.198.18.1
SUT_IP=$LAB_NET.2
CA_FILE=$LAB_DIR/ca.pem
# A daemon may take this long to end (ours cuts its requests after 10 s): it only bounds a hang.
STOP_LIMIT=60

die() {
  echo "error: $*" >&2
  exit 1
}

# usage prints the comment at the head of the calling script.
usage() {
  awk 'NR > 1 && !/^#/ {exit} NR > 1 {sub(/^# ?/, ""); print}' "$0" >&2
  exit 2
}

need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null || die "$command is missing: run tools/install-packages --test"
  done
}

# peer_path NAME: where the program of a real peer is.
peer_path() {
  [[ -x ${PEERS_BIN:-}/$1 ]] || die "no $1 in PEERS_BIN='${PEERS_BIN:-}': run test/interop/install-peers"
  echo "$PEERS_BIN/$1"
}

in_ns() { # NAMESPACE COMMAND...
  ip netns exec "$@"
}

# wait_for SECONDS COMMAND...: tries a command until it succeeds. The limit
# only bounds a hang; nothing is proved by how long it took.
wait_for() {
  local limit=$1 start=$SECONDS
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS - start < limit)) || return 1
    sleep 0.2
  done
}

# start_time PID: tells a process from a later one that got the same number.
start_time() {
  sed 's/^.*) //' "/proc/$1/stat" 2>/dev/null | cut -d ' ' -f 20
}

# spawn NAME NAMESPACE COMMAND...: starts a daemon of the lab. Its output is
# added to LOG_DIR/NAME.log. `setsid` and `ip netns exec` become their command,
# so the recorded process is the daemon itself. It gets no descriptor of ours but the
# standard three, so that those it has are its own.
spawn() {
  local name=$1 ns=$2 pid
  shift 2
  stop_daemon "$name"
  (
    for fd in "/proc/$BASHPID/fd"/*; do
      fd=${fd##*/}
      ((fd <= 2)) || eval "exec $fd>&-"
    done
    exec setsid ip netns exec "$ns" "$@"
  ) >>"$LOG_DIR/$name.log" 2>&1 </dev/null &
  pid=$!
  echo "$pid $(start_time "$pid")" >"$LAB_DIR/$name.pid"
}

# daemon_pid NAME: the id of a daemon that spawn started; fails when it ended.
daemon_pid() {
  local pid start status
  [[ -f $LAB_DIR/$1.pid ]] || return 1
  read -r pid start <"$LAB_DIR/$1.pid" || return 1
  [[ -n $start && $(start_time "$pid") == "$start" ]] || return 1
  # A zombie has ended, its parent has not looked yet; but while it has other threads, they hold its sockets.
  status=$(cat "/proc/$pid/status" 2>/dev/null) || return 1
  if grep -q '^State:[[:space:]]*Z' <<<"$status" && grep -qE '^Threads:[[:space:]]*[01]$' <<<"$status"; then
    return 1
  fi
  echo "$pid"
}

has_ended() {
  ! daemon_pid "$1" >/dev/null
}

# stop_daemon NAME [SIGNAL]: ends what spawn started, by its own id only. One that has to be killed because it does not
# heed the signal is an error, after it is gone.
stop_daemon() {
  local name=$1 signal=${2:-TERM} pid
  if pid=$(daemon_pid "$name"); then
    kill "-$signal" "$pid" 2>/dev/null || true # it may end between the two lines
    if ! wait_for "$STOP_LIMIT" has_ended "$name"; then
      kill -KILL "$pid" 2>/dev/null || true
      wait_for "$STOP_LIMIT" has_ended "$name" || die "process $pid does not end"
      rm -f "$LAB_DIR/$name.pid"
      die "$name (process $pid) did not end within $STOP_LIMIT s of $signal: it was killed"
    fi
  fi
  rm -f "$LAB_DIR/$name.pid"
}

# load_control reads what control-up wrote: SERVER_URL, KEY_CLIENT, KEY_SVC.
load_control() {
  [[ -f $LAB_DIR/control.env ]] || die "no $LAB_DIR/control.env: run control-up first"
  # shellcheck source=/dev/null
  source "$LAB_DIR/control.env"
}

# The environment of every Tailscale program in the lab.
lab_client_env() {
  export SSL_CERT_FILE=$CA_FILE          # trust the lab's own CA, nothing else
  export TS_NO_LOGS_NO_SUPPORT=true      # upload no logs
  export TS_DISABLE_PORTMAPPER=1         # no UPnP, NAT-PMP, PCP
  export TS_DEBUG_DISABLE_PORTLIST=1     # counts only in the environment of the process
  export TS_ASSUME_NETWORK_UP_FOR_TEST=1 # do not pause for want of a default interface
  export TS_PANIC_IF_HIT_MAIN_CONTROL=1  # crash rather than talk to the public control plane
  export TS_DEBUG_FIREWALL_MODE=nftables # kernel TUN: do not look for iptables
}
