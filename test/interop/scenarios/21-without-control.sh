#!/usr/bin/env bash
# Started while headscale is down, services answer the clients they know from
# before, and they are online again when it is back.
client c1 tun
client c3 tun TS_DEBUG_NEVER_DIRECT_UDP=1
# The attribute asks Tailscale's own nodes to keep the network map; ours always does.
cat >"$SCENARIO_DIR/policy.json" <<'JSON'
{
  "tagOwners": {"tag:svc": ["alice@"]},
  "acls": [{"action": "accept", "src": ["alice@"], "dst": ["tag:svc:*", "alice@:*"]}],
  "nodeAttrs": [{"target": ["tag:svc"], "attr": ["cache-network-maps"]}]
}
JSON
control policy "$SCENARIO_DIR/policy.json"
configure
service web "$NGINX"
service who "$SINK"
start
web=$(ip4 web) who=$(ip4 who)
for host in c1 c3; do
  eventually "$LIMIT" answers "$host" "$web"
  eventually "$LIMIT" fetch "$host" "http://$who/headers"
done
crash
control headscale stop

step "without headscale"
launch
for host in c1 c3; do
  eventually_alive answers "$host" "$web"
  expect matches '^X-Tailscale-User-Loginname: alice@lab\.test$' fetch "$host" "http://$who/headers"
done
expect download c1 "$web"
expect says web 'control|unreach|offline|refused'

step "headscale is back"
control headscale start
eventually_alive all_online web who
for host in c1 c3; do
  eventually "$LIMIT" answers "$host" "$web"
done
eventually "$LIMIT" direct c1 web
control policy star
