#!/usr/bin/env bash
# Two services of one process reach each other over the tailnet: one whose
# upstream is the other's address is known there by its own name and tag.
client c1 tun
cat >"$SCENARIO_DIR/policy.json" <<'JSON'
{
  "tagOwners": {"tag:svc": ["alice@"]},
  "acls": [{"action": "accept", "src": ["alice@", "tag:svc"], "dst": ["tag:svc:*"]}]
}
JSON
control policy "$SCENARIO_DIR/policy.json"
serve who "$SINK"
inner=$(ip4 who)
stop
configure
service who "$SINK"
service front "http://$inner:80"
start
expect same "$inner" "$(ip4 who)" "another address than before"
front=$(ip4 front)

eventually "$LIMIT" matches '^X-Tailscale-Node-Name: front$' fetch c1 "http://$front/headers"
said=$(fetch c1 "http://$front/headers")
expect matches '^X-Tailscale-User-Loginname: tagged-devices$' echo "$said"
expect matches '^X-Tailscale-Node-Tags: tag:svc$' echo "$said"
expect matches '^X-Tailscale-Node-Name: c1$' fetch c1 "http://$inner/headers"
control policy star
