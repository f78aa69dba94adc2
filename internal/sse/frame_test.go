package sse

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestFrame_Encoding(t *testing.T) {
	tests := []struct{ name, eventType, data, want string }{
		{"one line", "", "a", "data: a\n"},
		{"message needs no event line", Message, "a", "data: a\n"},
		{"event type", "tick", "a", "event: tick\ndata: a\n"},
		{"empty data still dispatches", "tick", "", "event: tick\ndata: \n"},
		{"LF", "", "a\nb", "data: a\ndata: b\n"},
		{"CR", "", "a\rb", "data: a\ndata: b\n"},
		{"CRLF", "", "a\r\nb", "data: a\ndata: b\n"},
		{"LF CR is two line ends", "", "a\n\rb", "data: a\ndata: \ndata: b\n"},
		{"CR CR LF is two line ends", "", "a\r\r\nb", "data: a\ndata: \ndata: b\n"},
		{"line end at the end", "", "a\n", "data: a\ndata: \n"},
		{"CR at the end", "", "a\r", "data: a\ndata: \n"},
		{"CRLF at the end", "", "a\r\n", "data: a\ndata: \n"},
		{"line ends alone", "", "\r\n\r\n\n\r", "data: \ndata: \ndata: \ndata: \ndata: \n"},
		{"fields in data stay data", "", "id: 7\n\nevent: x", "data: id: 7\ndata: \ndata: event: x\n"},
		{"leading space stays", "", " a", "data:  a\n"},
		{"byte order mark", "", "\uFEFFa", "data: \uFEFFa\n"},
		{"NUL", "", "a\x00b", "data: a\x00b\n"},
		{"invalid UTF-8", "", "a\xE2\x82b\xFF\xFE", "data: a\uFFFDb\uFFFD\uFFFD\n"},
		{"event type with a line end is left out", "x\ndata: forged\n\n", "a", "data: a\n"},
		{"event type with NUL is left out", "x\x00", "a", "data: a\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := NewFrame(tt.eventType, []byte(tt.data))
			if got := string(f.AppendBlock(nil, nil)); got != tt.want+"\n" {
				t.Errorf("got %q, want %q", got, tt.want+"\n")
			}
			if got := string(f.AppendBlock([]byte("x"), []byte("9"))); got != "x"+tt.want+"id: 9\n\n" {
				t.Errorf("with id: got %q", got)
			}
			if f.Len() != len(tt.want) || cap(f.body) != len(tt.want) {
				t.Errorf("Len %d, room %d, want both %d", f.Len(), cap(f.body), len(tt.want))
			}
		})
	}
}

func TestFrame_DoesNotKeepItsInput(t *testing.T) {
	data := []byte("abc\ndef")
	f := NewFrame("", data)
	copy(data, "XXXXXXX")
	if got := string(f.AppendBlock(nil, nil)); got != "data: abc\ndata: def\n\n" {
		t.Fatalf("got %q", got)
	}
}

func TestAppend_BlocksWithoutEvent(t *testing.T) {
	out := AppendRetry(nil, 2500)
	out = AppendID(out, []byte("7"))
	out = append(out, Comment...)
	want := []Event{{Retry: 2500, HasRetry: true, Silent: true}, {ID: "7", HasID: true, Silent: true},
		{ID: "7", Comments: []string{""}, Silent: true}}
	if got := decodeAll(t, bytes.NewReader(out)); !equalEvents(got, want) {
		t.Errorf("%q gives %+v", out, got)
	}
}

func TestValidType_RefusesWhatCannotBeRelayed(t *testing.T) {
	for _, ok := range []string{"tick", "message", "a b", "größe", "a:b", "opened", strings.Repeat("x", MaxType)} {
		if !ValidType(ok) {
			t.Errorf("%q is refused", ok)
		}
	}
	for _, bad := range []string{"", "$ready", "$", "open", "error", "a\nb", "a\rb", "a\x00", "a\x7f", "a\u0085b", "a\xff",
		strings.Repeat("x", MaxType+1)} {
		if ValidType(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
}

// checkRoundTrip sends an event through encoder and decoder, between two others.
func checkRoundTrip(t interface{ Fatalf(string, ...any) }, eventType string, data, id []byte) {
	stream := NewFrame("", []byte("before")).AppendBlock(nil, []byte("b"))
	stream = NewFrame(eventType, data).AppendBlock(stream, id)
	stream = NewFrame("", []byte("after")).AppendBlock(stream, nil)

	d := NewDecoder(bytes.NewReader(stream))
	var got [3]Event
	for i := range got {
		e, err := d.NextBlock()
		if err != nil {
			t.Fatalf("block %d: %v", i, err)
		}
		got[i] = e
	}
	if _, err := d.NextBlock(); err == nil {
		t.Fatalf("a fourth block in %q", stream)
	}
	wantData := strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(toValidUTF8(data)))
	wantID := "b"
	if len(id) > 0 {
		wantID = string(id)
	}
	if eventType == "" {
		eventType = Message
	}
	if e := got[1]; e.Data != wantData || e.Type != eventType || e.ID != wantID {
		t.Fatalf("got %+v, want type %q, id %q, data %q", e, eventType, wantID, wantData)
	}
	if got[0].Data != "before" || got[2].Data != "after" || got[2].ID != wantID {
		t.Fatalf("neighbours: %+v, %+v", got[0], got[2])
	}
}

func TestRoundTrip_KeepsTypeIDAndData(t *testing.T) {
	piece := rapid.SampledFrom([]string{"", "a", " ", "\r", "\n", "\r\n", "\x00", "\uFEFF", "\xff", "\xE2\x82", "é", "data: x", ":", "id: 1",
		strings.Repeat("x", 5000)})
	rapid.Check(t, func(t *rapid.T) {
		data := strings.Join(rapid.SliceOfN(piece, 0, 40).Draw(t, "data"), "")
		eventType := rapid.String().Filter(func(s string) bool { return s == "" || ValidType(s) }).Draw(t, "type")
		id := rapid.StringMatching(`[!-~]{0,256}`).Draw(t, "id")
		checkRoundTrip(t, eventType, []byte(data), []byte(id))
	})
}

func TestRoundTrip_OneMebibyte(t *testing.T) {
	for _, unit := range []string{"x", "\n", "\r", "\r\n", "é", "\xff", "0123456789\n"} {
		checkRoundTrip(t, "big", bytes.Repeat([]byte(unit), (1<<20)/len(unit)), []byte("1"))
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add("tick", []byte("a\r\nb\rc\nd"), []byte("1~abcdef.5"))
	f.Add("", []byte("\uFEFF\x00\xff\xE2\x82"), []byte{})
	f.Fuzz(func(t *testing.T, eventType string, data, id []byte) {
		if eventType != "" && !ValidType(eventType) {
			eventType = ""
		}
		if !utf8.Valid(id) || bytes.ContainsAny(id, "\r\n\x00") || len(id) > 0 && id[0] == ' ' {
			id = nil
		}
		checkRoundTrip(t, eventType, data, id)
	})
}

// No type a caller passes, valid or not, can start a line of its own.
func FuzzNewFrame_TypeStaysOnItsLine(f *testing.F) {
	f.Add("x\ndata: forged", []byte("a"))
	f.Fuzz(func(t *testing.T, eventType string, data []byte) {
		fr := NewFrame(eventType, data)
		lines := 1 + strings.Count(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(string(data)), "\n")
		extra := bytes.Count(fr.body, []byte("\n")) - lines
		if extra != 0 && (extra != 1 || !bytes.HasPrefix(fr.body, []byte("event: "))) || bytes.ContainsRune(fr.body, '\r') {
			t.Fatalf("%q", fr.body)
		}
		if cap(fr.body) != len(fr.body) {
			t.Fatalf("%d bytes in room for %d", len(fr.body), cap(fr.body))
		}
	})
}

// The replacement of invalid UTF-8 is that of the decoder that every browser has; these are the cases of the Unicode Standard 16.0,
// tables 3-8 to 3-11.
func TestToValidUTF8_ReplacesAsBrowsersDo(t *testing.T) {
	tests := map[string]string{
		"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82A": strings.Repeat("\uFFFD", 8) + "A",
		"\xED\xA0\x80\xED\xBF\xBF\xED\xAFA": strings.Repeat("\uFFFD", 8) + "A",
		"\xF4\x91\x92\x93\xFFA\x80\xBFB":    strings.Repeat("\uFFFD", 5) + "A\uFFFD\uFFFDB",
		"\xE1\x80\xE2\xF0\x91\x92\xF1\xBFA": strings.Repeat("\uFFFD", 4) + "A",
		"\xF0\x9F\x98\x80\uFFFD":            "\U0001F600\uFFFD",
		"\xF0\x9F\x98":                      "\uFFFD",
		"\xE0\xA0":                          "\uFFFD",
		"\xF4\x8F\xBF":                      "\uFFFD",
		"\xC2":                              "\uFFFD",
	}
	for in, want := range tests {
		if got := string(toValidUTF8([]byte(in))); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestBlockEnd_IsTheNextBlankLineFromWhereverOneStopped(t *testing.T) {
	var b []byte
	ends := []int{0}
	for _, data := range []string{"", "a", "\n\n", "b\r\n\r\nc"} {
		b = NewFrame("t", []byte(data)).AppendBlock(b, []byte("1~x"))
		b = NewFrame("", []byte(data)).AppendBlock(b, nil)
		ends = append(ends, BlockEnd(b, ends[len(ends)-1]+1), len(b))
	}
	if n := Blocks(b); n != len(ends)-1 {
		t.Fatalf("%d blocks, want %d: %q", n, len(ends)-1, b)
	}
	next := 0
	for at := range len(b) + 1 {
		if ends[next] < at {
			next++
		}
		if got := BlockEnd(b, at); got != ends[next] {
			t.Fatalf("from %d it ends at %d, want %d: %q", at, got, ends[next], b)
		}
	}
}
