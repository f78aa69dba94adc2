package gateway

import (
	"context"
	"fmt"
	"time"

	"headgate/internal/delivery"
)

// checkAgain is between two looks. What is wrong for a moment only, because something is just changing, is not wrong.
const checkAgain = 50 * time.Millisecond

// Check lists what is broken between the routes and the table of streams, while both go on changing.
func (s *Server) Check(ctx context.Context) ([]string, error) {
	before := s.look()
	if len(before) == 0 {
		return nil, nil
	}
	timer := time.NewTimer(checkAgain)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	var broken []string
	for what := range s.look() {
		if _, still := before[what]; still {
			broken = append(broken, what)
		}
	}
	return broken, nil
}

// look is what seems to be broken now.
func (s *Server) look() map[string]struct{} {
	found := map[string]struct{}{}
	wrong := func(format string, args ...any) { found[fmt.Sprintf(format, args...)] = struct{}{} }
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
