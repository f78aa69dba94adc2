package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/flow"
)

// office is everything around a desk: streams that the test makes up, and a bucket that keeps what it is given.
type office struct {
	list    []gateway.Connection
	kicked  []gateway.Filter
	written map[string]string
	ids     []string
	err     error
}

func (o *office) Connections(_ gateway.Filter, from uint32, limit int) (list []gateway.Connection, next uint32) {
	rest := o.list[from:]
	if len(rest) > limit {
		return rest[:limit], from + uint32(limit)
	}
	return rest, 0
}

func (o *office) Kick(f gateway.Filter) int {
	o.kicked = append(o.kicked, f)
	return 2
}
func (o *office) Numbers() gateway.Numbers { return gateway.Numbers{Instance: "abcdef", Streams: 3} }
func (o *office) Revoke(_ context.Context, key string, value []byte, id string) (uint64, error) {
	if o.err != nil {
		return 0, o.err
	}
	o.written[key] = string(value)
	o.ids = append(o.ids, id)
	return 7, nil
}

func desk() (*Desk, *office) {
	o := &office{written: map[string]string{}}
	d := New(o, o, nil, issuers{}, slog.New(slog.DiscardHandler))
	d.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	return d, o
}

func (d *Desk) ask(t *testing.T, endpoint, request string) (string, error) {
	t.Helper()
	for _, e := range d.Endpoints() {
		if e.Name == endpoint {
			answer, err := e.Answer(t.Context(), "_INBOX.1", []byte(request), 8<<10)
			return string(answer), err
		}
	}
	t.Fatalf("no endpoint %s", endpoint)
	return "", nil
}

func TestRevoke_WritesWhatTheBucketNeeds(t *testing.T) {
	for request, want := range map[string][2]string{
		`{"token": "t 1"}`:                                       {auth.RevocationKey(auth.ByToken, "t 1"), `{}`},
		`{"user": "ann", "reason": "left"}`:                      {auth.RevocationKey(auth.ByUser, "ann"), `{"reason":"left"}`},
		`{"session": "s", "for": "1h"}`:                          {auth.RevocationKey(auth.BySession, "s"), `{"until":"2026-01-02T04:04:05Z"}`},
		`{"session": "s", "issuer": "https://i"}`:                {auth.RevocationKeyOf(auth.BySession, "https://i", "s"), `{}`},
		`{"connection": "abcdef-1f"}`:                            {"conn.abcdef-1f", `{}`},
		`{"user": "ann", "before": "2026-01-01T00:00:00+01:00"}`: {auth.RevocationKey(auth.ByUser, "ann"), `{"before":"2025-12-31T23:00:00Z"}`},
	} {
		d, o := desk()
		answer, err := d.ask(t, "revoke", request)
		if err != nil || answer != fmt.Sprintf(`{"instance":"abcdef","key":%q,"revision":7}`, want[0]) || o.written[want[0]] != want[1] {
			t.Errorf("%s: %s, %v, wrote %q", request, answer, err, o.written)
		}
	}
}

// All replicas carry out the same kick: its id tells the bucket that it is the same, and another request never has it.
func TestKick_HasOneIDOnAllReplicas(t *testing.T) {
	d, o := desk()
	const request = `{"user": "ann", "for": "10m"}`
	for range 2 {
		if answer, err := d.ask(t, "kick", request); err != nil || answer != `{"instance":"abcdef","ended":2,"until":"2026-01-02T03:14:05Z"}` {
			t.Errorf("%s, %v", answer, err)
		}
	}
	if _, err := d.ask(t, "kick", `{"user": "bob", "for": "10m"}`); err != nil {
		t.Fatal(err)
	}
	if o.ids[0] == "" || o.ids[0] != o.ids[1] || o.ids[2] == o.ids[0] {
		t.Errorf("ids %q", o.ids)
	}
	if got := o.written[auth.RevocationKey(auth.Kick, "ann")]; got != `{"until":"2026-01-02T03:14:05Z"}` {
		t.Errorf("%s", got)
	}
	// Without a bucket the streams end all the same, and the operator hears what is missing.
	o.err = fmt.Errorf("x: %w", flow.ErrMissing)
	_, err := d.ask(t, "kick", request)
	var refused *Refusal
	if !errors.As(err, &refused) || refused.Code != "503" || !strings.Contains(refused.Text, "2 streams were ended, but") || !strings.Contains(refused.Text, "AUTH_REVOCATION_BUCKET") {
		t.Errorf("%v", err)
	}
}

// issuers are those that a process accepts tokens of.
type issuers struct{}

func (issuers) Accepts(name string) bool { return name == "https://i" }

// A request that a misspelling turns into one about everybody, or about nobody, is refused: both would be taken for success.
func TestRequests_WhatIsMisspeltChoosesNobodyElse(t *testing.T) {
	d, o := desk()
	for endpoint, requests := range map[string][]string{
		"kick": {`{}`, `{"route": "a", "usr": "ann"}`, `{"route": "a", "User": "ann"}`, `{"route": "a", "user": "ann", "user": ""}`,
			`{"user": "ann", "issuer": "https://j"}`, `{"issuer": "HTTPS://I", "user": "ann"}`, `{"issuer": "https://i", "for": "1h"}`},
		"revoke": {`{"user": "ann", "issuer": "https://j"}`, `{"user": "ann", "session": "s"}`, `{"issuer": "https://i"}`,
			`{"connection": "abcdef-1f", "issuer": "https://i"}`},
		"connections": {`{"issuer": "https://j"}`, `{"user": "ann"} {"user": "bob"}`},
	} {
		for _, request := range requests {
			var refused *Refusal
			if answer, err := d.ask(t, endpoint, request); !errors.As(err, &refused) || refused.Code != "400" {
				t.Errorf("%s %s: %s, %v", endpoint, request, answer, err)
			}
		}
	}
	if len(o.kicked)+len(o.written) > 0 {
		t.Errorf("ended %v, wrote %v", o.kicked, o.written)
	}
	if _, err := d.ask(t, "kick", `{"user": "ann", "issuer": "https://i", "for": "1h"}`); err != nil || o.kicked[0] != (gateway.Filter{User: "ann", Issuer: "https://i"}) ||
		o.written[auth.RevocationKeyOf(auth.Kick, "https://i", "ann")] == "" {
		t.Errorf("ended %v, wrote %v, %v", o.kicked, o.written, err)
	}
}

func TestConnections_APageIsNeverLargerThanTheRoom(t *testing.T) {
	d, o := desk()
	for n := range 300 {
		o.list = append(o.list, gateway.Connection{ID: fmt.Sprintf("abcdef-%d", n), Place: uint32(n), Subjects: []string{strings.Repeat("x", 1+n*37%900)}})
	}
	o.list[7].Subjects = []string{strings.Repeat("y", 20<<10)} // alone larger than any page
	seen, after := 0, ""
	for more := true; more; {
		answer, err := d.ask(t, "connections", fmt.Sprintf(`{"limit": 1000, "after": %q}`, after))
		if err != nil || len(answer) > 8<<10 {
			t.Fatalf("%d bytes, %v", len(answer), err)
		}
		var p page
		if err := json.Unmarshal([]byte(answer), &p); err != nil {
			t.Fatal(err)
		}
		for _, c := range p.Connections {
			if want := fmt.Sprintf("abcdef-%d", seen); c.ID != want {
				t.Fatalf("%s in the place of %s", c.ID, want)
			}
			seen++
		}
		after, more = p.Next, p.Next != ""
		if more && len(p.Connections) == 0 {
			t.Fatal("a page without an end")
		}
	}
	if seen != 300 {
		t.Errorf("%d connections", seen)
	}
}

// Whatever comes, it is refused in words or carried out; nothing that names nobody chooses everybody.
func FuzzRequests(f *testing.F) {
	for _, s := range []string{`{}`, `{"user":"a"}`, `{"user":""}`, `{"route":"r","for":"1h"}`, `null`, `{"user":null}`, `{"token":"x","until":"9999-12-31T23:59:59Z"}`, `{"after":"abcdef/4294967296"}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, request string) {
		d, o := desk()
		for _, e := range d.Endpoints() {
			answer, err := e.Answer(t.Context(), "", []byte(request), 8<<10)
			var refused *Refusal
			if err != nil && (!errors.As(err, &refused) || refused.Text == "") || err == nil && !json.Valid(answer) {
				t.Errorf("%s: %s, %v", e.Name, answer, err)
			}
		}
		for _, f := range o.kicked {
			if f == (gateway.Filter{}) {
				t.Errorf("%q kicks everybody", request)
			}
		}
	})
}
