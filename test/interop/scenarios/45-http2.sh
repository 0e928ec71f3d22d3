#!/usr/bin/env bash
# Over the tailnet a client that offers HTTP/2 gets it, with many streams at once and bodies
# of any length both ways; a client that does not gets HTTP/1.1 from the same listener.
client c1 tun
configure
cert=(plaintext false listenAddr '":443"' certificateFile "$LAB_DIR/certs/derp.lab.test.crt" keyFile "$LAB_DIR/certs/derp.lab.test.key")
service files "$NGINX" "${cert[@]}"
service sink "$SINK" "${cert[@]}"
start
files=$(ip4 files) sink=$(ip4 sink)

tls() { # ADDRESS PATH ARGUMENTS...
  fetch c1 "https://derp.lab.test$2" --resolve "derp.lab.test:443:$1" "${@:3}"
}
load() { # PATH ARGUMENTS...: h2load says that every request succeeded
  on c1 h2load "${@:2}" --connect-to="$files:443" "https://derp.lab.test$1" >"$SCENARIO_DIR/h2load" || return 1
  grep -q ' 0 failed, 0 errored, 0 timeout' "$SCENARIO_DIR/h2load"
}

step "each client gets what it speaks"
eventually "$LIMIT" tls "$files" /1k -o /dev/null
expect same 2 "$(tls "$files" /1k -o /dev/null -w '%{http_version}')" "not HTTP/2"
expect same 1.1 "$(tls "$files" /1k -o /dev/null -w '%{http_version}' --http1.1)" "not HTTP/1.1"

step "identity and forwarding headers"
expect matches '^X-Forwarded-Proto: https$' tls "$sink" /headers
expect matches '^X-Tailscale-User-Loginname: alice@lab\.test$' tls "$sink" /headers -H 'x-tailscale-user-loginname: mallory'

step "100 MB down and up"
sum=$(tls "$files" /100m | sha256sum | cut -d ' ' -f 1)
expect same "$(file_sum "$LAB_DIR/www/100m")" "$sum" "the download is not the file"
expect same "$(file_sum "$LAB_DIR/www/100m")" "$(tls "$sink" /sink -T "$LAB_DIR/www/100m" | cut -d " " -f 2)" "the upload is not the file"

step "many streams on one connection, a slow reader beside them"
tls "$files" /100m --limit-rate 1M -o /dev/null &
slow=$!
expect load /1k -n 3000 -c 3 -m 100
kill "$slow"
wait "$slow" || true
expect tls "$files" /1k -o /dev/null
