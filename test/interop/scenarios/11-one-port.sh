#!/usr/bin/env bash
# Services that share one UDP port serve one client at once, and each goes on
# when the relay restarts or headscale expires or deletes the other.
client c1 tun
configure
# One thread has one UDP port: with one service more than cores, two share one.
names=()
for ((i = 0; i <= $(nproc); i++)); do
  names+=("s$i")
  service "s$i" "$SINK"
done
start
for name in "${names[@]}"; do
  eventually "$LIMIT" sees c1 "$name"
  eventually "$LIMIT" answers c1 "$(ip4 "$name")"
  eventually "$LIMIT" direct c1 "$name"
done

step "two of them at one address"
a='' b=''
declare -A at
for name in "${names[@]}"; do
  eventually "$LIMIT" address c1 "$name"
  address=$(address c1 "$name")
  echo "$name $address"
  if [[ -n ${at[$address]:-} && -z $b ]]; then
    a=${at[$address]} b=$name
  fi
  at[$address]=$name
done
if [[ -z $b ]]; then
  [[ $(basename "$MANYTAILS") == reference ]] || fail "no two services share a port"
  a=s0 b=s1 # tsnet has one port per node
fi
ip_a=$(ip4 "$a") ip_b=$(ip4 "$b")

step "$a and $b by turns"
for _ in 1 2 3 4 5; do
  expect answers c1 "$ip_a"
  expect answers c1 "$ip_b"
done

step "both at once"
download c1 "$ip_a" &
first=$!
expect download c1 "$ip_b"
wait "$first" || fail "the download from $a failed"

step "the relay restarts"
control derper stop
control derper start
expect answers c1 "$ip_a"
expect answers c1 "$ip_b"

step "$a expires while $b is in use"
half_way c1 "$ip_b" expiry
hs nodes expire -i "$(field "$a" .id)" >/dev/null
eventually "$LIMIT" silent c1 "$ip_a"
second_half expiry

step "$a is deleted while $b is in use"
half_way c1 "$ip_b" deletion
id=$(field "$a" .id)
hs nodes delete -i "$id" --force >/dev/null
unknown_to_c1() {
  ts c1 status --json | jq -e --arg n "$a." '[.Peer[].DNSName | select(startswith($n))] == []'
}
eventually "$LIMIT" unknown_to_c1
second_half deletion
expect direct c1 "$b"
expect alive
