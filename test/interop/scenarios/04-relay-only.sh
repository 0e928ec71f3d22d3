#!/usr/bin/env bash
# A client that has only the relay downloads 100 MB intact.
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
serve web "$NGINX"
eventually "$LIMIT" sees c3 web
eventually "$LIMIT" matches 'via DERP\(lab1\)' pings c3 web

expect download c3 "$(ip4 web)"

step "it was the relay that carried it"
expect matches '^lab1 *$' peer c3 web '"\(.Relay) \(.CurAddr)"'
