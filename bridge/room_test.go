package bridge

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// crowd is clients of a subject each.
type crowd struct {
	r        *running
	nc       *nats.Conn
	subjects []string
	sinks    []*recorder
	sources  []flow.Source
	left     map[int]bool
	probes   int
}

func newCrowd(r *running, nc *nats.Conn, n int) *crowd {
	c := &crowd{r: r, nc: nc, left: map[int]bool{}}
	for i := range n {
		c.subjects = append(c.subjects, fmt.Sprint("crowd.", i))
		sink, src, _ := r.follow(request("", c.subjects[i]))
		c.sinks, c.sources = append(c.sinks, sink), append(c.sources, src)
	}
	return c
}

// hearing publishes a message to everybody, and says who gets it. The connection relays in order, so what came before one of a
// subject that is open has been relayed as well.
func (c *crowd) hearing(t *testing.T) (indexes []int) {
	t.Helper()
	c.probes++
	text := fmt.Sprint("probe ", c.probes)
	for _, s := range c.subjects {
		if err := c.nc.Publish(s, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	last, since := -1, time.Now()
	eventually(t, "silence", func() bool { // nobody tells that nothing more comes
		indexes = indexes[:0]
		for i, s := range c.sinks {
			if texts := s.texts(); len(texts) > 0 && texts[len(texts)-1] == text {
				indexes = append(indexes, i)
			}
		}
		if len(indexes) != last {
			last, since = len(indexes), time.Now()
		}
		return len(indexes) == len(c.sinks) || time.Since(since) > 100*time.Millisecond
	})
	return indexes
}

// noSilentHole says that whatever a client missed is named by a gap: the numbers of the probes that it was given follow each other,
// or have a gap between them, and one stands behind the last if that was not the last probe.
func (c *crowd) noSilentHole(t *testing.T) {
	t.Helper()
	for i, sink := range c.sinks {
		if c.left[i] {
			continue
		}
		next, gap := 1, false
		for _, text := range sink.texts() {
			if strings.HasPrefix(text, "$gap") {
				if text != reconnectGap {
					t.Errorf("client %d: %s", i, text)
				}
				gap = true
				continue
			}
			var n int
			if _, err := fmt.Sscanf(text, "probe %d", &n); err != nil {
				t.Fatal(text)
			}
			if n != next && !gap {
				t.Errorf("client %d: probe %d where %d was due, without a gap: %q", i, n, next, sink.texts())
			}
			next, gap = n+1, false
		}
		if next != c.probes+1 && !gap {
			t.Errorf("client %d: nothing after probe %d of %d, without a gap: %q", i, next-1, c.probes, sink.texts())
		}
	}
}

// settled waits until the bridge has found that there is no room: it asks again after a second at the earliest.
func (c *crowd) settled(t *testing.T) {
	t.Helper()
	count, since := -1.0, time.Now()
	eventually(t, "an end of the attempts", func() bool {
		if n := c.r.metric("headgate_nats_refused_total", "data-0"); n != count {
			count, since = n, time.Now()
		}
		return time.Since(since) > 250*time.Millisecond
	})
}

func (c *crowd) refused() int { return int(c.r.metric("headgate_nats_refused_topics")) }

func TestRoom_AsManyTopicsComeBackAsNATSTakesAndTheOthersFollow(t *testing.T) {
	var most atomic.Int64
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.MaxSubs = int(most.Load()) }})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	const clients, fit = 30, 11
	c := newCrowd(r, publisherOf(t, s.URL()), clients)
	if n := len(c.hearing(t)); n != clients {
		t.Fatalf("%d clients hear", n)
	}
	restart := func(limit int64) {
		t.Helper()
		before := r.metric("headgate_nats_reconnects_total", "data-0")
		most.Store(limit)
		if err := s.Restart(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the connection", func() bool {
			return r.metric("headgate_nats_reconnects_total", "data-0") > before && r.Health().Connected && c.nc.IsConnected()
		})
	}

	restart(fit)
	eventually(t, "those that fit", func() bool { return c.refused() == clients-fit })
	hearing := c.hearing(t)
	if len(hearing) != fit {
		t.Fatalf("%d clients hear: %v", len(hearing), hearing)
	}
	c.noSilentHole(t)
	heard := map[int]bool{}
	for _, i := range hearing {
		heard[i] = true
	}
	for i, sink := range c.sinks { // one for the reconnect, one when it is back
		want := 1
		if heard[i] {
			want = 2
		}
		if n := strings.Count(strings.Join(sink.texts(), "|"), reconnectGap); n != want {
			t.Errorf("client %d, heard %v, was told %d gaps", i, heard[i], n)
		}
	}
	if n := strings.Count(r.log.String(), "this connection has too many"); n != 1 {
		t.Errorf("%d lines in the log:\n%s", n, r.log)
	}
	if n := r.metric("headgate_nats_refused_total", "data-0"); n < clients-fit {
		t.Errorf("counted %v refusals", n)
	}

	// A new topic does not take the place of those that wait, and is told at once that there is none.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := r.Open(ctx, request("", "new.1")); !errors.Is(err, flow.ErrRefused) {
		t.Fatalf("Open without room: %v", err)
	}
	if n := c.refused(); n != clients-fit {
		t.Fatalf("%d topics are refused", n)
	}

	// Those who leave make room for those who wait.
	for _, i := range hearing[:3] {
		c.sources[i].Close()
		c.left[i] = true
	}
	eventually(t, "three others", func() bool { return c.refused() == clients-fit-3 })

	// The same limit again: those that were taken are taken again, and nobody suspects them.
	hearing = append([]int(nil), c.hearing(t)...)
	if len(hearing) != fit {
		t.Fatalf("%d clients hear", len(hearing))
	}
	c.settled(t)
	told := r.metric("headgate_gaps_total", "reconnect")
	restart(fit)
	if again := c.hearing(t); !slices.Equal(again, hearing) {
		t.Fatalf("%v hear, and before it was %v", again, hearing)
	}
	if n := r.metric("headgate_gaps_total", "reconnect") - told; n != clients-3 {
		t.Errorf("%v gaps for %d clients", n, clients-3)
	}

	restart(0)
	eventually(t, "all of them", func() bool { return c.refused() == 0 })
	if n := len(c.hearing(t)); n != clients-3 {
		t.Fatalf("%d clients hear", n)
	}
	c.noSilentHole(t)
	sink, _, _ := r.follow(request("", "new.1"))
	publish(t, c.nc, "new.1", "x")
	sink.waitFor(t, "x")
}

// TestRoom_AccountLimitIsLoweredAndRaisedWhileConnected does it without a new session: the server applies an account's new limits to
// the connections that are there, and closes those that are above.
func TestRoom_AccountLimitIsLoweredAndRaisedWhileConnected(t *testing.T) {
	op := newOperator(t)
	s := startNATS(t, devnats.Options{Configure: op.configure})
	cfg := testNATS(s.URL())
	cfg.CredsFile = filepath.Join(t.TempDir(), "gate.creds")
	creds, _ := op.creds(t, 0)
	writeFile(t, cfg.CredsFile, creds)
	r := connectedBridge(t, cfg, 0)
	const clients = 12
	c := newCrowd(r, publisherOf(t, s.URL(), nats.UserCredentials(cfg.CredsFile)), clients)
	limit := func(n int64) {
		t.Helper()
		pub := ok[string](t)(op.account.PublicKey())
		acc := ok[*server.Account](t)(s.NATS().LookupAccount(pub))
		claims := jwt.NewAccountClaims(pub)
		claims.Limits.Subs = n
		s.NATS().UpdateAccountClaims(acc, claims)
	}
	if n := len(c.hearing(t)); n != clients {
		t.Fatalf("%d clients hear", n)
	}
	limit(5)
	eventually(t, "those that fit", func() bool { return r.Health().Connected && c.refused() == clients-5 })
	if n := len(c.hearing(t)); n != 5 {
		t.Fatalf("%d clients hear", n)
	}
	c.noSilentHole(t)

	// There is room for one more: it goes to one of those who wait, and not to whoever comes first.
	c.settled(t)
	limit(6)
	if _, err := r.Open(t.Context(), request("", "new")); !errors.Is(err, flow.ErrRefused) {
		t.Fatalf("Open: %v", err)
	}
	if n := c.refused(); n > clients-6 {
		t.Fatalf("%d topics are refused", n)
	}
	limit(-1)
	eventually(t, "all of them", func() bool { return c.refused() == 0 })
	if n := len(c.hearing(t)); n != clients {
		t.Fatalf("%d clients hear", n)
	}
	c.noSilentHole(t)
}

// TestRoom_RefusedNewTopicsDoNotTouchTheOthers: a refusal without a subject that can only be of a new topic is no reason to suspect
// those that were confirmed before, or a stranger could make everybody lose messages.
func TestRoom_RefusedNewTopicsDoNotTouchTheOthers(t *testing.T) {
	s := startNATS(t, devnats.Options{Configure: func(o *server.Options) { o.MaxSubs = 3 }})
	r := connectedBridge(t, testNATS(s.URL()), 0)
	c := newCrowd(r, publisherOf(t, s.URL()), 3)
	for i := range 10 {
		if _, err := r.Open(t.Context(), request("", fmt.Sprint("new.", i))); !errors.Is(err, flow.ErrRefused) {
			t.Fatalf("Open %d: %v", i, err)
		}
	}
	if n := len(c.hearing(t)); n != 3 {
		t.Fatalf("%d clients hear", n)
	}
	for i, sink := range c.sinks {
		if len(sink.all()) != 1 {
			t.Errorf("client %d: %q", i, sink.texts())
		}
	}
	c.sources[0].Close()
	eventually(t, "room for a new one", func() bool {
		o, err := r.Open(t.Context(), request("", "new"))
		if err == nil {
			o.Source.Close()
		}
		return err == nil
	})
}
