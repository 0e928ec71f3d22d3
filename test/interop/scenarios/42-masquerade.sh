#!/usr/bin/env bash
# A service that a client knows under another address than its own (a shared node),
# and that knows the client under another one, answers there: pages, pings, a large
# download, and the headers say who asks, under the address that the service sees.
test_control
configure
service web "$SINK"
launch
eventually_alive test_node web
other_client
address=$(test_node web | jq -r '.Addresses[0] | split("/")[0]')
eventually "$LIMIT" answers c4 "$address"

step "both sides behind other addresses"
shown=100.99.88.77 seen=100.99.88.66
masquerade() { # JSON
  admin masquerade -d "$1"
}
expect masquerade "[{\"Node\":\"$(test_key web)\",\"Peer\":\"$(test_key c4)\",\"NodeMasqueradesAs\":\"$shown\"},
  {\"Node\":\"$(test_key c4)\",\"Peer\":\"$(test_key web)\",\"NodeMasqueradesAs\":\"$seen\"}]"
eventually "$LIMIT" answers c4 "$shown"
refute answers c4 "$address"

step "who asks"
said=$(fetch c4 "http://$shown/headers" -H 'X-Tailscale-User-LoginName: evil' -H 'X-Forwarded-For: 1.2.3.4')
expect matches '^X-Tailscale-User-Loginname: user-' echo "$said"
expect matches '^X-Tailscale-Node-Name: c4$' echo "$said"
expect matches "^X-Forwarded-For: $seen\$" echo "$said"
expect matches "^X-Real-Ip: $seen\$" echo "$said"
expect matches "^X-Forwarded-Host: $shown\$" echo "$said"
refute matches 'evil|1\.2\.3\.4' echo "$said"

step "pings"
expect matches pong ts c4 ping -c 1 --timeout 5s --tsmp "$shown"
expect matches pong ts c4 ping -c 1 --timeout 5s --icmp "$shown"
eventually "$LIMIT" matches 'via 198' ts c4 ping -c 1 --timeout 5s "$shown"

step "100 MB"
half_way c4 "$shown" masked
second_half masked

step "and back"
expect masquerade '[]'
eventually "$LIMIT" answers c4 "$address"
refute says web '"sentence": "control server unreachable"'
