#!/usr/bin/env bash
# Where UDP is blocked the home relay is still chosen by measuring, over HTTPS and at once: not
# the first region of the map, whose relay is dead. Peers are told that UDP does not work, until
# it does: then the path becomes direct.
client c1 tun
map=$LAB_DIR/headscale/derp.yaml
cp "$map" "$SCENARIO_DIR/derp.yaml"
new_map() {
  control headscale stop
  control headscale start
  eventually "$LIMIT" all_online c1
}
awk -v core="$CORE_IP" '{print} /^regions:/ {
  print "  900:\n    regionid: 900\n    regioncode: dead\n    regionname: Dead\n    nodes:"
  print "      - name: 900a\n        regionid: 900\n        hostname: derp.lab.test"
  print "        ipv4: " core "\n        ipv6: none\n        derpport: 9\n        stunport: 9"
}' "$SCENARIO_DIR/derp.yaml" >"$map"
new_map

in_ns "$NS_SUT" nft -f - <<'NFT'
table inet noudp {
  chain in { type filter hook input priority 0; iifname "eth0" meta l4proto udp drop; }
  chain out { type filter hook output priority 0; oifname "eth0" meta l4proto udp drop; }
}
NFT
configure
service web "$NGINX"
service who "$SINK"
start
of() { # SERVICE CONDITION
  status_of "$1" | jq -e "$2"
}
told() { # CONDITION: what a peer knows of web's network
  ts c1 debug netmap | jq -e '.Peers[] | select(.Hostinfo.Hostname == "web") | .Hostinfo.NetInfo | '"$1"
}
for service in web who; do
  eventually "$LIMIT" of "$service" '.workingUDP == false and .homeRegion == 901'
  expect of "$service" '.relayLatencyMicroseconds | .["901"] > 0 and .["900"] == null'
  eventually "$LIMIT" answers c1 "$(ip4 "$service")"
done
expect matches 'via DERP' pings c1 web
eventually "$LIMIT" told '.WorkingUDP == false and .PreferredDERP == 901'

step "UDP works again"
in_ns "$NS_SUT" nft delete table inet noudp
eventually "$LIMIT" answers c1 "$(ip4 web)"
eventually "$LIMIT" direct c1 web
eventually "$LIMIT" told .WorkingUDP
cp "$SCENARIO_DIR/derp.yaml" "$map"
new_map
