#!/usr/bin/env bash
# Chromium opens a service over HTTPS: the page, sixty fetches and a WebSocket go over one
# HTTP/2 connection, and the page says who is asking.
client c1 tun
need chromium python3
configure
service web http://127.0.0.1:9010 plaintext false listenAddr '":443"' \
  certificateFile "$LAB_DIR/certs/derp.lab.test.crt" keyFile "$LAB_DIR/certs/derp.lab.test.key"
spawn browser-upstream "$NS_SUT" python3 "$INTEROP_DIR/browser-upstream" 9010 "$SCENARIO_DIR/report.json"
start
web=$(ip4 web)
# The lab's CA is in no store that the browser reads; its certificate is named by its key instead.
pin=$(openssl x509 -in "$LAB_DIR/certs/derp.lab.test.crt" -noout -pubkey | openssl pkey -pubin -outform der |
  openssl dgst -sha256 -binary | base64)

browser() { # ARGUMENTS...: opens the page with a fresh profile
  rm -rf "$SCENARIO_DIR/profile"
  on c1 timeout "$LIMIT" chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage \
    --user-data-dir="$SCENARIO_DIR/profile" --ignore-certificate-errors-spki-list="$pin" \
    --host-resolver-rules="MAP derp.lab.test $web" --window-size=900,500 "$@" https://derp.lab.test/ 2>"$SCENARIO_DIR/browser.log"
}
dom() { # ID: what the page shows there
  sed -n "s/.*<dd id=\"$1\">\\([^<]*\\)<.*/\\1/p" "$SCENARIO_DIR/dom.html"
}
netlog() { # JQ_FILTER
  jq -e "$1" "$SCENARIO_DIR/net.json"
}

step "the page as the browser has it at its end"
eventually "$LIMIT" fetch c1 https://derp.lab.test/other --resolve "derp.lab.test:443:$web"
expect browser --log-net-log="$SCENARIO_DIR/net.json" --dump-dom
browser --log-net-log="$SCENARIO_DIR/net.json" --dump-dom >"$SCENARIO_DIR/dom.html" || fail "the browser did not finish"
expect matches '<title>done</title>' cat "$SCENARIO_DIR/dom.html"
expect same alice@lab.test "$(dom who)" "the page is not for the one who asked"
expect same h2 "$(dom protocol)" "the page came over"
expect same "60 answers over h2" "$(dom fetched)" "the fetches"
expect same "5 and 100000 bytes came back" "$(dom socket)" "the WebSocket"
expect same h2 "$(jq -r .protocol "$SCENARIO_DIR/report.json")" "the page reported"

step "its network log: one HTTP/2 session, and the WebSocket is a stream of it"
expect netlog '[.events[] | select(.params.headers?) | .params.headers[] | select(test("^:protocol: websocket"))] | length > 0'
expect netlog '.constants.logEventTypes.HTTP2_SESSION as $t | [.events[] | select(.type == $t and .phase == 1 and .params.host == "derp.lab.test:443")] | length == 1'

step "a picture of it"
expect browser --screenshot="$LOG_DIR/browser.png"
expect larger "$LOG_DIR/browser.png" 5000
stop_daemon browser-upstream
