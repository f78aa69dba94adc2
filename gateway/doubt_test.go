package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// replaying publishes to the bucket of /eu until a client who comes back with an id of this gateway's is given what he missed, and no state.
func (p *pit) replaying() {
	p.t.Helper()
	eventually(p.t, "doubt to end", func() bool {
		p.mustPublish("KV_FLAGS", "$KV.FLAGS.eu.z", "1")
		rd := p.open("/eu", "")
		defer rd.stop()
		for rd.next().Type != "$snapshot" {
		}
		back := p.open("/eu", rd.dec.LastEventID())
		defer back.stop()
		if strings.Contains(back.want("$ready").Data, "replay") {
			return true
		}
		time.Sleep(50 * time.Millisecond) // so that they are not too many for a replica that is slow
		return false
	})
}

// One replica has noticed, or was started since, that a key went without a message, and another one goes on giving ids behind that. A client
// who has such an id, and the key, must be given a fresh state by the one that knows.
func TestBucket_AKeyThatAnotherReplicaHasNotMissedYetIsNotKept(t *testing.T) {
	t.Parallel()
	purge := func(p *pit, _ jetstream.KeyValue) { p.purge("KV_FLAGS", "$KV.FLAGS.eu.a", 0) }
	expire := func(p *pit, kv jetstream.KeyValue) {
		eventually(p.t, "the key to expire", func() bool {
			_, err := kv.Get(context.Background(), "eu.a")
			return errors.Is(err, jetstream.ErrKeyNotFound)
		})
	}
	for name, c := range map[string]struct {
		ttl   time.Duration
		since bool // the other replica is started behind the loss
		lose  func(*pit, jetstream.KeyValue)
	}{
		"noticed":                {0, false, purge},
		"started since":          {0, true, purge},
		"expired, noticed":       {2 * time.Second, false, expire},
		"expired, started since": {2 * time.Second, true, expire},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
			kv := p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS", TTL: c.ttl})
			put := func(key string) {
				t.Helper()
				if _, err := kv.PutString(t.Context(), key, "1"); err != nil {
					t.Fatal(err)
				}
			}
			put("eu.a")
			cfg := modelConfig(p.ns.URL(), routesOf(kvRoutes()[:1]))
			cfg.JetStream.VerifyEvery = time.Hour // it does not notice while the test runs
			p.gw = startReplica(t, cfg).ready()
			cfg.JetStream.VerifyEvery = 500 * time.Millisecond
			client := p.open("/eu", "")
			client.want("$ready")
			client.want("put")
			client.want("$snapshot")
			if !c.since {
				p.gw = startReplica(t, cfg).ready()
				stays := p.open("/eu", "")
				for stays.next().Type != "$snapshot" {
				}
				c.lose(p, kv)
				stays.gap("reset")
			} else {
				c.lose(p, kv)
				p.gw = startReplica(t, cfg).ready()
			}
			put("eu.b") // and the one that has not noticed gives an id behind the loss
			for e := client.next(); !strings.Contains(e.Data, "eu.b"); e = client.next() {
				if e.Type == "$gap" {
					t.Fatalf("it has noticed, and the test shows nothing: %s", e.Data)
				}
			}
			back := p.open("/eu", client.dec.LastEventID())
			if e := back.want("$ready"); !strings.Contains(e.Data, `"snapshot"`) {
				t.Fatalf("$ready %s", e.Data)
			}
			if e := back.want("put"); !strings.Contains(e.Data, "eu.b") {
				t.Errorf("put %s", e.Data)
			}
			back.want("$snapshot")
			if c.ttl == 0 {
				p.replaying()
			}
			back = p.open("/eu", client.dec.LastEventID())
			if e := back.want("$ready"); !strings.Contains(e.Data, `"snapshot"`) {
				t.Errorf("behind the doubt: $ready %s", e.Data)
			}
		})
	}
}

// deaf stands between a replica and the API of JetStream, and once told so answers no question about streams in earnest. The replica reads
// its bucket on, and cannot compare anything, however long that lasts.
func (p *pit) deaf() (silence func()) {
	p.t.Helper()
	nc, err := nats.Connect(p.ns.URL())
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(nc.Close)
	var silent atomic.Bool
	if _, err := nc.Subscribe("DEAF.API.>", func(m *nats.Msg) {
		rest := strings.TrimPrefix(m.Subject, "DEAF.API.")
		if silent.Load() && strings.HasPrefix(rest, "STREAM.INFO.") {
			_ = m.Respond([]byte(`{"type":"io.nats.jetstream.api.v1.stream_info_response","error":{"code":503,"err_code":10008,"description":"not now"}}`))
			return
		}
		_ = nc.PublishRequest("$JS.API."+rest, m.Reply, m.Data)
	}); err != nil {
		p.t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		p.t.Fatal(err)
	}
	return func() { silent.Store(true) }
}

// However long a replica goes on without noticing that a key has gone, no other takes up an id that it gave behind that. When it does
// notice, all is well again.
func TestBucket_AReplicaThatCanCompareNothingGivesIDsThatNobodyTakesUp(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	kv := p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"})
	put := func(key string) {
		t.Helper()
		if _, err := kv.PutString(t.Context(), key, "1"); err != nil {
			t.Fatal(err)
		}
	}
	put("eu.a")
	silence := p.deaf()
	cfg := modelConfig(p.ns.URL(), routesOf(kvRoutes()[:1]))
	cfg.JetStream.VerifyEvery = 500 * time.Millisecond
	knows := startReplica(t, cfg).ready()
	cfg.JetStream.APIPrefix = "DEAF.API"
	deaf := startReplica(t, cfg).ready()
	p.gw = deaf
	unproven := func(r *replica) float64 { return r.metric("headgate_feed_unproven", "KV_FLAGS") }
	stays := p.open("/eu", "")
	stays.want("$ready")
	stays.want("put")
	stays.want("$snapshot")
	p.gw = knows
	p.replaying() // it doubts nothing any more
	eventually(t, "both to have compared", func() bool { return unproven(deaf) == 0 && unproven(knows) == 0 })
	silence()
	p.purge("KV_FLAGS", "$KV.FLAGS.eu.a", 0)
	noticed := p.open("/eu", "")
	for e := noticed.next(); e.Type != "$gap"; e = noticed.next() {
	}
	p.replaying()
	put("eu.b")
	for e := stays.next(); !strings.Contains(e.Data, "eu.b"); e = stays.next() {
		if e.Type == "$gap" {
			t.Fatalf("it has noticed, and the test shows nothing: %s", e.Data)
		}
	}
	eventually(t, "the metric", func() bool { return unproven(deaf) == 1 })
	if unproven(knows) != 0 {
		t.Error("the metric of the one that compares is not 0")
	}
	back := p.open("/eu", stays.dec.LastEventID())
	if e := back.want("$ready"); !strings.Contains(e.Data, `"snapshot"`) {
		t.Fatalf("the other one keeps the key: $ready %s", e.Data)
	}
	for e := back.next(); e.Type != "$snapshot"; e = back.next() {
		if e.Type != "put" || strings.Contains(e.Data, "eu.a") {
			t.Errorf("%s %s", e.Type, e.Data)
		}
	}
}

// A client that is still reading what it missed, when its replica has proven nothing for too long, goes on under ids that nobody takes up: what
// it is given from then on is behind what the others doubt.
func TestBucket_WhoIsReadingIsGivenIDsThatNobodyTakesUpAsWell(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"})
	p.mustPublish("KV_FLAGS", "$KV.FLAGS.eu.a", "1")
	silence := p.deaf()
	cfg := modelConfig(p.ns.URL(), routesOf(kvRoutes()[:1]))
	cfg.JetStream.VerifyEvery, cfg.JetStream.TailBytes = 500*time.Millisecond, 128<<20
	knows := startReplica(t, cfg).ready()
	cfg.JetStream.APIPrefix = "DEAF.API"
	deaf := startReplica(t, cfg).ready()
	keys := 0
	flood := func(n int) {
		t.Helper()
		value := strings.Repeat("x", 4<<10)
		for range n {
			p.mustPublish("KV_FLAGS", fmt.Sprint("$KV.FLAGS.eu.flood", keys), `"`+value+`"`)
			keys++
		}
	}
	p.gw = deaf
	p.replaying()
	first := p.open("/eu", "")
	for first.next().Type != "$snapshot" {
	}
	flood(3000) // more than sockets hold
	reads := p.open("/eu", first.dec.LastEventID())
	if e := reads.want("$ready"); !strings.Contains(e.Data, "replay") {
		t.Fatalf("$ready %s", e.Data)
	}
	silence()
	p.purge("KV_FLAGS", "$KV.FLAGS.eu.a", 0)
	p.gw = knows
	noticed := p.open("/eu", "")
	for noticed.next().Type != "$gap" {
	}
	p.replaying() // it doubts nothing any more
	flood(100)
	n, id := 0, ""
	for e := reads.next(); e.Type != "$live"; e = reads.next() {
		if e.Type == "$gap" {
			t.Fatalf("it was not reading any more, and the test shows nothing: %s", e.Data)
		}
		if n++; strings.Contains(e.Data, `flood3050"`) {
			id = e.ID
		}
	}
	if n < 3100 {
		t.Errorf("it has read %d changes", n)
	}
	for _, id := range []string{id, reads.dec.LastEventID()} {
		back := p.open("/eu", id)
		if e := back.want("$ready"); id == "" || !strings.Contains(e.Data, `"snapshot"`) {
			t.Errorf("the other one keeps the key: $ready %s for %q", e.Data, id)
		}
	}
}

// What is not shown of a bucket is named by nothing but its reason: numbers mean nothing for a state.
func TestBucket_AGapInPlaceOfAValueHasNoNumbers(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	kv := p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"})
	routes := routesOf(kvRoutes()[:1])
	routes[0].Data = "json"
	p.gw = startReplica(t, modelConfig(p.ns.URL(), routes)).ready()
	rd := p.open("/eu", "")
	rd.want("$ready")
	rd.want("$snapshot")
	for _, live := range []bool{true, false} {
		if live {
			if _, err := kv.PutString(t.Context(), "eu.a", "no JSON"); err != nil {
				t.Fatal(err)
			}
		} else {
			rd = p.open("/eu", "")
			rd.want("$ready")
		}
		if data := rd.gap("invalid"); strings.Contains(data, `"from"`) || strings.Contains(data, `"to"`) {
			t.Errorf("$gap %s", data)
		}
	}
}

// Nobody can say what has gone, so whoever comes back is given all there is, however often.
func TestBucket_WhereNotEvenKeysFitEveryIDBringsAState(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	p.bucket(jetstream.KeyValueConfig{Bucket: "FLAGS"})
	for n := range 50 {
		p.mustPublish("KV_FLAGS", fmt.Sprintf("$KV.FLAGS.eu.k%d", n), "1")
	}
	cfg := modelConfig(p.ns.URL(), routesOf(kvRoutes()[:1]))
	cfg.JetStream.TailBytes = 1000
	cfg.JetStream.VerifyEvery = time.Millisecond // doubt would end at once
	p.gw = startReplica(t, cfg).ready()
	id := ""
	for n := range 5 {
		p.mustPublish("KV_FLAGS", "$KV.FLAGS.eu.k1", "2")
		rd := p.open("/eu", id)
		if e := rd.want("$ready"); !strings.Contains(e.Data, `"snapshot"`) {
			t.Errorf("%d: $ready %s", n, e.Data)
		}
		for rd.next().Type != "$snapshot" {
		}
		id = rd.dec.LastEventID()
		rd.stop()
	}
}
