#!/usr/bin/env bash
# A service whose registrations are answered with 429 says so, asks no more often
# than it was told to, and joins once it is let in.
test_control -limit-register 1000000
configure
service web "$NGINX"
begun=$SECONDS
launch
eventually "$LIMIT" says web '429|rate|too many|slow down'
refute test_node web
expect alive

step "every answer asked for two seconds of silence"
refused() { # TIMES
  [[ $(admin refused) -ge $1 ]]
}
eventually "$LIMIT" refused 3
times=$(admin refused) most=$(((SECONDS + 1 - begun) / 2 + 1))
((times <= most)) || fail "asked $times times in less than $((SECONDS + 1 - begun)) s"

step "let in"
expect admin 'limit?n=0' -X POST
eventually_alive test_node web
address=$(test_node web | jq -r '.Addresses[0] | split("/")[0]')
other_client
eventually "$LIMIT" answers c4 "$address"
refute says web '429|too many|slow down'
