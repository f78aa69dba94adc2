package gateway

import (
	"net/netip"
	"slices"
	"sync"

	"headgate/auth"
	"headgate/ratelimit"
)

// stream is what gateway keeps of an admitted stream: enough to give its admission back and to write its line in the log. It holds no
// pointer and 48 bytes, because there may be a million of them.
type stream struct {
	number  uint64
	user    ratelimit.User
	addr    [16]byte
	route   uint32            // index in Server.lives
	gen     uint32            // odd while taken, so that no tag is 0 and an old tag never meets a new stream
	link    uint32            // taken: the ground of its identity, 0 without one or before it is admitted; free: the next one that is
	counted ratelimit.Counted // where the limiter counts it
}

// ground is what the identity of a stream in the table rests on (see auth.Identity.Ground).
func (st *stream) ground() uint32 { return st.link }

func (st *stream) address() netip.Addr { return netip.AddrFrom16(st.addr).Unmap() }

const (
	streamSlab = 1024
	noStream   = ^uint32(0)
)

// admission is what the limiter gets back for it.
func (st *stream) admission(route string) ratelimit.Admission {
	return ratelimit.Admission{Addr: st.address(), User: st.user, Route: route, Counted: st.counted}
}

// streams is the table of admitted streams. An entry is the admission: whoever gives it back releases the limiter, and only the first
// one can.
type streams struct {
	// fixed after init
	owned, described bool // whether owners and abouts are kept

	mu      sync.Mutex
	slabs   []*[streamSlab]stream     // guarded by mu; slabs never move
	owners  []*[streamSlab]auth.Marks // guarded by mu; beside slabs: whose streams they are
	abouts  []*[streamSlab]about      // guarded by mu; beside slabs: what operators are told of them
	issuers []string                  // guarded by mu; names, by about.issuer
	free    uint32                    // guarded by mu
	used    int                       // guarded by mu
	// changes is how often an admission has come, become more, or gone; guarded by mu.
	changes uint64
}

// about is what operators see of a stream beyond the table.
type about struct {
	user     string // sub
	subjects string // with spaces between, which are in none of them
	began    uint32 // Unix seconds
	issuer   uint32 // place of iss in streams.issuers
}

// init says what the table keeps beside admissions: owners to find those whose identity is revoked, descriptions for operators.
func (t *streams) init(owned, described bool) {
	t.free, t.owned, t.described = noStream, owned, described
}

// take enters a stream and returns its tag.
func (t *streams) take(route uint32, number uint64, addr netip.Addr) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free == noStream {
		t.grow()
	}
	i := t.free
	st := t.at(i)
	t.free = st.link
	t.used++
	t.changes++
	*st = stream{number: number, addr: addr.As16(), route: route, gen: st.gen + 1}
	return uint64(st.gen)<<32 | uint64(i)
}

// admit notes that the stream of a tag that is in the table has been admitted as its user too. It must be called before the last look at the
// identity: whichever comes first, that look or the reload of what it rests on, finds what the other has left.
func (t *streams) admit(tag uint64, user ratelimit.User, counted ratelimit.Counted, ground uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st := t.at(uint32(tag))
	st.user, st.link, st.counted = user, ground, counted
	t.changes++
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
	*st = stream{gen: gen + 1, link: t.free}
	if t.owned {
		t.owners[i/streamSlab][i%streamSlab] = auth.Marks{}
	}
	if t.described {
		t.abouts[i/streamSlab][i%streamSlab] = about{}
	}
	t.free = i
	t.used--
	t.changes++
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
		slab[i].link = base + uint32(i) + 1
	}
	slab[streamSlab-1].link = noStream
	t.slabs = append(t.slabs, slab)
	if t.owned {
		t.owners = append(t.owners, new([streamSlab]auth.Marks))
	}
	if t.described {
		t.abouts = append(t.abouts, new([streamSlab]about))
	}
	t.free = base
}

// own says whose a stream is. It must be called before the last look at the revocations: whichever comes first, that look or the sweep,
// finds what the other has left.
func (t *streams) own(tag uint64, m auth.Marks, a about, issuer string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := uint32(tag)
	if !t.takenLocked(tag) {
		return
	}
	if t.owned {
		t.owners[i/streamSlab][i%streamSlab] = m
	}
	if t.described {
		a.issuer = t.placeOf(issuer)
		t.abouts[i/streamSlab][i%streamSlab] = a
	}
}

// placeOf needs mu. There are as many issuers as have ever been accepted.
func (t *streams) placeOf(issuer string) uint32 {
	i := slices.Index(t.issuers, issuer)
	if i < 0 {
		i = len(t.issuers)
		t.issuers = append(t.issuers, issuer)
	}
	return uint32(i)
}

func (t *streams) takenLocked(tag uint64) bool {
	i, gen := uint32(tag), uint32(tag>>32)
	return int(i) < len(t.slabs)*streamSlab && gen%2 == 1 && t.at(i).gen == gen
}

// taken says whether a tag is in the table.
func (t *streams) taken(tag uint64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.takenLocked(tag)
}

// row is a copy of a stream in the table.
type row struct {
	stream
	index uint32
	marks auth.Marks
	about about

	issuer string
}

func (r *row) tag() uint64 { return uint64(r.gen)<<32 | uint64(r.index) }

// each calls f for the streams from an index on, until it returns false. f is called without the lock, a slab of copies at a time.
func (t *streams) each(from uint32, f func(r *row) bool) {
	rows := make([]row, 0, streamSlab)
	for n := int(from / streamSlab); ; n++ {
		rows = t.copySlab(n, from, rows[:0])
		if rows == nil {
			return
		}
		for i := range rows {
			if !f(&rows[i]) {
				return
			}
		}
	}
}

// copySlab is nil behind the last slab.
func (t *streams) copySlab(n int, from uint32, rows []row) []row {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n >= len(t.slabs) {
		return nil
	}
	for i := range t.slabs[n] {
		st, index := &t.slabs[n][i], uint32(n*streamSlab+i)
		if st.gen%2 == 0 || index < from {
			continue
		}
		r := row{stream: *st, index: index}
		if t.owned {
			r.marks = t.owners[n][i]
		}
		if t.described {
			r.about = t.abouts[n][i]
			if r.about.began > 0 {
				r.issuer = t.issuers[r.about.issuer]
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// owned is a slab of streams that belong to somebody: what the sweep looks at.
type owned struct {
	tags    []uint64
	numbers []uint64
	marks   []auth.Marks
}

// copyOwned fills o with the n-th slab. It is false behind the last one.
func (t *streams) copyOwned(n int, o *owned) bool {
	o.tags, o.numbers, o.marks = o.tags[:0], o.numbers[:0], o.marks[:0]
	t.mu.Lock()
	defer t.mu.Unlock()
	if n >= len(t.slabs) {
		return false
	}
	for i := range t.slabs[n] {
		st := &t.slabs[n][i]
		if st.gen%2 == 0 {
			continue
		}
		o.tags = append(o.tags, uint64(st.gen)<<32|uint64(n*streamSlab+i))
		o.numbers = append(o.numbers, st.number)
		o.marks = append(o.marks, t.owners[n][i])
	}
	return true
}
