#!/usr/bin/env bash
# Where only an HTTP proxy with a password leads out, a service joins and answers through it.
cat >"$SCENARIO_DIR/tinyproxy.conf" <<CONF
Port 8888
Listen $CORE_IP
BasicAuth someone pa55word
LogLevel Connect
CONF
spawn tinyproxy "$NS_CORE" tinyproxy -d -c "$SCENARIO_DIR/tinyproxy.conf"

step "nothing but the proxy can be reached, no name is known"
hosts=/etc/netns/$NS_SUT/hosts
cp "$hosts" "$SCENARIO_DIR/hosts"
echo "127.0.0.1 localhost" >"$hosts"
in_ns "$NS_SUT" nft -f - <<NFT
table inet wall {
  chain output {
    type filter hook output priority 0;
    oifname "lo" accept
    ip daddr $CORE_IP tcp dport 8888 accept
    reject
  }
}
NFT

client c1 tun
export HTTPS_PROXY=http://someone:pa55word@$CORE_IP:8888
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
in_ns "$NS_SUT" nft delete table inet wall
cp "$SCENARIO_DIR/hosts" "$hosts"
start
stop_daemon tinyproxy
