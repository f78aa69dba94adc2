package e2e_test

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"headgate/e2e/internal/proc"
	"headgate/e2e/internal/stack"
)

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
	t.Parallel()
	for name, o := range map[string]stack.Options{"HTTP/1.1": {}, "HTTP/2": {TLS: stack.NewCertificate(t)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resumesThroughKills(t, o)
		})
	}
}

func resumesThroughKills(t *testing.T, o stack.Options) {
	r := newRecorder(t)
	s := newStored(t)
	h := s.gateWith(t, o, r.origin)
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
	t.Parallel()
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
	t.Parallel()
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
	t.Parallel()
	r := newRecorder(t)
	h := newStored(t).gate(t, r.origin)
	r.connect(t, stack.StartNginx(t, h.Addr).URL+"/v1/orders/eu", "order")
	r.wait(t, `{type: "$ready"}`, 0)
	h.Kill()
	r.wait(t, `{type: "error", state: 2}`, 0)
}

func TestOtherClients_ResumeAStreamThroughAKilledHeadgate(t *testing.T) {
	t.Parallel()
	for name, listen := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStored(t)
			h := s.gate(t, "https://app.example")
			resumesWithALibrary(t, s, listen(t, h.URL+"/v1/orders/eu"), func() { h.Kill(); h.Restart(t) })
		})
	}
}

func TestOtherClients_ResumeThroughNginxOnAnotherReplica(t *testing.T) {
	t.Parallel()
	for name, listen := range libraries {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStored(t)
			gates := []*stack.Headgate{s.gate(t, "https://app.example"), s.gate(t, "https://app.example")}
			front := stack.StartNginxFor(t, gates...)
			var away *stack.Headgate
			resumesWithALibrary(t, s, listen(t, front.URL+"/v1/orders/eu"), func() {
				if away != nil {
					away.Restart(t)
				}
				away = carrier(t, gates)
				away.Kill()
			})
		})
	}
}

// resumesWithALibrary loses the headgate of a client again and again, and wants every order once.
func resumesWithALibrary(t *testing.T, s *stored, events <-chan heard, lose func()) {
	t.Helper()
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
		lose()
		take(func() bool { return caughtUp > i })
	}
	last := stop()
	take(func() bool { return record[len(record)-1] == strconv.Itoa(last) })
	complete(t, record, last)
}

var (
	curlOrder = regexp.MustCompile(`(?m)^event: order\ndata: (\d+)\nid: \S+\n\n`)
	curlID    = regexp.MustCompile(`(?m)^id: (\S+)\n`)
)

func TestCurl_ResumesAStreamThroughAKilledHeadgate(t *testing.T) {
	t.Parallel()
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
