#!/usr/bin/env bash
# SIGTERM lets a request under way finish, takes no new connection, and ends with status 0; what does
# not finish within 10 s is cut, with status 0 too; a second signal ends the program at once, with status 1: what
# is under way is cut as well, and an ephemeral node is logged out without waiting for the answer.
client c1 tun
uid=$(hs users list -o json | jq -r '.[0].id')
hs preauthkeys create -u "$uid" --reusable --ephemeral -e 24h --tags tag:svc -o json |
  jq -r .key >"$SCENARIO_DIR/ephemeral.key"
configure
service who "$SINK"
service brief "$NGINX" ephemeral true authkeyPath "$SCENARIO_DIR/ephemeral.key"
start
who=$(ip4 who)
eventually "$LIMIT" fetch c1 "http://$who/headers" -o /dev/null
stop

# run_it: the program, and its exit status in a file when it has ended.
run_it() {
  rm -f "$SCENARIO_DIR/status"
  (
    trap - EXIT
    status=0
    sut_env in_ns "$NS_SUT" "$MANYTAILS" -config "$(sut_dir)/services.yaml" \
      >>"$LOG_DIR/$(sut_daemon).log" 2>&1 || status=$?
    echo "$status" >"$SCENARIO_DIR/status"
  ) &
  eventually "$LIMIT" is_running
  eventually "$LIMIT" fetch c1 "http://$who/headers" -o /dev/null
}
is_running() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json who | jq -e '.state == "running"'
}
signal() { # to the process that answers at the socket
  kill "-$1" "$(sut_env in_ns "$NS_SUT" "$MANYTAILS" status --json | jq -er .pid)"
}
gone() { # PID
  [[ ! -e /proc/$1 ]]
}
ended() {
  test -s "$SCENARIO_DIR/status"
}

step "a request under way finishes"
run_it
half_way c1 "$who" finishes
signal TERM
eventually "$LIMIT" silent c1 "$who"
second_half finishes
eventually "$LIMIT" ended
expect same 0 "$(cat "$SCENARIO_DIR/status")" "exit status"

step "one that does not is cut"
run_it
half_way c1 "$who" stays
sut_env in_ns "$NS_SUT" "$MANYTAILS" stop
eventually "$LIMIT" ended
expect same 0 "$(cat "$SCENARIO_DIR/status")" "exit status"
eventually "$LIMIT" gone "$HALF_WAY" # it was told, and does not wait for its own time limit
! wait "$HALF_WAY" || fail "the download came to its end"
expect log_line 'who: requests under way are cut'
in_ns "$NS_SUT" curl -sS "$SINK/release?id=stays" || true

step "a second signal"
run_it
eventually "$LIMIT" node brief
half_way c1 "$who" hurry
signal TERM
signal INT
eventually "$LIMIT" ended
expect same 1 "$(cat "$SCENARIO_DIR/status")" "exit status"
expect log_line 'asked twice: ending at once'
eventually "$LIMIT" gone "$HALF_WAY" # it was told
! wait "$HALF_WAY" || fail "the download came to its end"
in_ns "$NS_SUT" curl -sS "$SINK/release?id=hurry" || true
forgotten() {
  ! node brief
}
eventually "$LIMIT" forgotten
