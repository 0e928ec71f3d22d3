#!/usr/bin/env bash
# Client and service find each other without the relay, and 100 MB arrive intact
# that way.
client c1 tun
serve web "$NGINX"
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$(ip4 web)"
eventually "$LIMIT" direct c1 web

relayed() { # bytes that the client got through the relay so far
  ts c1 metrics print | sed -n 's/^tailscaled_inbound_bytes_total{path="derp"} //p'
}
before=$(relayed)
expect download c1 "$(ip4 web)"
after=$(relayed)

step "it was not the relay that carried it"
expect matches "^$SUT_IP:" peer c1 web .CurAddr
echo "bytes through the relay before and after: ${before:-0} ${after:-0}"
((${after:-0} - ${before:-0} < 10000000)) || fail "the relay carried it"
