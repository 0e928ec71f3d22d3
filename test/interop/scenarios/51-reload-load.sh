#!/usr/bin/env bash
# While one service of 57 changes with every reload, in place, on another port, gone and back,
# no request to the 56 others fails and none of them is stopped or started anew; and while it
# changes in place only, none to itself fails either.
# RELOADS (200) says how often; a quarter of them are of the second kind.
RELOADS=${RELOADS:-200}
client c1 tun
configure
service svc00 "$NGINX"
for ((i = 1; i < 57; i++)); do
  service "$(printf 'svc%02d' "$i")" "$NGINX"
done
start
config=$(sut_dir)/services.yaml
first=$(grep -n -- '- name: svc00' "$config" | cut -d : -f 1)
second=$(grep -n -- '- name: svc01' "$config" | cut -d : -f 1)
head -n $((first - 1)) "$config" >"$SCENARIO_DIR/before"
sed -n "$first,$((second - 1))p" "$config" >"$SCENARIO_DIR/svc00"
tail -n +"$second" "$config" >"$SCENARIO_DIR/others"
hs nodes list -o json | jq -r '.[] | select(.given_name | test("^svc(0[1-9]|[1-5][0-9])$")) |
  .ip_addresses[] | select(contains("."))' >"$SCENARIO_DIR/addresses"
expect same 56 "$(wc -l <"$SCENARIO_DIR/addresses")" "addresses"
while read -r address; do
  eventually "$LIMIT" answers c1 "$address"
done <"$SCENARIO_DIR/addresses"

# change ROUND: what svc00 is in this round.
change() {
  {
    cat "$SCENARIO_DIR/before"
    case $(($1 % 5)) in
      0 | 1) sed "\$a\    upstreamHeaders: {X-Round: \"$1\"}" "$SCENARIO_DIR/svc00" ;;
      2) sed "s/\":80\"/\":$((8000 + $1 % 5000))\"/" "$SCENARIO_DIR/svc00" ;;
      3) ;; # gone
      4) cat "$SCENARIO_DIR/svc00" ;;
    esac
    cat "$SCENARIO_DIR/others"
  } >"$config"
}
reload() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" reload
}
connects() { # of the 56, together
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json |
    jq '[.services[] | select(.name != "svc00") | .control.connects] | add'
}
# headscale ends a map stream by itself when it is short of time: that is no doing of a reload.
ended_by_headscale() {
  grep -ac 'svc\(0[1-9]\|[1-5][0-9]\): control: .*ended the map stream' "$LOG_DIR/$(sut_daemon).log" || true
}
good() { # MORE: so many good answers have come
  [[ $(cat "$SCENARIO_DIR/load.beat") -ge $1 ]]
}

before=$(($(connects) - $(ended_by_headscale)))
result=$SCENARIO_DIR/load
# load FILE: requests to these addresses begin; load_ends RELOADS SERVICES: none of them has failed.
load() {
  rm -f "$result" "$result.beat"
  # shellcheck disable=SC2046 # one word each
  spawn load "$NS_PREFIX-c1" "$INTEROP_DIR/load" "$result" /1k 1024 $(cat "$1")
  eventually "$LIMIT" test -e "$result.beat"
  eventually "$LIMIT" good 500
}
load_ends() {
  stop_daemon load
  echo "$1 reloads, load: $(cat "$result")"
  expect same 0 "$(jq .failed "$result")" "requests failed"
  expect same "$2" "$(jq .services "$result")" "services that answered"
}
reload_well() { # ROUND
  reload >"$SCENARIO_DIR/said" 2>&1 || fail "reload $1: $(cat "$SCENARIO_DIR/said")"
  matches '^56 services left alone' cat "$SCENARIO_DIR/said" || fail "reload $1 touched others"
}

step "changes in place: no request to any of the 57 fails"
{
  cat "$SCENARIO_DIR/addresses"
  ip4 svc00
} >"$SCENARIO_DIR/all"
load "$SCENARIO_DIR/all"
for ((round = 0; round < RELOADS / 4; round++)); do
  change $((5 * round))
  reload_well "$round"
done
load_ends $((RELOADS / 4)) 57

step "changes of every kind: no request to the 56 others fails"
load "$SCENARIO_DIR/addresses"
for ((round = 1; round <= RELOADS; round++)); do
  change "$round"
  reload_well "$round"
done
load_ends "$RELOADS" 56
refute log_line 'svc(0[1-9]|[1-5][0-9]): (stopping|starts anew|keeps its old)'
expect test "$(($(connects) - $(ended_by_headscale)))" -le "$before" # nobody connected to the control server anew

step "and the one that changed is there"
cat "$SCENARIO_DIR/before" "$SCENARIO_DIR/svc00" "$SCENARIO_DIR/others" >"$config"
expect reload
eventually_alive online svc00
eventually "$LIMIT" answers c1 "$(ip4 svc00)"
