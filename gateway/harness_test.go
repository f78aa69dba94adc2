package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/delivery"
	"headgate/internal/flow"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

const patience = 10 * time.Second

// source is a source that the test feeds.
type source struct {
	mu     sync.Mutex
	sink   flow.Sink
	closed bool
}

func (s *source) Read(_, _ cursor.Position, _ int, done func(flow.Batch)) {
	done(flow.Batch{Done: true})
}
func (s *source) Progress(cursor.Position) {}
func (s *source) Attach(sink flow.Sink) cursor.Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sink = sink
	return cursor.Position{{Tag: cursor.MakeTag("test"), Seq: 0}}
}

func (s *source) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed, s.sink = true, nil
}

func (s *source) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// bridge is a Bridge whose answers the test decides.
type bridge struct {
	mu        sync.Mutex
	open      func(context.Context, flow.Request) (flow.Opened, error)
	publish   func(subject string, header map[string][]string, body []byte) (flow.Ack, error)
	requests  []flow.Request
	sources   []*source
	published []published
}

type published struct {
	subject string
	header  map[string][]string
	body    string
}

func (b *bridge) Open(ctx context.Context, req flow.Request) (flow.Opened, error) {
	b.mu.Lock()
	b.requests = append(b.requests, req)
	open := b.open
	b.mu.Unlock()
	if open != nil {
		return open(ctx, req)
	}
	return b.opened(), nil
}

// opened is a live source that the harness knows of.
func (b *bridge) opened() flow.Opened {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &source{}
	b.sources = append(b.sources, s)
	return flow.Opened{Source: s, Start: flow.Live}
}

func (b *bridge) Publish(_ context.Context, subject string, header map[string][]string, body []byte) (flow.Ack, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.published = append(b.published, published{subject, header, string(body)})
	if b.publish != nil {
		return b.publish(subject, header, body)
	}
	return flow.Ack{}, nil
}

func (b *bridge) opens() []flow.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.requests)
}

func (b *bridge) subjects() []string {
	opens := b.opens()
	if len(opens) == 0 {
		return nil
	}
	var all []string
	for _, spec := range opens[len(opens)-1].Sources {
		all = append(all, spec.Subjects...)
	}
	return all
}

// push sends an event to every open source.
func (b *bridge) push(frame *sse.Frame, seq uint64) {
	b.mu.Lock()
	sources := slices.Clone(b.sources)
	b.mu.Unlock()
	for _, s := range sources {
		s.mu.Lock()
		sink := s.sink
		s.mu.Unlock()
		if sink != nil {
			sink.Push(flow.Event{Frame: frame, Seq: seq})
		}
	}
}

// limiter is a Limiter that counts, and refuses what the test says.
type limiter struct {
	mu       sync.Mutex
	refuse   *ratelimit.Refusal
	publish  *ratelimit.Refusal
	admitted int
	released int
	addrs    []netip.Addr
}

func (l *limiter) Admit(addr netip.Addr, _ string) (ratelimit.Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refuse != nil {
		return *l.refuse, false
	}
	l.admitted++
	l.addrs = append(l.addrs, addr)
	return ratelimit.Refusal{}, true
}

func (l *limiter) Release(addr netip.Addr, _ string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released++
	if i := slices.Index(l.addrs, addr); i >= 0 {
		l.addrs = slices.Delete(l.addrs, i, i+1)
	}
}

func (l *limiter) Publish(netip.Addr) (ratelimit.Refusal, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.publish != nil {
		return *l.publish, false
	}
	return ratelimit.Refusal{}, true
}

// balance is how many were admitted and how many of them are still out, and by which addresses.
func (l *limiter) balance() (admitted, out int, addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.admitted, l.admitted - l.released, slices.Clone(l.addrs)
}

// logs is a log that tests read.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// rig is a running gateway with a real delivery behind it and a bridge and limiter of the test's own.
type rig struct {
	t        *testing.T
	server   *gateway.Server
	delivery *delivery.Server
	bridge   *bridge
	limiter  *limiter
	logs     *logs
	reg      *prometheus.Registry
	addr     string
	cfg      config.Config
	drain    context.CancelFunc // what SIGTERM does
	done     chan struct{}      // Run has returned
}

type setup struct {
	cfg      config.Config
	console  http.Handler
	delivery func(*delivery.Server) gateway.Delivery // wraps the real one
}

// prices is a route the tests change.
func prices() config.Route {
	return config.Route{
		Name: "prices", Path: "/v1/prices/{symbol}", Sources: []config.Source{{Name: "prices", Type: "core", Subject: "prices.{symbol}"}},
		Data: "text", Envelope: "none", Heartbeat: 15 * time.Second, SlowConsumer: "disconnect", OnOverload: "auto", MaxEventBytes: 1 << 20,
		Resume: config.Resume{Enabled: true, MaxEvents: 64, MaxAge: time.Minute},
	}
}

// feed is a route whose clients name the subjects.
func feed() config.Route {
	r := prices()
	r.Name, r.Path = "feed", "/v1/feed"
	r.Sources = []config.Source{{Name: "feed", Type: "core", Allow: []string{"feed.>", "news.*"}}}
	return r
}

// notify is a route that publishes.
func notify() config.Route {
	return config.Route{Name: "notify", Path: "/v1/notify/{user}", AuthRequiredSaid: true, OnOverload: "auto",
		Publish: &config.Publish{Subject: "users.{user}.notify.web", MaxBytes: 1 << 10, Headers: []string{"Sse-Event"}}}
}

func start(t *testing.T, change ...func(*setup)) *rig {
	t.Helper()
	cfg := config.DefaultConfig()
	cfg.Routes = []config.Route{prices(), feed(), notify()}
	cfg.Shutdown.Drain = 0
	cfg.Shutdown.Timeout = 5 * time.Second
	st := &setup{cfg: cfg}
	for _, c := range change {
		c(st)
	}
	r := &rig{t: t, bridge: &bridge{}, limiter: &limiter{}, logs: &logs{}, reg: prometheus.NewRegistry(), cfg: st.cfg, done: make(chan struct{})}
	log := slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
	r.delivery = delivery.New(delivery.Config{Shards: 1, OnEnd: func(e delivery.Ended) { r.server.Ended(e) }, Log: log})
	var del gateway.Delivery = r.delivery
	if st.delivery != nil {
		del = st.delivery(r.delivery)
	}
	var err error
	r.server, err = gateway.New(gateway.Options{Config: st.cfg, Bridge: r.bridge, Delivery: del, Limiter: r.limiter, Log: log,
		Registerer: r.reg, Console: st.console})
	if err != nil {
		t.Fatal(err)
	}
	r.run()
	return r
}

// run starts both servers and stops them when the test ends: gateway first, as main does.
func (r *rig) run() {
	r.t.Helper()
	ln, err := gateway.Listen(r.t.Context(), "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	deliveryCtx, stopDelivery := context.WithCancel(context.Background())
	var both sync.WaitGroup
	both.Go(func() {
		if err := r.delivery.Run(deliveryCtx); err != nil {
			r.t.Errorf("delivery: %v", err)
		}
	})
	ctx, drain := context.WithCancel(context.Background())
	r.drain = drain
	both.Go(func() {
		defer close(r.done)
		if err := r.server.Run(ctx, ln); err != nil {
			r.t.Errorf("gateway: %v", err)
		}
	})
	r.t.Cleanup(func() {
		drain()
		<-r.done
		stopDelivery()
		both.Wait()
		if _, out, _ := r.limiter.balance(); out != 0 {
			r.t.Errorf("%d admissions were not released", out)
		}
		if n := r.server.Admitted(); n != 0 {
			r.t.Errorf("%d streams are left in the table", n)
		}
		for i, s := range r.bridge.sources {
			if !s.isClosed() {
				r.t.Errorf("source %d was not closed", i)
			}
		}
	})
}

func withRoutes(routes ...config.Route) func(*setup) {
	return func(s *setup) { s.cfg.Routes = routes }
}

// response is an answer with its body read.
type response struct {
	*http.Response
	body string
}

func (r *rig) request(method, path string, fields ...string) *http.Request {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.addr+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Add(fields[i], fields[i+1])
	}
	return req
}

// do sends a request whose answer ends by itself.
func (r *rig) do(req *http.Request) response {
	r.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	return response{resp, string(body)}
}

func (r *rig) get(path string, fields ...string) response {
	r.t.Helper()
	return r.do(r.request(http.MethodGet, path, fields...))
}

// problem checks that the answer is a problem document of this kind, and returns its detail.
func (r response) problem(t *testing.T, status int, slug string) string {
	t.Helper()
	if r.StatusCode != status {
		t.Fatalf("status %d, want %d; body %q", r.StatusCode, status, r.body)
	}
	if got := r.Header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q", got)
	}
	var doc struct {
		Type, Title, Detail, Instance string
		Status                        int
	}
	d := json.NewDecoder(strings.NewReader(r.body))
	d.DisallowUnknownFields()
	if err := d.Decode(&doc); err != nil {
		t.Fatalf("body %q: %v", r.body, err)
	}
	if doc.Type != "urn:headgate:problem:"+slug || doc.Status != status {
		t.Fatalf("problem %q with status %d, want %q with %d", doc.Type, doc.Status, slug, status)
	}
	if doc.Title == "" || doc.Detail == "" || doc.Instance == "" {
		t.Errorf("an empty member in %q", r.body)
	}
	if !slices.Contains(r.Header.Values("Vary"), "Origin") {
		t.Errorf("Vary %q", r.Header.Values("Vary"))
	}
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("Cache-Control %q", r.Header.Get("Cache-Control"))
	}
	return doc.Detail
}

// reader is an open stream.
type reader struct {
	t    *testing.T
	resp *http.Response
	dec  *sse.Decoder
	stop func()
}

// open opens a stream and leaves it open until the test ends.
func (r *rig) open(path string, fields ...string) *reader {
	r.t.Helper()
	return r.openWith(&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, r.request(http.MethodGet, path, fields...))
}

func (r *rig) openWith(client *http.Client, req *http.Request) *reader {
	r.t.Helper()
	ctx, cancel := context.WithCancel(req.Context())
	resp, err := client.Do(req.WithContext(ctx))
	if err != nil {
		cancel()
		r.t.Fatal(err)
	}
	rd := &reader{t: r.t, resp: resp, dec: sse.NewDecoder(resp.Body), stop: func() { cancel(); _ = resp.Body.Close() }}
	r.t.Cleanup(func() { rd.stop(); client.CloseIdleConnections() })
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		r.t.Fatalf("status %d: %s", resp.StatusCode, body)
	}
	return rd
}

// next is the next event that a client dispatches.
func (rd *reader) next() sse.Event {
	rd.t.Helper()
	timer := time.AfterFunc(patience, rd.stop)
	defer timer.Stop()
	e, err := rd.dec.Next()
	if err != nil {
		rd.t.Fatalf("next event: %v", err)
	}
	return e
}

// want reads the next event and checks its type.
func (rd *reader) want(eventType string) sse.Event {
	rd.t.Helper()
	e := rd.next()
	if e.Type != eventType {
		rd.t.Fatalf("event %q with data %q, want %q", e.Type, e.Data, eventType)
	}
	return e
}

// ended waits for the end of the stream.
func (rd *reader) ended() {
	rd.t.Helper()
	timer := time.AfterFunc(patience, rd.stop)
	defer timer.Stop()
	if e, err := rd.dec.Next(); err != io.EOF {
		rd.t.Fatalf("event %+v, error %v; want the end", e, err)
	}
}

// wire is a bare connection.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *wire {
	r.t.Helper()
	conn, err := (&net.Dialer{}).DialContext(r.t.Context(), "tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(patience))
	r.t.Cleanup(func() { _ = conn.Close() })
	return &wire{r.t, conn, bufio.NewReader(conn)}
}

func (w *wire) send(text string) *wire {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, text); err != nil {
		w.t.Fatal(err)
	}
	return w
}

// answer reads a whole response.
func (w *wire) answer() response {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return response{resp, string(body)}
}

// head reads raw lines up to the blank one.
func (w *wire) head() []string {
	w.t.Helper()
	var lines []string
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("after %q: %v", lines, err)
		}
		line = strings.TrimSuffix(line, "\r\n")
		if line == "" {
			return lines
		}
		lines = append(lines, line)
	}
}

// eventually waits for a condition that nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
