package sse

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// decodeAll returns all blocks of a stream.
func decodeAll(t testing.TB, r io.Reader) []Event {
	t.Helper()
	d := NewDecoder(r)
	var all []Event
	for {
		e, err := d.NextBlock()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

func equalEvents(a, b []Event) bool {
	return slices.EqualFunc(a, b, func(x, y Event) bool {
		return x.ID == y.ID && x.Type == y.Type && x.Data == y.Data && slices.Equal(x.Comments, y.Comments) &&
			x.Retry == y.Retry && x.HasRetry == y.HasRetry && x.HasID == y.HasID && x.Silent == y.Silent
	})
}

// The rules are those of the HTML Living Standard, sections 9.2.5 and 9.2.6, most cases from its own examples.
func TestDecoder_FollowsTheStandard(t *testing.T) {
	message := func(id, data string) Event { return Event{Type: Message, ID: id, Data: data} }
	tests := []struct {
		name, stream string
		want         []Event
	}{
		{"nothing", "", nil},
		{"blank lines alone", "\n\n\r\n", nil},
		{"lines are joined", "data: YHOO\ndata: +2\ndata: 10\n\n", []Event{message("", "YHOO\n+2\n10")}},
		{"comment, then ids", ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n", []Event{
			{Comments: []string{" test stream"}, Silent: true},
			{Type: Message, ID: "1", HasID: true, Data: "first event"},
			{Type: Message, HasID: true, Data: "second event"},
			message("", " third event")}},
		{"data without value", "data\n\ndata\ndata\n\ndata:", []Event{message("", ""), message("", "\n")}},
		{"one space is removed", "data:test\n\ndata: test\n\n", []Event{message("", "test"), message("", "test")}},
		{"CRLF", "data: a\r\ndata: b\r\n\r\n", []Event{message("", "a\nb")}},
		{"CR", "data: a\rdata: b\r\r", []Event{message("", "a\nb")}},
		{"mixed line ends", "data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\n", []Event{message("", "a\nb\nc"), message("", "d")}},
		{"byte order mark at the start", "\uFEFFdata: a\n\n", []Event{message("", "a")}},
		{"second byte order mark is part of the name", "\uFEFF\uFEFFdata: a\n\n", []Event{{Silent: true}}},
		{"byte order mark later", "data: a\n\n\uFEFFdata: b\n\n", []Event{message("", "a"), {Silent: true}}},
		{"byte order mark in data", "data: \uFEFFa\n\n", []Event{message("", "\uFEFFa")}},
		{"event type", "event: tick\ndata: a\n\ndata: b\n\n", []Event{{Type: "tick", Data: "a"}, message("", "b")}},
		{"last event line wins", "event: a\nevent: b\ndata\n\n", []Event{{Type: "b"}}},
		{"empty event type", "event: a\nevent\ndata\n\n", []Event{message("", "")}},
		{"type without data", "event: tick\n\ndata: a\n\n", []Event{{Silent: true}, message("", "a")}},
		{"id persists", "id: 7\ndata: a\n\ndata: b\n\n", []Event{{Type: Message, ID: "7", HasID: true, Data: "a"}, message("7", "b")}},
		{"id alone", "id: 7\n\ndata: a\n\n", []Event{{ID: "7", HasID: true, Silent: true}, message("7", "a")}},
		{"empty id resets", "id: 7\ndata: a\n\nid:\ndata: b\n\n", []Event{{Type: Message, ID: "7", HasID: true, Data: "a"},
			{Type: Message, HasID: true, Data: "b"}}},
		{"id with NUL is ignored", "id: 7\n\nid: 8\x009\ndata: a\n\n", []Event{{ID: "7", HasID: true, Silent: true}, message("7", "a")}},
		{"NUL in data stays", "data: a\x00b\n\n", []Event{message("", "a\x00b")}},
		{"retry", "retry: 2500\n\n", []Event{{Retry: 2500, HasRetry: true, Silent: true}}},
		{"retry takes digits only", "retry: 2.5\nretry: -1\nretry:\nretry: 1s\nretry:  5\nretry: +5\nretry: \u0661\n\n", []Event{{Silent: true}}},
		{"retry beyond 64 bits", "retry: 99999999999999999999\n\n", []Event{{Silent: true}}},
		{"unknown fields, case, spaces", "Data: a\ndata : b\n data: c\nfoo\n\n", []Event{{Silent: true}}},
		{"colon in value", "data: a: b\n\n", []Event{message("", "a: b")}},
		{"empty comment", ":\n\n", []Event{{Comments: []string{""}, Silent: true}}},
		{"comment inside an event", "data: a\n:x\n\n", []Event{{Type: Message, Data: "a", Comments: []string{"x"}}}},
		{"incomplete block", "data: a\n\nid: 3\ndata: b\n", []Event{message("", "a")}},
		{"incomplete line", "data: a\n\ndata: b", []Event{message("", "a")}},
		{"invalid UTF-8", "data: a\xFFb\xE2\x82c\xF0\x9F\x98\n\n", []Event{message("", "a\uFFFDb\uFFFDc\uFFFD")}},
		{"surrogate and overlong", "data: \xED\xA0\x80|\xC0\xAE\n\n", []Event{message("", "\uFFFD\uFFFD\uFFFD|\uFFFD\uFFFD")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":         strings.NewReader(tt.stream),
				"byte by byte":  iotest.OneByteReader(strings.NewReader(tt.stream)),
				"data with EOF": iotest.DataErrReader(strings.NewReader(tt.stream)),
			} {
				if got := decodeAll(t, r); !equalEvents(got, tt.want) {
					t.Errorf("%s:\n got %+v\nwant %+v", how, got, tt.want)
				}
			}
		})
	}
}

func TestDecoder_NextSkipsWhatAClientDoesNotDispatch(t *testing.T) {
	d := NewDecoder(strings.NewReader("retry: 5\n\n:\n\nid: 1\n\ndata: a\n\nid: 2\n\nid: 3\ndata: lost"))
	e, err := d.Next()
	if err != nil || e.Data != "a" || e.ID != "1" {
		t.Fatalf("got %+v, %v", e, err)
	}
	if _, err := d.Next(); !errors.Is(err, io.EOF) {
		t.Fatalf("err = %v, want io.EOF", err)
	}
	if d.LastEventID() != "2" {
		t.Errorf("last event id %q, want that of the last complete block", d.LastEventID())
	}
	if ms, ok := d.Retry(); !ok || ms != 5 {
		t.Errorf("retry %d, %v", ms, ok)
	}
}

// A block that ends with CR is complete: the decoder must not wait for the byte behind it.
func TestDecoder_DoesNotWaitBehindCR(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "data: a\r\r") }()
	got := make(chan Event, 1)
	go func() {
		e, _ := NewDecoder(r).Next()
		got <- e
	}()
	select {
	case e := <-got:
		if e.Data != "a" {
			t.Fatalf("got %+v", e)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("no event")
	}
}

func TestDecoder_PassesOnReadErrors(t *testing.T) {
	broken := errors.New("broken")
	d := NewDecoder(io.MultiReader(strings.NewReader("data: a\n\ndata: b\n"), iotest.ErrReader(broken)))
	if e, err := d.Next(); err != nil || e.Data != "a" {
		t.Fatalf("got %+v, %v", e, err)
	}
	if _, err := d.Next(); !errors.Is(err, broken) {
		t.Fatalf("err = %v", err)
	}
}

// The stream is cut into lines by two independent means and must be read the same way however it arrives.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("\uFEFFid: 1\r\ndata: a\r\rretry: 5\n:c\n\ndata\xFF\n\n"))
	f.Add([]byte("data: a\n\nid\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole := decodeAll(t, strings.NewReader(string(stream)))
		if slow := decodeAll(t, iotest.OneByteReader(strings.NewReader(string(stream)))); !equalEvents(whole, slow) {
			t.Fatalf("whole %+v\nslow %+v", whole, slow)
		}
		unix := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(stream))
		if lf := decodeAll(t, strings.NewReader(unix)); !equalEvents(whole, lf) {
			t.Fatalf("as is %+v\nwith LF %+v", whole, lf)
		}
		for _, e := range whole {
			if strings.ContainsAny(e.ID+e.Type, "\r\n") || strings.Contains(e.ID, "\x00") || strings.Contains(e.Data, "\r") {
				t.Fatalf("line end or NUL in %+v", e)
			}
		}
	})
}
