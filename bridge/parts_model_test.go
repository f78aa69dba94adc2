package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
	"headgate/internal/cursor"
	"headgate/internal/devnats"
	"headgate/internal/flow"
)

// changed is a key that has got a value, or none, by a revision.
type changed struct {
	key, value string
	gone       bool
}

// changer changes a bucket at random, and knows what it was at each revision.
type changer struct {
	t  *testing.T
	js jetstream.JetStream

	mu  sync.Mutex
	log map[uint64]changed
}

func (c *changer) change(rnd *rand.Rand, n int) {
	is := changed{key: fmt.Sprint("k", rnd.IntN(200)), value: fmt.Sprint(n), gone: rnd.IntN(4) == 0}
	m := &nats.Msg{Subject: "$KV.PARTS." + is.key, Data: []byte(is.value)}
	if is.gone {
		m.Data, m.Header = nil, map[string][]string{"KV-Operation": {"DEL"}}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c.mu.Lock() // so that nobody looks for a revision that is not noted yet
	defer c.mu.Unlock()
	ack, err := c.js.PublishMsg(ctx, m)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.log[ack.Sequence] = is
}

// at is what the bucket was at a revision, and when each key was changed last.
func (c *changer) at(revision uint64) (values map[string]string, last map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	values, last = map[string]string{}, map[string]uint64{}
	then := map[string]uint64{}
	for rev, is := range c.log {
		last[is.key] = max(last[is.key], rev)
		if rev > revision || rev < then[is.key] {
			continue
		}
		then[is.key] = rev
		values[is.key] = is.value
		if is.gone {
			delete(values, is.key)
		}
	}
	return values, last
}

// keeper is a client that keeps what it is told of the bucket, is cut, and comes back.
type keeper struct {
	t     *testing.T
	w     *stateWorld
	c     *changer
	id    string
	have  map[string]string
	state bool // it is being given one
	given int  // states
}

// take is what a page does with an event.
func (k *keeper) take(block string) {
	kind, data, _ := strings.Cut(strings.TrimPrefix(block, "event: "), "\ndata: ")
	var is struct{ Key, Data, Next string }
	if err := json.Unmarshal([]byte(data), &is); err != nil {
		k.t.Errorf("%q: %v", block, err)
	}
	switch {
	case kind == "$gap" && is.Next == "snapshot":
		clear(k.have)
		k.state = true
	case kind == "$snapshot":
		k.state = false
		k.given++
	case kind == "put":
		if _, twice := k.have[is.Key]; twice && k.state {
			k.t.Errorf("the state has %s twice", is.Key)
		}
		k.have[is.Key] = is.Data
	case (kind == "delete" || kind == "purge") && !k.state:
		delete(k.have, is.Key)
	default:
		k.t.Errorf("in a state %v: %q", k.state, block)
	}
}

// session is one connection, cut behind so many reads, or when there is nothing more to read.
func (k *keeper) session(reads int) {
	spec := flow.Spec{Name: "parts", Kind: flow.KV, Stream: "PARTS", Subjects: []string{">"}}
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	o, err := k.w.r.Open(ctx, flow.Request{Sources: []flow.Spec{spec}, Cursor: k.id,
		Format: flow.Format{Data: "text", Envelope: "headgate", Token: -1, IDs: true}})
	if err != nil {
		k.t.Error(err)
		return
	}
	defer o.Source.Close()
	s := k.w.read(o)
	s.maxBytes, s.mayEnd = 300, true // it may end where the bucket changes too fast
	if o.Start == flow.Snapshot {
		clear(k.have)
		k.state, k.id = true, ""
	}
	for o.Start != flow.Live && !s.done && reads > 0 {
		s.step()
		reads--
	}
	for _, block := range s.got {
		k.take(strings.TrimSuffix(block, "\n"))
	}
	if k.state || s.err != nil || o.Start != flow.Live && !s.done { // an id in the middle of what was missed would do as well
		k.id = ""
		return
	}
	at := s.to[0]
	for _, e := range s.live.all() {
		if e.Frame != nil {
			k.take(strings.TrimSpace(string(e.Frame.AppendBlock(nil, nil))))
		}
		if at.Seq = max(at.Seq, e.Seq); e.Tag != (cursor.Tag{}) {
			at.Tag = e.Tag
		}
	}
	k.check(at.Seq)
	k.id = cursor.Position{at}.String()
}

// check compares what it has with what the bucket was. A key that was changed since may be missing.
func (k *keeper) check(revision uint64) {
	want, last := k.c.at(revision)
	for key, value := range k.have {
		if want[key] != value {
			k.t.Errorf("at %d it has %s of %s, and that was %q", revision, value, key, want[key])
		}
	}
	for key, value := range want {
		if _, ok := k.have[key]; !ok && last[key] <= revision {
			k.t.Errorf("at %d it has nothing of %s, and that was %q", revision, key, value)
		}
	}
}

// TestModel_StatesThatAreReadPartByPart runs clients of a bucket with a history that changes while they are given its state part by part. At
// the end of every connection each has what the bucket was then: no value that was replaced, and no key that had gone.
func TestModel_StatesThatAreReadPartByPart(t *testing.T) {
	statesAtOnce = 10
	t.Cleanup(func() { statesAtOnce = 0 })
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for _, direct := range []bool{true, false} {
		t.Run(fmt.Sprint("allow_direct ", direct), func(t *testing.T) { partByPart(t, seed, direct) })
	}
}

func partByPart(t *testing.T, seed uint64, direct bool) {
	ns := startNATS(t, devnats.Options{JetStream: true})
	js, err := jetstream.New(publisherOf(t, ns.URL()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KV_PARTS", Subjects: []string{"$KV.PARTS.>"}, MaxMsgsPerSubject: 3,
		AllowDirect: direct, DenyDelete: true, AllowRollup: true}); err != nil {
		t.Fatal(err)
	}
	c := &changer{t: t, js: js, log: map[uint64]changed{}}
	rnd := rand.New(rand.NewPCG(seed, 1))
	for n := range 1000 {
		c.change(rnd, n)
	}
	w := &stateWorld{t: t, js: js, url: ns.URL(), r: bridgeOf(t, ns.URL(), 100<<10, config.Source{Name: "parts", Type: "kv", Stream: "PARTS", Subject: ">"})}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		for n := 1000; ctx.Err() == nil; n++ {
			c.change(rnd, n)
			time.Sleep(time.Millisecond) // else memory does not reach back to where a state began
		}
	})
	given := make([]int, 8)
	for n := range given {
		wg.Go(func() {
			k, rnd := &keeper{t: t, w: w, c: c, have: map[string]string{}}, rand.New(rand.NewPCG(seed, uint64(n+2)))
			for ctx.Err() == nil && !t.Failed() {
				reads := 100_000
				if rnd.IntN(3) == 0 {
					reads = rnd.IntN(12)
				}
				k.session(reads)
			}
			given[n] = k.given
		})
	}
	wg.Wait()
	states := 0
	for _, n := range given {
		states += n
	}
	t.Logf("%d changes, %d states, %v scans, %v direct gets", len(c.log), states, w.r.metric("headgate_history_scans_total"), w.r.metric("headgate_history_direct_gets_total"))
	if states < 10 {
		t.Errorf("%d states were given", states)
	}
}
