#!/usr/bin/env bash
# A configuration of several files registers with a key from a credential, gives each service the
# defaults of the file that includes its own, and sends a header whose value stands in a file;
# `check` sees what would run, a reload takes a new value over, and an included file that is
# broken is named and changes nothing.
client c1 tun
dir=$(sut_dir)
mkdir -p "$dir/conf.d" "$dir/credentials"
SUT_KEY='' # nothing but the credential says who we are
(umask 077 && printf '  %s\n' "$KEY_SVC" >"$dir/credentials/authkey")
echo 'Bearer first' >"$dir/token"
cat >"$dir/services.yaml" <<END
prometheusAddr: ""
oldYAMLDefaults: false
expandEnvironment: true
defaults:
  plaintext: true
  listenAddr: ":http"
  timeout: 5m
  authkeyPath: credential:authkey
services:
  - name: web
    upstream: http://\${UPSTREAM_HOST}:9000
include: conf.d
END
cat >"$dir/conf.d/10-who.yaml" <<END
services:
  - name: who
    upstream: $SINK
    upstreamHeaderFiles: {X-Secret: "$dir/token"}
END
manytails() {
  export CREDENTIALS_DIRECTORY=$dir/credentials UPSTREAM_HOST=127.0.0.1 TS_STATE_DIR=$dir/state
  sut_env in_ns "$NS_SUT" "$MANYTAILS" "$@"
}
export CREDENTIALS_DIRECTORY=$dir/credentials UPSTREAM_HOST=127.0.0.1 TS_STATE_DIR=$dir/state

step "what would run"
expect matches '^2 services would run' manytails check "$dir/services.yaml"
expect matches '^  who: http on :http -> http://127.0.0.1:9001' manytails check "$dir/services.yaml"

step "it runs"
launch
eventually_alive all_online web who
who=$(ip4 who)
eventually "$LIMIT" answers c1 "$(ip4 web)"
eventually "$LIMIT" fetch c1 "http://$who/headers" -o /dev/null
expect matches '^X-Secret: Bearer first$' fetch c1 "http://$who/headers" -H 'X-Secret: of the client'
expect test -f "$dir/state/web/manytails.state" -a -f "$dir/state/who/manytails.state"

step "the secret changes"
echo 'Bearer second' >"$dir/token"
expect matches '^who: changed \(upstreamHeaders\)' manytails reload
eventually "$LIMIT" matches '^X-Secret: Bearer second$' fetch c1 "http://$who/headers"

step "an included file is broken"
printf 'services:\n  - name: late\n    upstream: [\n' >"$dir/conf.d/20-late.yaml"
refute manytails reload
eventually "$LIMIT" log_line 'conf.d/20-late.yaml:[0-9]+:[0-9]+: '
refute manytails check "$dir/services.yaml"
expect matches '^X-Secret: Bearer second$' fetch c1 "http://$who/headers"

step "and mended"
printf 'services:\n  - name: late\n    upstream: %s\n' "$NGINX" >"$dir/conf.d/20-late.yaml"
expect matches '^late: added' manytails reload
eventually_alive online late
eventually "$LIMIT" answers c1 "$(ip4 late)"
refute grep -q 'Bearer' "$LOG_DIR/$(sut_daemon).log"
