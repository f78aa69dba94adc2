package delivery

import "context"

// breaks are what an invariant can be broken by, by a part of what is then said, and what mends it.
func (s *shard) breaks() map[string]func() (mend func()) {
	var i uint32
	s.slots.each(func(n uint32, _ *slot) { i = n })
	sl := s.slots.at(i)
	g := s.groups.table[sl.group]
	return map[string]func() func(){
		"is not the member":               func() func() { sl.member++; return func() { sl.member-- } },
		"side false, flag true":           func() func() { sl.hasSide = true; return func() { sl.hasSide = false } },
		"entries behind and nobody knows": func() func() { sl.next--; return func() { sl.next++ } },
		"waits in a group that has ended": func() func() {
			g.ended = Internal
			delete(s.groups.byKey, g.key)
			return func() { g.ended = None; s.groups.byKey[g.key] = g }
		},
		"slots in use":                  func() func() { s.slots.used++; return func() { s.slots.used-- } },
		"sides in use":                  func() func() { s.sides[99] = &side{}; return func() { delete(s.sides, 99) } },
		"lag, 1 counted":                func() func() { g.lagging++; return func() { g.lagging-- } },
		"the tail is not reached":       func() func() { was := g.log.tail; g.log.tail = &entry{}; return func() { g.log.tail = was } },
		"groups in the table":           func() func() { s.groups.byKey["other"] = g; return func() { delete(s.groups.byKey, "other") } },
		"new beginnings are remembered": func() func() { s.again[g] = nil; return func() { delete(s.again, g) } },
	}
}

// Broken breaks one invariant after the other, in a shard with a quiet client, and says what Check finds.
func (s *Server) Broken(ctx context.Context) (map[string][]string, error) {
	found := map[string][]string{}
	var names []string
	if err := s.look(ctx, func(sh *shard) {
		for name := range sh.breaks() {
			names = append(names, name)
		}
	}); err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := s.look(ctx, func(sh *shard) {
			mend := sh.breaks()[name]()
			c := &checking{done: make(chan struct{})}
			sh.check(c)
			mend()
			found[name] = c.found
		}); err != nil {
			return nil, err
		}
	}
	return found, nil
}
