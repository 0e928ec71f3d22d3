// reference serves what the scenarios ask manytails to serve, with Tailscale's
// own tsnet: it reads the same configuration, sets the same identity headers
// and answers `status --json`. A scenario that fails with it says something
// about the scenario or the lab, not about manytails.
//
//	reference -config FILE     (TS_URL, TS_AUTHKEY, MANYTAILS_SOCKET)
//	reference status --json
package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"gopkg.in/yaml.v3"
	"tailscale.com/client/local"
	"tailscale.com/tsnet"
)

type serviceConfig struct {
	Name             string `yaml:"name"`
	Upstream         string `yaml:"upstream"`
	UpstreamUnixAddr string `yaml:"upstreamUnixAddr"`
	ListenAddr       string `yaml:"listenAddr"`
	StateDir         string `yaml:"stateDir"`
	InsecureHTTPS    bool   `yaml:"insecureHTTPS"`
}

// A service is one node and the proxy in front of its upstream.
type service struct {
	conf   serviceConfig
	target *url.URL
	node   *tsnet.Server
	local  *local.Client

	refusal atomic.Value // string: why the last map request failed; tsnet only logs it
}

func newService(conf serviceConfig) (*service, error) {
	target, err := url.Parse(conf.Upstream)
	if err != nil {
		return nil, err
	}
	s := &service{conf: conf, target: target}
	s.node = &tsnet.Server{
		Hostname:   conf.Name,
		Dir:        conf.StateDir,
		ControlURL: os.Getenv("TS_URL"),
		AuthKey:    os.Getenv("TS_AUTHKEY"),
		Logf:       s.logf,
		UserLogf:   s.logf,
	}
	return s, nil
}

func (s *service) logf(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	if _, why, ok := strings.Cut(line, "initial fetch failed "); ok {
		s.refusal.Store(why)
	}
	log.Printf("%s: %s", s.conf.Name, line)
}

func (s *service) serve() error {
	if err := s.node.Start(); err != nil {
		return err
	}
	lc, err := s.node.LocalClient()
	if err != nil {
		return err
	}
	s.local = lc
	ln, err := s.node.Listen("tcp", s.conf.ListenAddr)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:       s.rewrite,
		Transport:     &http.Transport{DialContext: s.dial, TLSClientConfig: &tls.Config{InsecureSkipVerify: s.conf.InsecureHTTPS}},
		FlushInterval: -1,
	}
	return http.Serve(ln, proxy)
}

func (s *service) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if s.conf.UpstreamUnixAddr != "" {
		return new(net.Dialer).DialContext(ctx, "unix", s.conf.UpstreamUnixAddr)
	}
	return s.node.Dial(ctx, network, addr)
}

func (s *service) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(s.target)
	r.SetXForwarded()
	r.Out.Host = r.In.Host
	for name := range r.Out.Header {
		plain := strings.ToLower(strings.ReplaceAll(name, "_", "-"))
		if strings.HasPrefix(plain, "x-tailscale-") || strings.HasPrefix(plain, "tailscale-") {
			delete(r.Out.Header, name)
		}
	}
	who, err := s.local.WhoIs(r.In.Context(), r.In.RemoteAddr)
	if err != nil {
		s.logf("no identity for %s: %v", r.In.RemoteAddr, err)
		return
	}
	h := r.Out.Header
	h.Set("X-Tailscale-User", who.UserProfile.ID.String())
	h.Set("X-Tailscale-User-LoginName", who.UserProfile.LoginName)
	h.Set("X-Tailscale-User-DisplayName", who.UserProfile.DisplayName)
	h.Set("X-Tailscale-Node", who.Node.ID.String())
	h.Set("X-Tailscale-Node-Name", who.Node.ComputedName)
	if len(who.Node.Tags) > 0 {
		h.Set("X-Tailscale-Node-Tags", strings.Join(who.Node.Tags, ", "))
	}
}

type serviceStatus struct {
	Name      string   `json:"name"`
	State     string   `json:"state"`
	LoginURL  string   `json:"login_url,omitempty"`
	Problems  []string `json:"problems,omitempty"`
	DNSName   string   `json:"dns_name,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
}

func (s *service) status(ctx context.Context) serviceStatus {
	out := serviceStatus{Name: s.conf.Name, State: "starting"}
	if s.local == nil {
		return out
	}
	st, err := s.local.Status(ctx)
	if err != nil {
		out.Problems = append(out.Problems, err.Error())
		return out
	}
	out.State, out.LoginURL, out.Problems = st.BackendState, st.AuthURL, st.Health
	if why, ok := s.refusal.Load().(string); ok {
		out.Problems = append(out.Problems, why)
	}
	if st.Self != nil {
		out.DNSName = st.Self.DNSName
		if st.Self.KeyExpiry != nil && st.Self.KeyExpiry.Before(time.Now()) {
			out.Problems = append(out.Problems, "the node key has expired")
		}
	}
	for _, ip := range st.TailscaleIPs {
		out.Addresses = append(out.Addresses, ip.String())
	}
	return out
}

func serveStatus(path string, services []*service) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return err
	}
	go http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var all []serviceStatus
		for _, s := range services {
			all = append(all, s.status(r.Context()))
		}
		json.NewEncoder(w).Encode(map[string]any{"services": all})
	}))
	return nil
}

func askStatus(path string) error {
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	res, err := client.Get("http://status/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(os.Stdout, res.Body)
	return err
}

func run(config, socket string) error {
	text, err := os.ReadFile(config)
	if err != nil {
		return err
	}
	var conf struct {
		Services []serviceConfig `yaml:"services"`
	}
	if err := yaml.Unmarshal(text, &conf); err != nil {
		return err
	}
	var services []*service
	for _, sc := range conf.Services {
		s, err := newService(sc)
		if err != nil {
			return err
		}
		services = append(services, s)
	}
	if err := serveStatus(socket, services); err != nil {
		return err
	}
	for _, s := range services {
		go func() { s.logf("ended: %v", s.serve()) }()
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	<-ctx.Done()
	return nil
}

func main() {
	var err error
	socket := os.Getenv("MANYTAILS_SOCKET")
	switch {
	case len(os.Args) == 3 && os.Args[1] == "-config":
		err = run(os.Args[2], socket)
	case len(os.Args) == 3 && os.Args[1] == "status":
		err = askStatus(socket)
	default:
		err = fmt.Errorf("usage: reference -config FILE | status --json")
	}
	if err != nil {
		log.Fatal(err)
	}
}
