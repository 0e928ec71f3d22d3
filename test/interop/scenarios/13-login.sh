#!/usr/bin/env bash
# Without an auth key a service shows a login URL in its log and its status, and
# serves as soon as somebody has logged in there.
test_control -require-auth
configure
service web "$NGINX"
launch
url='http://198\.18\.0\.1:8090/auth/[0-9a-f]+'
eventually "$LIMIT" says web "$url"
eventually "$LIMIT" log_line "$url"
logged=$(log_line "$url")
expect says web "$logged"
expect admin auth -d "url=$logged"
eventually_alive test_node web
address=$(test_node web | jq -r '.Addresses[0] | split("/")[0]')
eventually "$LIMIT" says web "$address"
refute says web '/auth/'

step "a client logs in the same way"
other_client &
joining=$!
login() {
  local url
  url=$(ts c4 status --json | jq -er '.AuthURL | select(. != "")') && admin auth -d "url=$url"
}
eventually "$LIMIT" login
wait "$joining"
eventually "$LIMIT" answers c4 "$address"
