#!/usr/bin/env bash
# A node key that expires is replaced while downloads are under way, over a direct
# path and over the relay, and not one of them is cut; the neighbour never notices.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
SUT_KEY=$KEY_CLIENT # a user's nodes: headscale leaves an expired tagged node expired for good
configure
service web "$NGINX"
service plain "$NGINX"
start
web=$(ip4 web) plain=$(ip4 plain)
for host in c1 c3; do
  eventually "$LIMIT" sees "$host" web
  eventually "$LIMIT" answers "$host" "$web"
done
eventually "$LIMIT" direct c1 web

our_key() {
  status_of "$1" | jq -er .nodeKey
}

# slow HOST ADDRESS: the large file, spread over half a minute, in the background.
slow() {
  fetch "$1" "http://$2/100m" --limit-rate 4M -o "$SCENARIO_DIR/slow-$1" &
}

# rotated KEY: web has another key than this one, headscale knows it, and all is well.
rotated() {
  local now
  now=$(our_key web) || return 1
  [[ $now != "$1" ]] && same "$now" "$(field web .node_key)" && says web '"sentence": "connected to the tailnet"'
}

expire() {
  local before
  before=$(our_key web)
  hs nodes expire -i "$(field web .id)" >/dev/null
  eventually "$LIMIT" rotated "$before"
}

slow c1 "$web"
direct_download=$!
slow c3 "$web"
relayed_download=$!
eventually "$LIMIT" larger "$SCENARIO_DIR/slow-c1" 8000000
eventually "$LIMIT" larger "$SCENARIO_DIR/slow-c3" 8000000

step "expired once, and once more with the key that replaced it"
neighbour=$(our_key plain)
expire
at=$(stat -c %s "$SCENARIO_DIR/slow-c1")
eventually "$LIMIT" larger "$SCENARIO_DIR/slow-c1" $((at + 8000000))
expire

step "the downloads"
wait "$direct_download" || fail "the direct download broke off (curl: $?)"
wait "$relayed_download" || fail "the relayed download broke off (curl: $?)"
for host in c1 c3; do
  expect same "$(file_sum "$LAB_DIR/www/100m")" "$(file_sum "$SCENARIO_DIR/slow-$host")" "the download is not the file"
done

step "and afterwards"
expect answers c1 "$web"
expect answers c3 "$web"
eventually "$LIMIT" direct c1 web
expect same "$neighbour" "$(our_key plain)" "the neighbour's key changed"
expect answers c1 "$plain"

step "kill -9: the key that is in use is the one on disk"
key=$(our_key web)
crash
start
expect same "$key" "$(our_key web)" "it came back with another key"
eventually "$LIMIT" answers c1 "$web"
