package pull

import (
	"strconv"
	"strings"
)

// Place is where a message stands. It is read from the reply subject, as Msg.Metadata of nats.go does, which allocates twice for each
// message.
//
// Source: ADR-15 of https://github.com/nats-io/nats-architecture-and-design, the tokens of a JetStream reply subject.
type Place struct {
	Stream, Consumer uint64 // sequences
	At               int64  // Unix time in nanoseconds
	Pending          uint64 // what the consumer has behind it
}

// PlaceOf is not ok for a message that is not one of a consumer.
func PlaceOf(reply string) (p Place, ok bool) {
	rest, ok := strings.CutPrefix(reply, "$JS.ACK.")
	if !ok {
		return Place{}, false
	}
	skip := 3 // stream, consumer, number of deliveries
	switch n := strings.Count(rest, ".") + 1; {
	case n == 7:
	case n >= 9:
		skip = 5 // domain and account before them
	default:
		return Place{}, false
	}
	for range skip {
		_, rest, _ = strings.Cut(rest, ".")
	}
	var f [4]uint64
	for i := range f {
		var text string
		text, rest, _ = strings.Cut(rest, ".")
		var err error
		if f[i], err = strconv.ParseUint(text, 10, 63); err != nil {
			return Place{}, false
		}
	}
	return Place{Stream: f[0], Consumer: f[1], At: int64(f[2]), Pending: f[3]}, true
}
