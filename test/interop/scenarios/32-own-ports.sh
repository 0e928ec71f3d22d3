#!/usr/bin/env bash
# A service may have a UDP port of its own: clients reach it there and its neighbours at the shared
# one, all at once; a firewall that closes one port leaves the others direct; a port that is taken
# is a state in words, and the neighbours serve; a reload moves it to another port.
client c1 tun
in_ns "$NS_SUT" python3 -c 'import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 41701)); time.sleep(3600)' &
is_taken() {
  [[ -n $(in_ns "$NS_SUT" ss -Hlun 'sport = 41701') ]]
}
eventually "$LIMIT" is_taken
configure
service own "$SINK" dedicatedPort 41700
service any "$SINK" dedicatedPort true
service taken "$SINK" dedicatedPort 41701
service one "$SINK"
service two "$SINK"
launch
eventually_alive all_online own any one two

port_of() {
  status_of "$1" | jq -e .udpPort
}
for name in own any one two; do
  eventually "$LIMIT" sees c1 "$name"
  eventually "$LIMIT" answers c1 "$(ip4 "$name")"
  eventually "$LIMIT" direct c1 "$name"
  eventually "$LIMIT" matches "^$SUT_IP:$(port_of "$name")\$" address c1 "$name"
done
expect same 41700 "$(port_of own)"
for name in one two; do
  ! same "$(port_of any)" "$(port_of "$name")" >/dev/null || fail "any has the port of $name"
done
expect says taken 'dedicatedPort: UDP port 41701: Address already in use'

step "two at once"
download c1 "$(ip4 own)" &
first=$!
expect download c1 "$(ip4 one)"
wait "$first" || fail "the download from own failed"

step "a firewall closes one port"
half_way c1 "$(ip4 own)" closed
in_ns "$NS_SUT" nft 'table inet closed { chain in { type filter hook input priority 0; udp dport 41700 drop; }; chain out { type filter hook output priority 0; udp sport 41700 drop; }; }'
expect direct c1 one
expect direct c1 any
second_half closed
expect matches 'via DERP' pings c1 own
in_ns "$NS_SUT" nft delete table inet closed
eventually "$LIMIT" direct c1 own

step "a reload gives it another port"
sed -i 's/41700/41702/' "$(sut_dir)/services.yaml"
sut_env in_ns "$NS_SUT" "$MANYTAILS" reload
at_new_port() {
  answers c1 "$(ip4 own)" && matches "^$SUT_IP:41702\$" address c1 own
}
eventually "$LIMIT" at_new_port
expect direct c1 one
