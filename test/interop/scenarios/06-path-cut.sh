#!/usr/bin/env bash
# A download survives the loss of its direct path in the middle: the relay takes
# over, 100 MB arrive intact, and the direct path is used again once it is back.
client c1 tun
serve web "$NGINX"
ip=$(ip4 web)
got=$SCENARIO_DIR/got
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" direct c1 web

arrived() { # BYTES
  [[ -f $got && $(stat -c %s "$got") -ge $1 ]]
}

step "cut after 20 MB"
fetch c1 "http://$ip/100m" --limit-rate 20M -o "$got" &
download=$!
eventually "$LIMIT" arrived 20000000
on c1 nft -f - <<'NFT'
table inet cut {
  chain in { type filter hook input priority 0; iifname "eth0" meta l4proto udp drop; }
  chain out { type filter hook output priority 0; oifname "eth0" meta l4proto udp drop; }
}
NFT
refute arrived 100000000

step "the rest"
wait "$download" || fail "the download ended with status $?"
expect same "$(file_sum "$LAB_DIR/www/100m")" "$(file_sum "$got")"
expect matches '^$' peer c1 web .CurAddr
expect matches 'via DERP' pings c1 web

step "restored"
on c1 nft delete table inet cut
eventually "$LIMIT" direct c1 web
expect download c1 "$ip"
