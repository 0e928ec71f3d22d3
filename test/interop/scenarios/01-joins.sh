#!/usr/bin/env bash
# A service joins under its name: headscale shows it online with its tag, and a
# client's status lists it.
client c1 tun
serve web "$NGINX"

step "headscale"
expect matches '^tag:svc$' field web '.tags[]'
expect matches '^100\.64\.' ip4 web
expect matches '^fd7a:115c:a1e0:' ip6 web

step "the client"
eventually "$LIMIT" sees c1 web
expect matches "$(ip4 web)" peer c1 web '.TailscaleIPs[]'
eventually "$LIMIT" matches true peer c1 web .Online

step "the service's own status"
expect says web "$(ip4 web)"
