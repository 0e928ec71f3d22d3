#!/usr/bin/env bash
# The status says in words where each service stands: connected with address, requests and peers,
# or the reason why not and since when; and as JSON it has every member that docs/protocol/status.md
# promises.
client c1 tun
configure
service web "$NGINX"
start
web=$(ip4 web)
eventually "$LIMIT" answers c1 "$web"
status() {
  sut_env in_ns "$NS_SUT" env TZ=UTC "$MANYTAILS" status "$@"
}

step "in words"
expect matches "^web +${web//./[.]} +[1-9][0-9]* .* connected to the tailnet since [0-9]{2}:[0-9]{2}$" status
expect matches '^1 service: 1 connected to the tailnet; up for' status
expect matches "^  addresses +${web//./[.]}" status web
expect matches '^  requests +[1-9][0-9]*: [1-9][0-9]* ok' status web
expect matches '^    c1 +(direct|relay)' status web
refute status nobody

step "as JSON"
page=$INTEROP_DIR/../../docs/protocol/status.md
sed -n '/^## Always/,/^## There/s/^| `\([A-Za-z]*\)` .*/\1/p' "$page" >"$SCENARIO_DIR/promised"
[[ $(wc -l <"$SCENARIO_DIR/promised") -ge 14 ]] || fail "the page promises nearly nothing"
status --json web >"$SCENARIO_DIR/json"
while read -r member; do
  expect jq -e --arg m "$member" 'has($m)' "$SCENARIO_DIR/json"
done <"$SCENARIO_DIR/promised"

step "the control server goes away"
control headscale stop
eventually "$LIMIT" matches '^web .*(control server unreachable|turned away by the control server) since [0-9]{2}:[0-9]{2}$' status
expect matches '^  what to do' status web
expect answers c1 "$web"
control headscale start
eventually "$LIMIT" matches 'connected to the tailnet since' status
