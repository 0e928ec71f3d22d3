#!/usr/bin/env bash
# Three services answer a kernel client and a userspace client with the caller's
# identity in the headers, and forged identity headers never get through.
client c1 tun
client c2 userspace
configure
service web "$NGINX"
service who "$SINK"
service files "$NGINX"
start
for name in web who files; do
  eventually "$LIMIT" sees c1 "$name"
  eventually "$LIMIT" sees c2 "$name"
done

step "all three answer both clients"
for name in web files; do
  eventually "$LIMIT" answers c1 "$(ip4 "$name")"
  eventually "$LIMIT" answers c2 "$name.lab.ts.test"
done

headers() { # HOST ADDRESS
  fetch "$1" "http://$2/headers" -H 'X-Tailscale-User: evil' -H 'x-tailscale-user-loginname: evil' \
    -H 'X-Tailscale-Made-Up: evil' -H 'X_Tailscale_User: evil' -H 'X_TAILSCALE_USER_LOGINNAME: evil' \
    -H 'Tailscale-User-Login: evil' -H 'X-Innocent: kept'
}

check() { # CLIENT ADDRESS
  local said
  eventually "$LIMIT" headers "$1" "$2"
  said=$(headers "$1" "$2")
  expect matches '^X-Tailscale-User: userid:[0-9]+$' echo "$said"
  expect matches '^X-Tailscale-User-Loginname: alice@lab\.test$' echo "$said"
  expect matches '^X-Tailscale-User-Displayname: Alice Example$' echo "$said"
  expect matches '^X-Tailscale-Node: nodeid:[0-9]+$' echo "$said"
  expect matches "^X-Tailscale-Node-Name: $1\$" echo "$said"
  expect matches '^X-Innocent: kept$' echo "$said"
  refute matches 'evil' echo "$said"
}

step "identity"
check c1 "$(ip4 who)"
check c2 who.lab.ts.test

step "tailscale nc"
# It ends when its input does, so the input stays open until the answer is there.
raw() { # HOST
  printf 'GET /headers HTTP/1.1\r\nHost: who\r\nConnection: close\r\n\r\n' >&8
  ts "$1" nc who 80 <&8
}
mkfifo "$SCENARIO_DIR/input"
exec 8<>"$SCENARIO_DIR/input"
expect matches '^X-Tailscale-User-Loginname: alice@lab\.test' raw c1
expect matches '^X-Tailscale-User-Loginname: alice@lab\.test' raw c2
