package history

import (
	"strings"

	"headgate/internal/subject"
)

// demux finds the collectors of a message: literal filters by map, wildcards by their first token.
type demux struct {
	literals map[string][]*collector
	firsts   map[string][]wild
	anyFirst []wild // the first token is a wildcard
}

type wild struct {
	pattern string
	to      *collector
}

func newDemux() *demux {
	return &demux{literals: map[string][]*collector{}, firsts: map[string][]wild{}}
}

func (d *demux) add(filter string, to *collector) {
	if !subject.HasWildcard(filter) {
		d.literals[filter] = append(d.literals[filter], to)
		return
	}
	first, _, _ := strings.Cut(filter, ".")
	if subject.HasWildcard(first) {
		d.anyFirst = append(d.anyFirst, wild{filter, to})
		return
	}
	d.firsts[first] = append(d.firsts[first], wild{filter, to})
}

// match visits the collectors of a literal subject; one with several filters that match perhaps more than once.
func (d *demux) match(literal string, visit func(*collector)) {
	for _, to := range d.literals[literal] {
		visit(to)
	}
	first, _, _ := strings.Cut(literal, ".")
	for _, list := range [2][]wild{d.firsts[first], d.anyFirst} {
		for _, w := range list {
			if subject.Match(w.pattern, literal) {
				visit(w.to)
			}
		}
	}
}
