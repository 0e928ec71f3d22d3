#!/usr/bin/env bash
# Certificate files may come late, are read again when they are exchanged, and a bad exchange
# changes nothing and is told in the status; a session is resumed at any service with the same certificate.
client c1 tun
configure
certs=$SCENARIO_DIR/certs
mkdir -p "$certs/1" "$certs/2"
ln -s 1 "$certs/now"
own_certificate() { # FOLDER NAME
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" -keyout "$1/tls.key.new" \
    -addext "subjectAltName=DNS:$2,DNS:web.lab.test" -out "$1/tls.crt.new" 2>/dev/null
  mv "$1/tls.crt.new" "$1/tls.crt"
  mv "$1/tls.key.new" "$1/tls.key"
}
cert=(plaintext false listenAddr '":443"' certificateFile "$certs/now/tls.crt" keyFile "$certs/now/tls.key")
service one "$NGINX" "${cert[@]}"
service two "$NGINX" "${cert[@]}"
service three "$NGINX" "${cert[@]}"
start
one=$(ip4 one)

s_client() { # ADDRESS ARGUMENTS...: what OpenSSL's client says of a request
  printf 'GET /1k HTTP/1.0\r\nHost: web.lab.test\r\n\r\n' |
    on c1 openssl s_client -ign_eof -connect "$1:443" -servername web.lab.test "${@:2}" 2>&1
}
shows() { # ADDRESS NAME: the certificate's
  matches "subject=CN = $2\$" s_client "$1"
}

step "the files come late"
expect says one 'waiting for the certificate: .*No such file'
own_certificate "$certs/1" first.lab.test
eventually "$LIMIT" shows "$one" first.lab.test
expect says one '"trouble": ?""'

step "the folder is exchanged as Kubernetes does it"
own_certificate "$certs/2" second.lab.test
ln -s 2 "$certs/next"
mv -T "$certs/next" "$certs/now"
eventually "$LIMIT" shows "$one" second.lab.test

step "the key is not the certificate's: the old pair stays, and the status says why"
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$certs/other.key" 2>/dev/null
cp "$certs/2/tls.key" "$certs/right.key"
mv "$certs/other.key" "$certs/2/tls.key"
eventually "$LIMIT" says one 'certificate file changed, reload failed: .*does not belong to this certificate'
expect shows "$one" second.lab.test
mv "$certs/right.key" "$certs/2/tls.key"
eventually "$LIMIT" says one '"trouble": ?""'

step "every name that the certificate covers, any other one, and none"
expect on c1 curl -sS --fail --max-time 20 --cacert "$certs/2/tls.crt" --resolve "second.lab.test:443:$one" https://second.lab.test/1k -o /dev/null
expect on c1 curl -sS --fail --max-time 20 --cacert "$certs/2/tls.crt" --resolve "web.lab.test:443:$one" https://web.lab.test/1k -o /dev/null
expect on c1 curl -sS --fail --max-time 20 -k --resolve "unknown.lab.test:443:$one" https://unknown.lab.test/1k -o /dev/null
expect on c1 curl -sS --fail --max-time 20 -k "https://$one/1k" -o /dev/null

step "a session goes on at a new connection and at the other services, which are on other shards"
for version in -tls1_2 -tls1_3; do
  for other in one two three; do
    expect matches '^New, TLS' s_client "$one" "$version" -sess_out "$SCENARIO_DIR/session"
    expect matches '^Reused, TLS' s_client "$(ip4 "$other")" "$version" -sess_in "$SCENARIO_DIR/session"
  done
done
expect refute says one 'expires soon'
