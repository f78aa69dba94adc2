//go:build !nodev

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"headgate/internal/sse"
)

// A kick finds a stream in the middle of what it missed, behind a socket that takes nothing: it ends at an event boundary, with its reason.
func TestOperators_AKickEndsAReplay(t *testing.T) {
	o := startOperated(t, 1)
	js, err := jetstream.New(o.nc)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s.>"}, AllowDirect: true}); err != nil {
		t.Fatal(err)
	}
	const events = 100 // 50 MB, which no socket holds
	text := []byte(strings.Repeat("x", 512<<10))
	for range events {
		if _, err := js.Publish(t.Context(), "s.a", text); err != nil {
			t.Fatal(err)
		}
	}
	routes := "version: 1\nroutes:\n  - {name: all, path: /all, source: {type: stream, stream: S, subject: \"s.>\"}, snapshot: {mode: all}}\n"
	if err := os.WriteFile(o.routes, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	p := o.replicas()[0]
	resp := p.with(o.token("ann", nil), "GET", "/all", "", "")
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	s := &stream{t: t, events: sse.NewDecoder(resp.Body)}
	s.next("message")
	if m := o.ask("kick", `{"user": "ann"}`, 1)[0]; !strings.Contains(string(m.Data), `"ended":1`) {
		t.Fatalf("%s", m.Data)
	}
	for n := 1; ; n++ {
		e, err := s.events.Next()
		switch {
		case err != nil:
			t.Fatalf("behind %d events: %v", n, err)
		case n >= events:
			t.Fatal("all of it was given")
		case e.Type == "message" && len(e.Data) == len(text), e.Type == "$snapshot":
			continue
		case e.Type != "$end" || e.Data != `{"reason":"kicked","reconnect":false}`:
			t.Fatalf("%s %.100s", e.Type, e.Data)
		}
		return
	}
}

// Whatever comes and goes while an operator turns the pages, who is there all the time is on the list, once.
func TestOperators_PagesWhileStreamsComeAndGo(t *testing.T) {
	o := startOperated(t, 1)
	p := o.replicas()[0]
	ann, bob := o.token("ann", nil), o.token("bob", nil)
	stay := map[string]bool{}
	var load sync.WaitGroup
	stop := make(chan struct{})
	defer load.Wait()
	defer close(stop)
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp := p.with(bob, "GET", "/own", "", "")
				_, _ = sse.NewDecoder(resp.Body).Next()
				_ = resp.Body.Close()
			}
		})
	}
	for range 40 { // between those that come and go
		e, err := sse.NewDecoder(p.with(ann, "GET", "/own", "", "").Body).Next()
		var ready struct{ Connection string }
		if err != nil || json.Unmarshal([]byte(e.Data), &ready) != nil {
			t.Fatalf("%+v, %v", e, err)
		}
		stay[ready.Connection] = true
	}
	for range 5 {
		seen, after := map[string]int{}, ""
		for more := true; more; more = after != "" {
			m := o.ask("connections", fmt.Sprintf(`{"limit": 7, "after": %q}`, after), 1)[0]
			var page struct {
				Connections []struct{ Connection string }
				Next        string
			}
			if err := json.Unmarshal(m.Data, &page); err != nil {
				t.Fatal(err)
			}
			for _, c := range page.Connections {
				seen[c.Connection]++
			}
			after = page.Next
		}
		for id := range stay {
			if seen[id] != 1 {
				t.Errorf("%s is listed %d times", id, seen[id])
			}
		}
	}
}
