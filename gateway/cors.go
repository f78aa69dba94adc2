package gateway

import (
	"errors"
	"net/http"
	"slices"

	"github.com/rs/cors"

	"headgate/internal/config"
)

// preflightAge is how long a browser may remember a preflight, in seconds. An operator who takes an origin away expects it to be gone
// within the hour.
const preflightAge = 3600

// newCORS is who else may read a route (Fetch Standard, section 3.3 "HTTP CORS protocol"), or nil when nobody may: an empty list means
// everybody to rs/cors.
func newCORS(cr config.Route) (*cors.Cors, error) {
	if len(cr.CORS.AllowedOrigins) == 0 {
		return nil, nil
	}
	if cr.CORS.AllowCredentials && slices.Contains(cr.CORS.AllowedOrigins, "*") {
		return nil, errors.New("cors: origins * together with credentials would let every site read as its visitor; name the origins")
	}
	o := cors.Options{
		AllowedOrigins:   cr.CORS.AllowedOrigins,
		AllowCredentials: cr.CORS.AllowCredentials,
		AllowedHeaders:   []string{"Authorization", "Cache-Control", "Last-Event-ID"},
		ExposedHeaders:   []string{"Retry-After"},
		MaxAge:           preflightAge,
	}
	if len(cr.Sources) > 0 {
		o.AllowedMethods = append(o.AllowedMethods, http.MethodGet, http.MethodHead)
	}
	if cr.Publish != nil {
		o.AllowedMethods = append(o.AllowedMethods, http.MethodPost)
		o.AllowedHeaders = append(append(o.AllowedHeaders, "Content-Type"), cr.Publish.Headers...)
	}
	return cors.New(o), nil
}

// severalOrigins says that a request names more than one, which no browser does (RFC 6454, section 7.3). None of them counts then: rs/cors
// looks at the first alone, and answers with all of them.
func severalOrigins(r *http.Request) bool { return len(r.Header.Values("Origin")) > 1 }

// originHeaders puts into the response what other origins are told. Vary: Origin is always there, so that no cache gives one
// origin's answer to another (Fetch Standard, section 3.3.5 "CORS protocol and HTTP caches").
func originHeaders(w http.ResponseWriter, r *http.Request, rt *route) {
	if rt != nil && rt.cors != nil && !severalOrigins(r) {
		rt.cors.HandlerFunc(w, r) // not a preflight: sets headers only
		return
	}
	w.Header().Add("Vary", "Origin")
}

// options answers OPTIONS: a preflight for the method it asks about, else which methods there are (RFC 9110, section 9.3.7).
func (s *Server) options(c *call, e *endpoint) error {
	rt := e.any()
	asked := c.r.Header.Get("Access-Control-Request-Method")
	switch {
	case asked == http.MethodPost && e.entry != nil:
		rt = e.entry
	case asked != http.MethodPost && e.stream != nil:
		rt = e.stream
	}
	c.route = rt
	h := c.w.Header()
	h.Set("Allow", e.allow())
	c.outcome = "options"
	if asked != "" && rt.cors != nil && !severalOrigins(c.r) {
		rt.cors.HandlerFunc(c.w, c.r) // answers 204
		c.answered = true
		return nil
	}
	originHeaders(c.w, c.r, rt)
	c.answered = true
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
