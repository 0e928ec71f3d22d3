#!/usr/bin/env bash
# Client and service find each other without the relay, and 100 MB arrive intact
# that way.
client c1 tun
serve web "$NGINX"
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$(ip4 web)"
eventually "$LIMIT" direct c1 web

received() { # bytes that the client got without the relay so far
  ts c1 metrics print | awk '/^tailscaled_inbound_bytes_total{path="direct_/ {n += $2} END {printf "%d", n}'
}
before=$(received)
expect download c1 "$(ip4 web)"
after=$(received)

step "that is how it came"
((after - before > 50000000)) || fail "only $((after - before)) bytes did"
eventually "$LIMIT" matches "^$SUT_IP:" address c1 web
