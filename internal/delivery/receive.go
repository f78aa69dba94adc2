package delivery

// maxReceived is how much a client may send after its request, which it has no reason to do.
const maxReceived = 4 << 10

// sockets works off n events of the poller.
func (s *shard) sockets(n int) {
	for k := range n {
		ev := s.poll.event(k)
		sl := s.slots.at(ev.slot)
		if sl.gen != ev.gen || sl.state == free {
			continue
		}
		switch {
		case ev.gone:
			s.end(ev.slot, ClientGone)
		case ev.in && !s.receive(ev.slot, sl):
		case ev.out && sl.hasSide:
			s.flush(ev.slot)
		}
	}
	s.poll.polled(n)
}

// receive reads and drops what a client sends after its request, and says whether the client may stay.
func (s *shard) receive(i uint32, sl *slot) bool {
	n, err := recv(sl.fd, s.recvBuf[:])
	if err != nil {
		if wouldBlock(err) {
			return true
		}
		s.end(i, ClientGone)
		return false
	}
	if n == 0 {
		s.end(i, ClientGone)
		return false
	}
	if int(sl.received)+n > maxReceived {
		s.end(i, ClientData)
		return false
	}
	sl.received += uint16(n)
	return true
}
