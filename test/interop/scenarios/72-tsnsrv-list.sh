#!/usr/bin/env bash
# What tsnsrv's own tests expect of prefixes, routes, headers and forward auth holds on a
# real tailnet, case by case.
client c1 tun
need nginx
{
  cat <<CONF
daemon off;
user root;
worker_processes 1;
pid $SCENARIO_DIR/nginx.id;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  default_type text/plain;
  merge_slashes off;
CONF
  for kind in client_body proxy fastcgi uwsgi scgi; do
    echo "  ${kind}_temp_path $SCENARIO_DIR/$kind;"
  done
  cat <<CONF
  # Prefixes: a prefix that was not stripped is seen.
  server {
    listen 127.0.0.1:9010;
    location /subpath { return 400; }
    location / { return 200 "ok"; }
  }
  # Routes: the path as the upstream sees it.
  server {
    listen 127.0.0.1:9011;
    location / { return 200 "\$request_uri"; }
  }
}
CONF
} >"$SCENARIO_DIR/nginx.conf"
spawn routes-nginx "$NS_SUT" nginx -c "$SCENARIO_DIR/nginx.conf" -p "$SCENARIO_DIR" -e stderr
spawn auth "$NS_SUT" "$INTEROP_DIR/auth-server" 9002
ok=http://127.0.0.1:9010
path=http://127.0.0.1:9011
auth=http://127.0.0.1:9002
configure
service prefixes "$ok" prefixes '[/subpath, /other/subpath, "funnel:/funnel-only-subpath", "tailnet:/tsnet-only-subpath"]'
service r1 "$path/" prefixes '[/]'
service r2 "$path/api/push-github" prefixes '[/api/push-github]'
service r3 "$path/api" prefixes '[/api]'
service r4 "$path/api/push-github" prefixes '[/]'
service r5 "$path/" prefixes '[/_matrix]' stripPrefix false
service r6 "$path/base"
service r7 "$path/base/"
service r8 "$path"
service text "$path" prefixes '[/api]' prefixMatch text
service segment "$path" prefixes '[/api]'
service nobody "$SINK" suppressWhois true
service headers "$SINK" upstreamHeaders '{X-Something-Custom: hi there, X-Forwarded-Server: something-made-up.example.com}'
service a1 "$SINK"
service a2 "$SINK" authURL "$auth" authPath /open authCopyHeaders '{Remote-User: ""}'
service a3 "$SINK" authURL "$auth" authPath /deny
service a4 "$SINK" authURL "$auth" authPath /deny authBypassForTailnet true
service a7 "$SINK" authURL "$auth" authPath /slow authTimeout 10ms
service a8 "$SINK" authURL http://192.0.2.1:9999 authTimeout 100ms
service a9 "$SINK" authURL "$auth" authPath /challenge
start
# shellcheck disable=SC2046 # one word each
for name in $(service_names); do
  eventually "$LIMIT" sees c1 "$name"
done

get() { # SERVICE PATH [ARGUMENTS...]: status, a blank, body
  on c1 curl -sS -g --path-as-is --max-time 60 -o "$SCENARIO_DIR/body" -w '%{http_code} ' "http://$(ip4 "$1")$2" "${@:3}" &&
    cat "$SCENARIO_DIR/body"
}

step "16.2 prefixes, on the tailnet"
for p in /subpath /other/subpath /tsnet-only-subpath; do
  expect same '200 ok' "$(get prefixes "$p")"
  expect same '200 ok' "$(get prefixes "$p/hi")"
done
expect matches '^404 404 page not found$' get prefixes /
expect matches '^404 ' get prefixes /funnel-only-subpath

step "16.3 routes"
route() { # SERVICE REQUESTED SEEN
  expect same "200 $3" "$(get "$1" "$2")"
}
route r1 / /
route r2 /api/push-github /api/push-github
route r3 /api/push-github /api/push-github
route r4 / /api/push-github
route r5 /_matrix/client/versions /_matrix/client/versions
route r6 /x /base/x
route r7 / /base/
route r8 /x%2Fy /x%2Fy
route text /apifoo /foo
expect matches '^404 ' get segment /apifoo
route segment /api/foo /foo
expect matches '^301 ' get r8 //x/../y

step "16.4 headers"
said=$(get nobody /headers -H 'X-Tailscale-Evil: yes' -H 'x-tailscale-evil: yes' -H 'x-tAILSCALE-LoginName: yes')
expect matches '^200 ' echo "$said"
refute grep -i 'x-tailscale-' <<<"$said"
said=$(get headers /headers -H 'X-Forwarded-Server: theirs')
expect matches '^X-Something-Custom: hi there$' echo "$said"
expect matches '^X-Forwarded-Server: something-made-up.example.com$' echo "$said"
refute matches 'theirs' echo "$said"

step "16.5 forward auth"
asked() {
  in_ns "$NS_SUT" curl -sS "$auth/asked"
}
asked >/dev/null
expect matches '^200 ' get a1 /headers
expect same '' "$(asked)" 'nobody is asked without authURL'
expect matches '^Remote-User: testuser$' get a2 /headers
said=$(asked)
expect matches '"X-Forwarded-Method", "GET"' echo "$said"
expect matches '"X-Forwarded-Proto", "http' echo "$said"
expect matches '^401 stop' get a3 /headers
expect matches '^[Ll]ocation: /login' on c1 curl -sS -D - -o /dev/null "http://$(ip4 a3)/"
expect matches 'forward|deny' asked
expect matches '^200 ' get a4 /headers
expect same '' "$(asked)" 'a user of the tailnet is not asked about'
expect matches '^502 Authorization service unavailable' get a7 /headers
expect matches '^502 Authorization service unavailable' get a8 /headers
said=$(on c1 curl -sS -D - -o /dev/null "http://$(ip4 a9)/")
expect matches '^HTTP/1.1 307' echo "$said"
expect matches '^WWW-Authenticate: Basic realm=lab' echo "$said"

step "the access log has a line for each, with tsnsrv's first words"
expect log_line 'served service=r3 original=/api/push-github rewritten=http://127.0.0.1:9011/api/push-github origin_login=alice@lab.test origin_node=c1.* http_status=200'
expect log_line 'served service=segment original=/apifoo .*http_status=404'
expect log_line 'served service=a3 .*http_status=401 .*auth=denied'
stop_daemon routes-nginx
stop_daemon auth
