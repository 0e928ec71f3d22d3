#!/usr/bin/env bash
# Where only an HTTP proxy with a password leads out, a service joins and answers through it.
behind_proxy
client c1 tun
export HTTPS_PROXY=$PROXY
serve web "$NGINX"
eventually "$LIMIT" sees c1 web
eventually "$LIMIT" answers c1 "$(ip4 web)"
expect download c1 "$(ip4 web)"

step "the password is in no log"
refute grep -r pa55word "$LOG_DIR/$(sut_daemon).log"

step "a proxy that refuses is named in the status"
stop
export HTTPS_PROXY=http://someone:wrong@$CORE_IP:8888
launch
eventually "$LIMIT" says web 'proxy at .* refused: 401|proxy at .* refused: 407'
stop

unset HTTPS_PROXY
in_the_open
start
