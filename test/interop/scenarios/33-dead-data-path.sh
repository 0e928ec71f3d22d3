#!/usr/bin/env bash
# A direct path that carries pings but loses what the service sends in WireGuard is found out: the
# relay carries it, though the client's own probing believes in the path to the end.
client c1 tun
serve web "$NGINX"
ip=$(ip4 web)
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" direct c1 web

step "WireGuard to the client is lost, disco is not"
on c1 nft -f - <<NFT
table inet lossy {
  chain in { type filter hook input priority 0; ip saddr $SUT_IP meta l4proto udp @th,64,8 { 1, 2, 3, 4 } counter drop; }
}
NFT
eventually "$LIMIT" answers c1 "$ip"
expect answers c1 "$ip"
expect answers c1 "$ip"
expect matches 'packets [1-9]' on c1 nft list table inet lossy # or this shows nothing
eventually "$LIMIT" matches "^$SUT_IP:" address c1 web # the client believes in the path

step "the path is whole again"
on c1 nft delete table inet lossy
eventually "$LIMIT" download c1 "$ip"
