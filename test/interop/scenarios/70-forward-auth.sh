#!/usr/bin/env bash
# A real auth server decides who gets through, over HTTP/1.1 and over HTTP/2: redirects and refusals reach the
# client, grants carry its headers, and neither forged headers nor a dead server let anybody in.
client c1 tun
spawn auth "$NS_SUT" "$INTEROP_DIR/auth-server" 9002
configure
auth=http://127.0.0.1:9002
tls=(plaintext false listenAddr '":443"' certificateFile "$LAB_DIR/certs/derp.lab.test.crt" keyFile "$LAB_DIR/certs/derp.lab.test.key")
service web "$SINK" "${tls[@]}" authURL "$auth" authCopyHeaders '{Remote-User: "", X-Groups: ""}'
service plain "$SINK" "${tls[@]}"
service http "$SINK" authURL "$auth" authPath /open authCopyHeaders '{Remote-User: ""}'
service open "$SINK" "${tls[@]}" authURL "$auth" authPath /open authCopyHeaders '{Remote-User: ""}'
service deny "$SINK" "${tls[@]}" authURL "$auth" authPath /deny
service wall "$SINK" "${tls[@]}" authURL "$auth" authPath /wall
service challenge "$SINK" "${tls[@]}" authURL "$auth/challenge"
service bypass "$SINK" "${tls[@]}" authURL "$auth" authPath /deny authBypassForTailnet true authCopyHeaders '{Remote-User: ""}'
service slow "$SINK" "${tls[@]}" authURL "$auth" authPath /slow authTimeout 10ms
service dead "$SINK" "${tls[@]}" authURL http://192.0.2.1:9999 authTimeout 100ms
start
for name in web plain http open deny wall challenge bypass slow dead; do
  eventually "$LIMIT" sees c1 "$name"
done

ask() { # NAME PATH [ARGUMENTS...]: with HTTP/$version over TLS
  on c1 curl -sS --max-time 120 --cacert "$CA_FILE" "--http$version" --resolve "derp.lab.test:443:$(ip4 "$1")" \
    "https://derp.lab.test$2" "${@:3}"
}

whole() { # NAME [ARGUMENTS...]: the response, head and body, in lower case: names of HTTP/2 have no other
  ask "$1" /headers -i "${@:2}" | tr A-Z a-z
}

asked() {
  in_ns "$NS_SUT" curl -sS "$auth/asked"
}

nobody_asked() {
  local said
  said=$(asked)
  same '' "$said" 'the auth server was asked'
}

forget_questions() {
  asked >/dev/null
}

for version in 1.1 2; do
  step "HTTP/$version: no authURL"
  forget_questions
  expect matches "^http/$version 200" whole plain
  expect nobody_asked

  step "HTTP/$version: granted: the upstream hears the user, the server what it needs to know"
  expect matches '^remote-user: testuser' whole open -H 'Remote-User: root' -H 'remote_user: root'
  said=$(asked)
  expect matches '"X-Forwarded-Method", "GET"' echo "$said"
  expect matches '"X-Forwarded-Proto", "https"' echo "$said"
  expect matches '"X-Forwarded-Host", "derp.lab.test"' echo "$said"
  expect matches '"X-Forwarded-Uri", "/headers"' echo "$said"
  refute matches 'root' echo "$said"
  refute matches 'root' whole open -H 'Remote-User: root' -H 'remote_user: root'

  step "HTTP/$version: 401 with its Location and its body; 307 without a Location; 403 with a page of 1 MB"
  said=$(whole deny)
  expect matches "^http/$version 401" echo "$said"
  expect matches '^location: /login' echo "$said"
  expect matches '^stop$' echo "$said"
  said=$(whole challenge)
  expect matches "^http/$version 307" echo "$said"
  expect matches '^www-authenticate: basic realm=lab' echo "$said"
  refute matches '^location:' echo "$said"
  expect same "1048576 403" "$(ask wall / -o "$SCENARIO_DIR/page" -w '%{size_download} %{http_code}')"

  step "HTTP/$version: a redirect to a page that answers 200 is no permission"
  forget_questions
  said=$(whole web -H 'Cookie: session=bad')
  expect matches "^http/$version 302" echo "$said"
  expect matches '^location: http://login.test/login' echo "$said"
  expect matches '^log in$' echo "$said"
  expect same 1 "$(asked | wc -l)" 'questions'

  step "HTTP/$version: with the cookie it goes on, and the answer's cookie reaches the client"
  said=$(whole web -H 'Cookie: session=good' -H 'X-Groups: admins' -H 'X_Groups: admins')
  expect matches "^http/$version 200" echo "$said"
  expect matches '^set-cookie: seen=1' echo "$said"
  expect matches '^remote-user: testuser' echo "$said"
  refute matches 'admins' echo "$said"

  step "HTTP/$version: users of the tailnet pass where that is set"
  forget_questions
  said=$(whole bypass -H 'Remote-User: root')
  expect matches "^http/$version 200" echo "$said"
  refute matches 'root' echo "$said"
  expect nobody_asked

  step "HTTP/$version: an upload waits for the answer, and arrives whole"
  sum=$(ask open /sink -T "$LAB_DIR/www/1m")
  expect same "1048576 $(file_sum "$LAB_DIR/www/1m")" "$sum"
  expect matches "^HTTP/$version 401" ask deny /sink -i -T "$LAB_DIR/www/1m"

  step "HTTP/$version: too slow, not there: 502, and never the page"
  for name in slow dead; do
    said=$(whole "$name")
    expect matches "^http/$version 502" echo "$said"
    expect matches '^authorization service unavailable' echo "$said"
  done
done

step "many questions at once, one connection"
expect matches 'requests: 400 total.* 400 succeeded, 0 failed' \
  on c1 h2load -n 400 -c 1 -m 20 --connect-to="$(ip4 open):443" https://derp.lab.test/headers

step "without TLS the auth server hears of http"
forget_questions
expect matches '^Remote-User: testuser' on c1 curl -sS -i --max-time 30 "http://$(ip4 http)/headers"
expect matches '"X-Forwarded-Proto", "http"' asked

step "the auth server is gone: 502, and never the page"
stop_daemon auth
for version in 1.1 2; do
  expect matches "^http/$version 502" whole open
  expect matches "^http/$version 200" whole plain
done
