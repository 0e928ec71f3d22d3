#!/usr/bin/env bash
# An upload of 100 MB arrives intact, events pass while their stream is open, and
# an upgraded connection carries bytes both ways.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
serve who "$SINK"
ip=$(ip4 who)
for host in c1 c3; do
  eventually "$LIMIT" fetch "$host" "http://$ip/headers"

  step "$host uploads"
  wanted="104857600 $(file_sum "$LAB_DIR/www/100m")"
  expect same "$wanted" "$(fetch "$host" "http://$ip/sink" -H 'Expect:' -T "$LAB_DIR/www/100m")"
  expect same "$wanted" "$(fetch "$host" "http://$ip/sink" -H 'Transfer-Encoding: chunked' -T "$LAB_DIR/www/100m")"

  step "$host reads events"
  events=$SCENARIO_DIR/events-$host
  fetch "$host" "http://$ip/events?id=$host" -N -o "$events" &
  reading=$!
  eventually "$LIMIT" grep -q first "$events"
  expect kill -0 "$reading" # the stream has not ended
  refute grep -q last "$events"
  fetch "$host" "http://$ip/release?id=$host"
  wait "$reading" || fail "the stream broke"
  expect grep -q last "$events"

  step "$host upgrades"
  expect on "$host" "$INTEROP_DIR/upgrade-echo" "$ip" 80 /ws
done
