package cursor

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func tag(s string) Tag { return Tag([]byte(s)) }

func TestParse_Table(t *testing.T) {
	full := strings.Repeat("~abcdef.1", MaxEntries)
	tests := []struct {
		text string
		want Position
	}{
		{"1~abcdef.0", Position{{tag("abcdef"), 0}}},
		{"1~abcdef.10", Position{{tag("abcdef"), 36}}},
		{"1~A-_09z.zz~bbbbbb.1", Position{{tag("A-_09z"), 1295}, {tag("bbbbbb"), 1}}},
		{"1~abcdef.3w5e11264sgse", Position{{tag("abcdef"), math.MaxUint64 - 1}}},
		{"1" + full, slices.Repeat(Position{{tag("abcdef"), 1}}, MaxEntries)},
	}
	for _, tt := range tests {
		got, err := Parse(tt.text)
		if err != nil || !slices.Equal(got, tt.want) {
			t.Errorf("Parse(%q) = %v, %v", tt.text, got, err)
		}
	}
}

func TestParse_RefusesEverythingElse(t *testing.T) {
	for _, text := range []string{"", "1", "1~", "0~abcdef.1", "2~abcdef.1", "11~abcdef.1", " 1~abcdef.1", "1~abcdef.1 ", "1~abcdef.1~", "1~~abcdef.1",
		"1~abcdef", "1~abcdef.", "1~abcde.1", "1~abcdefg.1", "1~abcdef.-1", "1~abcdef.+1", "1~abcdef.A", "1~abcdef.01", "1~abcdef.00",
		"1~abcdef.1.2", "1~abcd/f.1", "1~abcd+f.1", "1~abcdé.1", "1~abcdef.é", "1~abcdef._1", "1~abcdef.1_0", "1~abcdef.0x1", "42",
		"1~abcdef.3w5e11264sgsf", // Live is a word between packages, never of a client
		"1~abcdef.3w5e11264sgsg", // 2^64
		"1~abcdef." + strings.Repeat("z", 100),
		"1" + strings.Repeat("~abcdef.1", MaxEntries+1),
		"1~abcdef.1" + strings.Repeat("0", MaxLen),
		"1~abcdef.1\n", "1~abcdef.1\x00", "1~abcdef.1,1~abcdef.2",
	} {
		if p, err := Parse(text); !errors.Is(err, ErrMalformed) || p != nil {
			t.Errorf("Parse(%q) = %v, %v", text, p, err)
		}
	}
}

// The bounds fit together: whatever the gateway writes comes back as it was, for the largest position there is.
func TestMaxLen_HoldsEightEntriesWithTheLargestSequences(t *testing.T) {
	p := slices.Repeat(Position{{tag("zzzzzz"), Live - 1}}, MaxEntries)
	text := p.String()
	if want := 1 + MaxEntries*(1+tagLen+1+13); len(text) != want {
		t.Errorf("%d bytes, want %d", len(text), want)
	}
	if len(text) > MaxLen {
		t.Fatalf("%d bytes do not fit into %d", len(text), MaxLen)
	}
	if got, err := Parse(text); err != nil || !slices.Equal(got, p) {
		t.Errorf("Parse = %v, %v", got, err)
	}
}

func TestAppend_KeepsWhatIsThere(t *testing.T) {
	p := Position{{tag("abcdef"), 7}}
	if got := string(p.Append([]byte("id: "))); got != "id: 1~abcdef.7" {
		t.Errorf("got %q", got)
	}
}

func TestAppend_DoesNotAllocateIntoRoom(t *testing.T) {
	p := slices.Repeat(Position{{tag("abcdef"), Live - 1}}, MaxEntries)
	room := make([]byte, 0, MaxLen)
	if n := testing.AllocsPerRun(100, func() { room = p.Append(room[:0]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestRoundTrip_GivesThePositionBack(t *testing.T) {
	entry := rapid.Custom(func(t *rapid.T) Entry {
		return Entry{Tag: tag(rapid.StringMatching(`[A-Za-z0-9_-]{6}`).Draw(t, "tag")), Seq: rapid.Uint64Max(Live-1).Draw(t, "seq")}
	})
	rapid.Check(t, func(t *rapid.T) {
		p := Position(rapid.SliceOfN(entry, 1, MaxEntries).Draw(t, "position"))
		got, err := Parse(p.String())
		if err != nil || !slices.Equal(got, p) {
			t.Fatalf("%v as %q is read as %v, %v", p, p, got, err)
		}
		e := p[0]
		if seq, ok := p.Seq(e.Tag); !ok || seq != e.Seq {
			t.Fatalf("Seq(%s) = %d, %v", e.Tag, seq, ok)
		}
	})
}

func TestSeq_IsAbsentForForeignTags(t *testing.T) {
	if _, ok := (Position{{tag("abcdef"), 7}}).Seq(tag("abcdeg")); ok {
		t.Error("found")
	}
	if _, ok := Position(nil).Seq(tag("abcdef")); ok {
		t.Error("found in nil")
	}
}

func TestMakeTag_DependsOnEveryPartAndIsWritable(t *testing.T) {
	if MakeTag("a", "b") != MakeTag("a", "b") {
		t.Error("equal parts, different tags")
	}
	seen := map[Tag]string{}
	for _, parts := range [][]string{{}, {"a"}, {"a", "b"}, {"ab"}, {"b", "a"}, {"a", "", "b"}} {
		got := MakeTag(parts...)
		if other, ok := seen[got]; ok {
			t.Errorf("%q and %s have the same tag", parts, other)
		}
		seen[got] = strings.Join(parts, "|")
		if p, err := Parse(Position{{got, 1}}.String()); err != nil || p[0].Tag != got {
			t.Errorf("tag %s does not come back: %v", got, err)
		}
	}
}

// FuzzParse: nothing panics, and a text that is accepted is the only text of its position.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"1~abcdef.1", "1~abcdef.zz~AB-_90.0", "1~", "1~abcdef.3w5e11264sgsf", "1~abcdef.01"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := Parse(text)
		if err != nil {
			if p != nil {
				t.Fatalf("Parse(%q) gives %v beside an error", text, p)
			}
			return
		}
		if len(text) > MaxLen || len(p) < 1 || len(p) > MaxEntries {
			t.Fatalf("Parse(%q) is out of bounds: %v", text, p)
		}
		if p.String() != text {
			t.Fatalf("Parse(%q) is written %q", text, p)
		}
		for _, e := range p {
			if e.Seq == Live {
				t.Fatalf("Parse(%q) says live", text)
			}
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	p := Position{{tag("abcdef"), 123456789}}
	room := make([]byte, 0, MaxLen)
	b.ReportAllocs()
	for b.Loop() {
		room = p.Append(room[:0])
	}
}

func BenchmarkParse(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Parse("1~abcdef.21i3v9")
	}
}

func TestSourceTag_TellsIncarnationsFromForeignSources(t *testing.T) {
	a, again, reborn, other := SourceTag("ORDERS", "1"), SourceTag("ORDERS", "1"), SourceTag("ORDERS", "2"), SourceTag("JOBS", "1")
	if a != again || a == reborn || !a.SameSource(reborn) || a == other || a.SameSource(other) {
		t.Fatalf("%s %s %s %s", a, again, reborn, other)
	}
	if p, err := Parse(Position{{a, 7}}.String()); err != nil || p[0].Tag != a {
		t.Fatalf("%v, %v", p, err)
	}
	alike := 0
	for i := range 4096 {
		if a.SameSource(SourceTag("S"+strings.Repeat("x", i), "1")) {
			alike++
		}
	}
	if alike > 10 { // one is expected
		t.Errorf("%d of 4096 sources look like ORDERS", alike)
	}
}
