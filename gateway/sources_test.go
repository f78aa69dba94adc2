package gateway_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/sse"
)

// shelf is what a page keeps of the buckets of a route: values by key by source. It knows what docs/protocol.md says, and nothing else.
type shelf struct {
	t    *testing.T
	have map[string]map[string]string
}

// take is what a page does with an event.
func (s *shelf) take(e sse.Event) {
	s.t.Helper()
	var is struct {
		Source, Key, Next, Position string
		Data                        any
	}
	if err := json.Unmarshal([]byte(e.Data), &is); err != nil && !strings.HasPrefix(e.Type, "$") {
		s.t.Fatalf("%s: %v", e.Data, err)
	}
	value, _ := is.Data.(string)
	switch e.Type {
	case "$ready":
		if is.Position == "snapshot" {
			clear(s.have)
		}
	case "$gap":
		if is.Next == "snapshot" {
			delete(s.have, is.Source)
		}
	case "put":
		if s.have[is.Source] == nil {
			s.have[is.Source] = map[string]string{}
		}
		s.have[is.Source][is.Key] = value
	case "delete", "purge", "expire":
		delete(s.have[is.Source], is.Key)
	}
}

// has says whether the page has exactly this.
func (s *shelf) has(want map[string]map[string]string) bool {
	return maps.EqualFunc(s.have, want, maps.Equal[map[string]string, map[string]string])
}

// A page that keeps what two buckets have, under keys that are the same in both, has the right of each when one of them is made again: the
// envelope says which bucket a key is of, in the word of $gap.
func TestSources_APageKeepsTwoBucketsApartThroughTheResetOfOne(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil)
	names := []string{"G", "H"}
	buckets := map[string]jetstream.KeyValue{}
	put := func(bucket, key, value string) {
		t.Helper()
		if _, err := buckets[bucket].PutString(t.Context(), key, value); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		buckets[name] = p.bucket(jetstream.KeyValueConfig{Bucket: name})
		put(name, "both", "of "+name)
		put(name, "gone", "of "+name)
		put(name, "only"+name, "of "+name)
	}
	two := streamRoute("two", "", "", func(r *modelRoute) {
		r.Sources = []config.Source{{Name: "g", Type: "kv", Stream: "G", Subject: ">"}, {Name: "h", Type: "kv", Stream: "H", Subject: ">"}}
	})
	p.gw = startReplica(t, modelConfig(p.ns.URL(), routesOf([]modelRoute{two}))).ready()
	stays := &shelf{t: t, have: map[string]map[string]string{}}
	rd := p.open("/two", "")
	follow := func(s *shelf, rd *reader, want map[string]map[string]string) {
		t.Helper()
		for n := 0; !s.has(want); n++ {
			if n > 100 {
				t.Fatalf("it has %v, and there is %v", s.have, want)
			}
			s.take(rd.next())
		}
	}
	of := func(name string, keys ...string) map[string]string {
		m := map[string]string{}
		for _, key := range keys {
			m[key] = "of " + name
		}
		return m
	}
	follow(stays, rd, map[string]map[string]string{"g": of("G", "both", "gone", "onlyG"), "h": of("H", "both", "gone", "onlyH")})
	for rd.dec.LastEventID() == "" {
		stays.take(rd.next())
	}
	id := rd.dec.LastEventID()
	comesBack := &shelf{t: t, have: map[string]map[string]string{}}
	for name, keys := range stays.have {
		comesBack.have[name] = maps.Clone(keys)
	}

	if err := p.js.DeleteKeyValue(t.Context(), "G"); err != nil {
		t.Fatal(err)
	}
	buckets["G"] = p.bucket(jetstream.KeyValueConfig{Bucket: "G"})
	put("G", "both", "new")
	if err := buckets["H"].Delete(t.Context(), "gone"); err != nil {
		t.Fatal(err)
	}
	now := map[string]map[string]string{"g": {"both": "new"}, "h": of("H", "both", "onlyH")}
	follow(stays, rd, now)
	back := p.open("/two", id)
	for e := back.next(); ; e = back.next() {
		comesBack.take(e)
		if e.Type == "$snapshot" || e.Type == "$live" {
			break
		}
	}
	follow(comesBack, back, now)
	put("G", "last", "of G")
	now["g"]["last"] = "of G"
	follow(stays, rd, now)
	follow(comesBack, back, now)
	if got := slices.Sorted(maps.Keys(stays.have)); !slices.Equal(got, []string{"g", "h"}) {
		t.Errorf("the sources are called %q", got)
	}
}

// On a route with one source nothing tells sources apart, so nothing is said of them.
func TestSources_TheOnlyOneOfARouteIsNotNamedInTheEnvelope(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil)
	p.put("a.one", 1)
	rd := p.open("/one", "")
	for e := rd.next(); ; e = rd.next() {
		if e.Type == sse.Message {
			if strings.Contains(e.Data, `"source"`) {
				t.Error(e.Data)
			}
			return
		}
		p.put("a.one", 1)
	}
}
