//go:build linux

package main

import "bytes"

// head consumes the response head. It returns what follows it, or nil when the head is not complete or the stream was refused.
func (s *Swarm) head(i int, b []byte) []byte {
	c := &s.clients[i]
	if c.rest != nil {
		b = append(c.rest, b...)
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		c.rest = bytes.Clone(b)
		return nil
	}
	c.rest = nil
	body := b[end+4:]
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 200 ")) || bytes.Contains(body, []byte(`"reason":"overloaded"`)) {
		s.close(i)
		return nil
	}
	c.state = clientOpen
	s.arrived(c)
	s.opened++
	return body
}

// scan counts the stamps in what one client has read. A stamp cut by the end of the read is carried to the next one.
func (s *Swarm) scan(c *client, b []byte, at int64) {
	if c.carried > 0 {
		var joint [stampLen]byte
		have := copy(joint[:], c.carry[:c.carried])
		n := copy(joint[have:], b)
		if have+n < stampLen {
			c.carried = uint8(copy(c.carry[:], joint[:have+n]))
			return
		}
		c.carried = 0
		s.count(c, joint[:], at)
		b = b[n:]
	}
	for {
		i := bytes.IndexByte(b, stampMark)
		if i < 0 {
			return
		}
		b = b[i:]
		if len(b) < stampLen {
			c.carried = uint8(copy(c.carry[:], b))
			return
		}
		s.count(c, b, at)
		b = b[stampLen:]
	}
}

func (s *Swarm) count(c *client, stamp []byte, at int64) {
	seq, sent, ok := parseStamp(stamp)
	if !ok {
		s.tally.Malformed++
		return
	}
	switch {
	case c.next == 0 || seq == c.next:
		c.next = seq + 1
	case seq > c.next:
		s.tally.Lost += uint64(seq - c.next)
		c.next = seq + 1
	default:
		s.tally.Duplicated++
		return
	}
	s.tally.Received++
	s.tally.Latency.Record(at - sent)
}

var idField = []byte("\nid:")

// scanBlocks is scan for clients that come back: only a block that has ended counts, as in a browser, and its id is kept.
func (s *Swarm) scanBlocks(c *client, b []byte) {
	if len(c.rest) > 0 {
		b = append(c.rest, b...)
	}
	end := bytes.LastIndex(b, []byte("\n\n"))
	if end < 0 {
		c.rest = bytes.Clone(b)
		return
	}
	blocks := b[:end+2]
	s.scan(c, blocks, now())
	if i := bytes.LastIndex(blocks, idField); i >= 0 {
		line, _, _ := bytes.Cut(blocks[i+len(idField):], []byte("\n"))
		if id := bytes.TrimSpace(line); string(id) != c.id {
			c.id = string(id)
		}
	}
	c.rest = append(c.rest[:0], b[end+2:]...)
}
