#!/usr/bin/env bash
# A configuration that is loaded anew touches the services that changed and no other: a broken
# file changes nothing, nor does one that names a certificate or a secret that is no good; an added service answers without a restart, a change finishes what is
# under way with the old settings, a removed service lets its request finish and is then gone,
# another identity starts anew.
client c1 tun
manytails() {
  sut_env in_ns "$NS_SUT" "$MANYTAILS" "$@"
}

# The configuration with the services named; WHO_KEYS and GOING_KEYS are more keys of two of them.
WHO_KEYS=() GOING_KEYS=()
write() { # NAME...
  local name
  configure
  for name in "$@"; do
    case $name in
      who) service who "$SINK" "${WHO_KEYS[@]}" ;;
      going) service going "$SINK" "${GOING_KEYS[@]}" ;;
      broken) service broken '"::"' plaintext maybe ;;
      secure) service secure "$NGINX" plaintext false listenAddr '":443"' certificateFile "$(sut_dir)/now.crt" keyFile "$(sut_dir)/now.key" ;;
      keyed) service keyed "$NGINX" authkeyPath "$(sut_dir)/authkey" ;;
      *) service "$name" "$NGINX" ;;
    esac
  done
}

write web who going
start
web=$(ip4 web) who=$(ip4 who) going=$(ip4 going) pid=$(alive)
eventually "$LIMIT" answers c1 "$web"
eventually "$LIMIT" fetch c1 "http://$who/headers" -o /dev/null
connects() { # NAME: how often it connected to the control server
  status_of "$1" | jq -er .control.connects
}
refuse_status() { # NAME: the program does not know it any more
  ! status_of "$1" 2>/dev/null
}
before=$(connects web)

step "a broken file"
write web broken
refute manytails reload
kill -HUP "$pid"
eventually "$LIMIT" log_line 'not reloaded: nothing was changed'
expect answers c1 "$web"
expect says going running
refute says broken starting

step "a certificate that is not there, one whose key is another's, and one that is right"
for name in now other; do
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$name.lab.test" \
    -keyout "$(sut_dir)/$name.key" -out "$(sut_dir)/$name.right" 2>/dev/null
done
write web who going secure
# What must be said, by the program that runs and by `check`, and nothing may have changed.
refused() { # TEXT
  refute manytails reload
  expect matches "$1" answer_of reload
  expect matches "$1" answer_of check "$(sut_dir)/services.yaml"
  refute says secure starting
  refute says keyed starting
  expect answers c1 "$web"
}
answer_of() {
  manytails "$@" 2>&1 || true
}
refused 'now.crt: No such file'
cp "$(sut_dir)/other.right" "$(sut_dir)/now.crt"
refused 'the key in .*now.key does not belong to this certificate'
cp "$(sut_dir)/now.right" "$(sut_dir)/now.crt"
expect matches '^secure: added' manytails reload
eventually_alive online secure

step "an auth key that is not there, and one that is"
write web who going secure keyed
refused 'authkeyPath .*authkey": No such file'
printf '%s\n' "$SUT_KEY" >"$(sut_dir)/authkey"
expect matches '^keyed: added' manytails reload
eventually_alive online keyed
write web who going
expect matches '^keyed: removed' manytails reload

step "a dry run"
write web who going added
expect matches '^added: would be added' manytails reload --dry-run
expect matches '^3 services left alone' manytails reload --dry-run
refute says added starting

step "a service more, by signal"
kill -HUP "$pid"
eventually_alive online added
eventually "$LIMIT" answers c1 "$(ip4 added)"
expect same "$before" "$(connects web)" "web connected anew"

step "other settings, while a request is under way"
refute matches '^X-Which: new$' fetch c1 "http://$who/headers"
half_way c1 "$who" changed
WHO_KEYS=(upstreamHeaders '{X-Which: new}')
write web who going added
expect matches '^who: changed \(upstreamHeaders\)' manytails reload
expect matches '^X-Which: new$' fetch c1 "http://$who/headers"
second_half changed

step "a service less, while a request is under way"
half_way c1 "$going" removed
write web who added
expect matches '^going: removed' manytails reload
second_half removed
eventually_alive refuse_status going
expect silent c1 "$going"

step "it comes back as the node that it was"
write web who going added
expect matches '^going: added' manytails reload
eventually_alive online going
expect same "$going" "$(ip4 going)" "another address"
eventually "$LIMIT" fetch c1 "http://$going/headers" -o /dev/null

step "another identity"
GOING_KEYS=(stateDir "$(sut_dir)/state/other")
write web who going added
forget going
expect matches '^going: restarts \(stateDir\)' manytails reload
eventually_alive online going
refute same "$going" "$(ip4 going)"
eventually "$LIMIT" fetch c1 "http://$(ip4 going)/headers" -o /dev/null
expect same "$before" "$(connects web)" "web connected anew"
expect same "$pid" "$(alive)" "another process"
