#!/usr/bin/env bash
# Killed at any instant, while it starts, loads its configuration anew or has its keys rotated,
# the program loses nothing: every service comes back with the name, the address and the machine
# key that it had, and headscale has not one node more.
# KILLS (30) says how often, SEED (random) makes the same instants again.
KILLS=${KILLS:-30}
SEED=${SEED:-$RANDOM}
echo "SEED=$SEED KILLS=$KILLS"
RANDOM=$SEED
client c1 tun
SUT_KEY=$KEY_CLIENT # a user's nodes: headscale leaves an expired tagged node expired for good
SERVICES=6
write() { # ROUND: the configuration differs a little from round to round; never half a file
  local i config
  config=$(sut_dir)/services.yaml
  {
    echo 'services:'
    for ((i = 0; i < SERVICES; i++)); do
      printf '  - name: keep%d\n    upstream: %s\n    plaintext: true\n    listenAddr: ":80"\n' "$i" "$NGINX"
      printf '    stateDir: %s/state/keep%d\n' "$(sut_dir)" "$i"
      ((i != $1 % SERVICES)) || printf '    upstreamHeaders: {X-Round: "%s"}\n' "$1"
    done
  } >"$config.new"
  mv "$config.new" "$config"
}
configure
write 0
start

identities() {
  hs nodes list -o json | jq -cS 'map(select(.given_name | startswith("keep")) |
    {id, given_name, ip_addresses, machine_key}) | sort_by(.id)[]'
}
reload() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" reload >/dev/null 2>&1
}
before=$(identities)
expect same "$SERVICES" "$(wc -l <<<"$before")" "nodes"
crash

for ((round = 1; round <= KILLS; round++)); do
  kind=$((round % 3)) pause=$((RANDOM % 1500)) pick=$((RANDOM % SERVICES))
  write "$round"
  launch
  case $kind in
    0) ;; # while it starts
    1) # while it loads anew, again and again
      (
        trap - EXIT
        for ((i = 1; i < 1000; i++)); do
          write $((round + i))
          reload || true
        done
      ) &
      ;;
    2) # while a key is replaced
      # shellcheck disable=SC2046 # one word each
      eventually_alive all_online $(service_names)
      hs nodes expire -i "$(jq -er "select(.given_name == \"keep$pick\").id" <<<"$before")" >/dev/null
      ;;
  esac
  sleep "$(printf '0.%03d' $((pause % 1000)))" # the instant of this round
  ((pause < 1000)) || sleep 0.5
  alive >/dev/null || fail "round $round: it ended by itself"
  crash
  if ((kind == 1)); then
    kill $! 2>/dev/null || true
    wait $! 2>/dev/null || true
  fi
  same "$before" "$(identities)" "round $round (kind $kind, $pause ms, SEED=$SEED): other nodes than before" ||
    fail "state was lost"
done

step "and all of them answer"
write 0
start
expect same "$before" "$(identities)" "other nodes than before"
for ((i = 0; i < SERVICES; i++)); do
  eventually "$LIMIT" answers c1 "$(ip4 "keep$i")"
done
for ((i = 0; i < SERVICES; i++)); do
  refute log_line "keep$i: .*(damaged|registering anew|new keys)"
done
