#!/usr/bin/env bash
# A limited upstream serves those who wait in order, refuses those beyond the queue, and
# an upstream that only knows a weak cipher is reached where that is allowed.
client c1 tun
need nginx
cat >"$SCENARIO_DIR/nginx.conf" <<CONF
daemon off;
user root;
worker_processes 1;
pid $SCENARIO_DIR/nginx.id;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path $SCENARIO_DIR/body;
  proxy_temp_path $SCENARIO_DIR/proxy;
  fastcgi_temp_path $SCENARIO_DIR/fastcgi;
  uwsgi_temp_path $SCENARIO_DIR/uwsgi;
  scgi_temp_path $SCENARIO_DIR/scgi;
  server {
    listen $SUT_IP:9444 ssl;
    ssl_certificate $LAB_DIR/certs/derp.lab.test.crt;
    ssl_certificate_key $LAB_DIR/certs/derp.lab.test.key;
    ssl_protocols TLSv1.2;
    ssl_ciphers ECDHE-ECDSA-AES128-CCM8:AES128-CCM8:DHE-RSA-AES128-CCM8:@SECLEVEL=0;
    location / { return 200 "weak"; }
  }
}
CONF
spawn weak-nginx "$NS_SUT" nginx -c "$SCENARIO_DIR/nginx.conf" -p "$SCENARIO_DIR" -e stderr
configure
service few "$SINK" upstreamMaxConnections 1 upstreamQueue 2 upstreamQueueTimeout 5m
service hurry "$SINK" upstreamMaxConnections 1 upstreamQueue 2 upstreamQueueTimeout 50ms
service strict https://upstream.lab.test:9444
service weak https://upstream.lab.test:9444 upstreamAllowInsecureCiphers true
start
# shellcheck disable=SC2046 # one word each
for name in $(service_names); do
  eventually "$LIMIT" sees c1 "$name"
done

code() { # SERVICE PATH
  on c1 curl -s -o /dev/null -w '%{http_code}' --max-time 120 "http://$(ip4 "$1")$2"
}

step "one connection: the next two wait, the fourth is refused"
half_way c1 "$(ip4 few)" first
first=$HALF_WAY
code few /1k >"$SCENARIO_DIR/second" &
second=$!
eventually "$LIMIT" matches '"waiting": *1' status_of few
code few /64k >"$SCENARIO_DIR/third" &
third=$!
eventually "$LIMIT" matches '"waiting": *2' status_of few
expect same 503 "$(code few /1k)"
HALF_WAY=$first
second_half first
wait "$second" "$third"
expect same 200 "$(<"$SCENARIO_DIR/second")"
expect same 200 "$(<"$SCENARIO_DIR/third")"

step "who waits too long gets 504"
half_way c1 "$(ip4 hurry)" other
expect same 504 "$(code hurry /1k)"
second_half other
expect same 200 "$(code hurry /1k)"

step "a weak cipher only where it is allowed"
expect same 502 "$(code strict /)"
expect same 200 "$(code weak /)"
stop_daemon weak-nginx
