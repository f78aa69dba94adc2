package gateway

import (
	"context"
	"fmt"
	"iter"

	"headgate/internal/delivery"
	"headgate/internal/walk"
	"headgate/ratelimit"
)

// Check lists what is broken between the routes and the table of streams, while both go on changing.
func (s *Server) Check(ctx context.Context) ([]string, error) { return walk.Still(ctx, s.look) }

// look is what seems to be broken now.
func (s *Server) look() (found []string) {
	wrong := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	current := s.current.Load()
	for _, rt := range current.routes {
		switch {
		case s.lives.at(rt.life.index) != rt.life:
			wrong("route %s: its number %d is that of another one", rt.name, rt.life.index)
		case rt.life.over() != delivery.None && s.current.Load() == current:
			wrong("route %s: it is there, and its streams are ended as %s", rt.name, rt.life.over())
		}
	}
	for _, lf := range s.lives.copied() {
		if lf == nil || lf.over() != delivery.None {
			continue
		}
		if rt := s.current.Load().find(lf.name); rt == nil || rt.life != lf {
			wrong("route %s: its streams go on, and it is not there", lf.name)
		}
	}
	s.streams.each(0, func(r *row) bool {
		if s.lives.at(r.route) == nobody {
			wrong("stream %s: its route %d is not known", s.requestID(r.number), r.route)
		}
		return true
	})
	return found
}

// Admissions are those that are out, as the table of streams has them. Changes meanwhile may be among them or not.
func (s *Server) Admissions() iter.Seq[ratelimit.Admission] {
	return func(yield func(ratelimit.Admission) bool) {
		s.streams.each(0, func(r *row) bool { return yield(r.admission(s.lives.at(r.route).name)) })
	}
}

// Changes is how often an admission has come, become more, or gone.
func (s *Server) Changes() uint64 {
	s.streams.mu.Lock()
	defer s.streams.mu.Unlock()
	return s.streams.changes
}
