package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

// storedRoutes are routes whose events NATS keeps. ORIGIN is the page's.
const storedRoutes = `
version: 1
defaults: {cors: {origins: ["ORIGIN"]}}
routes:
  - name: orders
    path: /v1/orders/{region}
    source: {type: stream, stream: ORDERS, subject: "orders.{region}.>"}
    event: {type: order}
  - name: all
    path: /v1/orders
    source: {type: stream, stream: ORDERS, subject: "orders.>"}
    event: {type: order}
  - name: flags
    path: /v1/flags/{env}
    source: {type: kv, bucket: FLAGS, key: "{env}.>"}
    data: json
  - name: job
    path: /v1/jobs/{id}
    source: {type: stream, stream: JOBS, subject: "jobs.{id}"}
    event: {type: progress}
    snapshot: last
    end: {when: {field: status, in: [done, failed]}}
`

// kills is how often a test ends headgate as a crash would.
const kills = 3

// stored is NATS with what storedRoutes read.
type stored struct {
	nats  *stack.NATS
	js    jetstream.JetStream
	flags jetstream.KeyValue
}

func newStored(t *testing.T) *stored {
	t.Helper()
	s := &stored{nats: stack.StartNATS(t, "")}
	js, err := jetstream.New(s.nats.Connect(t))
	must(t, err)
	s.js = js
	ctx, cancel := soon(t)
	defer cancel()
	for name, subject := range map[string]string{"ORDERS": "orders.>", "JOBS": "jobs.>"} {
		_, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: name, Subjects: []string{subject}, AllowDirect: true})
		must(t, err)
	}
	s.flags, err = js.CreateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: "FLAGS"})
	must(t, err)
	return s
}

// gate starts a headgate for pages of origin, with more environment given as alternating names and values.
func (s *stored) gate(t *testing.T, origin string, env ...string) *stack.Headgate {
	t.Helper()
	more := pairs(append([]string{"SSE_RETRY", "100ms", "SSE_RETRY_JITTER", "50ms", "SSE_OVERLOAD_RETRY", "100ms",
		"SSE_OVERLOAD_JITTER", "50ms", "SSE_HEARTBEAT", "1s"}, env...))
	return stack.StartHeadgate(t, stack.Options{NATS: s.nats.URL(), Routes: strings.ReplaceAll(storedRoutes, "ORIGIN", origin), Env: more})
}

// order stores one order of a region.
func (s *stored) order(t *testing.T, region, data string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	_, err := s.js.Publish(ctx, "orders."+region+".new", []byte(data))
	must(t, err)
}

// shop stores orders 1, 2, … of eu, and others between them, until it is told to stop. Its channel then has the last number.
func (s *stored) shop(t *testing.T) (stop func() (last int)) {
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		pause := time.NewTicker(2 * time.Millisecond)
		defer pause.Stop()
		for n := 1; ctx.Err() == nil; n++ {
			for _, m := range []struct{ subject, data string }{
				{"orders.us.new", "of another region"}, {fmt.Sprintf("orders.eu.%c", 'a'+n%3), strconv.Itoa(n)},
			} {
				if _, err := s.js.Publish(t.Context(), m.subject, []byte(m.data)); err != nil {
					t.Errorf("order %d: %v", n, err)
					return
				}
			}
			last = n
			<-pause.C
		}
	})
	return func() int {
		cancel()
		wg.Wait()
		return last
	}
}

// complete fails unless the record is 1 to last, once each and in order.
func complete(t *testing.T, record []string, last int) {
	t.Helper()
	for i := range max(len(record), last) {
		if i >= len(record) || record[i] != strconv.Itoa(i+1) || i >= last {
			from := max(0, min(i, len(record))-3)
			t.Fatalf("%d orders were stored and %d came; from number %d on they are %q", last, len(record), from+1,
				record[from:min(len(record), i+4)])
		}
	}
	t.Logf("%d orders, each once and in order", last)
}

// noHole fails when something was missed, or may have been.
func noHole(t *testing.T, list []seen) {
	t.Helper()
	if gaps := of(list, "$gap"); len(gaps) != 0 {
		t.Errorf("%d gaps though nothing was lost: %s", len(gaps), dataOf(gaps))
	}
}

func datasOf(list []seen) []string {
	var out []string
	for _, e := range list {
		out = append(out, text(e.Data))
	}
	return out
}

// count waits until the page has seen n events of a type.
func (r *recorder) count(t *testing.T, eventType string, n int) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, fmt.Sprintf("seen.filter((e) => e.type === %q).length >= %d", eventType, n)))
}

func TestChromium_ResumesAStreamThroughAKilledHeadgateWithoutLossOrDuplicate(t *testing.T) {
	r := newRecorder(t)
	s := newStored(t)
	h := s.gate(t, r.origin)
	r.connect(t, h.URL+"/v1/orders/eu", "order")
	r.wait(t, `{type: "$ready"}`, 0)
	stop := s.shop(t)
	for i := range kills {
		r.count(t, "order", len(of(r.all(t), "order"))+20)
		h.Kill()
		r.count(t, "error", i+1)
		h.Restart(t)
		r.count(t, "$live", i+1)
	}
	last := stop()
	r.wait(t, fmt.Sprintf(`{type: "order", data: "%d"}`, last), 0)
	all := r.all(t)
	complete(t, datasOf(of(all, "order")), last)
	noHole(t, all)
}

// A replica that is killed is one among several, and the proxy asks another one. What one replica has sent, the next one knows.
func TestChromium_ResumesThroughNginxOnAnotherReplica(t *testing.T) {
	r := newRecorder(t)
	s := newStored(t)
	gates := []*stack.Headgate{s.gate(t, r.origin), s.gate(t, r.origin)}
	front := stack.StartNginxFor(t, gates...)
	r.connect(t, front.URL+"/v1/orders/eu", "order")
	r.wait(t, `{type: "$ready"}`, 0)
	stop := s.shop(t)
	for i := range kills {
		r.count(t, "order", len(of(r.all(t), "order"))+20)
		h := carrier(t, gates)
		h.Kill()
		r.count(t, "$live", i+1) // on the other one
		h.Restart(t)
	}
	last := stop()
	r.wait(t, fmt.Sprintf(`{type: "order", data: "%d"}`, last), 0)
	all := r.all(t)
	complete(t, datasOf(of(all, "order")), last)
	noHole(t, all)
}

// carrier is the headgate that has the one stream.
func carrier(t *testing.T, gates []*stack.Headgate) *stack.Headgate {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	var found *stack.Headgate
	must(t, stack.Poll(ctx, func() error {
		for _, h := range gates {
			n, err := h.Metric(ctx, "headgate_delivery_streams")
			if err != nil {
				return err
			}
			if n == 1 {
				found = h
				return nil
			}
		}
		return fmt.Errorf("no headgate has the stream")
	}))
	return found
}

// While the only replica is away nginx answers in its place. The answer has no id, so the page keeps the one it has.
func TestChromium_OutlastsTheOnlyReplicaBehindNginx(t *testing.T) {
	r := newRecorder(t)
	s := newStored(t)
	h := s.gate(t, r.origin)
	front := stack.StartNginxFor(t, h)
	r.connect(t, front.URL+"/v1/orders/eu", "order")
	r.wait(t, `{type: "$ready"}`, 0)
	stop := s.shop(t)
	for i := range kills {
		r.count(t, "order", len(of(r.all(t), "order"))+20)
		opened := len(of(r.all(t), "open"))
		h.Kill()
		r.count(t, "open", opened+2) // nginx's own answer, more than once
		h.Restart(t)
		r.count(t, "$live", i+1)
	}
	last := stop()
	r.wait(t, fmt.Sprintf(`{type: "order", data: "%d"}`, last), 0)
	all := r.all(t)
	complete(t, datasOf(of(all, "order")), last)
	noHole(t, all)
}

// What nginx says without such an answer is the end for an EventSource. If this fails, the test above proves nothing.
func TestChromium_GivesUpOnStockNginxWhoseOnlyReplicaIsAway(t *testing.T) {
	r := newRecorder(t)
	h := newStored(t).gate(t, r.origin)
	r.connect(t, stack.StartNginx(t, h.Addr).URL+"/v1/orders/eu", "order")
	r.wait(t, `{type: "$ready"}`, 0)
	h.Kill()
	r.wait(t, `{type: "error", state: 2}`, 0)
}

func TestOtherClients_ResumeAStreamThroughAKilledHeadgate(t *testing.T) {
	for name, listen := range libraries {
		t.Run(name, func(t *testing.T) {
			s := newStored(t)
			h := s.gate(t, "https://app.example")
			events := listen(t, h.URL+"/v1/orders/eu")
			hear(t, events, "$ready")
			stop := s.shop(t)
			var record []string
			caughtUp := 0
			take := func(until func() bool) {
				t.Helper()
				for deadline := time.After(brief); !until(); {
					select {
					case e := <-events:
						switch e.Type {
						case "order":
							record = append(record, e.Data)
						case "$gap":
							t.Errorf("a gap though nothing was lost: %s", e.Data)
						case "$live":
							caughtUp++
						}
					case <-deadline:
						t.Fatalf("not within %s, after %d orders", brief, len(record))
					}
				}
			}
			for i := range kills {
				n := len(record) + 20
				take(func() bool { return len(record) >= n })
				h.Kill()
				h.Restart(t)
				take(func() bool { return caughtUp > i })
			}
			last := stop()
			take(func() bool { return record[len(record)-1] == strconv.Itoa(last) })
			complete(t, record, last)
		})
	}
}

var (
	curlOrder = regexp.MustCompile(`(?m)^event: order\ndata: (\d+)\nid: \S+\n\n`)
	curlID    = regexp.MustCompile(`(?m)^id: (\S+)\n`)
)

func TestCurl_ResumesAStreamThroughAKilledHeadgate(t *testing.T) {
	s := newStored(t)
	h := s.gate(t, "https://app.example")
	var record []string
	take := func(p *proc.Process) (id string) {
		out := p.Output()
		out = out[:strings.LastIndex(out, "\n\n")+2] // a block that was cut off does not count
		for _, m := range curlOrder.FindAllStringSubmatch(out, -1) {
			record = append(record, m[1])
		}
		if strings.Contains(out, "event: $gap") {
			t.Errorf("a gap though nothing was lost:\n%.2000s", out)
		}
		ids := curlID.FindAllStringSubmatch(out, -1)
		return ids[len(ids)-1][1]
	}
	p := curl(t, h.URL+"/v1/orders/eu")
	shows(t, p, `event: \$ready\n`)
	stop := s.shop(t)
	for range kills {
		shows(t, p, `(event: order\n[^$]*){20}`)
		h.Kill()
		ctx, cancel := soon(t)
		_, err := p.Wait(ctx)
		cancel()
		must(t, err)
		id := take(p)
		h.Restart(t)
		p = curl(t, "-H", "Last-Event-ID: "+id, h.URL+"/v1/orders/eu")
		shows(t, p, `event: \$live\n`)
	}
	last := stop()
	shows(t, p, fmt.Sprintf(`\ndata: %d\nid: .*\n\n`, last))
	take(p)
	complete(t, record, last)
}

// values is the bucket that a page has in its mind after these events: a state begins anew at $ready, or where a gap says so.
func values(t *testing.T, list []seen) map[string]string {
	t.Helper()
	state := map[string]string{}
	for _, e := range list {
		var d struct {
			Key, Position, Next string
			Data                json.RawMessage
		}
		if e.Data != nil {
			must(t, json.Unmarshal([]byte(*e.Data), &d))
		}
		switch e.Type {
		case "$ready", "$gap":
			if d.Position == "snapshot" || d.Next == "snapshot" {
				clear(state)
			}
		case "put":
			state[d.Key] = string(d.Data)
		case "delete", "purge", "expire":
			delete(state, d.Key)
		}
	}
	return state
}

// values is the bucket as it is.
func (s *stored) values(t *testing.T) map[string]string {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	keys, err := s.flags.Keys(ctx)
	must(t, err)
	state := map[string]string{}
	for _, key := range keys {
		if !strings.HasPrefix(key, "eu.") {
			continue
		}
		e, err := s.flags.Get(ctx, key)
		must(t, err)
		state[key] = string(e.Value())
	}
	return state
}

func (s *stored) put(t *testing.T, key, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	_, err := s.flags.PutString(ctx, key, value)
	must(t, err)
}

func TestChromium_HasTheRightStateOfABucketWhenItComesBack(t *testing.T) {
	r := newRecorder(t)
	s := newStored(t)
	h := s.gate(t, r.origin)
	for _, key := range []string{"eu.stays", "eu.changes", "eu.goes", "eu.vanishes", "us.other"} {
		s.put(t, key, "1")
	}
	r.connect(t, h.URL+"/v1/flags/eu", "put", "delete", "purge", "expire", "$snapshot")
	r.wait(t, `{type: "$snapshot"}`, 0)

	for round := range kills {
		h.Kill()
		r.count(t, "error", round+1)
		ctx, cancel := soon(t)
		s.put(t, "eu.changes", strconv.Itoa(round+2))
		s.put(t, fmt.Sprintf("eu.new%d", round), "1")
		s.put(t, "us.other", strconv.Itoa(round+2))
		must(t, s.flags.Delete(ctx, "eu.goes"))
		if round == 1 { // of a key that was deleted and whose deletion is forgotten too nothing tells any more
			must(t, s.flags.Delete(ctx, "eu.vanishes"))
			must(t, s.flags.PurgeDeletes(ctx, jetstream.DeleteMarkersOlderThan(-1)))
		}
		cancel()
		h.Restart(t)
		s.put(t, "eu.mark", strconv.Itoa(round)) // the last that comes
		r.holds(t, "eu.mark", strconv.Itoa(round))
		if got, want := values(t, r.all(t)), s.values(t); !maps.Equal(got, want) {
			t.Fatalf("round %d: the page believes %v, and the bucket has %v", round, got, want)
		}
		s.put(t, "eu.goes", strconv.Itoa(100+round))
		r.holds(t, "eu.goes", strconv.Itoa(100+round))
	}
}

// holds waits until a value of a key has come.
func (r *recorder) holds(t *testing.T, key, value string) {
	t.Helper()
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, fmt.Sprintf(`seen.some((e) => e.type === "put" && JSON.parse(e.data).key === %q && JSON.stringify(JSON.parse(e.data).data) === %q)`,
		key, value)))
}

func TestChromium_StaysAwayWhenAJobIsDone(t *testing.T) {
	r := newRecorder(t)
	s := newStored(t)
	h := s.gate(t, r.origin)
	report := func(text string) {
		ctx, cancel := soon(t)
		defer cancel()
		_, err := s.js.Publish(ctx, "jobs.7", []byte(text))
		must(t, err)
	}
	report(`{"percent":10}`)
	r.connect(t, h.URL+"/v1/jobs/7", "progress", "$snapshot")
	r.wait(t, `{type: "$snapshot"}`, 0)
	report(`{"percent":60}`)
	r.wait(t, `{type: "progress", data: '{"percent":60}'}`, 0)
	h.Kill() // in the middle of the job
	r.wait(t, `{type: "error"}`, 0)
	report(`{"percent":90}`)
	h.Restart(t)
	r.wait(t, `{type: "progress", data: '{"percent":90}'}`, 0)
	report(`{"percent":100,"status":"done"}`)
	r.wait(t, `{type: "$end"}`, 0)
	r.wait(t, `{type: "error", state: 2}`, 0) // the 204

	all := r.all(t)
	got := datasOf(of(all, "progress"))
	want := []string{`{"percent":10}`, `{"percent":60}`, `{"percent":90}`, `{"percent":100,"status":"done"}`}
	if !slices.Equal(got, want) {
		t.Errorf("the page saw %q", got)
	}
	if end := datasOf(of(all, "$end")); len(end) != 1 || end[0] != `{"reason":"done","reconnect":false}` {
		t.Errorf("$end says %q", end)
	}
	ctx, cancel := soon(t)
	defer cancel()
	must(t, r.Wait(ctx, "source.readyState === EventSource.CLOSED"))
	noHole(t, all)
}
