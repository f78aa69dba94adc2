package gateway

import (
	"maps"
	"time"

	"headgate/auth"
	"headgate/internal/delivery"
)

// outdated is a ground of identities that does not hold any more. A request that has identified its caller by it is either in the table of
// streams before the reload looks through that, and found; or its last look at the identity comes later, and finds that it is outdated.
type outdated struct {
	why delivery.Reason
	by  time.Time // then its streams are ended at once
}

// groundOf is what an identity rests on; 0 where nobody has one.
func groundOf(id *auth.Identity) uint32 {
	if id == nil {
		return 0
	}
	return id.Ground()
}

// outdate notes grounds that a reload has taken away.
func (s *Server) outdate(grounds map[uint32]delivery.Reason, by time.Time) {
	for ground, why := range grounds {
		o := outdated{why, by}
		if why == delivery.Revoked {
			o.by = time.Time{} // they are ended at once, and again until they are gone
		}
		s.outdated[ground] = o
	}
}

// settleGrounds ends at once what is late of the streams that rest on outdated grounds, and says whether there are none of them any more.
func (s *Server) settleGrounds() bool {
	if len(s.outdated) == 0 {
		return true
	}
	open := map[uint32][]uint64{}
	s.streams.each(0, func(r *row) bool {
		if _, over := s.outdated[r.ground()]; over {
			open[r.ground()] = append(open[r.ground()], r.tag())
		}
		return true
	})
	maps.DeleteFunc(s.outdated, func(ground uint32, o outdated) bool {
		tags := open[ground]
		if len(tags) > 0 && time.Now().After(o.by) {
			s.condemned.add(tags, o.why)
		}
		return len(tags) == 0
	})
	return len(s.outdated) == 0
}
