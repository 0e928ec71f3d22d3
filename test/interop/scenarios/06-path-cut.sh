#!/usr/bin/env bash
# A download survives the loss of its direct path in the middle: the relay takes
# over, 100 MB arrive intact, and the direct path is used again once it is back.
client c1 tun
serve web "$SINK"
ip=$(ip4 web)
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" direct c1 web

half_way c1 "$ip" cut
step "cut"
on c1 nft -f - <<'NFT'
table inet cut {
  chain in { type filter hook input priority 0; iifname "eth0" meta l4proto udp drop; }
  chain out { type filter hook output priority 0; oifname "eth0" meta l4proto udp drop; }
}
NFT
second_half cut
expect matches 'via DERP' pings c1 web

step "restored"
on c1 nft delete table inet cut
eventually "$LIMIT" direct c1 web
expect download c1 "$ip"
