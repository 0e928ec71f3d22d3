#!/usr/bin/env bash
# An ephemeral service is gone from headscale as soon as the program ends; an ordinary one
# stays registered.
client c1 tun
uid=$(hs users list -o json | jq -r '.[0].id')
hs preauthkeys create -u "$uid" --reusable --ephemeral -e 24h --tags tag:svc -o json |
  jq -r .key >"$SCENARIO_DIR/ephemeral.key"
configure
service passing "$NGINX" ephemeral true authkeyPath "$SCENARIO_DIR/ephemeral.key"
service staying "$NGINX"
start
eventually "$LIMIT" answers c1 "$(ip4 passing)"
eventually "$LIMIT" answers c1 "$(ip4 staying)"

step "the program ends"
stop
gone() {
  ! node passing
}
expect gone
expect node staying
