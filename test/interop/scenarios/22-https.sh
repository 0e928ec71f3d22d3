#!/usr/bin/env bash
# A service with certificate files speaks HTTPS on the tailnet: a client that checks the
# name accepts it, the upstream is told, nothing is served there without TLS, and who did not
# come in is counted with the reason.
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

step "the page, the certificate's name checked"
eventually "$LIMIT" tls "$files" /1k -o /dev/null
sum=$(tls "$files" /100m | sha256sum | cut -d ' ' -f 1)
expect same "$(file_sum "$LAB_DIR/www/100m")" "$sum" "the download is not the file"
expect matches '^X-Forwarded-Proto: https$' tls "$sink" /headers
expect matches '^X-Tailscale-User-Loginname: alice@lab\.test$' tls "$sink" /headers

step "another name, and no TLS"
refute fetch c1 https://other.lab.test/1k --resolve "other.lab.test:443:$files" -o /dev/null
refute fetch c1 "http://$files:443/1k" --max-time 20 -o /dev/null
expect tls "$files" /1k -o /dev/null

step "who did not come in, and why"
refute on c1 openssl s_client -connect "$files:443" -verify_return_error -no-CAfile -no-CApath -no-CAstore </dev/null
refute on c1 openssl s_client -connect "$files:443" -tls1_1 -cipher ALL:@SECLEVEL=0 </dev/null
failed() { # REASON AT_LEAST
  status_of files | jq -e --argjson least "$2" ".tlsFailed.$1 >= \$least"
}
eventually "$LIMIT" failed refused 1
eventually "$LIMIT" failed version 1
eventually "$LIMIT" failed no_tls 1
