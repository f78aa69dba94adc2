package subject

import (
	"slices"
	"strings"
)

// The functions here take patterns that Valid accepts and subjects that NATS delivers. On anything else they answer something,
// never panic, and treat a * or > that is no whole token as a letter, as the server does.

// Match says whether pattern matches literal, a subject without wildcards. It runs per message, so it walks bytes: a wildcard is a
// whole token, hence wherever the bytes before it were equal, a token of literal begins.
func Match(pattern, literal string) bool {
	j := 0
	for i := 0; i < len(pattern); i++ {
		switch c := pattern[i]; {
		case c == '*' && whole(pattern, i):
			start := j
			for j < len(literal) && literal[j] != '.' {
				j++
			}
			if j == start {
				return false
			}
		case c == '>' && i == len(pattern)-1 && whole(pattern, i):
			return j < len(literal)
		default:
			if j == len(literal) || literal[j] != c {
				return false
			}
			j++
		}
	}
	return j == len(literal) && j > 0
}

// whole says whether the byte at i is a token of its own.
func whole(s string, i int) bool {
	return (i == 0 || s[i-1] == '.') && (i+1 == len(s) || s[i+1] == '.')
}

// Covers says whether wide matches every subject that narrow matches.
func Covers(wide, narrow string) bool {
	for {
		w, wrest, wmore := strings.Cut(wide, ".")
		n, nrest, nmore := strings.Cut(narrow, ".")
		switch {
		case n == "":
			return false
		case w == ">" && !wmore:
			return true
		case n == ">" && !nmore:
			return false
		case w != "*" && w != n:
			return false
		case !wmore || !nmore:
			return wmore == nmore
		}
		wide, narrow = wrest, nrest
	}
}

// Intersects says whether some subject matches both.
func Intersects(a, b string) bool {
	for {
		x, arest, amore := strings.Cut(a, ".")
		y, brest, bmore := strings.Cut(b, ".")
		switch {
		case x == "" || y == "":
			return false
		case x == ">" && !amore, y == ">" && !bmore:
			return true
		case x != y && x != "*" && y != "*":
			return false
		case !amore || !bmore:
			return amore == bmore
		}
		a, b = arest, brest
	}
}

// Cover is the narrowest pattern that covers all of the list; > for an empty one.
func Cover(list []string) string {
	if len(list) == 0 {
		return ">"
	}
	cover := strings.Split(list[0], ".")
	for _, s := range list[1:] {
		cover = coverBoth(cover, strings.Split(s, "."))
	}
	return strings.Join(cover, ".")
}

func coverBoth(a, b []string) (cover []string) {
	for i := range max(len(a), len(b)) {
		switch {
		case i == len(a) || i == len(b): // > stands for one token at least
			return append(cover[:i-1], ">")
		case a[i] == ">" || b[i] == ">":
			return append(cover, ">")
		case a[i] == b[i]:
			cover = append(cover, a[i])
		default:
			cover = append(cover, "*")
		}
	}
	return cover
}

// Normalize returns list without the patterns that another one covers, and of equal ones only the first, in the order they came.
// Patterns that merely intersect stay. The list itself is not changed.
func Normalize(list []string) []string {
	out := make([]string, 0, len(list))
	for i, s := range list {
		covered := slices.Contains(list[:i], s) ||
			slices.ContainsFunc(list, func(other string) bool { return other != s && Covers(other, s) })
		if !covered {
			out = append(out, s)
		}
	}
	return out
}
