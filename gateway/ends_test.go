package gateway_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/config"
)

// Whoever reads behind what is live has an end with its own position: that of the event which ends the stream, or of what it was given
// before it was told to go. In the middle of a state nothing has one.
func TestEnd_RepeatsTheLastIDOfAClientThatReads(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, jobRoute("log", "", config.Replay{}), jobRoute("last", "last", config.Replay{}))
	rd := p.open("/log/1", "")
	id := rd.want("$ready").ID
	for _, state := range []string{"runs", "runs", "done"} {
		p.mustPublish("A", "a.1.progress", `{"state":"`+state+`"}`)
	}
	for _, path := range []string{"/log/1", "/last/1"} {
		rd, begin := p.open(path, id), id
		if path == "/last/1" {
			rd, begin = p.open(path, ""), ""
		}
		last := begin
		for e := rd.next(); ; e = rd.next() {
			if e.Type != "$end" {
				last = e.ID
				continue
			}
			if !e.HasID || e.ID != last || last == begin {
				t.Errorf("%s: $end has the id %q (its own: %v), and the event before %q", path, e.ID, e.HasID, last)
			}
			break
		}
		if status, _ := p.answer(path, last); status != http.StatusNoContent {
			t.Errorf("%s: %d behind the end", path, status)
		}
	}
}

// answer is what a request with an id gets that opens no stream.
func (p *pit) answer(path, id string) (status int, body string) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "http://"+*p.gw.addr.Load()+path, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	if id != "" {
		req.Header.Set("Last-Event-ID", id)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A work queue's messages are for one consumer, so no route can have it. Whoever asks is told at once, and with the cause that says so.
func TestWorkQueue_IsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, streamRoute("all", "a.>", "a.>"))
	p.create(jetstream.StreamConfig{Name: "Q", Subjects: []string{"q.>"}, Retention: jetstream.WorkQueuePolicy, AllowDirect: true})
	route := streamRoute("queue", "q.>", "q.>")
	route.Sources[0].Stream = "Q"
	cfg := modelConfig(p.ns.URL(), routesOf([]modelRoute{route}))
	p.gw = startReplica(t, cfg)
	p.gw.ready()
	began := time.Now()
	if status, body := p.answer("/queue", ""); status != http.StatusServiceUnavailable || !strings.Contains(body, "problem:source") {
		t.Errorf("%d %s", status, body)
	}
	p.gw.mu.Lock()
	logs := p.gw.logs.String()
	p.gw.mu.Unlock()
	if !strings.Contains(logs, "the stream is a work queue") || !strings.Contains(logs, "that has it as a source") {
		t.Error("the log does not say why, or not what to do")
	}
	if d := time.Since(began); d > cfg.NATS.ConfirmTimeout/2 {
		t.Errorf("after %v", d)
	}
}

// What is published behind the end begins a job again for those who come for it then. Who has been told of the end stays away, and who had
// not got so far is told of it first: see ADR 20.
func TestEnd_AJobThatIsBegunAgainHasNotEndedForThoseWhoComeThen(t *testing.T) {
	t.Parallel()
	p := newPit(t, streamA(), nil, jobRoute("last", "last", config.Replay{}))
	progress := func(state string) { p.mustPublish("A", "a.1.progress", `{"state":"`+state+`"}`) }
	// next reads on until it has been given all of these, in whatever order, and says where it is then.
	next := func(rd *reader, all ...string) string {
		t.Helper()
		for len(all) > 0 {
			e := rd.next()
			all = slices.DeleteFunc(all, func(want string) bool { return e.Type == want || strings.Contains(e.Data, want) })
			if e.Type == "$end" && len(all) > 0 {
				t.Fatalf("it ends before %s: %s", all, e.Data)
			}
		}
		return rd.dec.LastEventID()
	}
	progress("first")
	rd := p.open("/last/1", "")
	first := next(rd, "$snapshot", "first")
	progress("done")
	done := next(rd, "done")
	rd.wantFinal("done")
	progress("again")
	eventually(t, "the feed to have it", func() bool { return p.gw.metric("headgate_feed_messages_total", "A") == 3 })

	newcomer := p.open("/last/1", "")
	again := next(newcomer, "$snapshot", "again")
	if status, _ := p.answer("/last/1", done); status != http.StatusNoContent {
		t.Errorf("who has been told of the end gets %d", status)
	}
	behind := p.open("/last/1", first)
	next(behind, "done")
	behind.wantFinal("done")
	back := p.open("/last/1", again) // a cut in the middle of the second run
	progress("goes on")
	next(back, "goes on")
	next(newcomer, "goes on")
	progress("failed")
	next(back, "failed")
	back.wantFinal("done")
}
