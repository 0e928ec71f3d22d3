#!/usr/bin/env bash
# A service answers at its IPv6 address, and the caller's identity is known there.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
configure
service web "$NGINX"
service who "$SINK"
start
web=$(ip6 web) who=$(ip6 who)
for host in c1 c3; do
  eventually "$LIMIT" answers "$host" "[$web]"
  eventually "$LIMIT" matches '^X-Tailscale-User-Loginname: alice@lab\.test$' fetch "$host" "http://[$who]/headers"
  expect download "$host" "[$web]"
done
expect on c1 ping -6 -c 3 -W 10 "$web"
