# shellcheck shell=bash
# The page for Prometheus is well formed and counts each request of each service once under tsnsrv's names and ours,
# CPU of services and parts adds up to that of the threads, and `top` names the busy service first. The memory of
# a service rises with a download that its client does not take, and falls with its end; HTTP/2 is counted apart.
# Bytes and packets of each part are those that were fetched.

# metrics [EXPRESSION...]: fetches the page and checks it.
metrics() {
  in_ns "$NS_SUT" curl -sS --fail --max-time 20 http://127.0.0.1:9099/metrics | "$INTEROP_DIR/check-metrics" "$@"
}

configure
service busy "$NGINX"
service quiet "$NGINX"
service gone http://127.0.0.1:9
service secure "$NGINX" plaintext false listenAddr '":443"' \
  certificateFile "$LAB_DIR/certs/derp.lab.test.crt" keyFile "$LAB_DIR/certs/derp.lab.test.key"
start
client c1 tun
eventually "$LIMIT" sees c1 busy
eventually "$LIMIT" sees c1 gone
eventually "$LIMIT" answers c1 "$(ip4 busy)"
eventually "$LIMIT" answers c1 "$(ip4 quiet)"

step "what was counted before, and 400 requests more"
before=$(in_ns "$NS_SUT" curl -sS --fail http://127.0.0.1:9099/metrics)
answered=$("$INTEROP_DIR/check-metrics" <<<"$before" && sed -n 's/^manytails_requests_total{service_name="busy",code="200"} //p' <<<"$before")
url=http://$(ip4 busy)/1k
on c1 curl -sS --fail -o /dev/null --max-time 120 "$url?[1-400]"
expect test "$(on c1 curl -s -o /dev/null -w '%{http_code}' --max-time 30 "http://$(ip4 busy)/nothing-there")" = 404
expect test "$(on c1 curl -s -o /dev/null -w '%{http_code}' --max-time 30 "http://$(ip4 gone)/")" = 502

busy='service_name="busy"'
eventually "$LIMIT" metrics \
  "m['manytails_requests_total{$busy,code=\"200\"}'] == $answered + 400" \
  "m['manytails_requests_total{$busy,code=\"404\"}'] == 1" \
  "m['tsnsrv_response_status_classes{$busy,status_code_class=\"2xx\"}'] == $answered + 400" \
  "m['tsnsrv_response_status_classes{$busy,status_code_class=\"4xx\"}'] == 1" \
  "m['tsnsrv_request_duration_ns_count{$busy}'] == $answered + 401" \
  "m['tsnsrv_request_duration_ns{$busy,quantile=\"0.5\"}'] > 0" \
  "m['manytails_request_duration_seconds_count{$busy}'] == $answered + 401" \
  "m['manytails_response_bytes_total{$busy}'] >= 400 * 1024" \
  "m['tsnsrv_proxy_errors{service_name=\"gone\"}'] == 1" \
  "m['tsnsrv_proxy_errors{$busy}'] == 0" \
  "m['manytails_requests_total{service_name=\"gone\",code=\"502\"}'] == 1" \
  "m['manytails_services{state=\"up\"}'] == 4"

step "costs"
expect metrics \
  "abs(m['manytails_cpu_seconds_total'] - m['manytails_shard_cpu_seconds_total']) <= 0.001 * m['manytails_shards'] + 0.01 * m['manytails_shard_cpu_seconds_total']" \
  "m['manytails_cpu_seconds_total{$busy}'] > m['manytails_cpu_seconds_total{service_name=\"quiet\"}']" \
  "m['manytails_cpu_seconds_total{$busy,part=\"proxy\"}'] > m['manytails_cpu_seconds_total{service_name=\"quiet\",part=\"proxy\"}']" \
  "m['manytails_cpu_seconds_total{$busy,part=\"wireguard\"}'] > 0" \
  "m['manytails_cpu_seconds_total{$busy,part=\"netstack\"}'] > 0" \
  "m['manytails_wakeups_total{$busy}'] > m['manytails_wakeups_total{service_name=\"quiet\"}']" \
  "m['process_open_fds'] > 10 and m['process_resident_memory_bytes'] > 1e6"
table=$(sut_env in_ns "$NS_SUT" "$MANYTAILS" top --once)
echo "$table"
expect test "$(grep -vF '(shared)' <<<"$table" | sed -n 3p | cut -d ' ' -f 1)" = busy

step "memory rises with a download that nobody takes, and falls with it"
held() { # SERVICE [PART]: bytes
  status_of "$1" | jq -e "if \"${2:-}\" == \"\" then .cost.memoryBytesTotal else .cost.memoryBytes[\"${2:-}\"] end"
}
more_than() { # BYTES SERVICE [PART]
  [[ $(held "${@:2}") -gt $1 ]]
}
resting=$(held busy)
others=$(held quiet)
for part in other control relay wireguard netstack proxy; do
  expect more_than 0 busy "$part"
done
spawn slow-client "$NS_PREFIX-c1" curl -sS -o /dev/null --limit-rate 10k "http://$(ip4 busy)/100m"
eventually "$LIMIT" more_than $((resting + 30000)) busy
echo "resting $resting bytes, now $(held busy), of them $(held busy netstack) in the stack"
expect more_than 30000 busy netstack
expect test "$(held quiet)" -lt $((others + 20000))
expect metrics \
  "m['manytails_memory_bytes{$busy}'] > $resting + 30000" \
  "m['manytails_memory_bytes{$busy,part=\"netstack\"}'] > 30000" \
  "m['manytails_memory_bytes'] < m['process_resident_memory_bytes']" \
  "m['manytails_memory_bytes{service_name=\"\",part=\"control\"}'] > 0"
table=$(sut_env in_ns "$NS_SUT" "$MANYTAILS" top --once --sort memory)
echo "$table"
expect test "$(grep -vF '(shared)' <<<"$table" | sed -n 3p | cut -d ' ' -f 1)" = busy
stop_daemon slow-client
fell() {
  [[ $(held busy) -lt $((resting + 20000)) ]]
}
eventually "$LIMIT" fell

step "HTTP/2"
eventually "$LIMIT" sees c1 secure
secure='service_name="secure"'
tls() { # ARGUMENTS...
  fetch c1 "https://derp.lab.test/1k" --resolve "derp.lab.test:443:$(ip4 secure)" -o /dev/null "$@"
}
eventually "$LIMIT" tls --http1.1
expect tls --http2
expect tls --http2
eventually "$LIMIT" metrics \
  "m['manytails_protocol_requests_total{$secure,protocol=\"http2\"}'] == 2" \
  "m['manytails_protocol_requests_total{$secure,protocol=\"http1\"}'] >= 1" \
  "m['manytails_http2_connections_total{$secure}'] == 2" \
  "m['manytails_http2_connections{$secure}'] == 0" \
  "m['manytails_http2_resets_total{$secure}'] == 0" \
  "m['manytails_http2_given_up_total{$secure}'] == 0"
expect jq -e '.http2.requests == 2 and .http2.connectionsTotal == 2 and .http2.givenUp.protocol == 0' <(status_of secure)

step "a MiB is counted by every part that carries it, and by no other service"
carried() { # SERVICE
  status_of "$1" | jq -ce .cost.traffic
}
MIB=1048576
# carries SERVICE BEFORE JQ_FILTER...: each holds for what was counted since; room for headers, handshakes, repeats.
carries() {
  local after filter
  after=$(carried "$1")
  for filter in "${@:3}"; do
    jq -ne --argjson b "$2" --argjson a "$after" "
      def grown: . as \$k | (\$a | getpath(\$k)) - (\$b | getpath(\$k));
      def out(p): [p, \"bytesOut\"] | grown; def in(p): [p, \"bytesIn\"] | grown;
      def sent(p): [p, \"packetsOut\"] | grown; def got(p): [p, \"packetsIn\"] | grown;
      def about(x): . >= $MIB and . <= $MIB + x; $filter" >/dev/null || {
      echo "$1: not so: $filter"
      jq -n --argjson b "$2" --argjson a "$after" '{before: $b, after: $a}'
      return 1
    }
  done
}
mib() { # URL [ARGUMENTS...]
  fetch c1 "$1" -r 0-$((MIB - 1)) -o /dev/null "${@:2}"
}
before=$(carried busy)
others=$(carried quiet)
expect mib "http://$(ip4 busy)/100m"
# 1,228 bytes of it in a packet of 1,280, that in a message of 1,312.
eventually "$LIMIT" carries busy "$before" \
  'out("proxy") | about(1000)' 'in("proxy") | . > 0 and . < 1000' \
  'out("netstack") | about(100000)' 'sent("netstack") | . >= 850 and . <= 1100' 'got("netstack") > 10' \
  'out("wireguard") | about(140000)' 'sent("wireguard") | . >= 850 and . <= 1100' 'in("wireguard") > 500' \
  'out("paths") + out("relay") | about(200000)' 'sent("paths") + sent("relay") | . >= 850 and . <= 1200' \
  'out("tls") - out("relay") < 100000' 'out("control") < 100000'
expect carries quiet "$others" 'out("proxy") == 0' 'out("netstack") < 1000' 'out("wireguard") < 2000'
before=$(carried secure)
tls_mib() {
  mib "https://derp.lab.test/100m" --resolve "derp.lab.test:443:$(ip4 secure)"
}
expect tls_mib
eventually "$LIMIT" carries secure "$before" \
  'out("proxy") | about(20000)' 'out("tls") - out("relay") | about(40000)' 'sent("tls") >= 64'
expect metrics \
  "m['manytails_part_bytes_total{$secure,part=\"tls\",direction=\"out\"}'] >= $MIB" \
  "m['manytails_part_bytes_total{$busy,part=\"netstack\",direction=\"out\"}'] >= $MIB" \
  "m['manytails_part_packets_total{$busy,part=\"netstack\",direction=\"out\"}'] >= 850" \
  "m['manytails_part_packets_total{$busy,part=\"control\",direction=\"in\"}'] > 0" \
  "m['manytails_part_bytes_total{service_name=\"\",part=\"paths\"}'] > 0"

step "who is cut at the admin socket is counted"
hold='import socket, sys
held = [socket.socket(socket.AF_UNIX) for _ in range(20)]
for s in held: s.connect(sys.argv[1])
assert all(s.recv(1) == b"" for s in held[16:])'
expect python3 -c "$hold" "$LAB_DIR/$SUT.sock"
expect metrics "m['manytails_admin_clients_cut_total'] >= 4" "m['manytails_scrapes_cut_total'] == 0"

step "only where it was asked for"
refute in_ns "$NS_SUT" curl -sS --fail --max-time 5 "http://$SUT_IP:9099/metrics"
expect test "$(in_ns "$NS_SUT" curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:9099/debug/pprof/)" = 404
