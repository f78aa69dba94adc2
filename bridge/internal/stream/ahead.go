package stream

import (
	"cmp"
	"slices"

	"headgate/bridge/internal/encode"
	"headgate/bridge/internal/feed"
)

// ahead is what has been read for a client before it was asked for: all of (from, to].
type ahead struct {
	inc      *feed.Incarnation
	from, to uint64
	items    []*encode.Item
	first    uint64 // the stream's first sequence when from was read, where that matters
	use      *feed.Use
}

// aheadCost is what an item that has been read ahead takes beside its payload and that of its frame.
const aheadCost = 352

// forget is called when it has been given, or is not what is wanted.
func (st *State) forget() {
	if st.ahead != nil {
		st.ahead.use.End()
		st.ahead = nil
	}
}

// take gives what there is of (from, to], or of that about maxBytes of payload: all of it up to upto. It is not ok where from is not in it.
func (a *ahead) take(inc *feed.Incarnation, from, to uint64, maxBytes int) (items []*encode.Item, upto uint64, ok bool) {
	if a == nil || !inc.Same(a.inc) || from < a.from || from >= a.to {
		return nil, 0, false
	}
	start, _ := slices.BinarySearchFunc(a.items, from+1, func(it *encode.Item, seq uint64) int { return cmp.Compare(it.Seq, seq) })
	size := 0
	for n := start; n < len(a.items) && a.items[n].Seq <= to; n++ {
		if size >= maxBytes && n > start {
			return a.items[start:n], a.items[n-1].Seq, true
		}
		size += len(a.items[n].Data)
		items = a.items[start : n+1]
	}
	return items, min(a.to, to), true
}
