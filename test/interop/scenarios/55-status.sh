#!/usr/bin/env bash
# The status says in words where each service stands: connected with address, requests and peers,
# or the reason why not and since when; and as JSON it has every member that docs/protocol/status.md
# promises. An upstream that fails is named with its reason until it answers again.
client c1 tun
need python3
configure
service web "$NGINX"
service gone http://127.0.0.1:9011
start
web=$(ip4 web)
eventually "$LIMIT" answers c1 "$web"
status() {
  sut_env in_ns "$NS_SUT" env TZ=UTC "$MANYTAILS" status "$@"
}

step "in words"
expect matches "^web +${web//./[.]} +[1-9][0-9]* .* connected to the tailnet since [0-9]{2}:[0-9]{2}$" status
expect matches '^2 services: 2 connected to the tailnet; up for' status
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

step "the upstream fails, in words, until it answers again"
upstream_says() { # MEMBER VALUE
  status --json gone | jq -e --arg v "$2" "(.upstream // {}) | .$1 | tostring == \$v"
}
eventually "$LIMIT" sees c1 gone
url=http://$(ip4 gone)/
expect same 502502 "$(on c1 curl -s -o /dev/null -o /dev/null -w '%{http_code}' --max-time 60 "$url" "$url")" "not refused twice"
eventually "$LIMIT" upstream_says times 2
expect matches "^ +upstream http://127[.]0[.]0[.]1:9011: connection refused \(2 times, last at [0-9]{2}:[0-9]{2}:[0-9]{2}\)$" status
expect matches "^  upstream +http://127[.]0[.]0[.]1:9011: connection refused \(2 times" status gone
expect matches '^  what to do +Start the server behind the service' status gone
refute jq -e 'has("upstream")' "$SCENARIO_DIR/json"
spawn late-upstream "$NS_SUT" python3 -m http.server 9011 --bind 127.0.0.1 --directory "$LAB_DIR/www"
eventually "$LIMIT" in_ns "$NS_SUT" curl -sf -o /dev/null http://127.0.0.1:9011/1k
expect answers c1 "$(ip4 gone)"
refute matches 'connection refused' status
stop_daemon late-upstream
expect matches "^  upstream +http://127[.]0[.]0[.]1:9011: answers again since [0-9:]{8}; before that: connection refused \(2 times, last at" status gone
