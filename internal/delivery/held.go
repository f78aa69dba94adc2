package delivery

// What has been read for one client, and its socket has not taken, is memory that no log shares: 64 KB for each of those who come back and
// then take nothing. So all of them together have a bound. The nearer they are to it, the less is read for each at a time; nobody is refused
// for it, and below leastRead there is no less.
const (
	readBytes = 64 << 10 // is asked for at a time. The next batch is asked for when the socket has taken the last
	lessRead  = 16 << 10 // where half of the bound is held
	leastRead = 4 << 10  // where all of it is
	heldBytes = 32 << 20 // the bound
)

// readSize is how much to ask for. It counts as held from then on.
func (s *shard) readSize(sd *side) int {
	n := leastRead
	switch held, most := s.server.held.Load(), s.server.heldMost.Load(); {
	case held < most/2:
		n = readBytes
	case held < most:
		n = lessRead
	}
	s.server.held.Add(int64(n) - sd.held)
	sd.held = int64(n)
	return n
}

// keeps notes what a client has of its own: bytes, and what was read and is more than its budget allows.
func (s *shard) keeps(sd *side) {
	if sd.read != nil && sd.read.waiting {
		return // what it has asked for counts
	}
	n := int64(cap(sd.private))
	if sd.read != nil && sd.read.rest != nil {
		for _, e := range sd.read.rest.Events {
			if e.Frame != nil {
				n += int64(e.Frame.Len())
			}
		}
	}
	s.server.held.Add(n - sd.held)
	sd.held = n
}

// keepsNone notes that it has none any more.
func (s *shard) keepsNone(sd *side) {
	if sd.held != 0 {
		s.server.held.Add(-sd.held)
		sd.held = 0
	}
}
