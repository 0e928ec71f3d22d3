// Command testcontrold runs Tailscale's own in-memory test control server as
// a program, with a DERP and a STUN server beside it and an HTTP interface to
// make it send what a well-behaved control server would not.
//
//	testcontrold serve   -ip 198.18.0.1
//	testcontrold ingress -control http://198.18.0.1:8090 -peer svc0000 \
//	                     -target svc0000.tail-scale.ts.net:443 -listen 127.0.0.1:7443
//
// serve keeps everything in memory: after a restart it has new keys and no
// nodes. It panics on control paths it does not know; that is upstream's
// choice and useful in a test.
//
// ingress plays the part of a Funnel ingress node: it joins the tailnet and
// hands every TCP connection it accepts to the peer's /v0/ingress.
package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

// control adds to the test server what the admin interface needs.
type control struct {
	*testcontrol.Server

	mu       sync.Mutex
	setDNS   []tailcfg.SetDNSRequest
	refusals int // registrations still to be answered with 429
	refused  int // those that were
}

// refuse tells whether a registration is one too many.
func (c *control) refuse() (reject bool, retryAfter, message string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusals == 0 {
		return false, "", ""
	}
	c.refusals--
	c.refused++
	return true, "2", "slow down"
}

// ServeHTTP lets through the paths that exist outside the Noise tunnel: the
// test server panics on any other.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/key", "/ts2021", "/generate_204":
		c.Server.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (c *control) recordSetDNS(r *tailcfg.SetDNSRequest) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setDNS = append(c.setDNS, *r)
	return nil
}

func selfSigned(ip string) (tls.Certificate, error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IPAddresses:  []net.IP{net.ParseIP(ip)},
		DNSNames:     []string{"derp.lab.test", "hs.lab.test", "localhost"},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &priv.PublicKey, priv)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}, nil
}

// serveHTTP1 serves h on addr without HTTP/2, which neither the Noise upgrade
// nor the DERP upgrade can use.
func serveHTTP1(addr string, h http.Handler, cert *tls.Certificate) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	srv := &http.Server{
		Handler:      h,
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	if cert == nil {
		go srv.Serve(ln)
		return nil
	}
	srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}}
	go srv.ServeTLS(ln, "", "")
	return nil
}

func startDERP(ip string, port, stunPort int, cert tls.Certificate, trusted bool, logf logger.Logf) (*tailcfg.DERPMap, error) {
	d := derpserver.New(key.NewNode(), logf)
	mux := http.NewServeMux()
	mux.Handle("/derp", derpserver.AddWebSocketSupport(d, derpserver.Handler(d)))
	mux.HandleFunc("/derp/probe", derpserver.ProbeHandler)
	mux.HandleFunc("/derp/latency-check", derpserver.ProbeHandler)
	mux.HandleFunc("/generate_204", derpserver.ServeNoContent)
	if err := serveHTTP1(net.JoinHostPort(ip, strconv.Itoa(port)), mux, &cert); err != nil {
		return nil, fmt.Errorf("derp: %w", err)
	}
	stun := stunserver.New(context.Background())
	if err := stun.Listen(net.JoinHostPort(ip, strconv.Itoa(stunPort))); err != nil {
		return nil, fmt.Errorf("stun: %w", err)
	}
	go stun.Serve()
	return &tailcfg.DERPMap{
		OmitDefaultRegions: true,
		Regions: map[int]*tailcfg.DERPRegion{
			1: {
				RegionID:   1,
				RegionCode: "test",
				RegionName: "Test",
				Nodes: []*tailcfg.DERPNode{{
					Name:             "t1",
					RegionID:         1,
					HostName:         "derp.lab.test",
					IPv4:             ip,
					IPv6:             "none",
					DERPPort:         port,
					STUNPort:         stunPort,
					InsecureForTests: !trusted,
				}},
			},
		},
	}, nil
}

func nodeKey(r *http.Request, name string) (key.NodePublic, error) {
	var k key.NodePublic
	// From the URL only: r.FormValue would read the body, which may be JSON.
	err := k.UnmarshalText([]byte(r.URL.Query().Get(name)))
	return k, err
}

func isOn(r *http.Request) bool {
	on, err := strconv.ParseBool(r.FormValue("on"))
	return err != nil || on // on unless told otherwise
}

// adminFunc answers an admin request with a value to print as JSON.
type adminFunc func(r *http.Request) (any, error)

func (f adminFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v, err := f(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.Encode(v)
}

var errNotConnected = errors.New("no such node, or it has no map stream open")

func (c *control) admin() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f adminFunc) { mux.Handle(pattern, f) }

	handle("GET /nodes", func(*http.Request) (any, error) { return c.AllNodes(), nil })
	handle("GET /setdns", func(*http.Request) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.setDNS, nil
	})

	// Sends the posted MapResponse as it is. From then on the node gets no
	// automatic responses, only what is posted here.
	handle("POST /raw", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		res := new(tailcfg.MapResponse)
		if err := json.NewDecoder(r.Body).Decode(res); err != nil {
			return nil, err
		}
		if !c.AddRawMapResponse(k, res) {
			return nil, errNotConnected
		}
		return "queued", nil
	})
	handle("POST /ping", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		pr := &tailcfg.PingRequest{URL: r.FormValue("url"), Types: r.FormValue("types"), Log: true}
		if ip := r.FormValue("ip"); ip != "" {
			if pr.IP, err = netip.ParseAddr(ip); err != nil {
				return nil, err
			}
		}
		if !c.AddPingRequest(k, pr) {
			return nil, errNotConnected
		}
		return "queued", nil
	})
	// Asks a node over its control connection (c2n) and returns its answer.
	handle("POST /c2n", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, r.FormValue("method"), "http://node"+r.FormValue("path"), nil)
		if err != nil {
			return nil, err
		}
		res, err := c.NodeRoundTripper(k).RoundTrip(req)
		if err != nil {
			return nil, err
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		return map[string]any{"status": res.StatusCode, "body": string(body)}, err
	})
	handle("POST /expire", func(r *http.Request) (any, error) {
		c.SetExpireAllNodes(isOn(r))
		return "done", nil
	})
	handle("POST /node", func(r *http.Request) (any, error) {
		n := new(tailcfg.Node)
		if err := json.NewDecoder(r.Body).Decode(n); err != nil {
			return nil, err
		}
		if n.Key.IsZero() {
			return nil, errors.New("the node has no key")
		}
		c.UpdateNode(n)
		return "done", nil
	})
	handle("POST /caps", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		caps := tailcfg.NodeCapMap{}
		if err := json.NewDecoder(r.Body).Decode(&caps); err != nil {
			return nil, err
		}
		c.SetNodeCapMap(k, caps)
		return "done", nil
	})
	handle("POST /appcaps", func(r *http.Request) (any, error) {
		caps := tailcfg.PeerCapMap{}
		if err := json.NewDecoder(r.Body).Decode(&caps); err != nil {
			return nil, err
		}
		c.SetGlobalAppCaps(caps)
		return "done", nil
	})
	handle("POST /jail", func(r *http.Request) (any, error) {
		a, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		b, err := nodeKey(r, "peer")
		if err != nil {
			return nil, err
		}
		c.SetJailed(a, b, isOn(r))
		return "done", nil
	})
	// Marks a node as other nodes see a Funnel ingress node.
	handle("POST /unsigned", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		c.SetUnsignedPeerAPIOnly(k, isOn(r))
		return "done", nil
	})
	handle("POST /masquerade", func(r *http.Request) (any, error) {
		var pairs []testcontrol.MasqueradePair
		if err := json.NewDecoder(r.Body).Decode(&pairs); err != nil {
			return nil, err
		}
		c.SetMasqueradeAddresses(pairs)
		return "done", nil
	})
	handle("POST /routes", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		var routes []netip.Prefix
		for _, s := range strings.Split(r.FormValue("routes"), ",") {
			p, err := netip.ParsePrefix(s)
			if err != nil {
				return nil, err
			}
			routes = append(routes, p)
		}
		c.SetSubnetRoutes(k, routes)
		return "done", nil
	})
	handle("POST /dns", func(r *http.Request) (any, error) {
		var records []tailcfg.DNSRecord
		if err := json.NewDecoder(r.Body).Decode(&records); err != nil {
			return nil, err
		}
		c.AddDNSRecords(records...)
		return "done", nil
	})
	handle("POST /auth", func(r *http.Request) (any, error) {
		if !c.CompleteAuth(r.FormValue("url")) {
			return nil, errors.New("no such auth URL")
		}
		return "done", nil
	})
	handle("GET /refused", func(*http.Request) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.refused, nil
	})
	// Answers the next n registrations with 429.
	handle("POST /limit", func(r *http.Request) (any, error) {
		n, err := strconv.Atoi(r.FormValue("n"))
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.refusals = n
		return "done", nil
	})
	// Approves a node that waits for it (-require-approval).
	handle("POST /approve", func(r *http.Request) (any, error) {
		k, err := nodeKey(r, "node")
		if err != nil {
			return nil, err
		}
		if !c.CompleteDeviceApproval(c.ExplicitBaseURL, c.ExplicitBaseURL+"/admin", &k) {
			return nil, errors.New("no such node")
		}
		return "done", nil
	})
	handle("POST /fake", func(r *http.Request) (any, error) {
		n, err := strconv.Atoi(r.FormValue("n"))
		if err != nil {
			return nil, err
		}
		for range n {
			c.AddFakeNode()
		}
		return c.NumNodes(), nil
	})
	return mux
}

func serve(args []string) error {
	fs := flag.NewFlagSet("serve", flag.ExitOnError)
	ip := fs.String("ip", "127.0.0.1", "address of every listener but -admin")
	port := fs.Int("port", 8090, "control port")
	derpPort := fs.Int("derp-port", 8490, "DERP port (TLS)")
	stunPort := fs.Int("stun-port", 3490, "STUN port (UDP)")
	admin := fs.String("admin", "127.0.0.1:8091", "address of the admin interface")
	domain := fs.String("domain", "tail-scale.ts.net", "MagicDNS domain")
	certFile := fs.String("cert", "", "certificate for DERP, and for control with -tls (default: a self-signed one that clients are told to accept)")
	keyFile := fs.String("key", "", "key of -cert")
	useTLS := fs.Bool("tls", false, "serve control over TLS")
	authKey := fs.String("authkey", "", "demand this auth key")
	sameUser := fs.Bool("same-user", false, "all nodes belong to one user")
	interactive := fs.Bool("require-auth", false, "answer registrations with an auth URL (see /auth)")
	approval := fs.Bool("require-approval", false, "nodes start unapproved")
	limit := fs.Int("limit-register", 0, "answer the first N registrations with 429 and Retry-After: 2")
	tagOwners := fs.Bool("tags", false, "trust the tags that nodes request")
	verbose := fs.Bool("verbose", false, "log requests")
	fs.Parse(args)

	cert, err := selfSigned(*ip)
	if *certFile != "" {
		cert, err = tls.LoadX509KeyPair(*certFile, *keyFile)
	}
	if err != nil {
		return err
	}
	derpLogf := logger.Discard
	if *verbose {
		derpLogf = log.Printf
	}
	derpMap, err := startDERP(*ip, *derpPort, *stunPort, cert, *certFile != "", derpLogf)
	if err != nil {
		return err
	}
	scheme, controlCert := "http", (*tls.Certificate)(nil)
	if *useTLS {
		scheme, controlCert = "https", &cert
	}
	base := fmt.Sprintf("%s://%s", scheme, net.JoinHostPort(*ip, strconv.Itoa(*port)))
	c := &control{Server: &testcontrol.Server{
		DERPMap:            derpMap,
		DNSConfig:          &tailcfg.DNSConfig{Proxied: true},
		MagicDNSDomain:     *domain,
		ExplicitBaseURL:    base,
		Logf:               log.Printf,
		Verbose:            *verbose,
		RequireAuthKey:     *authKey,
		RequireAuth:        *interactive,
		RequireMachineAuth: *approval,
		AllNodesSameUser:   *sameUser,
		AllOnline:          true,
	}}
	c.OnSetDNS = c.recordSetDNS
	if *tagOwners {
		c.TagOwners = map[string][]string{}
	}
	c.refusals = *limit
	c.MaybeRateLimitRegister = c.refuse
	if err := serveHTTP1(net.JoinHostPort(*ip, strconv.Itoa(*port)), c, controlCert); err != nil {
		return err
	}
	if err := serveHTTP1(*admin, c.admin(), nil); err != nil {
		return err
	}
	fmt.Printf("SERVER_URL=%s\nADMIN_URL=http://%s\n", base, *admin)
	select {}
}

// An ingress hands TCP connections to a peer as Funnel would.
type ingress struct {
	node   *tsnet.Server
	peer   string
	target string
	source string
}

// peerAPI finds the peer's IPv4 (or else first) PeerAPI address.
func (in *ingress) peerAPI(ctx context.Context) (string, error) {
	lc, err := in.node.LocalClient()
	if err != nil {
		return "", err
	}
	st, err := lc.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range st.Peer {
		if p.HostName != in.peer && !strings.HasPrefix(p.DNSName, in.peer+".") {
			continue
		}
		if len(p.PeerAPIURL) == 0 {
			return "", fmt.Errorf("peer %s has no PeerAPI", in.peer)
		}
		return strings.TrimPrefix(p.PeerAPIURL[0], "http://"), nil
	}
	return "", fmt.Errorf("no peer %s", in.peer)
}

// open asks the peer to take a connection and returns it with its reader.
func (in *ingress) open(ctx context.Context, source string) (net.Conn, *bufio.Reader, error) {
	addr, err := in.peerAPI(ctx)
	if err != nil {
		return nil, nil, err
	}
	conn, err := in.node.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, "POST", "http://"+addr+"/v0/ingress", nil)
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	req.Header.Set("Tailscale-Ingress-Src", source)
	req.Header.Set("Tailscale-Ingress-Target", in.target)
	br := bufio.NewReader(conn)
	if err = req.Write(conn); err == nil {
		var res *http.Response
		if res, err = http.ReadResponse(br, req); err == nil && res.StatusCode != http.StatusSwitchingProtocols {
			err = fmt.Errorf("the peer answered %s", res.Status)
		}
	}
	if err != nil {
		conn.Close()
		return nil, nil, err
	}
	return conn, br, nil
}

func (in *ingress) carry(client net.Conn) {
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	source := in.source
	if source == "" {
		source = client.RemoteAddr().String()
	}
	peer, br, err := in.open(ctx, source)
	cancel()
	if err != nil {
		log.Printf("ingress: %v", err)
		return
	}
	defer peer.Close()
	done := make(chan struct{}, 2)
	go func() {
		io.Copy(peer, client)
		done <- struct{}{}
	}()
	go func() {
		io.Copy(client, br)
		done <- struct{}{}
	}()
	<-done
}

func runIngress(args []string) error {
	fs := flag.NewFlagSet("ingress", flag.ExitOnError)
	controlURL := fs.String("control", "", "control server")
	authKey := fs.String("authkey", "", "auth key")
	state := fs.String("state", "ingress-state", "state directory")
	name := fs.String("name", "ingress", "name of this node")
	listen := fs.String("listen", "127.0.0.1:7443", "where to accept TCP connections")
	peer := fs.String("peer", "", "name of the node that serves the Funnel")
	target := fs.String("target", "", "HOST:PORT the visitor asked for")
	source := fs.String("source", "", "visitor's address to claim (default: the real one)")
	fs.Parse(args)
	if *peer == "" || *target == "" || *controlURL == "" {
		return errors.New("-control, -peer and -target are needed")
	}
	in := &ingress{
		node:   &tsnet.Server{Hostname: *name, Dir: *state, ControlURL: *controlURL, AuthKey: *authKey},
		peer:   *peer,
		target: *target,
		source: *source,
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	st, err := in.node.Up(ctx)
	cancel()
	if err != nil {
		return err
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	fmt.Printf("NODE_KEY=%s\nLISTEN=%s\n", st.Self.PublicKey, ln.Addr())
	for {
		conn, err := ln.Accept()
		if err != nil {
			return err
		}
		go in.carry(conn)
	}
}

func main() {
	log.SetFlags(log.LstdFlags | log.Lmicroseconds)
	err := errors.New("usage: testcontrold serve|ingress [flags]")
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "serve":
			err = serve(os.Args[2:])
		case "ingress":
			err = runIngress(os.Args[2:])
		}
	}
	if err != nil {
		log.Fatal(err)
	}
}
