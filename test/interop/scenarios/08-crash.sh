#!/usr/bin/env bash
# Killed and started again, the program comes back as the same nodes: names,
# addresses and keys are unchanged and headscale has not one node more.
client c1 tun
configure
service web "$NGINX"
service who "$SINK"
start
eventually "$LIMIT" answers c1 "$(ip4 web)"

identities() {
  hs nodes list -o json | jq -cS 'map({id, given_name, ip_addresses, machine_key, node_key}) | sort_by(.id)[]'
}
before=$(identities)
ip=$(ip4 web)

for round in 1 2 3; do
  step "round $round"
  crash
  start
  eventually "$LIMIT" answers c1 "$ip"
  expect same "$before" "$(identities)" "other nodes than before"
done

step "killed while it joins"
service late "$NGINX"
launch
crash
start
eventually "$LIMIT" answers c1 "$(ip4 late)"
expect same "$before" "$(identities | grep -vF '"given_name":"late"')" "other nodes than before"
same 1 "$(identities | grep -cF '"given_name":"late')" "nodes of the late one" || fail "it joined more than once"
