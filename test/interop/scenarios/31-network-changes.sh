#!/usr/bin/env bash
# A service whose host gets another address is reached directly at the new one soon after, on fresh
# sockets; one whose firewall refuses every datagram answers through the relay, and goes direct again
# when it may.
client c1 tun
serve web "$NGINX"
ip=$(ip4 web)
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" direct c1 web

rebinds() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json | jq '[.. | .rebinds? // empty] | add'
}
more_rebinds() { # THAN
  (($(rebinds) > $1))
}
at_home() { # ADDRESS: web is reached there
  answers c1 "$ip" && matches "^$1:" address c1 web
}
move() { # FROM TO
  ip -n "$NS_SUT" addr del "$1/24" dev eth0
  ip -n "$NS_SUT" addr add "$2/24" dev eth0
  ip -n "$NS_SUT" route replace default via "$CORE_IP"
}

step "another address"
before=$(rebinds)
move "$SUT_IP" "$LAB_NET.99"
eventually "$LIMIT" at_home "$LAB_NET.99"
eventually "$LIMIT" more_rebinds "$before"
move "$LAB_NET.99" "$SUT_IP"
eventually "$LIMIT" at_home "$SUT_IP"

step "a firewall refuses to send"
before=$(rebinds)
in_ns "$NS_SUT" nft 'table inet refuse { chain out { type filter hook output priority 0; oifname "eth0" meta l4proto udp drop; }; }'
eventually "$LIMIT" answers c1 "$ip"
eventually "$LIMIT" more_rebinds "$before"
refute direct c1 web
in_ns "$NS_SUT" nft delete table inet refuse
eventually "$LIMIT" direct c1 web
expect download c1 "$ip"
