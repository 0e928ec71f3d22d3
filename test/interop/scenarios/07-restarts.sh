#!/usr/bin/env bash
# Services answer again after each of headscale, the relay, a client and an
# upstream was stopped and started.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
configure
service web "$NGINX"
service who "$SINK"
start
web=$(ip4 web) who=$(ip4 who)

all_answer() {
  local host
  for host in c1 c3; do
    eventually "$LIMIT" answers "$host" "$web"
    eventually "$LIMIT" fetch "$host" "http://$who/headers"
  done
}
all_answer

step "headscale"
control headscale stop
expect answers c1 "$web" # the tailnet works on without it
expect answers c3 "$web"
control headscale start
eventually "$LIMIT" all_online web who c1 c3
all_answer

step "the relay"
control derper stop
expect answers c1 "$web" # has a direct path
refute answers c3 "$web"
control derper start
all_answer

step "a client"
for host in c1 c3; do
  "$INTEROP_DIR/client-up" "$host" stop
done
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
all_answer

step "an upstream"
status_code() {
  on c1 curl -s -o /dev/null -w '%{http_code}' --max-time 20 "http://$web/1k"
}
stop_daemon nginx
expect same 502 "$(status_code)" "without its upstream"
expect fetch c1 "http://$who/headers" # its neighbour has another
"$INTEROP_DIR/upstream-up"
all_answer

expect alive
