package sse

import (
	"encoding/json"
	"errors"
	"io"
	"os"
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

// vector is a stream and what a client understands of it. The client library in examples/client is held against the same ones.
type vector struct {
	Name   string
	Stream string
	Bytes  []byte // base64; in place of Stream where it is not UTF-8
	Blocks []Event
}

func vectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var list []vector
	if err := json.Unmarshal(text, &list); err != nil || len(list) < 30 {
		t.Fatalf("%d vectors: %v", len(list), err)
	}
	return list
}

// The rules are those of the HTML Living Standard, sections 9.2.5 and 9.2.6, most cases from its own examples.
func TestDecoder_FollowsTheStandard(t *testing.T) {
	for _, v := range vectors(t) {
		stream := v.Stream + string(v.Bytes)
		t.Run(v.Name, func(t *testing.T) {
			for how, r := range map[string]io.Reader{
				"whole":         strings.NewReader(stream),
				"byte by byte":  iotest.OneByteReader(strings.NewReader(stream)),
				"data with EOF": iotest.DataErrReader(strings.NewReader(stream)),
			} {
				if got := decodeAll(t, r); !equalEvents(got, v.Blocks) {
					t.Errorf("%s:\n got %+v\nwant %+v", how, got, v.Blocks)
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
