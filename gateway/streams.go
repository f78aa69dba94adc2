package gateway

import (
	"net/netip"
	"sync"

	"headgate/ratelimit"
)

// stream is what gateway keeps of an admitted stream: enough to give its admission back and to write its line in the log. It holds no
// pointer and 56 bytes, because there may be a million of them.
type stream struct {
	number   uint64
	user     ratelimit.User
	addr     [16]byte
	route    uint32 // index in Server.routes
	gen      uint32 // odd while taken, so that no tag is 0 and an old tag never meets a new stream
	next     uint32 // free list
	admitted uint8  // 1: as its user too, not only as its address
}

func (st *stream) address() netip.Addr { return netip.AddrFrom16(st.addr).Unmap() }

const (
	streamSlab = 1024
	noStream   = ^uint32(0)
)

// admission is what the limiter gets back for it.
func (st *stream) admission(route string) ratelimit.Admission {
	return ratelimit.Admission{Addr: st.address(), User: st.user, Route: route, Admitted: st.admitted == 1}
}

// streams is the table of admitted streams. An entry is the admission: whoever gives it back releases the limiter, and only the first
// one can.
type streams struct {
	mu    sync.Mutex
	slabs []*[streamSlab]stream // guarded by mu; slabs never move
	free  uint32                // guarded by mu
	used  int                   // guarded by mu
}

func (t *streams) init() { t.free = noStream }

// take enters a stream and returns its tag.
func (t *streams) take(route uint32, number uint64, addr netip.Addr) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == noStream {
		t.grow()
	}
	i := t.free
	st := t.at(i)
	t.free = st.next
	t.used++
	*st = stream{number: number, addr: addr.As16(), route: route, gen: st.gen + 1}
	return uint64(st.gen)<<32 | uint64(i)
}

// admit notes that the stream of a tag that is in the table has been admitted as its user too.
func (t *streams) admit(tag uint64, user ratelimit.User) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.at(uint32(tag))
	st.user, st.admitted = user, 1
}

// give takes a stream out. It is false when the tag is not, or no longer, in the table.
func (t *streams) give(tag uint64) (stream, bool) {
	i, gen := uint32(tag), uint32(tag>>32)
	t.mu.Lock()
	defer t.mu.Unlock()
	if int(i) >= len(t.slabs)*streamSlab {
		return stream{}, false
	}
	st := t.at(i)
	if st.gen != gen || gen%2 == 0 {
		return stream{}, false
	}
	out := *st
	*st = stream{gen: gen + 1, next: t.free}
	t.free = i
	t.used--
	return out, true
}

// count is how many streams are admitted.
func (t *streams) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.used
}

func (t *streams) at(i uint32) *stream { return &t.slabs[i/streamSlab][i%streamSlab] }

func (t *streams) grow() {
	base := uint32(len(t.slabs) * streamSlab)
	slab := new([streamSlab]stream)
	for i := range slab {
		slab[i].next = base + uint32(i) + 1
	}
	slab[streamSlab-1].next = noStream
	t.slabs = append(t.slabs, slab)
	t.free = base
}
