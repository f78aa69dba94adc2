package gateway_test

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"headgate/gateway"
	"headgate/internal/config"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

// ordersRoute follows a stream whose messages have a state.
func ordersRoute() config.Route {
	r := prices()
	r.Name, r.Path = "orders", "/v1/orders/{tenant}"
	r.Sources = []config.Source{{Name: "orders", Type: "stream", Stream: "ORDERS", Subject: "orders.{tenant}.>"}}
	r.Snapshot = config.Snapshot{Mode: "since", Since: time.Hour}
	r.Resume = config.Resume{Enabled: true, Replay: config.Replay{MaxEvents: 7, MaxBytes: 1 << 10, MaxAge: time.Minute}, OnGap: "snapshot"}
	return r
}

// flagsRoute follows the keys of a bucket.
func flagsRoute() config.Route {
	r := prices()
	r.Name, r.Path = "flags", "/v1/flags/{env}"
	r.Sources = []config.Source{{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "{env}.>"}}
	r.Resume = config.Resume{Enabled: true, OnGap: "event"}
	return r
}

// seen is a Delivery that remembers what it was given.
type seen struct {
	*delivery.Server
	mu      sync.Mutex
	clients []delivery.Client
}

func (s *seen) Handover(conn net.Conn, c delivery.Client) error {
	s.mu.Lock()
	s.clients = append(s.clients, c)
	s.mu.Unlock()
	return s.Server.Handover(conn, c)
}

func (s *seen) Serve(gone <-chan struct{}, w delivery.Writer, c *delivery.Client) delivery.Reason {
	s.mu.Lock()
	s.clients = append(s.clients, *c)
	s.mu.Unlock()
	return s.Server.Serve(gone, w, c)
}

func (s *seen) last() delivery.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clients[len(s.clients)-1]
}

// startSeen is start with a delivery that remembers its clients.
func startSeen(t *testing.T, routes ...config.Route) (*rig, *seen) {
	t.Helper()
	s := &seen{}
	return start(t, withRoutes(routes...), func(st *setup) {
		st.delivery = func(d *delivery.Server) gateway.Delivery { s.Server = d; return s }
	}), s
}

func TestSpecs_SayWhatTheRouteSaysOfStreamsAndBuckets(t *testing.T) {
	route := ordersRoute()
	route.Path = "/v1/all/{tenant}"
	route.Sources = append(route.Sources, config.Source{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: "{tenant}.>"},
		config.Source{Name: "live", Type: "core", Subject: "live.{tenant}"})
	route.Resume.MaxEvents, route.Resume.MaxAge = 3, time.Second
	route.End = config.End{Field: "job.status", In: []string{`"done"`, "3"}}
	r := start(t, withRoutes(route))
	r.open("/v1/all/acme").want("$ready")
	req := r.bridge.opens()[0]
	want := []flow.Spec{
		{Name: "orders", Kind: flow.Stream, Stream: "ORDERS", Subjects: []string{"orders.acme.>"},
			Bounds:  flow.Bounds{MaxEvents: 7, MaxBytes: 1 << 10, MaxAge: time.Minute, Snapshot: true},
			Initial: flow.Initial{Mode: flow.SnapshotSince, Since: time.Hour}},
		{Name: "flags", Kind: flow.KV, Stream: "FLAGS", Subjects: []string{"acme.>"}},
		{Name: "live", Kind: flow.Core, Subjects: []string{"live.acme"}, RingSize: 3, RingAge: time.Second},
	}
	if !slices.EqualFunc(req.Sources, want, func(a, b flow.Spec) bool {
		same := slices.Equal(a.Subjects, b.Subjects)
		a.Subjects, b.Subjects = nil, nil
		return same && a.Name == b.Name && a.Kind == b.Kind && a.Stream == b.Stream && a.Bounds == b.Bounds && a.Initial == b.Initial &&
			a.RingSize == b.RingSize && a.RingAge == b.RingAge
	}) {
		t.Errorf("got  %+v\nwant %+v", req.Sources, want)
	}
	if req.Format.EndField != "job.status" || req.Format.EndIn != "\"done\"\n3" || req.User != "127.0.0.1" || !req.Since.IsZero() {
		t.Errorf("%+v", req)
	}
}

func TestSpecs_ASnapshotFollowsAHoleOnlyWhereThereIsOne(t *testing.T) {
	route := ordersRoute()
	route.Snapshot = config.Snapshot{}
	r := start(t, withRoutes(route))
	r.open("/v1/orders/acme").want("$ready")
	if b := r.bridge.opens()[0].Sources[0].Bounds; b.Snapshot {
		t.Errorf("%+v", b)
	}
}

func TestStream_SubjectsMayBeNamedByTheClient(t *testing.T) {
	route := ordersRoute()
	route.Path, route.Sources[0].Subject, route.Sources[0].Allow = "/v1/orders", "", []string{"orders.*.new"}
	r := start(t, withRoutes(route))
	r.open("/v1/orders?subject=orders.b.new&subject=orders.a.new").want("$ready")
	if s := r.bridge.opens()[0].Sources[0]; s.Kind != flow.Stream || s.Stream != "ORDERS" || !slices.Equal(s.Subjects, []string{"orders.a.new", "orders.b.new"}) {
		t.Errorf("%+v", s)
	}
	r.get("/v1/orders?subject=orders.a.old").problem(t, http.StatusForbidden, "subject-forbidden")
	r.get("/v1/orders").problem(t, http.StatusBadRequest, "subject-missing")
}

func TestKeys_StayOneTokenOfAKey(t *testing.T) {
	r := start(t, withRoutes(flagsRoute()))
	for value, want := range map[string]string{"eu": "eu.>", "_x": "_x.>", "a%2Fb": "a/b.>", "-": "-.>"} {
		r.open("/v1/flags/" + value).want("$ready")
		if got := r.bridge.subjects(); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %q", value, got)
		}
	}
	for _, value := range []string{"a.b", "*", "%3E", "%24KV", "%C3%A9", "a%20b", "a:b", strings.Repeat("x", 129)} {
		r.get("/v1/flags/"+value).problem(t, http.StatusBadRequest, "parameter-invalid")
	}
}

func TestGroupKey_TellsApartWhatIsDeliveredDifferently(t *testing.T) {
	a, b, c, d := ordersRoute(), ordersRoute(), ordersRoute(), ordersRoute()
	b.Sources[0].Stream = "OTHER"
	c.Sources[0].Type, c.Sources[0].Subject = "kv", "{tenant}.>"
	d.Sources[0] = config.Source{Name: "orders", Type: "core", Subject: "orders.{tenant}.>"}
	keys := map[string]bool{}
	for i, route := range []config.Route{a, b, c, d, a} {
		for _, tenant := range []string{"x", "y"} {
			r, s := startSeen(t, route)
			r.open("/v1/orders/" + tenant).want("$ready")
			keys[s.last().Key] = true
			if i == 0 { // where a client begins is no matter of its group
				r.open("/v1/orders/" + tenant + "?since=1h").want("$ready")
				keys[s.last().Key] = true
			}
		}
	}
	if len(keys) != 8 {
		t.Errorf("%d keys: %v", len(keys), keys)
	}
}

func TestSince_IsATimeOrADurationOnStreams(t *testing.T) {
	route := ordersRoute()
	off := ordersRoute()
	off.Name, off.Path, off.Resume.Enabled = "off", "/v1/off/{tenant}", false
	r := start(t, withRoutes(route, off))
	began := time.Now()
	for query, want := range map[string]time.Time{
		"90s": began.Add(-90 * time.Second), "1h30m": began.Add(-90 * time.Minute), "0s": began, "2026-01-02T03:04:05Z": time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.25%2B01:00": time.Date(2026, 1, 2, 2, 4, 5, 25e7, time.UTC), "2026-01-02T03:04:05+01:00": time.Date(2026, 1, 2, 2, 4, 5, 0, time.UTC),
		"0001-01-01T00:00:00Z": time.Unix(0, 0), "2500000h": time.Unix(0, 0), url.QueryEscape(began.Add(20 * time.Second).Format(time.RFC3339)): began,
	} {
		for _, path := range []string{"/v1/orders/acme", "/v1/off/acme"} {
			r.open(path + "?since=" + query).want("$ready")
			opens := r.bridge.opens()
			if got := opens[len(opens)-1].Since; got.Sub(want) < -time.Second || got.Sub(want) > patience || got.IsZero() || opens[len(opens)-1].Cursor != "" {
				t.Errorf("%s?since=%s: %v, want %v", path, query, got, want)
			}
		}
	}
	future := url.QueryEscape(began.Add(time.Hour).Format(time.RFC3339))
	for _, bad := range []string{"", "-1s", "1", "1d", "yesterday", "2026-01-02", "99999999999h", future, "2026-13-02T03:04:05Z"} {
		r.get("/v1/orders/acme?since="+bad).problem(t, http.StatusBadRequest, "since-invalid")
		if resp := r.do(r.request(http.MethodHead, "/v1/orders/acme?since="+bad)); resp.StatusCode != http.StatusBadRequest {
			t.Errorf("HEAD with since=%s: %d", bad, resp.StatusCode)
		}
	}
}

func TestSince_GivesWayToAnID(t *testing.T) {
	const id = "1~aaaaaa.5"
	off := ordersRoute()
	off.Name, off.Path, off.Resume.Enabled = "off", "/v1/off/{tenant}", false
	r := start(t, withRoutes(ordersRoute(), off))
	for _, c := range []struct {
		path, header, cursor string
		since                bool
	}{
		{"/v1/orders/a?since=1h", id, id, false}, {"/v1/orders/a?since=rubbish", id, id, false}, {"/v1/orders/a?since=1h&last-event-id=" + id, "", id, false},
		{"/v1/orders/a?since=1h&last-event-id=", "", "", true},
		{"/v1/off/a?since=1h", id, "", true}, // a route without ids knows none
	} {
		var fields []string
		if c.header != "" {
			fields = []string{"Last-Event-ID", c.header}
		}
		r.open(c.path, fields...).want("$ready")
		opens := r.bridge.opens()
		if req := opens[len(opens)-1]; req.Cursor != c.cursor || req.Since.IsZero() == c.since {
			t.Errorf("%+v: %q, %v", c, req.Cursor, req.Since)
		}
	}
}

func TestSince_IsRefusedWhereASourceHasNoPast(t *testing.T) {
	mixed := ordersRoute()
	mixed.Name, mixed.Path = "mixed", "/v1/mixed/{tenant}"
	mixed.Sources = append(mixed.Sources, config.Source{Name: "live", Type: "core", Subject: "live"})
	r := start(t, withRoutes(prices(), flagsRoute(), mixed))
	for _, path := range []string{"/v1/prices/a", "/v1/flags/a", "/v1/mixed/a"} {
		for _, since := range []string{"1h", "rubbish", ""} {
			r.get(path+"?since="+since).problem(t, http.StatusBadRequest, "since-unsupported")
		}
	}
}

func TestFinished_IsA204WithoutBodyThatKeepsClientsAway(t *testing.T) {
	route := ordersRoute()
	route.CORS.AllowedOrigins = []string{"https://app.example"}
	route.OnOverload = "retry"
	r := start(t, withRoutes(route))
	r.bridge.open = failing(flow.ErrFinished)
	head := r.dial().send("GET /v1/orders/acme HTTP/1.1\r\nHost: h\r\nLast-Event-ID: 1~aaaaaa.5\r\nAccept: text/event-stream\r\nOrigin: https://app.example\r\n\r\n").head()
	if head[0] != "HTTP/1.1 204 No Content" {
		t.Fatalf("%q", head)
	}
	text := strings.Join(head, "\n") + "\n"
	for _, want := range []string{"Cache-Control: no-store\n", "Access-Control-Allow-Origin: https://app.example\n", "Vary: Origin\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, none := range []string{"\nContent-Length", "\nContent-Type", "\nTransfer-Encoding", "\nX-Accel-Buffering", "\nRetry-After"} {
		if strings.Contains(text, none) {
			t.Errorf("%s in\n%s", none, text)
		}
	}
	eventually(t, "the release", func() bool { _, out, _ := r.limiter.balance(); return out == 0 })
	if got := r.metric("headgate_requests_total", "route", "orders", "outcome", "finished"); got != 1 {
		t.Errorf("counted %v", got)
	}
	if resp := r.do(r.request(http.MethodHead, "/v1/orders/acme")); resp.StatusCode != http.StatusOK {
		t.Errorf("HEAD: %d", resp.StatusCode)
	}
}

func TestClient_BeginsAsTheSourceSays(t *testing.T) {
	r, s := startSeen(t, ordersRoute())
	for start, bare := range map[flow.Start]bool{flow.Live: false, flow.Snapshot: true} {
		r.bridge.mu.Lock()
		r.bridge.open = func(context.Context, flow.Request) (flow.Opened, error) {
			o := r.bridge.opened()
			o.Start, o.State = start, "notes"
			return o, nil
		}
		r.bridge.mu.Unlock()
		if e := r.open("/v1/orders/acme").want("$ready"); !strings.Contains(e.Data, `"position":"`+string(start)+`"`) {
			t.Errorf("%s: %s", start, e.Data)
		}
		if c := s.last(); c.Bare != bare || c.State != "notes" {
			t.Errorf("%s: bare %v, state %v", start, c.Bare, c.State)
		}
	}
}

func TestSlowGaps_NameEverySourceOfEveryKind(t *testing.T) {
	route := ordersRoute()
	route.SlowConsumer = "drop_oldest"
	route.Sources = append(route.Sources, config.Source{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: ">"})
	r, s := startSeen(t, route)
	r.open("/v1/orders/acme").want("$ready")
	var all string
	for _, f := range s.last().Policy.SlowGaps {
		all += string(f.Live.AppendBlock(nil, nil))
	}
	if strings.Count(all, "$gap") != 2 || !strings.Contains(all, `"source":"orders"`) || !strings.Contains(all, `"source":"flags"`) {
		t.Errorf("%s", all)
	}
}
