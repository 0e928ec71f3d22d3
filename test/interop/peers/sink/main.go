// sink is an upstream that shows what a proxy did to a request. It serves the
// files of a folder and
//
//	/headers   answers with the request line and headers as received, sorted
//	/sink      reads the whole body, answers with its length and SHA-256
//	/echo      sends the body back as it arrives
//	/events    a stream of two events: one at once, one as soon as somebody has
//	           asked for /release with the same ?id=; so a reader can prove that
//	           it saw the first while the stream was open
//	/halves    the file ?file=, its second half as soon as somebody has asked for
//	           /release with the same ?id=
//	/ws        an upgrade as WebSocket does it: 101, then echoes bytes
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
)

// A gate opens once and lets all pass from then on.
type gate struct {
	once   sync.Once
	opened chan struct{}
}

var gates sync.Map // id -> *gate

func gateOf(id string) *gate {
	g, _ := gates.LoadOrStore(id, &gate{opened: make(chan struct{})})
	return g.(*gate)
}

func headers(w http.ResponseWriter, r *http.Request) {
	var lines []string
	for name, values := range r.Header {
		for _, value := range values {
			lines = append(lines, name+": "+value)
		}
	}
	sort.Strings(lines)
	fmt.Fprintf(w, "%s %s %s\nHost: %s\n%s\n", r.Method, r.RequestURI, r.Proto, r.Host, strings.Join(lines, "\n"))
}

func swallow(w http.ResponseWriter, r *http.Request) {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprintf(w, "%d %x\n", n, sum.Sum(nil))
}

func echo(w http.ResponseWriter, r *http.Request) {
	if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if _, err := io.Copy(w, r.Body); err != nil {
		log.Printf("echo: %v", err)
	}
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, "data: first\n\n")
	w.(http.Flusher).Flush()
	select {
	case <-gateOf(r.FormValue("id")).opened:
		fmt.Fprint(w, "data: last\n\n")
	case <-r.Context().Done():
	}
}

// halves serves a file of root so that something can happen in the middle.
func halves(root string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := os.ReadFile(filepath.Join(root, filepath.Base(r.FormValue("file"))))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		half := len(body) / 2
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		w.Write(body[:half])
		w.(http.Flusher).Flush()
		select {
		case <-gateOf(r.FormValue("id")).opened:
			w.Write(body[half:])
		case <-r.Context().Done():
		}
	}
}

func release(w http.ResponseWriter, r *http.Request) {
	g := gateOf(r.FormValue("id"))
	g.once.Do(func() { close(g.opened) })
}

func upgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		http.Error(w, "no Upgrade header", http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		log.Printf("upgrade: %v", err)
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n",
		r.Header.Get("Upgrade"))
	if _, err := io.Copy(conn, rw); err != nil {
		log.Printf("upgrade: %v", err)
	}
}

func main() {
	addr := flag.String("addr", "127.0.0.1:9001", "address to listen on")
	root := flag.String("root", ".", "folder of the files to serve")
	flag.Parse()
	http.HandleFunc("/headers", headers)
	http.HandleFunc("/sink", swallow)
	http.HandleFunc("/echo", echo)
	http.HandleFunc("/events", events)
	http.HandleFunc("/release", release)
	http.HandleFunc("/ws", upgrade)
	http.HandleFunc("/halves", halves(*root))
	http.Handle("/", http.FileServer(http.Dir(*root)))
	log.Fatal(http.ListenAndServe(*addr, nil))
}
