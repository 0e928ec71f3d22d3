#!/usr/bin/env bash
# Map responses full of nonsense for one service neither end it nor touch its
# neighbours, on the same control server or on another.
client c1 tun
SUT=calm
serve calm "$NGINX"
calm=$(ip4 calm)
eventually "$LIMIT" answers c1 "$calm"

SUT=ours METRICS_PORT=9098
test_control
configure
service web "$NGINX"
service next "$NGINX"
launch
other_client
address_of() {
  test_node "$1" | jq -er '.Addresses[0] | split("/")[0]'
}
for name in web next; do
  eventually_alive test_node "$name"
  eventually "$LIMIT" answers c4 "$(address_of "$name")"
done
web=$(address_of web) next=$(address_of next)

zeros=$(printf '%064d' 0) ones=$(printf '%064d' 0 | tr 0 1)
# Those marked ! crash Tailscale's own client (v1.102.3).
nonsense=(
  '{}'
  '{"KeepAlive": true, "PeersRemoved": [555], "PeersChangedPatch": [{"NodeID": 555}]}'
  '{"PeersRemoved": [0, -1, 999999, 999999, 9007199254740993]}'
  '!{"PeersChangedPatch": [null, {"NodeID": 0}, {"NodeID": 424242, "DERPRegion": -7}, {"NodeID": 424242, "Key": "nodekey:'"$zeros"'"}]}'
  '{"OnlineChange": {"0": true, "424242": false}, "PeerSeenChange": {"424242": true}}'
  '{"PeersChanged": [{"ID": 77}]}'
  '{"PeersChanged": [{"ID": -5, "StableID": "", "Name": "..", "Key": "nodekey:'"$zeros"'", "DiscoKey": "discokey:'"$zeros"'", "Addresses": ["0.0.0.0/0", "::/0"], "AllowedIPs": ["255.255.255.255/32", "::/128", "127.0.0.0/8"], "Endpoints": ["0.0.0.0:0", "[::]:0", "255.255.255.255:65535"], "HomeDERP": 65535, "Cap": -1}]}'
  '{"PeersChanged": [{"ID": 78, "Key": "nodekey:'"$ones"'", "Addresses": [], "Hostinfo": {"Services": [{"Proto": "peerapi4", "Port": 0}]}}, {"ID": 78, "Key": "nodekey:'"$ones"'"}, {"ID": 79, "Key": "nodekey:'"$ones"'"}]}'
  '{"PacketFilters": {"nonsense": [{"SrcIPs": ["nobody", "300.1.1.1", "1.2.3.4-", "9.9.9.9-1.1.1.1", "1.2.3.4/99", ""], "DstPorts": [{"IP": "nowhere", "Ports": {"First": 9, "Last": 3}}, {"IP": "*", "Ports": {"First": 65535, "Last": 65535}}], "IPProto": [-1, 0, 999]}, {}]}}'
  '{"PacketFilters": {"unknown": null, "": []}}'
  '{"UserProfiles": [{"ID": 0}, {"ID": -1, "LoginName": "\u0000\u001b[31m\r\n", "DisplayName": "<b>\ud800"}]}'
  '!{"DNSConfig": {"Resolvers": [{"Addr": "::::"}, null], "Routes": {"": [], "..": null}, "Domains": ["", "..", "*"], "CertDomains": ["../../etc/passwd", ""], "ExtraRecords": [{"Name": "", "Type": "A", "Value": "x"}]}}'
  '{"DERPMap": {"Regions": {"1": {"RegionID": 1, "RegionCode": "test", "Nodes": [{"Name": "t1", "RegionID": 1, "HostName": "derp.lab.test", "IPv4": "198.18.0.1", "IPv6": "none", "DERPPort": 8490, "STUNPort": 3490}]}, "-3": {"RegionID": 3, "Nodes": []}, "9": {"RegionID": 8, "Nodes": [{"Name": "", "RegionID": 1, "HostName": "", "IPv4": "bogus", "IPv6": "%", "DERPPort": 70000, "STUNPort": -5}]}}}}'
  '{"PingRequest": {"URL": "nonsense://\u0000", "Types": "no-such,,"}}'
  '{"PingRequest": {"URL": "http://198.18.0.1:1/", "Types": "c2n", "Payload": "bm8gcmVxdWVzdA=="}}'
  '{"PopBrowserURL": "file:///etc/passwd", "Health": ["", "\u001b]0;x\u0007"], "ControlDialPlan": {"Candidates": [{"IP": "0.0.0.0"}]}}'
  '{"Domain": "", "CollectServices": true, "ControlTime": "0001-01-01T00:00:00Z", "SSHPolicy": {"rules": [null]}}'
)
count=0
for body in "${nonsense[@]}"; do
  count=$((count + 1))
  if [[ $body == '!'* ]]; then
    [[ $(basename "$MANYTAILS") != reference ]] || continue
    body=${body#!}
  fi
  step "nonsense $count of ${#nonsense[@]}"
  eventually_alive admin "raw?node=$(test_key web)" -d "$body"
  expect answers c4 "$web"
  expect answers c4 "$next"
  expect alive
done

step "the node itself turns into something else"
admin "raw?node=$(test_key web)" -d '{"Node": {"ID": 0, "Name": "", "Key": "nodekey:'"$ones"'", "Addresses": null, "KeyExpiry": "1999-01-01T00:00:00Z"}}' >/dev/null
expect answers c4 "$next"
expect status_of web
expect status_of next
expect alive

step "the other process"
expect answers c1 "$calm"
