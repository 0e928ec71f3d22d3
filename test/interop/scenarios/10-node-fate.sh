#!/usr/bin/env bash
# The status says in words that headscale renamed, expired or deleted a node, the
# neighbours go on, and a start with an auth key brings all of them back.
client c1 tun
SUT_KEY=$KEY_CLIENT # a user's nodes: headscale leaves an expired tagged node expired for good
configure
for name in plain named old gone; do
  service "$name" "$NGINX"
done
start

step "on stored keys alone, so that nothing registers again by itself"
stop
SUT_KEY=''
start
plain=$(ip4 plain) old=$(ip4 old)
eventually "$LIMIT" answers c1 "$plain"
expect says plain "$plain"

step "renamed"
hs nodes rename -i "$(field named .id)" shiny >/dev/null
eventually "$LIMIT" says named 'shiny\.lab\.ts\.test'
expect answers c1 "$(ip4 shiny)"

step "expired"
hs nodes expire -i "$(field old .id)" >/dev/null
eventually "$LIMIT" says old 'expired|log ?in|authenticat'
eventually "$LIMIT" silent c1 "$old"
expect answers c1 "$plain"

step "deleted; headscale says so when it is next asked, so make that soon"
hs nodes delete -i "$(field gone .id)" --force >/dev/null
control headscale kill
control headscale start
eventually "$LIMIT" says gone 'deleted|removed|not found|not know|log ?in|authenticat'
expect answers c1 "$plain"

step "the neighbours' status does not complain"
refute says plain 'expired|deleted|removed|not found|log ?in'
expect alive

step "with a key"
stop
SUT_KEY=$KEY_CLIENT
TSNET_FORCE_LOGIN=1 launch # what the reference needs to use its key again
eventually_alive all_online plain shiny old gone
eventually "$LIMIT" answers c1 "$(ip4 gone)"
eventually "$LIMIT" answers c1 "$(ip4 old)"
expect same "$old" "$(ip4 old)" "another address than before"
forget shiny
