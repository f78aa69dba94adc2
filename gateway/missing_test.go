package gateway_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/devnats"
)

// storing is a whole gateway with a route on a stream and one on a bucket; neither exists.
type storing struct {
	*whole
	js jetstream.JetStream
}

const lostAfter = 1500 * time.Millisecond

// startStoring gives headgate a user with permissions, nil for all of them. prepare is called before headgate starts.
func startStoring(t *testing.T, permissions *server.Permissions, prepare func(*storing), change ...func(*setup)) *storing {
	t.Helper()
	ns, err := devnats.Start(devnats.Options{JetStream: true, Configure: storingUsers(permissions)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ns.Shutdown)
	orders := ordersRoute()
	orders.Snapshot, orders.Resume.OnGap = config.Snapshot{}, "event"
	byStatus := orders
	byStatus.Name, byStatus.Path, byStatus.OnOverload = "by-status", "/v1/by-status/{tenant}", "status"
	flags := flagsRoute()
	flags.OnOverload = "retry"
	admin := nats.UserInfo("admin", "a")
	nc, err := nats.Connect(ns.URL(), admin)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	s := &storing{whole: &whole{rig: &rig{t: t}}}
	if s.js, err = jetstream.New(nc); err != nil {
		t.Fatal(err)
	}
	prepare(s)
	s.whole = startWholeOn(t, ns, []nats.Option{admin}, withRoutes(orders, byStatus, flags), func(st *setup) {
		st.cfg.NATS.User, st.cfg.NATS.Password, st.cfg.NATS.ConfirmTimeout = "headgate", "h", patience
		st.cfg.JetStream.LostAfter = lostAfter
		for _, c := range change {
			c(st)
		}
	})
	return s
}

func asItIs(*storing) {}

func storingUsers(permissions *server.Permissions) func(*server.Options) {
	return func(o *server.Options) {
		o.Users = []*server.User{{Username: "admin", Password: "a"}, {Username: "headgate", Password: "h", Permissions: permissions}}
	}
}

// create makes them in memory: nats-server removes the files of a deleted stream a little after it has said so.
func (s *storing) create() {
	s.t.Helper()
	if _, err := s.js.CreateStream(s.t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true,
		Storage: jetstream.MemoryStorage}); err != nil {
		s.t.Fatal(err)
	}
	if _, err := s.js.CreateKeyValue(s.t.Context(), jetstream.KeyValueConfig{Bucket: "FLAGS", Storage: jetstream.MemoryStorage}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *storing) remove() {
	s.t.Helper()
	if err := errors.Join(s.js.DeleteStream(s.t.Context(), "ORDERS"), s.js.DeleteKeyValue(s.t.Context(), "FLAGS")); err != nil {
		s.t.Fatal(err)
	}
}

func (s *storing) put(key, value string) {
	s.t.Helper()
	kv, err := s.js.KeyValue(s.t.Context(), "FLAGS")
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := kv.PutString(s.t.Context(), key, value); err != nil {
		s.t.Fatal(err)
	}
}

const turnedAway = `{"reason":"overloaded","cause":"source","reconnect":true}`

// eventSource is the body of the answer that a browser's EventSource gets; the stream must end.
func (s *storing) eventSource(path string, fields ...string) string {
	s.t.Helper()
	resp := s.get(path, append([]string{"Accept", "text/event-stream"}, fields...)...)
	if resp.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %d %s", path, resp.StatusCode, resp.body)
	}
	return resp.body
}

// refuses wants every route to be turned away, each in its way.
func (s *storing) refuses(t *testing.T) {
	t.Helper()
	for _, path := range []string{"/v1/orders/a", "/v1/flags/eu"} {
		if body := s.eventSource(path); !strings.Contains(body, turnedAway) || !strings.Contains(body, "retry: ") {
			t.Errorf("%s: %q", path, body)
		}
	}
	s.get("/v1/by-status/a", "Accept", "text/event-stream").problem(t, http.StatusServiceUnavailable, "source")
	s.get("/v1/orders/a").problem(t, http.StatusServiceUnavailable, "source") // no EventSource
}

// opened opens a stream when its source has been found, which headgate looks for about once a second.
func (s *storing) opened(path string, fields ...string) *reader {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		rd := s.open(path, append([]string{"Accept", "text/event-stream"}, fields...)...)
		switch e := rd.next(); {
		case e.Type == "$ready":
			return rd
		case e.Type != "$end" || e.Data != turnedAway || time.Now().After(end):
			s.t.Fatalf("%s: %+v", path, e)
		}
		rd.stop()
	}
}

func TestMissing_AtTheStartIsOverloadAndHealsWhenItAppears(t *testing.T) {
	s := startStoring(t, nil, asItIs)
	s.refuses(t)
	for _, want := range []string{"the stream cannot be read", "stream=ORDERS", "stream=KV_FLAGS", "the stream does not exist", "create it, or correct its name"} {
		if !strings.Contains(s.logs.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	s.create()
	rd := s.opened("/v1/orders/a")
	s.publish("orders.a.1", "first")
	rd.wantAll("first")
	flags := s.opened("/v1/flags/eu")
	flags.want("$snapshot")
	s.put("eu.dark", "on")
	flags.want("put")
}

func TestMissing_DisappearsUnderOpenStreams(t *testing.T) {
	s := startStoring(t, nil, (*storing).create)
	rd, flags := s.opened("/v1/orders/a"), s.opened("/v1/flags/eu")
	flags.want("$snapshot")
	s.publish("orders.a.1", "first")
	id := rd.want("message").ID
	s.put("eu.dark", "on")
	seen := flags.want("put").ID

	s.remove()
	for _, r := range []*reader{rd, flags} {
		if e := r.want("$gap"); !strings.Contains(e.Data, `"reason":"reset"`) {
			t.Errorf("$gap %s", e.Data)
		}
		r.wantEnd("source-lost")
	}
	for path, at := range map[string]string{"/v1/orders/a": id, "/v1/flags/eu": seen} {
		if body := s.eventSource(path, "Last-Event-ID", at); !strings.Contains(body, turnedAway) || strings.Contains(body, "id:") {
			t.Errorf("%s: %q", path, body)
		}
	}

	s.create()
	s.publish("orders.a.1", "of another one")
	s.put("eu.beta", "off")
	rd = s.opened("/v1/orders/a", "Last-Event-ID", id)
	if e := rd.want("$gap"); !strings.Contains(e.Data, `"reason":"reset"`) || !strings.Contains(e.Data, `"next":"live"`) {
		t.Errorf("$gap %s", e.Data)
	}
	rd.wantAll("of another one")
	flags = s.opened("/v1/flags/eu", "Last-Event-ID", seen)
	if e := flags.want("put"); e.Data != "off" {
		t.Errorf("%+v", e)
	}
	flags.want("$snapshot")
}

func TestMissing_BackInTimeKeepsTheStreamsOpen(t *testing.T) {
	s := startStoring(t, nil, (*storing).create)
	rd := s.opened("/v1/orders/a")
	s.publish("orders.a.1", "first")
	rd.wantAll("first")
	s.remove()
	rd.want("$gap")
	s.create()
	s.publish("orders.a.1", "of another one")
	rd.wantAll("of another one")
}

func TestMissing_WhatTheUserMayNotReadIsTheSame(t *testing.T) {
	for _, request := range []string{"STREAM.INFO", "STREAM.MSG.GET", "CONSUMER.CREATE", "CONSUMER.MSG.NEXT"} {
		t.Run(request, func(t *testing.T) {
			denied := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API." + request + ".>"}}}
			s := startStoring(t, denied, func(s *storing) {
				s.create()
				if _, err := s.js.Publish(t.Context(), "orders.a.1", []byte("first")); err != nil { // so that there is something to be read
					t.Fatal(err)
				}
				s.put("eu.dark", "on")
			})
			eventually(t, "the refusal", func() bool {
				return strings.Contains(s.eventSource("/v1/orders/a"), turnedAway) && strings.Contains(s.eventSource("/v1/flags/eu"), turnedAway)
			})
			s.refuses(t)
			for _, want := range []string{"the NATS user may not read the stream", request + ".ORDERS", request + ".KV_FLAGS", "headgate -check -online"} {
				eventually(t, "the log to say "+want, func() bool { return strings.Contains(s.logs.String(), want) })
			}
			if err := s.nats.Reload(storingUsers(nil)); err != nil {
				t.Fatal(err)
			}
			rd := s.opened("/v1/orders/a")
			s.publish("orders.a.1", "second")
			rd.wantAll("second")
			s.opened("/v1/flags/eu").want("put")
		})
	}
}

func TestMissing_WithoutDirectGetsWhatWasMissedIsReadAllTheSame(t *testing.T) {
	denied := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"$JS.API.DIRECT.GET.>"}}}
	s := startStoring(t, denied, func(s *storing) {
		s.create()
		for range 40 {
			if _, err := s.js.Publish(t.Context(), "orders.a.1", []byte("x")); err != nil {
				t.Fatal(err)
			}
		}
	}, func(st *setup) { st.cfg.JetStream.TailAge = 0 }) // so that it is read from history
	rd := s.opened("/v1/orders/a?since=1h")
	rd.want("$gap")
	for range 7 { // max_events of the route
		rd.want("message")
	}
	rd.want("$live")
	if log := s.logs.String(); !strings.Contains(log, "NATS refuses what headgate needs") || !strings.Contains(log, "DIRECT.GET.ORDERS") {
		t.Error("the log does not say that direct gets are refused")
	}
}
