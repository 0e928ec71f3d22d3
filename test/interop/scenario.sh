# shellcheck shell=bash
# What a scenario is written with. `run` sources this, then the scenario.
#
# A scenario stops at its first failed expectation. Conditions are commands;
# those given to `expect`, `refute` and `eventually` may not rely on `set -e`
# (bash switches it off in a condition), so each is one pipeline or an && chain.

# shellcheck source=env.sh
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
load_control

# Generous: a limit only bounds a hang, on the slowest machine.
LIMIT=${INTEROP_LIMIT:-90}

# --- saying and expecting ---------------------------------------------------

step() {
  echo "-- $*"
}

# skip REASON: ends the scenario without a verdict.
skip() {
  echo "$*" >"$SCENARIO_DIR/skipped"
  exit 77
}

fail() {
  echo "FAILED: $*"
  exit 1
}

# expect COMMAND...: fails the scenario when the command fails, with its output.
expect() {
  local said
  said=$("$@" 2>&1) || fail "expected: $*${said:+
$said}"
}

# refute COMMAND...: fails the scenario when the command succeeds.
refute() {
  local said
  if said=$("$@" 2>&1); then
    fail "expected the opposite of: $*${said:+
$said}"
  fi
}

# eventually SECONDS COMMAND...: tries until the command succeeds; its last
# output tells why it never did.
eventually() {
  local limit=$1 start=$SECONDS said
  shift
  until said=$("$@" 2>&1); do
    ((SECONDS - start < limit)) || fail "not within $limit s: $*${said:+
$said}"
    sleep 0.2
  done
}

# same WANTED GOT [WHAT]: compares two texts.
same() {
  [[ $1 == "$2" ]] || {
    echo "${3:-the texts differ}: wanted '$1', got '$2'"
    return 1
  }
}

# matches PATTERN COMMAND...: the output of a command, by extended expression.
matches() {
  local pattern=$1 said
  shift
  said=$("$@" 2>&1) || {
    echo "$said"
    return 1
  }
  grep -qE -- "$pattern" <<<"$said" || {
    echo "no line matches '$pattern':"
    echo "$said"
    return 1
  }
}

# --- control server ---------------------------------------------------------

control() {
  "$INTEROP_DIR/control-up" "$@"
}

hs() {
  control hs "$@"
}

# node NAME: what headscale knows of a node, as JSON; fails when it has none.
node() {
  hs nodes list -o json | jq -e --arg n "$1" '.[] | select(.given_name == $n)'
}

field() { # NAME JQ_FILTER
  node "$1" | jq -er "$2"
}

ip4() {
  field "$1" '.ip_addresses[] | select(contains("."))'
}

ip6() {
  field "$1" '.ip_addresses[] | select(contains(":"))'
}

online() {
  node "$1" | jq -e '.online == true'
}

all_online() { # NAME...
  local all name
  all=$(hs nodes list -o json | jq -r '.[] | select(.online == true) | .given_name') || return 1
  for name in "$@"; do
    grep -qxF -- "$name" <<<"$all" || {
      echo "$name is not online"
      return 1
    }
  done
}

# --- clients ----------------------------------------------------------------

# client HOST tun|userspace [NAME=VALUE...]: a real client, started when it is
# not running yet, and the environment of its daemon.
client() {
  local host=$1 kind=$2
  shift 2
  echo "$kind" >"$LAB_DIR/kind-$host"
  daemon_pid "client-$host" >/dev/null || env "$@" "$INTEROP_DIR/client-up" "$host" "$kind"
}

ts() { # HOST ARGUMENTS...: the tailscale command of a client
  "$INTEROP_DIR/client-up" "$1" cli "${@:2}"
}

# on HOST COMMAND...: runs a command in a client's host.
on() {
  in_ns "$NS_PREFIX-$1" "${@:2}"
}

# fetch HOST URL [ARGUMENTS...]: curl on a client's host, through its tailnet.
# A kernel client is used by address: it has no names without the host's DNS.
fetch() {
  local host=$1 url=$2 proxy=()
  shift 2
  if [[ $(<"$LAB_DIR/kind-$host") == userspace ]]; then
    proxy=(--socks5-hostname 127.0.0.1:1055)
  fi
  on "$host" curl -sS -g --fail --connect-timeout 10 --max-time 300 --cacert "$CA_FILE" "${proxy[@]}" "$@" "$url"
}

# answers HOST ADDRESS: a service gives the small file.
answers() {
  fetch "$1" "http://$2/1k" --max-time 10 -o /dev/null
}

# silent HOST ADDRESS: nothing answers there, not even an error page.
silent() {
  local code
  code=$(on "$1" curl -s -o /dev/null -w '%{http_code}' --connect-timeout 5 --max-time 5 "http://$2/1k") || true
  same 000 "$code" "there is an answer"
}

file_sum() { # FILE
  sha256sum "$1" | cut -d ' ' -f 1
}

# download HOST ADDRESS: the large file, byte for byte.
download() {
  local sum
  sum=$(fetch "$1" "http://$2/100m" | sha256sum | cut -d ' ' -f 1) || return 1
  same "$(file_sum "$LAB_DIR/www/100m")" "$sum" "the download is not the file"
}

# half_way HOST ADDRESS ID: downloads the large file in the background and returns
# with its first half there; the second comes after `second_half`, which waits for
# it. The service's upstream is the sink.
half_way() {
  local got=$SCENARIO_DIR/half-$3
  fetch "$1" "http://$2/halves?file=100m&id=$3" -o "$got" &
  HALF_WAY=$!
  eventually "$LIMIT" larger "$got" 50000000
}

second_half() { # ID
  in_ns "$NS_SUT" curl -sS --fail "$SINK/release?id=$1"
  wait "$HALF_WAY" || fail "the download broke off (curl: $?)"
  expect same "$(file_sum "$LAB_DIR/www/100m")" "$(file_sum "$SCENARIO_DIR/half-$1")" "the download is not the file"
}

larger() { # FILE BYTES
  [[ $(stat -c %s "$1") -ge $2 ]]
}

# peer HOST SERVICE JQ_FILTER: a service as a client's status shows it.
peer() {
  ts "$1" status --json | jq -er --arg n "$2" "[.Peer[] | select(.DNSName | startswith(\$n + \".\"))][0] | $3"
}

# sees HOST SERVICE: the client knows the service under its present address, not
# one of the same name from an earlier scenario.
sees() {
  matches "$(ip4 "$2" | sed 's/[.]/[.]/g; s/.*/^&$/')" peer "$1" "$2" '.TailscaleIPs[]'
}

# pings HOST SERVICE: the client's disco ping, which also starts looking for a
# direct path.
pings() {
  ts "$1" ping -c 1 --timeout 3s --until-direct=false "$2"
}

direct() { # HOST SERVICE: it found a path without the relay
  ts "$1" ping -c 20 --timeout 5s "$2"
}

# address HOST SERVICE: where the client sends packets for a service; fails while
# that is, also, the relay.
address() {
  pings "$1" "$2" >/dev/null && peer "$1" "$2" '.CurAddr | select(. != "")'
}

# --- the system under test --------------------------------------------------
#
# Several can run side by side: SUT names the one that is meant.

SUT=ours
SUT_URL=$SERVER_URL
SUT_KEY=$KEY_SVC
NGINX=http://127.0.0.1:9000
SINK=http://127.0.0.1:9001

sut_dir() {
  echo "$LAB_DIR/$SCENARIO/$SUT"
}

sut_daemon() {
  echo "$SCENARIO.$SUT" # so its log is LOG_DIR/NN-name.ours.log
}

# configure: begins a configuration without services.
configure() {
  mkdir -p "$(sut_dir)"
  printf 'prometheusAddr: 127.0.0.1:%s\nservices:\n' "${METRICS_PORT:-9099}" >"$(sut_dir)/services.yaml"
}

# service NAME UPSTREAM [KEY VALUE]...: adds one, on port 80 without TLS unless
# the keys say otherwise.
service() {
  local name=$1 upstream=$2 dir
  dir=$(sut_dir)
  local -A keys=([plaintext]=true [listenAddr]='":80"' [timeout]=5m [stateDir]="$dir/state/$name")
  shift 2
  while [[ $# -ge 2 ]]; do
    keys[$1]=$2
    shift 2
  done
  {
    printf '  - name: %s\n    upstream: %s\n' "$name" "$upstream"
    for name in "${!keys[@]}"; do
      printf '    %s: %s\n' "$name" "${keys[$name]}"
    done
  } >>"$dir/services.yaml"
}

sut_env() { # COMMAND...: runs it with the environment of the system under test
  (
    lab_client_env
    export TS_URL=$SUT_URL TS_AUTHKEY=$SUT_KEY HOME
    export MANYTAILS_SOCKET="$LAB_DIR/$SUT.sock"
    HOME=$(sut_dir)
    [[ -n $TS_AUTHKEY ]] || unset TS_AUTHKEY
    "$@"
  )
}

# launch: starts it and goes on; start: and waits until all services are online.
launch() {
  sut_env spawn "$(sut_daemon)" "$NS_SUT" "$MANYTAILS" -config "$(sut_dir)/services.yaml"
}

start() {
  launch
  # shellcheck disable=SC2046 # one word each
  eventually_alive all_online $(service_names)
}

# eventually_alive COMMAND...: as eventually, but does not wait for the dead.
eventually_alive() {
  local start=$SECONDS said
  until said=$("$@" 2>&1); do
    alive >/dev/null || fail "the program ended; it should have come to: $*"
    ((SECONDS - start < LIMIT)) || fail "not within $LIMIT s: $*${said:+
$said}"
    sleep 0.2
  done
}

service_names() {
  sed -n 's/^  - name: //p' "$(sut_dir)/services.yaml"
}

# serve NAME UPSTREAM [KEY VALUE]...: one service, started.
serve() {
  configure
  service "$@"
  start
}

# stop: SIGTERM, and it ends. One that had ended by itself before fails the scenario, since nothing asked it to.
stop() {
  [[ ! -e $LAB_DIR/$(sut_daemon).pid ]] || alive >/dev/null || fail "$SUT had ended by itself"
  stop_daemon "$(sut_daemon)"
}

crash() {
  stop_daemon "$(sut_daemon)" KILL
}

alive() {
  daemon_pid "$(sut_daemon)"
}

# status_of NAME: what it says of one service, as JSON, wherever in the
# document the service stands.
status_of() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json |
    jq -e --arg n "$1" '[.. | objects | select(.name? == $n)] | first // error("no service \($n)")'
}

# says NAME PATTERN: its status has these words, in any letter case.
says() {
  local said
  said=$(status_of "$1") || {
    echo "$said"
    return 1
  }
  grep -qiE -- "$2" <<<"$said" || {
    echo "its status does not say '$2':"
    echo "$said"
    return 1
  }
}

# log_line PATTERN: prints the last thing it logged that matches.
log_line() {
  grep -aoE -- "$1" "$LOG_DIR/$(sut_daemon).log" | tail -n 1 | grep .
}

# --- a control server that misbehaves ----------------------------------------

# test_control ARGUMENTS...: Tailscale's own test control server for the system
# under test, instead of headscale (see peers/testcontrold).
test_control() {
  SUT_URL=http://$CORE_IP:8090
  SUT_KEY=''
  spawn testcontrold "$NS_CORE" "$(peer_path testcontrold)" serve -ip "$CORE_IP" \
    -cert "$LAB_DIR/certs/derp.lab.test.crt" -key "$LAB_DIR/certs/derp.lab.test.key" "$@"
  eventually "$LIMIT" admin nodes
}

# other_client: client c4 on the test control server; anew in every scenario,
# since that server forgets everything when it ends.
other_client() {
  stop_daemon client-c4
  rm -rf "$LAB_DIR/client-c4"
  CLIENT_URL=$SUT_URL CLIENT_KEY='' client c4 tun
}

# admin PATH [ARGUMENTS...]: asks its admin interface.
admin() {
  local path=$1
  shift
  in_ns "$NS_CORE" curl -sS --fail-with-body --max-time 20 "http://127.0.0.1:8091/$path" "$@"
}

# test_node NAME: what it knows of a node; test_key NAME: the node's key.
test_node() {
  admin nodes | jq -e --arg n "$1" '.[] | select(.Name | startswith($n + "."))'
}

test_key() {
  test_node "$1" | jq -er .Key
}

# --- an OAuth service ------------------------------------------------------------

# oauth_service: makes auth keys of headscale for tag:svc, at https://CORE_IP:8099.
oauth_service() {
  local uid
  uid=$(hs users list -o json | jq -r '.[0].id')
  spawn oauth "$NS_CORE" "$INTEROP_DIR/oauth-service" "$CORE_IP" 8099 "$LAB_DIR/certs/derp.lab.test.crt" \
    "$LAB_DIR/certs/derp.lab.test.key" "$SCENARIO_DIR/calls" "$INTEROP_DIR/control-up" hs preauthkeys create \
    -u "$uid" --tags tag:svc -e 1h -o json
}

# calls_are TOKENS KEYS: it was asked for these, and for nothing else.
calls_are() {
  local calls=$SCENARIO_DIR/calls
  touch "$calls"
  same "$1 $2 $(($1 + $2))" "$(grep -cx token "$calls") $(grep -cx key "$calls") $(wc -l <"$calls")" "tokens, keys, all"
}

# secret NAME TEXT: the path of a file with it.
secret() {
  echo "$2" >"$SCENARIO_DIR/$1"
  echo "$SCENARIO_DIR/$1"
}

# --- a network that only a proxy leads out of -----------------------------------

# behind_proxy: from the system under test nothing but an HTTP proxy with a
# password can be reached, and no name is known. In PROXY what HTTPS_PROXY takes.
behind_proxy() {
  local hosts=/etc/netns/$NS_SUT/hosts
  cat >"$SCENARIO_DIR/tinyproxy.conf" <<CONF
Port 8888
Listen $CORE_IP
BasicAuth someone pa55word
LogLevel Connect
CONF
  proxy_up
  cp "$hosts" "$SCENARIO_DIR/hosts"
  echo "127.0.0.1 localhost" >"$hosts"
  in_ns "$NS_SUT" nft -f - <<NFT
table inet wall {
  chain output {
    type filter hook output priority 0;
    oifname "lo" accept
    ip daddr $CORE_IP tcp dport 8888 accept
    reject
  }
}
NFT
  PROXY=http://someone:pa55word@$CORE_IP:8888
}

# proxy_up: the proxy, anew when it runs, as its configuration is now.
proxy_up() {
  spawn tinyproxy "$NS_CORE" tinyproxy -d -c "$SCENARIO_DIR/tinyproxy.conf"
}

# in_the_open: all that is over.
in_the_open() {
  in_ns "$NS_SUT" nft delete table inet wall
  cp "$SCENARIO_DIR/hosts" "/etc/netns/$NS_SUT/hosts"
  stop_daemon tinyproxy
}

# --- the end ----------------------------------------------------------------

# forget NAME...: removes nodes from headscale, so that scenarios do not meet.
forget() {
  local name id
  for name in "$@"; do
    id=$(field "$name" .id) || continue
    hs nodes delete -i "$id" --force >/dev/null
  done
}

# forget_services: all but the clients, whatever file or flag named them.
forget_services() {
  # shellcheck disable=SC2046 # one word each
  forget $(hs nodes list -o json | jq -r '.[]?.given_name | select(test("^c[0-9]+$") | not)')
}

end_scenario() {
  local status=$? pid config
  trap - EXIT
  for pid in $(jobs -p); do
    kill "$pid" 2>/dev/null || true # it may have ended by itself
  done
  # A failed scenario leaves all as it is: `run` shows it and builds a new lab.
  if [[ $status -eq 0 ]]; then
    if [[ $SUT_URL != "$SERVER_URL" ]]; then
      stop_daemon client-c4
      stop_daemon testcontrold
    fi
    for config in "$LAB_DIR/$SCENARIO"/*/services.yaml; do
      [[ -e $config ]] || continue
      SUT=$(basename "$(dirname "$config")")
      stop
    done
    forget_services
  fi
  exit "$status"
}
trap end_scenario EXIT
trap 'exit 130' INT TERM
