#!/usr/bin/env bash
# A service that an administrator has yet to approve says so, and serves once it
# is approved, without a restart.
test_control -require-approval
configure
service web "$NGINX"
launch
eventually_alive test_node web
eventually "$LIMIT" says web 'approv|NeedsMachineAuth|machine auth'
expect alive

step "a client, approved as well"
approve() {
  admin "approve?node=$(test_key "$1")" -X POST
}
other_client &
joining=$!
eventually "$LIMIT" test_node c4
approve c4
wait "$joining"
address=$(test_node web | jq -r '.Addresses[0] | split("/")[0]')
refute answers c4 "$address"

step "the approval"
approve web
eventually "$LIMIT" answers c4 "$address"
refute says web 'approv|NeedsMachineAuth|machine auth'
