#!/usr/bin/env bash
# A real auth server decides who gets through: redirects and refusals reach the client,
# grants carry its headers, and neither forged headers nor a dead server let anybody in.
client c1 tun
spawn auth "$NS_SUT" "$INTEROP_DIR/auth-server" 9002
configure
auth=http://127.0.0.1:9002
service web "$SINK" authURL "$auth" authCopyHeaders '{Remote-User: "", X-Groups: ""}'
service plain "$SINK"
service open "$SINK" authURL "$auth" authPath /open authCopyHeaders '{Remote-User: ""}'
service deny "$SINK" authURL "$auth" authPath /deny
service challenge "$SINK" authURL "$auth/challenge"
service bypass "$SINK" authURL "$auth" authPath /deny authBypassForTailnet true authCopyHeaders '{Remote-User: ""}'
service slow "$SINK" authURL "$auth" authPath /slow authTimeout 10ms
service dead "$SINK" authURL http://192.0.2.1:9999 authTimeout 100ms
start
for name in web plain open deny challenge bypass slow dead; do
  eventually "$LIMIT" sees c1 "$name"
done

whole() { # NAME [ARGUMENTS...]: the response, head and body
  on c1 curl -sS -i --max-time 30 "http://$(ip4 "$1")/headers" "${@:2}"
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

step "no authURL"
expect matches '^HTTP/1.1 200' whole plain
expect nobody_asked

step "granted: the upstream hears the user, the server what it needs to know"
expect matches '^Remote-User: testuser' whole open -H 'Remote-User: root' -H 'remote_user: root'
said=$(asked)
expect matches '"X-Forwarded-Method", "GET"' echo "$said"
expect matches '"X-Forwarded-Proto", "http"' echo "$said"
expect matches '"X-Forwarded-Uri", "/headers"' echo "$said"
refute matches 'root' echo "$said"
refute matches 'root' whole open -H 'Remote-User: root' -H 'remote_user: root'

step "401 with its Location; 307 without one"
forget_questions
said=$(whole deny)
expect matches '^HTTP/1.1 401' echo "$said"
expect matches '^Location: /login' echo "$said"
said=$(whole challenge)
expect matches '^HTTP/1.1 307' echo "$said"
expect matches '^WWW-Authenticate: Basic realm=lab' echo "$said"

step "a redirect to a page that answers 200 is no permission"
forget_questions
said=$(whole web -H 'Cookie: session=bad')
expect matches '^HTTP/1.1 302' echo "$said"
expect matches '^Location: http://login.test/login' echo "$said"
expect same 1 "$(asked | wc -l)" 'questions'

step "with the cookie it goes on, and the answer's cookie reaches the client"
said=$(whole web -H 'Cookie: session=good' -H 'X-Groups: admins' -H 'X_Groups: admins')
expect matches '^HTTP/1.1 200' echo "$said"
expect matches '^Set-Cookie: seen=1' echo "$said"
expect matches '^Remote-User: testuser' echo "$said"
refute matches 'admins' echo "$said"

step "users of the tailnet pass where that is set"
forget_questions
said=$(whole bypass -H 'Remote-User: root')
expect matches '^HTTP/1.1 200' echo "$said"
refute matches 'root' echo "$said"
expect nobody_asked

step "an upload waits for the answer, and arrives whole"
sum=$(on c1 curl -sS --max-time 120 -T "$LAB_DIR/www/1m" "http://$(ip4 open)/sink")
expect same "1048576 $(file_sum "$LAB_DIR/www/1m")" "$sum"
expect matches '^HTTP/1.1 401' on c1 curl -sS -i --max-time 60 -T "$LAB_DIR/www/1m" "http://$(ip4 deny)/sink"

step "too slow, not there, gone: 502, and never the page"
for name in slow dead; do
  said=$(whole "$name")
  expect matches '^HTTP/1.1 502' echo "$said"
  expect matches '^Authorization service unavailable' echo "$said"
done
stop_daemon auth
expect matches '^HTTP/1.1 502' whole open
expect matches '^HTTP/1.1 200' whole plain
