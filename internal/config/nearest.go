package config

import (
	"slices"
	"strings"
)

// distance is the number of letters to insert, delete, replace or swap with their neighbour to make b from a
// (optimal string alignment). Names are short, so the table is not worth saving.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

// maxCompared bounds the work of distance on what comes from outside.
const maxCompared = 64

// nearest finds the name that text most likely means: at most 2 letters away, and fewer than half of them.
func nearest(text string, names []string) (string, bool) {
	if text == "" || len(text) > maxCompared {
		return "", false
	}
	best, at := "", 3
	for _, name := range names {
		if n := distance(text, name); n < at && 2*n < max(len(text), len(name)) {
			best, at = name, n
		}
	}
	return best, best != ""
}

// nearestHint asks whether the nearest name was meant, or one that begins like text; or it says nothing.
func nearestHint(text string, names []string) string {
	name, ok := nearest(text, names)
	if !ok && len(text) >= 3 {
		i := slices.IndexFunc(names, func(n string) bool { return strings.HasPrefix(text, n) || strings.HasPrefix(n, text) })
		if ok = i >= 0; ok {
			name = names[i]
		}
	}
	if !ok || slices.Contains(names, text) {
		return ""
	}
	return "did you mean " + name + "?"
}
