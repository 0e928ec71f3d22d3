#!/usr/bin/env bash
# A policy change cuts a client off from a service, by port and altogether, and
# restores it, without a restart of anything.
client c1 tun
configure
service web "$NGINX"
service other "$NGINX" listenAddr '":81"'
start
web=$(ip4 web) other=$(ip4 other)

policy() { # DESTINATIONS
  local rules=''
  [[ -z $1 ]] || rules='{"action": "accept", "src": ["alice@"], "dst": ['$1']}'
  cat >"$SCENARIO_DIR/policy.json" <<JSON
{"tagOwners": {"tag:svc": ["alice@"]}, "acls": [$rules]}
JSON
  control policy "$SCENARIO_DIR/policy.json"
}
eventually "$LIMIT" answers c1 "$web"
eventually "$LIMIT" answers c1 "$other:81"

step "only port 81: the service still is a peer, its filter closes"
policy '"tag:svc:81"'
eventually "$LIMIT" silent c1 "$web"
expect answers c1 "$other:81"
expect sees c1 web

step "nothing at all"
policy ''
eventually "$LIMIT" silent c1 "$other:81"
expect silent c1 "$web"

step "restored"
control policy star
eventually "$LIMIT" answers c1 "$web"
eventually "$LIMIT" answers c1 "$other:81"
