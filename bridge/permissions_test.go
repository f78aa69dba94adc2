package bridge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"headgate/internal/config"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// guardedConfig is one route of each kind.
func guardedConfig(url string) config.Config {
	c := config.DefaultConfig()
	c.NATS = testNATS(url)
	c.NATS.User, c.NATS.Password, c.NATS.ConfirmTimeout = "headgate", "secret-h", time.Second
	c.JetStream.TailAge = 0 // what there was at start comes from history
	c.Routes = []config.Route{
		{Name: "prices", Sources: []config.Source{{Name: "prices", Type: "core", Subject: "prices.{symbol}"}}},
		{Name: "orders", Sources: []config.Source{{Name: "orders", Type: "stream", Stream: "ORDERS", Subject: "orders.>"}}},
		{Name: "flags", Sources: []config.Source{{Name: "flags", Type: "kv", Stream: "FLAGS", Subject: ">"}}},
		{Name: "notify", Publish: &config.Publish{Subject: "users.{user}"}},
	}
	return c
}

// startPermitted is a server with an administrator, and a user for headgate that permit changes.
func startPermitted(t *testing.T) (ns *devnats.Server, admin *nats.Conn, permit func(pub, sub []string)) {
	t.Helper()
	users := func(p *server.Permissions) func(*server.Options) {
		return func(o *server.Options) {
			o.Users = []*server.User{{Username: "admin", Password: "secret-a"}, {Username: "headgate", Password: "secret-h", Permissions: p}}
		}
	}
	ns = startNATS(t, devnats.Options{JetStream: true, Configure: users(nil)})
	admin = publisherOf(t, ns.URL(), nats.UserInfo("admin", "secret-a"))
	return ns, admin, func(pub, sub []string) {
		t.Helper()
		p := &server.Permissions{Publish: &server.SubjectPermission{Allow: pub}, Subscribe: &server.SubjectPermission{Allow: sub}}
		if err := ns.Reload(users(p)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPermissions_EachOfThoseThatInspectNamesIsNeeded(t *testing.T) {
	ns, admin, permit := startPermitted(t)
	js := ok[jetstream.JetStream](t)(jetstream.New(admin))
	ok[jetstream.Stream](t)(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}, AllowDirect: true}))
	ok[jetstream.Stream](t)(js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "USERS", Subjects: []string{"users.>"}}))
	kv := ok[jetstream.KeyValue](t)(js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "FLAGS"}))
	ok[uint64](t)(kv.PutString(t.Context(), "dark", "on"))
	for range 20 { // fewer are read from the leader, one by one
		ok[*jetstream.PubAck](t)(js.Publish(t.Context(), "orders.1", []byte("first")))
	}
	cfg := guardedConfig(ns.URL())
	found := ok[*Inspection](t)(Inspect(t.Context(), cfg))
	if found.Failed() {
		var text bytes.Buffer
		_, _ = found.WriteTo(&text)
		t.Fatal(text.String())
	}
	p := found.report.Permissions
	permit(p.Publish, p.Subscribe)
	if err := useGuarded(t, cfg, admin, js); err != nil {
		t.Fatalf("with all of them: %v", err)
	}
	without := func(list []string, drop string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == drop })
	}
	for _, drop := range p.Publish {
		if strings.HasSuffix(drop, "DIRECT.GET.KV_FLAGS") {
			continue // for buckets that do not fit into memory
		}
		permit(without(p.Publish, drop), p.Subscribe)
		if err := useGuarded(t, cfg, admin, js); err == nil {
			t.Errorf("nothing misses the permission to publish to %s", drop)
		}
	}
	for _, drop := range p.Subscribe {
		permit(p.Publish, without(p.Subscribe, drop))
		if err := useGuarded(t, cfg, admin, js); err == nil {
			t.Errorf("nothing misses the permission to subscribe to %s", drop)
		}
	}
}

// useGuarded runs a bridge, uses every route, and says what does not work.
func useGuarded(t *testing.T, cfg config.Config, admin *nats.Conn, js jetstream.JetStream) error {
	t.Helper()
	r := &running{t: t, reg: prometheus.NewRegistry()}
	b, err := New(cfg, slog.New(slog.DiscardHandler), r.reg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	eventually(t, "NATS", func() bool { return b.Health().Connected })
	err = useRoutes(ctx, b, admin)
	if n := r.metric("headgate_history_scans_total"); err == nil && n > 0 {
		err = fmt.Errorf("%v slow reads in place of direct gets", n)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, name := range []string{"ORDERS", "KV_FLAGS"} {
		s, e := js.Stream(t.Context(), name)
		if e != nil {
			t.Fatal(e)
		}
		for c := range s.ListConsumers(t.Context()).Info() {
			err = errors.Join(err, fmt.Errorf("%s: the consumer %s is left", name, c.Name))
			if e := s.DeleteConsumer(t.Context(), c.Name); e != nil {
				t.Fatal(e)
			}
		}
	}
	return err
}

func useRoutes(ctx context.Context, b *Bridge, admin *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if ack, err := b.Publish(ctx, "users.bob", nil, []byte("hello")); err != nil || ack.Stream != "USERS" {
		return fmt.Errorf("acknowledged %+v, error %v", ack, err)
	}
	prices, err := b.Open(ctx, flow.Request{Format: plain, Sources: []flow.Spec{{Name: "prices", Subjects: []string{"prices.A"}}}})
	if err != nil {
		return err
	}
	prices.Source.Close()
	flags, err := b.Open(ctx, flow.Request{Format: plain, Sources: []flow.Spec{{Name: "flags", Kind: flow.KV, Stream: "FLAGS", Subjects: []string{">"}}}})
	if err != nil {
		return err
	}
	defer flags.Source.Close()
	if err := firstOf(flags, &recorder{}, "put: on"); err != nil {
		return err
	}
	orders, err := b.Open(ctx, flow.Request{Format: plain, Since: time.Now().Add(-time.Hour),
		Sources: []flow.Spec{{Name: "orders", Kind: flow.Stream, Stream: "ORDERS", Subjects: []string{"orders.1"}}}})
	if err != nil {
		return err
	}
	defer orders.Source.Close()
	live := &recorder{}
	if err := firstOf(orders, live, "first"); err != nil {
		return err
	}
	if err := admin.Publish("orders.1", []byte("first")); err != nil {
		return err
	}
	for end := time.Now().Add(time.Second); !slices.Contains(live.texts(), "first"); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			return errors.New("nothing comes live")
		}
	}
	return nil
}

// firstOf reads until there is an event, which must be the wanted one.
func firstOf(o flow.Opened, live *recorder, want string) error {
	ask := flow.Ask{From: o.From, To: o.Source.Attach(live), MaxBytes: 1 << 20, State: o.State}
	for end := time.Now().Add(2 * time.Second); ; {
		answers := make(chan flow.Batch, 1)
		o.Source.Read(ask, func(b flow.Batch) { answers <- b })
		select {
		case b := <-answers:
			ask.State = b.State
			got := texts(b.Events)
			switch {
			case b.Err != nil:
				return b.Err
			case len(got) > 0 && got[0] != want:
				return fmt.Errorf("%q, want %q", got, want)
			case len(got) > 0:
				return nil
			}
		case <-time.After(time.Until(end)):
		}
		if time.Now().After(end) {
			return fmt.Errorf("%q is not read", want)
		}
	}
}
