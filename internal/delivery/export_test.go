package delivery

// Wake makes every shard look at its clock.
func (s *Server) Wake() {
	for _, sh := range s.shards {
		_ = sh.mail.put(op{kind: opTick})
	}
}

// Walk makes a table with so many clients, and returns what asks for each whether it matches, as an end does.
func Walk(clients int) func(match func(tag uint64) bool) {
	var t slots
	t.free = none
	for i := range clients {
		_, sl := t.take()
		sl.tag, sl.state = uint64(i), live
	}
	return func(match func(uint64) bool) { t.each(func(_ uint32, sl *slot) { match(sl.tag) }) }
}
