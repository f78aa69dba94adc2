package gateway_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/sse"
)

// A heartbeat moves the id of an idle client forward, over what is not for it; whoever comes back with that id gets the next message. A
// client that has not been given everything is told no position behind that.
func TestPitfall10_HeartbeatsNeverPassWhatWasNotSent(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 << 10 })
	p.put("a.one", 1)
	rd := p.open("/one?since=1h", "")
	rd.want("$ready")
	rd.seqs(1, 1)
	p.put("a.two", 500)
	before := uint64(1)
	for before < 501 {
		e, err := rd.dec.NextBlock()
		if err != nil {
			t.Fatal(err)
		}
		if !e.Silent && e.Type != "$live" {
			t.Fatalf("%+v", e)
		}
		if !e.HasID {
			continue
		}
		at, _ := cursor.Parse(e.ID)
		if at[0].Seq < before {
			t.Fatalf("from %d back to %d", before, at[0].Seq)
		}
		before = at[0].Seq
	}
	id := rd.dec.LastEventID()
	rd.stop()
	p.put("a.one", 1)
	back := p.open("/one", id)
	back.want("$ready")
	back.seqs(502, 502)
	// One that reads history, and is idle to its group meanwhile: every id is that of the message before it.
	slow := p.open("/all?since=1h", "")
	last := uint64(0)
	for last < 502 {
		e, err := slow.dec.NextBlock()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := cursor.Parse(e.ID)
		switch {
		case e.Type == sse.Message && slow.seqOf(e) == last+1:
			last++
		case e.HasID && at[0].Seq > last:
			t.Fatalf("%+v behind message %d", e, last)
		}
	}
}

// Payloads and headers that are hard to carry in lines of text.
func TestPitfall11_PayloadsOfAllKinds(t *testing.T) {
	t.Parallel()
	text := streamRoute("text", "a.>", "a.>", func(r *modelRoute) { r.Envelope = "none" })
	exact := streamRoute("exact", "a.>", "a.>", func(r *modelRoute) { r.Envelope, r.Data = "none", "base64" })
	p := newPit(t, streamA(), nil, text, exact)
	payloads := []struct{ data, text string }{
		{"a\rb", "a\nb"}, {"a\nb\r\nc", "a\nb\nc"}, {"\n\n", "\n\n"}, {"a\x00b", "a\x00b"}, {"\xff\xfeok", "\uFFFD\uFFFDok"}, {"", ""},
		{"data: x\n\nid: 9", "data: x\n\nid: 9"}, {strings.Repeat("m", 1<<20), strings.Repeat("m", 1<<20)},
	}
	lines, bytesOf := p.open("/text", ""), p.open("/exact", "")
	lines.want("$ready")
	bytesOf.want("$ready")
	for i, pl := range payloads {
		m := nats.NewMsg("a.one")
		m.Data = []byte(pl.data)
		for h := range 100 {
			if len(pl.data) < 1<<10 {
				m.Header.Set(fmt.Sprintf("X-%d", h), strings.Repeat("v", 50))
			}
		}
		if len(m.Header) == 0 {
			m.Header = nil
		}
		if _, err := p.js.PublishMsg(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if e := lines.want("message"); e.Data != pl.text {
			t.Errorf("payload %d: %d bytes of text", i, len(e.Data))
		}
		e := bytesOf.want("message")
		if got, err := base64.StdEncoding.DecodeString(e.Data); err != nil || !bytes.Equal(got, m.Data) {
			t.Errorf("payload %d: %d bytes: %v", i, len(got), err)
		}
	}
}

// Sequences jump for many reasons. What was removed in the middle is no gap; what was removed at the beginning is one for whoever has
// not had it.
func TestPitfall12_SequencesJump(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(func(c *jetstream.StreamConfig) {
		c.MaxMsgsPerSubject, c.AllowMsgTTL, c.SubjectDeleteMarkerTTL = 2, true, time.Hour
	}), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 }) // memory still has what was removed
	rd := p.open("/all", "")
	begin := rd.want("$ready").ID
	p.put("a.keep", 1) // 1
	p.put("a.one", 5)  // 2 to 6, of which 5 and 6 stay
	p.put("a.two", 2)  // 7, 8
	rd.seqs(1, 8)      // whoever is connected gets them all
	p.purge("A", "a.two", 0)
	p.put("a.one", 1) // 9, and 5 goes
	rd.seqs(9, 9)
	back := p.open("/all", begin)
	back.want("$ready")
	for _, want := range []uint64{1, 6, 9} {
		if got := back.seq(); got != want {
			t.Fatalf("got %d, want %d", got, want)
		}
	}
	p.purge("A", "", 1)           // only 9 is left
	late := p.open("/one", begin) // of which nothing has been read yet
	late.want("$ready")
	if g := late.gap("expired"); !strings.Contains(g, `"from":1,"to":8`) {
		t.Errorf("$gap %s", g)
	}
	late.seqs(9, 9)
	m := nats.NewMsg("a.short")
	m.Header.Set("Nats-TTL", "1s")
	if _, err := p.js.PublishMsg(t.Context(), m); err != nil { // 10, which goes by itself
		t.Fatal(err)
	}
	rd.seqs(10, 10)
	p.put("a.one", 1)
	if got := rd.seq(); got < 11 { // behind a marker, or not
		t.Fatalf("got %d behind 10", got)
	}
}

// A mirror has its origin's sequences: it begins where that began when it was made, and has no messages of its own. Whoever follows it gets
// what it has, and comes back to it.
func TestPitfall12_SequencesOfAMirror(t *testing.T) {
	t.Parallel()
	of := func(r *modelRoute) { r.Sources[0].Stream = "M" }
	mirrored, two := streamRoute("mirrored", "a.>", "a.>", of), streamRoute("two", "a.two", "a.two", of)
	p := newPit(t, streamA(), func(_ *server.Options, c *config.Config) { c.JetStream.TailBytes = 1 }, mirrored, two)
	p.put("a.one", 10)
	p.purge("A", "", 2)
	p.create(jetstream.StreamConfig{Name: "M", Mirror: &jetstream.StreamSource{Name: "A"}, AllowDirect: true, MirrorDirect: true})
	eventually(t, "the mirror", func() bool {
		s, err := p.js.Stream(t.Context(), "M")
		return err == nil && s.CachedInfo().State.Msgs == 2
	})
	rd := p.open("/mirrored?since=1h", "")
	begin := rd.want("$ready").ID
	rd.seqs(9, 10)
	p.put("a.one", 1)
	rd.seqs(11, 11)
	p.purge("A", "a.one", 0) // which is not the mirror's business
	p.put("a.two", 2)
	rd.seqs(12, 13)
	p.purge("M", "", 2)
	back := p.open("/mirrored", rd.dec.LastEventID())
	back.want("$ready")
	late := p.open("/two", begin) // of which nothing has been read yet
	late.want("$ready")
	if g := late.gap("expired"); !strings.Contains(g, `"to":11`) {
		t.Errorf("$gap %s", g)
	}
	late.seqs(12, 13)
	p.put("a.two", 1)
	late.seqs(14, 14)
	back.seqs(14, 14)
	rd.seqs(14, 14)
}

// NATS removes a consumer that nobody has pulled from for longer than its threshold, as in an outage of the connection. It is made
// again behind what was read.
func TestPitfall13_TheOutageIsLongerThanTheThreshold(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(func(c *jetstream.StreamConfig) { c.ConsumerLimits.InactiveThreshold = 500 * time.Millisecond }),
		func(_ *server.Options, c *config.Config) { c.NATS.ReconnectWait = 2 * time.Second })
	rd := p.open("/all", "")
	rd.want("$ready")
	p.put("a.one", 1)
	rd.seqs(1, 1)
	kicked := 0
	conns, err := p.ns.NATS().Connz(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range conns.Conns {
		if strings.Contains(c.Name, "feed") {
			kicked++
			if err := p.ns.NATS().DisconnectClientByID(c.Cid); err != nil {
				t.Fatal(err)
			}
		}
	}
	if kicked != 1 {
		t.Fatalf("%d connections of feeds", kicked)
	}
	p.put("a.one", 3)
	eventually(t, "the consumer to go", func() bool { return len(p.consumers()) == 0 })
	rd.seqs(2, 4)
	p.put("a.one", 1)
	rd.seqs(5, 5)
}

// A stream in memory is gone when its server restarts, and whoever makes it again begins at 1. That is a reset, and never silence.
func TestPitfall14_MemoryStreamAfterARestart(t *testing.T) {
	t.Parallel()
	inMemory := streamA(func(c *jetstream.StreamConfig) { c.Storage = jetstream.MemoryStorage })
	p := newPit(t, inMemory, nil)
	rd := p.open("/all", "")
	rd.want("$ready")
	p.put("a.one", 5)
	rd.seqs(1, 5)
	id := rd.dec.LastEventID()
	if err := p.ns.Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the publisher", p.nc.IsConnected)
	p.create(inMemory)
	p.put("a.one", 7)
	rd.gap("reset")
	rd.seqs(1, 7)
	back := p.open("/all", id)
	back.want("$ready")
	back.gap("reset")
	back.seqs(1, 7)
}

// The subject that tells a message's sequence has more tokens where JetStream has a domain.
func TestPitfall15_StreamOfADomain(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), func(o *server.Options, c *config.Config) {
		o.JetStreamDomain, c.JetStream.Domain, c.JetStream.TailBytes = "hub", "hub", 1<<10
	})
	p.put("a.one", 50)
	rd := p.open("/all?since=1h", "")
	rd.want("$ready")
	rd.seqs(1, 50)
	p.put("a.one", 1)
	rd.seqs(51, 51)
}
