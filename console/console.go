// Package console is the demonstration and debugging page: one page, embedded, without anything from elsewhere. It uses nothing
// that another client could not use; it can read and publish only what the routes allow everybody.
package console

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed page
var page embed.FS

// csp is the page's content security policy (W3C CSP level 3): its own files, its own origin, nothing inline, no framing. Trusted
// types make the browser refuse any text that a script would turn into markup, so data can only ever be shown as text.
const csp = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Options is what the page offers.
type Options struct {
	Routes   []Route
	Publish  bool // offer the publish box for routes that have a publish subject
	Insecure bool // say on the page that this process is open to everybody: -dev
	Identity bool // callers have tokens: offer a box for one
	// TokenCommand is what makes a token in a shell; "" where nothing does.
	TokenCommand string
	NATSURL      string // where `nats pub` reaches NATS, for the snippet; "" leaves it out
	Version      string // shown in the corner
}

// Route is one route as the page sees it.
type Route struct {
	Name     string   `json:"name"`
	Path     string   `json:"path"`               // complete, with base path; {name} is a path parameter
	Stream   bool     `json:"stream"`             // GET opens a stream
	Required bool     `json:"required,omitempty"` // it needs a token
	Params   []Param  `json:"params"`             // in the order of the path
	Subjects []string `json:"subjects,omitempty"` // templates the stream follows
	Allow    []string `json:"allow,omitempty"`    // patterns within which the client names subjects
	Event    string   `json:"event,omitempty"`    // type of its events, where it is always the same
	IDs      bool     `json:"ids"`                // the stream can be resumed
	Since    bool     `json:"since"`              // it can begin at a time
	Publish  string   `json:"publish,omitempty"`  // template of the subject that POST publishes to
	MaxBytes int64    `json:"maxBytes,omitempty"` // of such a body
}

// Param is one path parameter.
type Param struct {
	Name    string `json:"name"`
	Pattern string `json:"pattern,omitempty"` // what its value must match
	Example string `json:"example,omitempty"` // a value to begin with
}

// file is one file of the page, ready to be sent.
type file struct {
	body []byte
	kind string
	etag string
}

var kinds = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".svg":  "image/svg+xml",
	".json": "application/json",
}

// Handler serves the page: its files by their name and routes.json, under any prefix that ends in a slash. It answers GET and HEAD.
func Handler(o Options) http.Handler {
	files := embedded()
	files["routes.json"] = newFile("routes.json", routesJSON(o))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		serve(files, w, r)
	})
}

func serve(files map[string]file, w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", csp)
	h.Set("X-Content-Type-Options", "nosniff")         // Fetch standard, section 3.6
	h.Set("Referrer-Policy", "no-referrer")            // W3C Referrer Policy, section 3
	h.Set("Cross-Origin-Opener-Policy", "same-origin") // HTML Living Standard, section 7.1.3
	h.Set("Cache-Control", "no-cache")                 // RFC 9111 section 5.2.2.4: ask again, by ETag
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD") // RFC 9110 section 10.2.1
		http.Error(w, "The console answers GET and HEAD.", http.StatusMethodNotAllowed)
		return
	}
	name := r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]
	if name == "" {
		name = "index.html"
	}
	f, ok := files[name]
	if !ok {
		http.Error(w, "The console has no such file.", http.StatusNotFound)
		return
	}
	h.Set("Content-Type", f.kind)
	h.Set("ETag", f.etag)                        // RFC 9110 section 8.8.3
	if r.Header.Get("If-None-Match") == f.etag { // RFC 9110 section 13.1.2
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(f.body)))
	if r.Method == http.MethodGet {
		_, _ = w.Write(f.body)
	}
}

// embedded reads the files into memory once. They are part of the program, so a failure is a broken build.
func embedded() map[string]file {
	entries, err := page.ReadDir("page")
	if err != nil {
		panic(fmt.Sprintf("console: %v", err))
	}
	files := make(map[string]file, len(entries)+1)
	for _, e := range entries {
		body, err := page.ReadFile("page/" + e.Name())
		if err != nil {
			panic(fmt.Sprintf("console: %v", err))
		}
		files[e.Name()] = newFile(e.Name(), body)
	}
	return files
}

func newFile(name string, body []byte) file {
	sum := sha256.Sum256(body)
	return file{body: body, kind: kinds[path.Ext(name)], etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`}
}

func routesJSON(o Options) []byte {
	routes := make([]Route, 0, len(o.Routes))
	for _, r := range o.Routes {
		if !o.Publish {
			r.Publish, r.MaxBytes = "", 0
		}
		if !r.Stream && r.Publish == "" {
			continue
		}
		if r.Params == nil {
			r.Params = []Param{}
		}
		routes = append(routes, r)
	}
	body, err := json.Marshal(struct {
		Routes   []Route `json:"routes"`
		Insecure bool    `json:"insecure"`
		Identity bool    `json:"identity"`
		Token    string  `json:"tokenCommand,omitempty"`
		NATSURL  string  `json:"natsURL,omitempty"`
		Version  string  `json:"version,omitempty"`
	}{routes, o.Insecure, o.Identity, o.TokenCommand, o.NATSURL, o.Version})
	if err != nil {
		panic(fmt.Sprintf("console: %v", err)) // strings and booleans only
	}
	return body
}
