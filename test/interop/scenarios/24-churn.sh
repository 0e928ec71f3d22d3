#!/usr/bin/env bash
# Twenty thousand connections, each for one request, leave no trace: none was refused for a
# limit, none is left, and the next page and a large download come at once.
client c1 tun
serve web "$NGINX"
web=$(ip4 web)
eventually "$LIMIT" answers c1 "$web"

counter() { # NAME: summed over the shards
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json | jq "[.shards[].netstack.$1] | add"
}
at_least() { # NUMBER COUNTER
  [[ $(counter "$2") -ge $1 ]]
}
burst() {
  on c1 wrk -t 1 -c 32 -d 5s --timeout 30s -H 'Connection: close' "http://$web/1k"
}

step "connections"
rounds=0
until at_least 20000 conns_accepted; do
  expect matches 'requests in' burst
  ((++rounds < 60)) || fail "only $(counter conns_accepted) connections after $rounds bursts"
done
expect same 0 "$(counter conns_refused_limit)"
expect same 0 "$(counter syns_shed)"
expect same 0 "$(counter conns_refused_memory)"

step "afterwards"
expect answers c1 "$web"
expect download c1 "$web"
none_left() {
  same 0 "$(counter connections)" "connections are left"
}
eventually "$LIMIT" none_left
