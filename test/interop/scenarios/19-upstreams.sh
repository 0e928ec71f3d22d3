#!/usr/bin/env bash
# Upstreams behind a Unix socket and behind TLS are served intact, and one whose
# certificate has another name is refused unless told to be trusted.
client c1 tun
configure
service unix http://localhost upstreamUnixAddr "$LAB_DIR/upstream.sock"
service tls https://upstream.lab.test:9443
service wrong https://wrong.lab.test:9443
service trusted https://wrong.lab.test:9443 insecureHTTPS true
start
for name in unix tls trusted; do
  eventually "$LIMIT" answers c1 "$(ip4 "$name")"
  expect download c1 "$(ip4 "$name")"
done

step "the wrong name"
code() {
  on c1 curl -s -o /dev/null -w '%{http_code}' --max-time 20 "http://$1/1k"
}
expect same 502 "$(code "$(ip4 wrong)")"
