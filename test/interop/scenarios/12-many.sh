#!/usr/bin/env bash
# One process serves 57 services, and every one of them answers both a kernel
# client and a client that has only the relay. One of its threads has measured
# the relays for all.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
configure
for ((i = 0; i < 57; i++)); do
  service "$(printf 'svc%02d' "$i")" "$NGINX"
done
start

hs nodes list -o json | jq -r '.[] | select(.given_name | startswith("svc")) |
  [.given_name, (.ip_addresses[] | select(contains(".")))] | @tsv' >"$SCENARIO_DIR/nodes"
expect same 57 "$(wc -l <"$SCENARIO_DIR/nodes")" "nodes"
expect same 57 "$(cut -f 2 "$SCENARIO_DIR/nodes" | sort -u | wc -l)" "addresses"
while read -r name address; do
  eventually "$LIMIT" answers c1 "$address"
  eventually "$LIMIT" answers c3 "$address"
  expect says "$name" "$address"
done <"$SCENARIO_DIR/nodes"

[[ $(basename "$MANYTAILS") != reference ]] || exit 0

step "one thread has measured the relays for all"
status() { # JQ_FILTER
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json | jq -c "$1"
}
expect same 1 "$(status '[.. | .surveys? // empty | select(. > 0)] | length')" "threads that measured"
expect same '[901]' "$(status '[.. | .homeRegion? // empty] | unique')" "home regions"
