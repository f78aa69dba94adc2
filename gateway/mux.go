package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// endpoint is what one path leads to: a stream on GET, an entrance on POST, or both, of one route or of two.
type endpoint struct {
	pattern string
	stream  *route
	entry   *route
}

// any is a route of the endpoint, for what concerns both.
func (e *endpoint) any() *route {
	if e.stream != nil {
		return e.stream
	}
	return e.entry
}

// allow lists the methods of the endpoint (RFC 9110, section 10.2.1).
func (e *endpoint) allow() string {
	var methods []string
	if e.stream != nil {
		methods = append(methods, http.MethodGet, http.MethodHead)
	}
	methods = append(methods, http.MethodOptions)
	if e.entry != nil {
		methods = append(methods, http.MethodPost)
	}
	return strings.Join(methods, ", ")
}

// buildMux gives every path its endpoint. Patterns carry no method, so that every answer for a known path is ours; a pattern for
// everything else makes the answer for unknown paths ours too.
func (s *Server) buildMux(routes []*route, console http.Handler) (*http.ServeMux, error) {
	endpoints, errs := gather(routes)
	mux := http.NewServeMux()
	var placed []*endpoint
	for _, e := range endpoints {
		if err := register(mux, e.pattern, s.at(e)); err != nil {
			errs = append(errs, conflict(e, placed, err))
			continue
		}
		placed = append(placed, e)
	}
	if err := s.mountConsole(mux, console); err != nil {
		errs = append(errs, err)
	}
	// A route may have taken every path already; then there is no unknown one.
	_ = register(mux, "/", s.at(&endpoint{}))
	return mux, errors.Join(errs...)
}

// gather joins routes that share a path.
func gather(routes []*route) ([]*endpoint, []error) {
	var all []*endpoint
	var errs []error
	for _, rt := range routes {
		pattern := rt.path
		if strings.HasSuffix(pattern, "/") {
			pattern += "{$}" // a path, not everything below it
		}
		i := slices.IndexFunc(all, func(e *endpoint) bool { return e.pattern == pattern })
		if i < 0 {
			all, i = append(all, &endpoint{pattern: pattern}), len(all)
		}
		e := all[i]
		if len(rt.sources) > 0 {
			if e.stream != nil {
				errs = append(errs, bothServe(e.stream, rt, "streams"))
				continue
			}
			e.stream = rt
		}
		if rt.publish != nil {
			if e.entry != nil {
				errs = append(errs, bothServe(e.entry, rt, "publish"))
				continue
			}
			e.entry = rt
		}
	}
	return all, errs
}

func bothServe(a, b *route, what string) error {
	return fmt.Errorf("gateway: %s and %s both say %s for the path %s; give one of them another path", a.describe(), b.describe(),
		what, b.path)
}

// conflict names the two routes whose patterns the mux cannot tell apart.
func conflict(e *endpoint, placed []*endpoint, err error) error {
	for _, other := range placed {
		pair := http.NewServeMux()
		nothing := http.NotFoundHandler()
		if register(pair, other.pattern, nothing) == nil && register(pair, e.pattern, nothing) != nil {
			return fmt.Errorf("gateway: %s and %s: the paths %s and %s match the same requests and neither is more specific; change one",
				other.any().describe(), e.any().describe(), other.any().path, e.any().path)
		}
	}
	return fmt.Errorf("gateway: %s: path %s: %w", e.any().describe(), e.any().path, err)
}

// register turns the panics of ServeMux into errors.
func register(mux *http.ServeMux, pattern string, h http.Handler) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	mux.Handle(pattern, h)
	return nil
}

// mountConsole puts the console page at /console/, below the base path, and with -dev in the place of an unclaimed root.
func (s *Server) mountConsole(mux *http.ServeMux, console http.Handler) error {
	if console == nil {
		return nil
	}
	root := joinPath(s.cfg.HTTP.BasePath, "/")
	at := root + "console/"
	h := http.StripPrefix(strings.TrimSuffix(root, "/"), console)
	if err := register(mux, at, h); err != nil {
		return fmt.Errorf("gateway: the console page needs %s, which a route has taken; give the route another path, "+
			"or set CONSOLE=false", at)
	}
	if s.cfg.Dev {
		// 307: RFC 9110, section 15.4.8. Not permanent, because the next thing on this port is another project.
		_ = register(mux, root+"{$}", http.RedirectHandler(at, http.StatusTemporaryRedirect))
	}
	return nil
}

// canonical says whether the mux would take the path as it is. Everything else it would redirect, which turns a POST into something
// the client did not mean and gives the same stream two names.
func canonical(u *url.URL) bool {
	path := u.EscapedPath()
	if path == "" || path[0] != '/' {
		return false
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && path != "/" {
			return false
		}
	}
	return true
}
