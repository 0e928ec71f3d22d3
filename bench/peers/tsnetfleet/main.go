// tsnetfleet is the measuring stick of the benchmark: N nodes of Tailscale's own
// tsnet in one process, each a reverse proxy on its own tailnet address in front of
// one upstream. It does per node and per request what the multi-service mode of
// tsnsrv does: one transport per service that dials through tsnet, an identity
// look-up and the X-Tailscale-* headers, the usual forwarding headers, two
// Prometheus series and one log line per request.
//
//	tsnetfleet -n 57 -upstream http://127.0.0.1:9000 -state DIR    (TS_URL, TS_AUTHKEY)
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/http/pprof"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"tailscale.com/client/local"
	"tailscale.com/client/tailscale/apitype"
	"tailscale.com/tsnet"
	"tailscale.com/types/logger"
)

const (
	upLimit    = 15 * time.Minute // for joining; tsnsrv's minute is too short for a thousand at once
	whoisLimit = time.Second
)

var (
	durations = promauto.NewSummaryVec(prometheus.SummaryOpts{
		Name:       "fleet_request_duration_ns",
		Help:       "Duration of proxied requests.",
		Objectives: map[float64]float64{0.5: 0.05, 0.9: 0.01, 0.99: 0.001},
	}, []string{"service_name"})
	statuses = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "fleet_response_status_classes",
		Help: "Responses by status class.",
	}, []string{"service_name", "status_code_class"})
	failures = promauto.NewCounterVec(prometheus.CounterOpts{
		Name: "fleet_proxy_errors",
		Help: "Requests that could not be proxied.",
	}, []string{"service_name"})
)

// A service is one node of the fleet.
type service struct {
	name     string
	listen   string
	upstream *url.URL
	quiet    bool
	node     *tsnet.Server
	local    *local.Client
}

// requestInfo travels with an outgoing request to the response hook.
type requestInfo struct {
	start    time.Time
	original *url.URL
	sent     *url.URL
	who      *apitype.WhoIsResponse
}

type requestInfoKey struct{}

// up joins the tailnet and returns once the node is running.
func (s *service) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	if _, err := s.node.Up(ctx); err != nil {
		return fmt.Errorf("%s: joining: %w", s.name, err)
	}
	lc, err := s.node.LocalClient()
	if err != nil {
		return fmt.Errorf("%s: local client: %w", s.name, err)
	}
	s.local = lc
	return nil
}

// serve accepts requests until the listener fails.
func (s *service) serve() error {
	ln, err := s.node.Listen("tcp", s.listen)
	if err != nil {
		return fmt.Errorf("%s: listening: %w", s.name, err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", &httputil.ReverseProxy{
		Rewrite:        s.rewrite,
		ModifyResponse: s.finished,
		ErrorHandler:   s.failed,
		// No limits of the pool are set, as in tsnsrv: two idle connections are kept.
		Transport: &http.Transport{
			DialContext:     s.node.Dial,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
		},
	})
	srv := &http.Server{Handler: mux}
	return srv.Serve(ln)
}

func (s *service) rewrite(r *httputil.ProxyRequest) {
	r.SetURL(s.upstream)
	if r.In.URL.Path == "" {
		r.Out.URL.Path = s.upstream.Path
	}
	r.SetXForwarded()
	forwardingHeaders(r)
	who := s.identify(r)
	info := &requestInfo{start: time.Now(), original: r.In.URL, sent: r.Out.URL, who: who}
	r.Out = r.Out.WithContext(context.WithValue(r.Out.Context(), requestInfoKey{}, info))
}

func forwardingHeaders(r *httputil.ProxyRequest) {
	h := r.Out.Header
	h.Set("X-Scheme", "http")
	r.Out.Host = r.In.Host
	if ip, _, err := net.SplitHostPort(r.In.RemoteAddr); err == nil {
		h.Set("X-Real-Ip", ip)
	}
	if host, port, err := net.SplitHostPort(r.In.Host); err == nil {
		h.Set("X-Forwarded-Server", host)
		h.Set("X-Forwarded-Port", port)
	} else {
		h.Set("X-Forwarded-Server", r.In.Host)
	}
}

// identify drops identity headers that came from outside and sets our own.
func (s *service) identify(r *httputil.ProxyRequest) *apitype.WhoIsResponse {
	h := r.Out.Header
	for k := range h {
		if strings.HasPrefix(k, "X-Tailscale-") {
			h.Del(k)
		}
	}
	ctx, cancel := context.WithTimeout(r.In.Context(), whoisLimit)
	defer cancel()
	who, err := s.local.WhoIs(ctx, r.In.RemoteAddr)
	if err != nil {
		slog.Warn("no identity for the peer", "error", err)
		return nil
	}
	user := who.UserProfile
	h.Set("X-Tailscale-User", user.ID.String())
	h.Set("X-Tailscale-User-LoginName", user.LoginName)
	if localpart, domain, ok := strings.Cut(user.LoginName, "@"); ok {
		h.Set("X-Tailscale-User-LoginName-Localpart", localpart)
		h.Set("X-Tailscale-User-LoginName-Domain", domain)
	}
	h.Set("X-Tailscale-User-DisplayName", user.DisplayName)
	if user.ProfilePicURL != "" {
		h.Set("X-Tailscale-User-ProfilePicURL", user.ProfilePicURL)
	}
	if len(who.CapMap) > 0 {
		caps := make([]string, 0, len(who.CapMap))
		for c := range who.CapMap {
			caps = append(caps, string(c))
		}
		h.Set("X-Tailscale-Caps", strings.Join(caps, ", "))
	}
	h.Set("X-Tailscale-Node", who.Node.ID.String())
	h.Set("X-Tailscale-Node-Name", who.Node.ComputedName)
	if len(who.Node.CapMap) > 0 {
		caps := make([]string, 0, len(who.Node.CapMap))
		for c := range who.Node.CapMap {
			caps = append(caps, string(c))
		}
		h.Set("X-Tailscale-Node-Caps", strings.Join(caps, ", "))
	}
	if len(who.Node.Tags) > 0 {
		h.Set("X-Tailscale-Node-Tags", strings.Join(who.Node.Tags, ", "))
	}
	return who
}

func (s *service) finished(res *http.Response) error {
	info, ok := res.Request.Context().Value(requestInfoKey{}).(*requestInfo)
	if !ok {
		return nil
	}
	elapsed := time.Since(info.start)
	durations.With(prometheus.Labels{"service_name": s.name}).Observe(float64(elapsed))
	statuses.With(prometheus.Labels{
		"service_name":      s.name,
		"status_code_class": fmt.Sprintf("%dxx", res.StatusCode/100),
	}).Inc()
	if s.quiet {
		return nil
	}
	var login, node string
	if info.who != nil {
		login, node = info.who.UserProfile.LoginName, info.who.Node.Name
	}
	slog.Info("served",
		"service", s.name,
		"original", info.original,
		"rewritten", info.sent,
		"origin_login", login,
		"origin_node", node,
		"duration", elapsed,
		"http_status", res.StatusCode,
	)
	return nil
}

func (s *service) failed(w http.ResponseWriter, _ *http.Request, err error) {
	slog.Warn("proxy error", "service", s.name, "error", err)
	failures.With(prometheus.Labels{"service_name": s.name}).Inc()
	w.WriteHeader(http.StatusBadGateway)
}

func serveMetrics(addr string) error {
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.Handler())
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	go http.Serve(ln, mux)
	return nil
}

func run() error {
	count := flag.Int("n", 10, "number of nodes, svc0000 and so on")
	upstream := flag.String("upstream", "http://127.0.0.1:9000", "upstream of every node")
	listen := flag.String("listen", ":80", "address every node listens on")
	state := flag.String("state", "fleet-state", "folder for the nodes' state")
	quiet := flag.Bool("quiet", false, "no log line per request")
	verbose := flag.Bool("verbose", false, "print tsnet's own logs")
	metrics := flag.String("metrics", "127.0.0.1:9099", "address for /metrics and /debug/pprof/; empty: none")
	flag.Parse()

	target, err := url.Parse(*upstream)
	if err != nil {
		return fmt.Errorf("-upstream: %w", err)
	}
	if *metrics != "" {
		if err := serveMetrics(*metrics); err != nil {
			return fmt.Errorf("-metrics: %w", err)
		}
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	ended := make(chan error, *count)
	for i := range *count {
		s := &service{name: fmt.Sprintf("svc%04d", i), listen: *listen, upstream: target, quiet: *quiet}
		s.node = &tsnet.Server{
			Hostname:   s.name,
			Dir:        filepath.Join(*state, s.name),
			Logf:       logger.Discard,
			ControlURL: os.Getenv("TS_URL"),
			AuthKey:    os.Getenv("TS_AUTHKEY"),
		}
		if *verbose {
			s.node.Logf = log.Printf
		}
		go func() { // all join at once, as in tsnsrv
			err := s.up(ctx)
			if err == nil {
				err = s.serve()
			}
			ended <- err
		}()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-ended:
		return errors.Join(errors.New("a service ended"), err)
	}
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}
