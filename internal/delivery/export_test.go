package delivery

// Wake makes every shard look at its clock.
func (s *Server) Wake() {
	for _, sh := range s.shards {
		_ = sh.mail.put(op{kind: opTick})
	}
}
