package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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
		return strings.Contains(back.want("$ready").Data, "replay")
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
