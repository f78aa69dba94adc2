package subject

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestMatch_Table(t *testing.T) {
	tests := []struct {
		pattern, literal string
		want             bool
	}{
		{"a", "a", true}, {"a", "b", false}, {"a", "ab", false}, {"ab", "a", false}, {"a", "a.b", false}, {"a.b", "a", false},
		{"*", "a", true}, {"*", "abc", true}, {"*", "a.b", false}, {"*.b", "a.b", true}, {"a.*", "a.b", true}, {"a.*", "a", false},
		{"a.*", "a.b.c", false}, {"*.*", "a.b", true}, {"a.*.c", "a.b.c", true}, {"a.*.c", "a.b.d", false}, {"a.*.c", "a.bb.c", true},
		{">", "a", true}, {">", "a.b", true}, {"a.>", "a", false}, {"a.>", "a.b", true}, {"a.>", "a.b.c", true}, {"a.>", "ab.c", false},
		{"*.>", "a", false}, {"*.>", "a.b", true}, {">", "", false}, {"*", "", false}, {"a", "", false}, {"", "", false}, {"", "a", false},
		{"a.>", "a.", false}, {"a.*", "a.", false}, {">", "$JS.API", true}, {"a*", "ab", false}, {"a*", "a*", true}, {"a>", "ab", false},
		{"*a", "ba", false},
	}
	for _, tt := range tests {
		if got := Match(tt.pattern, tt.literal); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.pattern, tt.literal, got)
		}
	}
}

func TestMatch_EqualsTheDefinitionEverywhereInASmallWorld(t *testing.T) {
	for _, p := range smallPatterns {
		for _, s := range world {
			if got, want := Match(p, s), slowMatch(p, s); got != want {
				t.Fatalf("Match(%q, %q) = %v, want %v", p, s, got, want)
			}
		}
	}
}

func TestCovers_Table(t *testing.T) {
	tests := []struct {
		wide, narrow string
		want         bool
	}{
		{"a", "a", true}, {"a.*", "a.b", true}, {"a.*", "a.*", true}, {"a.*", "a.>", false}, {"a.>", "a.*", true}, {"a.>", "a.>", true},
		{"a.>", "a", false}, {"a.>", "a.*.>", true}, {"a.*.>", "a.>", false}, {">", ">", true}, {">", "*", true}, {"*", ">", false},
		{"*.>", ">", false}, {"a.b", "a.*", false}, {"feed.>", "feedx.a", false}, {"feed.>", "feed.eu.>", true}, {"feed.*", "feed.eu.a", false},
		{"a.>", "*.>", false}, {"", "", false}, {">", "", false}, {"a.>", "a.", false},
	}
	for _, tt := range tests {
		if got := Covers(tt.wide, tt.narrow); got != tt.want {
			t.Errorf("Covers(%q, %q) = %v", tt.wide, tt.narrow, got)
		}
	}
}

func TestCoversAndIntersects_EqualTheSlowReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawPattern(t, "a"), drawPattern(t, "b")
		if got, want := Covers(a, b), slowCovers(a, b); got != want {
			t.Fatalf("Covers(%q, %q) = %v, want %v", a, b, got, want)
		}
		if got, want := Intersects(a, b), slowIntersects(a, b); got != want {
			t.Fatalf("Intersects(%q, %q) = %v, want %v", a, b, got, want)
		}
	})
}

func TestIntersects_Table(t *testing.T) {
	tests := []struct {
		a, b string
		want bool
	}{
		{"a.*", "*.b", true}, {"a.*", "b.*", false}, {"a.>", "a", false}, {"a.>", "*.b", true}, {"a.>", ">", true}, {"a.b", "a.b", true},
		{"a.*.c", "a.b.>", true}, {"a.*.c", "a.b.*.d", false}, {"*", "*.*", false}, {"", "a", false}, {">", "", false},
	}
	for _, tt := range tests {
		if Intersects(tt.a, tt.b) != tt.want || Intersects(tt.b, tt.a) != tt.want {
			t.Errorf("Intersects(%q, %q) != %v", tt.a, tt.b, tt.want)
		}
	}
}

func TestNormalize_KeepsOrderAndDropsOnlyTheCovered(t *testing.T) {
	tests := []struct{ in, want []string }{
		{nil, nil},
		{[]string{"b", "a"}, []string{"b", "a"}},
		{[]string{"a", "a", "a"}, []string{"a"}},
		{[]string{"a.b", "a.*", "a.>", "c"}, []string{"a.>", "c"}},
		{[]string{"a.>", "c", "a.b", "a.>"}, []string{"a.>", "c"}},
		{[]string{"a.*", "*.b"}, []string{"a.*", "*.b"}},
		{[]string{"a.b", ">"}, []string{">"}},
	}
	for _, tt := range tests {
		in := slices.Clone(tt.in)
		if got := Normalize(tt.in); !slices.Equal(got, tt.want) {
			t.Errorf("Normalize(%q) = %q, want %q", tt.in, got, tt.want)
		}
		if !slices.Equal(in, tt.in) {
			t.Errorf("Normalize changed its argument %q to %q", in, tt.in)
		}
	}
}

func TestNormalize_MatchesTheSameSubjects(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.SampledFrom(smallPatterns), 0, 6).Draw(t, "list")
		out := Normalize(list)
		for _, s := range world {
			any := func(l []string) bool {
				return slices.ContainsFunc(l, func(p string) bool { return Match(p, s) })
			}
			if any(list) != any(out) {
				t.Fatalf("%q became %q: %q differs", list, out, s)
			}
		}
		for i, p := range out {
			for j, q := range out {
				if i != j && Covers(p, q) {
					t.Fatalf("%q keeps %q beside %q", out, q, p)
				}
			}
		}
		place := -1
		for _, p := range out {
			next := slices.Index(list, p)
			if next <= place {
				t.Fatalf("%q became %q: order changed", list, out)
			}
			place = next
		}
	})
}

// FuzzRelations holds the three relations against each other and the definition, for arbitrary text that Valid accepts.
func FuzzRelations(f *testing.F) {
	f.Add("a.*.>", "a.b.*", "a.b.c")
	f.Add("*", ">", "$JS")
	f.Fuzz(func(t *testing.T, a, b, literal string) {
		// None may panic, whatever comes.
		match, covers, intersects := Match(a, literal), Covers(a, b), Intersects(a, b)
		if Valid(a) != nil || Valid(b) != nil {
			return
		}
		if !Covers(a, a) || !Intersects(a, a) {
			t.Fatalf("%q does not cover or intersect itself", a)
		}
		if intersects != Intersects(b, a) {
			t.Fatalf("Intersects(%q, %q) depends on the order", a, b)
		}
		if covers && !intersects {
			t.Fatalf("%q covers %q without intersecting it", a, b)
		}
		if ValidLiteral(literal) != nil {
			return
		}
		if match != slowMatch(a, literal) || match != Covers(a, literal) || match != Intersects(a, literal) {
			t.Fatalf("Match(%q, %q) = %v", a, literal, match)
		}
		inB := Match(b, literal)
		if covers && inB && !match {
			t.Fatalf("%q covers %q but only the second matches %q", a, b, literal)
		}
		if match && inB && !intersects {
			t.Fatalf("%q and %q both match %q and do not intersect", a, b, literal)
		}
	})
}

// FuzzSmallWorld makes patterns from bytes and holds Covers and Intersects against the enumeration.
func FuzzSmallWorld(f *testing.F) {
	f.Add([]byte{0, 1}, []byte{2, 3})
	f.Fuzz(func(t *testing.T, x, y []byte) {
		a, b := smallPattern(x), smallPattern(y)
		if Valid(a) != nil || Valid(b) != nil {
			t.Fatalf("%q or %q is not valid", a, b)
		}
		if got, want := Covers(a, b), slowCovers(a, b); got != want {
			t.Fatalf("Covers(%q, %q) = %v", a, b, got)
		}
		if got, want := Intersects(a, b), slowIntersects(a, b); got != want {
			t.Fatalf("Intersects(%q, %q) = %v", a, b, got)
		}
	})
}

func smallPattern(from []byte) string {
	tokens := []string{"a"}
	if len(from) > 0 {
		tokens = nil
	}
	for _, c := range from[:min(len(from), 4)] {
		tokens = append(tokens, []string{"a", "b", "*", ">"}[c%4])
		if c%4 == 3 {
			break
		}
	}
	return strings.Join(tokens, ".")
}

func TestMatch_DoesNotAllocate(t *testing.T) {
	n := testing.AllocsPerRun(100, func() {
		Match("orders.*.created.>", "orders.eu.created.4711.x")
		Covers("orders.>", "orders.eu.*")
		Intersects("orders.*.x", "orders.eu.*")
		Token("orders.eu.x", 2)
		_ = ValidToken("größe-4711")
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, p := range []string{"orders.eu.created.4711", "orders.*.created.*", "orders.>", "jobs.>"} {
		b.Run(p, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				Match(p, "orders.eu.created.4711")
			}
		})
	}
}

func TestCover_IsTheNarrowestThatCoversAll(t *testing.T) {
	for _, c := range []struct {
		list []string
		want string
	}{
		{nil, ">"},
		{[]string{"a.b"}, "a.b"},
		{[]string{"a.*", "a.b"}, "a.*"},
		{[]string{"a.b.c", "a.x.c"}, "a.*.c"},
		{[]string{"a.b", "a.b.c"}, "a.>"},
		{[]string{"a.b.c", "a.b"}, "a.>"},
		{[]string{"a.eu.>", "a.us.x"}, "a.*.>"},
		{[]string{"a.eu.>", "a.us"}, "a.>"},
		{[]string{"a", "b"}, "*"},
		{[]string{"a.b", "x.y.z"}, "*.>"},
		{[]string{"a", "b.c"}, ">"},
		{[]string{">", "a.b"}, ">"},
	} {
		got := Cover(c.list)
		if got != c.want {
			t.Errorf("Cover(%v) = %s, want %s", c.list, got, c.want)
		}
		for _, p := range c.list {
			if !Covers(got, p) {
				t.Errorf("Cover(%v) = %s, which does not cover %s", c.list, got, p)
			}
		}
	}
}
