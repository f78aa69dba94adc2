package gateway

import (
	"errors"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"headgate/internal/config"
	"headgate/internal/delivery"
)

// table is the routes at a time, and what leads to them. It never changes: a reload puts another one in its place, and requests that have
// begun go on with the one they found.
type table struct {
	routes     []*route
	mux        *http.ServeMux
	identities Identities // nil: callers are nobody
	fresh      []*life    // those that begin with it
}

// Next is what a reload puts in the place of what there is.
type Next struct {
	Routes     []config.Route
	Console    http.Handler // as in Options
	Identities Identities   // as in Options
	// Outdated are grounds of identities that Identities does not know any more, and why the streams that rest on them end: as revoked,
	// which is at once, or as on a route that has changed.
	Outdated map[uint32]delivery.Reason
}

// retired is a life whose streams are ending.
type retired struct {
	life *life
	by   time.Time // then they are ended at once
}

// Change is what a reload did.
type Change struct {
	Added, Changed, Removed []string // names of routes; Changed: only those whose streams end
	Streams                 int      // that end
	Revoked                 int      // of those: at once, since their tokens are not accepted any more
}

// Reload puts routes, and who callers are, in the place of those that there are. All of it, or with an error nothing: then everything is as it
// was. Streams whose route says the same as before, and whose identity holds, go on; the others end within ROUTES_SPREAD. What bridge and the
// limiter need for the routes must be there before. It must not be called at the same time as itself or Settle.
func (s *Server) Reload(next Next) (Change, error) {
	if s.Draining() {
		return Change{}, errors.New("gateway: the process is draining, so its routes stay as they are")
	}
	if (s.cfg.Auth.Mode == "jwt") != (next.Identities != nil) {
		return Change{}, errIdentities
	}
	t, err := s.newTable(next)
	if err != nil {
		return Change{}, err
	}
	old := s.current.Load()
	s.install(t)
	return s.retire(old, t, next.Outdated), nil
}

// newTable compiles routes. Its error names every route at fault.
func (s *Server) newTable(next Next) (*table, error) {
	t := &table{identities: next.Identities}
	var errs []error
	for _, cr := range next.Routes {
		rt, err := compileRoute(cr, s.cfg)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rt.identities = t.identities
		if was := s.current.Load().find(rt.name); was != nil && sameStreams(was.said, cr) {
			rt.life = was.life
		} else {
			rt.life.key += "\x00" + strconv.FormatUint(s.lived, 36)
			s.lived++
			t.fresh = append(t.fresh, rt.life)
		}
		t.routes = append(t.routes, rt)
	}
	var err error
	if t.mux, err = s.buildMux(t.routes, next.Console); err != nil {
		errs = append(errs, err)
	}
	return t, errors.Join(errs...)
}

// find is the route with a name, nil if there is none.
func (t *table) find(name string) *route {
	if t == nil {
		return nil
	}
	if i := slices.IndexFunc(t.routes, func(rt *route) bool { return rt.name == name }); i >= 0 {
		return t.routes[i]
	}
	return nil
}

// sameStreams says whether streams of a route may go on when it becomes another one: both give the same events, in the same way, to the
// same callers. What is left out here matters only to those who come.
func sameStreams(a, b config.Route) bool {
	for _, r := range []*config.Route{&a, &b} {
		r.Limits.ConnectionsPerUser, r.Limits.PublishRate = 0, 0
		r.CORS, r.OnOverload, r.MaxStreams, r.Publish, r.Line, r.AuthRequiredSaid = config.CORS{}, "", 0, nil, 0, false
	}
	return reflect.DeepEqual(a, b)
}

// install makes a table the present one.
func (s *Server) install(next *table) {
	for _, lf := range next.fresh {
		s.metrics.live(lf)
	}
	s.lives.add(next.fresh)
	next.fresh = nil
	s.current.Store(next)
}

// retire ends the streams of what is not in the table any more. A request that is on its way with such a route is either in the table of
// streams before this looks through it, and found; or it comes in later, and finds that its route is over when it has been handed over.
func (s *Server) retire(old, next *table, grounds map[uint32]delivery.Reason) Change {
	var c Change
	why := map[uint32]delivery.Reason{}
	by := time.Now().Add(s.cfg.RoutesSpread)
	for _, rt := range old.routes {
		now := next.find(rt.name)
		if now != nil && now.life == rt.life {
			continue
		}
		reason := delivery.RouteRemoved
		if next.streamsOn(rt.path) {
			reason = delivery.RouteChanged // whoever comes back finds a stream
		}
		if now != nil {
			c.Changed = append(c.Changed, rt.name)
		} else {
			c.Removed = append(c.Removed, rt.name)
		}
		why[rt.life.index] = reason
		rt.life.ended.Store(uint32(reason))
		s.retired = append(s.retired, retired{rt.life, by})
	}
	for _, rt := range next.routes {
		if old.find(rt.name) == nil {
			c.Added = append(c.Added, rt.name)
		}
	}
	s.outdate(grounds, by)
	c.Streams, c.Revoked = s.spread(why, grounds)
	return c
}

// streamsOn says whether a path leads to a stream.
func (t *table) streamsOn(path string) bool {
	return slices.ContainsFunc(t.routes, func(rt *route) bool { return rt.path == path && len(rt.sources) > 0 })
}

// spread ends the streams of lives that are over, and those that rest on grounds that are: spread over ROUTES_SPREAD, or at once where they are
// revoked. It counts both kinds.
func (s *Server) spread(lives, grounds map[uint32]delivery.Reason) (streams, revoked int) {
	if len(lives)+len(grounds) == 0 {
		return 0, 0
	}
	var atOnce []uint64
	ends := map[delivery.Reason]map[uint64]struct{}{}
	s.streams.each(0, func(r *row) bool {
		reason, over := grounds[r.ground()]
		if !over {
			reason, over = lives[r.route]
		}
		switch {
		case !over:
			return true
		case reason == delivery.Revoked:
			atOnce = append(atOnce, r.tag())
		case ends[reason] == nil:
			ends[reason] = map[uint64]struct{}{r.tag(): {}}
		default:
			ends[reason][r.tag()] = struct{}{}
		}
		streams++
		return true
	})
	for reason, tags := range ends {
		s.delivery.EndWhere(func(tag uint64) bool {
			_, ok := tags[tag]
			return ok
		}, reason, s.cfg.RoutesSpread)
	}
	if len(atOnce) > 0 {
		s.condemned.add(atOnce, delivery.Revoked)
	}
	return streams, len(atOnce)
}

// Settle says whether every stream of a route that was taken away has ended, and of everybody who is no longer who he was, and clears up
// behind those that have. Until it is true it is to be called now and then; it also ends at once what is late.
func (s *Server) Settle() bool {
	current := s.settleGrounds()
	if len(s.retired) == 0 {
		return current
	}
	open := make(map[uint32][]uint64, len(s.retired))
	for _, r := range s.retired {
		open[r.life.index] = nil
	}
	s.streams.each(0, func(r *row) bool {
		if tags, over := open[r.route]; over {
			open[r.route] = append(tags, r.tag())
		}
		return true
	})
	var gone []*life
	s.retired = slices.DeleteFunc(s.retired, func(r retired) bool {
		tags := open[r.life.index]
		if len(tags) == 0 {
			// A request may still be about to be admitted. Either it finds the life closed, or it is found the next time.
			last := r.life.closed.Swap(true)
			if last {
				gone = append(gone, r.life)
			}
			return last
		}
		if time.Now().After(r.by) {
			s.condemned.add(tags, r.life.over())
		}
		return false
	})
	s.bury(gone)
	return current && len(s.retired) == 0
}

// bury gives up the numbers of lives without streams, and the series of routes that there are no more.
func (s *Server) bury(gone []*life) {
	s.lives.remove(gone)
	for _, lf := range gone {
		named := func(r retired) bool { return r.life.name == lf.name }
		if s.current.Load().find(lf.name) == nil && !slices.ContainsFunc(s.retired, named) {
			lf.forgotten.Store(true)
			s.metrics.forget(lf.name)
		}
	}
}
