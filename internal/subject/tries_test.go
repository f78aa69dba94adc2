package subject

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestTree_EqualsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var tree Tree[int]
		model := map[string]int{}
		for i := range rapid.IntRange(1, 60).Draw(t, "steps") {
			s := rapid.SampledFrom(world).Draw(t, "subject")
			if rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				tree.Delete(s)
				delete(model, s)
			} else {
				tree.Put(s, i)
				model[s] = i
			}
			if tree.Len() != len(model) {
				t.Fatalf("%d subjects, want %d", tree.Len(), len(model))
			}
		}
		for _, s := range world[:120] {
			got, ok := tree.Get(s)
			if want, there := model[s]; got != want || ok != there {
				t.Fatalf("Get(%q) = %d, %v, want %d, %v", s, got, ok, want, there)
			}
		}
		p := drawPattern(t, "pattern")
		got := map[string]int{}
		tree.Match(p, func(s string, v int) bool {
			if _, twice := got[s]; twice {
				t.Fatalf("%q twice", s)
			}
			got[s] = v
			return true
		})
		want := maps.Clone(model)
		maps.DeleteFunc(want, func(s string, _ int) bool { return !slowMatch(p, s) })
		if !maps.Equal(got, want) {
			t.Fatalf("Match(%q) = %v, want %v", p, got, want)
		}
		for s := range model {
			tree.Delete(s)
		}
		if tree.Len() != 0 || !tree.root.empty() {
			t.Fatal("something is left in a tree whose subjects were all deleted")
		}
	})
}

func TestTree_StopsWhenToldTo(t *testing.T) {
	var tree Tree[int]
	for i, s := range world {
		tree.Put(s, i)
	}
	for _, p := range []string{">", "*.>", "a.*", "a.b.c"} {
		n := 0
		tree.Match(p, func(string, int) bool { n++; return false })
		if n != 1 {
			t.Errorf("%q: visited %d", p, n)
		}
	}
}

func TestPatterns_EqualTheSlowReference(t *testing.T) {
	literals := world[:39]
	rapid.Check(t, func(t *rapid.T) {
		var set Patterns[int]
		type pair struct {
			pattern string
			v       int
		}
		var model []pair
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			p := pair{drawPattern(t, "pattern"), rapid.IntRange(0, 3).Draw(t, "value")}
			if rapid.IntRange(0, 2).Draw(t, "op") == 0 {
				i := slices.Index(model, p)
				if set.Remove(p.pattern, p.v) != (i >= 0) {
					t.Fatalf("Remove(%v) != %v", p, i >= 0)
				}
				if i >= 0 {
					model = slices.Delete(model, i, i+1)
				}
			} else {
				set.Add(p.pattern, p.v)
				model = append(model, p)
			}
			if set.Len() != len(model) {
				t.Fatalf("%d values, want %d", set.Len(), len(model))
			}
		}
		s := rapid.SampledFrom(literals).Draw(t, "subject")
		got, want := []int{}, []int{}
		set.Match(s, func(v int) { got = append(got, v) })
		for _, p := range model {
			if slowMatch(p.pattern, s) {
				want = append(want, p.v)
			}
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("Match(%q) of %v = %v, want %v", s, model, got, want)
		}
		for _, p := range model {
			set.Remove(p.pattern, p.v)
		}
		if set.Len() != 0 || len(set.literal) != 0 || !set.wild.empty() {
			t.Fatal("something is left of patterns that were all removed")
		}
	})
}

// FuzzTries holds both tries against Match for whatever subjects NATS may deliver.
func FuzzTries(f *testing.F) {
	f.Add("a.b a.c a a.b.c", "a.*")
	f.Add("a..b .a a.", ">")
	f.Add("$KV.b.k é.ü", "*.*.>")
	f.Fuzz(func(t *testing.T, list, pattern string) {
		if Valid(pattern) != nil {
			return
		}
		var tree Tree[bool]
		var set Patterns[bool]
		set.Add(pattern, true)
		model := map[string]bool{}
		for _, s := range strings.Fields(list) {
			if HasWildcard(s) {
				continue
			}
			tree.Put(s, true)
			model[s] = true
			got := false
			set.Match(s, func(bool) { got = true })
			if want := Match(pattern, s); got != want && ValidLiteral(s) == nil {
				t.Fatalf("Patterns: %q on %q: %v", pattern, s, got)
			}
		}
		found := map[string]bool{}
		tree.Match(pattern, func(s string, _ bool) bool { found[s] = true; return true })
		for s := range model {
			if found[s] != Match(pattern, s) && ValidLiteral(s) == nil {
				t.Fatalf("Tree: %q on %q: %v", pattern, s, found[s])
			}
			tree.Delete(s)
		}
		if tree.Len() != 0 {
			t.Fatal("not empty")
		}
	})
}

func TestTree_IsSmall(t *testing.T) {
	const n = 100_000
	for name, subjectOf := range map[string]func(i int) string{
		"flat":  func(i int) string { return fmt.Sprintf("ev.%d", i) },
		"deep":  func(i int) string { return fmt.Sprintf("tenants.%d.orders.eu.new", i) },
		"pairs": func(i int) string { return fmt.Sprintf("users.%d.notify.%d", i/2, i%2) },
	} {
		t.Run(name, func(t *testing.T) {
			list := make([]string, n)
			for i := range list {
				list[i] = subjectOf(i)
			}
			tree := &Tree[*int]{}
			before := heap()
			for _, s := range list {
				tree.Put(s, nil)
			}
			per := float64(heap()-before) / n
			t.Logf("%.0f B per subject beyond the string", per)
			if per > 175 { // two nodes on the way to each pair
				t.Errorf("%.0f B per subject", per)
			}
			runtime.KeepAlive(list)
			runtime.KeepAlive(tree)
		})
	}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func BenchmarkPatterns_Literal(b *testing.B) {
	var set Patterns[int]
	for i := range 10_000 {
		set.Add(fmt.Sprintf("users.%d.notify", i), i)
	}
	n := 0
	for b.Loop() {
		set.Match("users.77.notify", func(int) { n++ })
	}
}

func BenchmarkPatterns_Wildcards(b *testing.B) {
	var set Patterns[int]
	for i := range 10_000 {
		set.Add(fmt.Sprintf("users.%d.>", i), i)
	}
	n := 0
	for b.Loop() {
		set.Match("users.77.notify", func(int) { n++ })
	}
}
