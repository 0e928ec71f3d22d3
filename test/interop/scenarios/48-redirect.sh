#!/usr/bin/env bash
# With redirectHTTP a client that speaks plain HTTP is sent to HTTPS on the same service: to
# the name it asked for if the certificate is for it, else to the full name; without the option nothing listens there.
client c1 tun
configure
cert=(plaintext false certificateFile "$LAB_DIR/certs/derp.lab.test.crt" keyFile "$LAB_DIR/certs/derp.lab.test.key")
service sends "$NGINX" "${cert[@]}" listenAddr '":8443"' redirectHTTP true
service silent "$NGINX" "${cert[@]}" listenAddr '":443"'
start
ip=$(ip4 sends)
full=$(status_of sends | jq -r '.fullName | rtrimstr(".")')

sent_to() { # HOST PATH ARGUMENTS...: status and where it is sent
  on c1 curl -sS --max-time 20 --resolve "$1:80:$ip" -o /dev/null -w '%{http_code} %{redirect_url}' "http://$1$2" "${@:3}"
}

step "where requests are sent"
eventually "$LIMIT" sent_to web /
expect same "301 https://$full:8443/a/b?c=d" "$(sent_to web '/a/b?c=d')" "a name that the certificate does not know"
expect same "301 https://derp.lab.test:8443/" "$(sent_to derp.lab.test /)" "the certificate's name"
expect same "308 https://derp.lab.test:8443/form" "$(sent_to derp.lab.test /form -d x=y)" "a form"
refute matches -i strict-transport on c1 curl -sS --max-time 20 -D - -o /dev/null "http://$ip/"

step "the redirect leads to the page"
expect fetch c1 http://derp.lab.test/1k -L --resolve "derp.lab.test:80:$ip" --resolve "derp.lab.test:8443:$ip" -o /dev/null

step "without the option there is nothing on port 80"
refute on c1 curl -sS --max-time 10 -o /dev/null "http://$(ip4 silent)/"
