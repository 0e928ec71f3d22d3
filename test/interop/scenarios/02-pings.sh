#!/usr/bin/env bash
# A service answers Tailscale's pings of every kind, and the client's who-is
# names it and its tag.
client c1 tun
serve web "$NGINX"
ip=$(ip4 web)
eventually "$LIMIT" sees c1 web

step "disco, TSMP, ICMP"
eventually "$LIMIT" pings c1 web
expect matches 'pong' ts c1 ping --tsmp -c 3 --timeout 10s web
expect matches 'pong' ts c1 ping --icmp -c 3 --timeout 10s web
expect on c1 ping -c 3 -W 10 "$ip"

step "who-is"
expect matches 'web\.lab\.ts\.test' ts c1 whois "$ip"
expect matches 'tag:svc' ts c1 whois --json "$ip"
