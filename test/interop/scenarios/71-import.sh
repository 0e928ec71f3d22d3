#!/usr/bin/env bash
# A node of Tailscale's tsnet is taken over with its state folder: name, addresses, node id and keys stay,
# nobody registers anew, its old files stay as they are, and `manytails import` says all that beforehand.
client c1 tun
PEERS_BIN=$("$INTEROP_DIR/install-peers" reference)
ours=$MANYTAILS
configure
service web "$NGINX"
service who "$SINK"
state=$(sut_dir)/state

step "the nodes begin their life in tsnet"
MANYTAILS=$PEERS_BIN/reference
start
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$(ip4 web)"
stop
identity() { # NAME: what must not change
  node "$1" | jq -S '{id, name, given_name, machine_key, node_key, ip_addresses, created_at, register_method, tags}'
}
web=$(identity web)
who=$(identity who)
count=$(hs nodes list -o json | jq length)
sums() {
  (cd "$state" && find . -type f ! -name 'manytails.*' -exec sha256sum {} + | sort -k 2)
}
files=$(sums)

step "a look at what would be taken changes nothing"
MANYTAILS=$ours
said=$("$MANYTAILS" import --dry-run "$state/web")
expect matches "node id +$(jq -r .id <<<"$web")\$" echo "$said"
expect matches 'host name +web$' echo "$said"
expect matches 'machine key +taken' echo "$said"
expect matches 'node key +taken' echo "$said"
expect matches "control server +$SERVER_URL" echo "$said"
refute test -e "$state/web/manytails.state"

step "one is imported by hand, the other by starting; both are who they were"
expect "$MANYTAILS" import "$state/web"
expect test -s "$state/web/manytails.state"
refute "$MANYTAILS" import "$state/web" # it is ours already
SUT_KEY='' # without an auth key nobody could register
start
eventually "$LIMIT" answers c1 "$(ip4 web)"
eventually "$LIMIT" fetch c1 "http://$(ip4 who)/headers" -o /dev/null
expect same "$web" "$(identity web)"
expect same "$who" "$(identity who)"
expect same "$count" "$(hs nodes list -o json | jq length)" 'nodes'
expect log_line 'who: identity taken from tailscaled.state'
expect same "$files" "$(sums)" 'files of tsnet'

step "and they stay it over a restart of ours"
stop
start
eventually "$LIMIT" answers c1 "$(ip4 web)"
expect same "$web" "$(identity web)"
