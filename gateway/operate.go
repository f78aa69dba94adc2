package gateway

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"headgate/auth"
	"headgate/internal/delivery"
	"headgate/internal/subject"
)

// Filter chooses streams: those that fit everything it names. An empty one fits all.
type Filter struct {
	Connection string
	User       string // the sub of the token
	Issuer     string // its iss
	Route      string
	Subject    string // a subject or pattern; it fits whoever follows something that it meets
}

// Connection is an open stream, as operators see it.
type Connection struct {
	ID       string     `json:"connection"`
	Route    string     `json:"route"`
	User     string     `json:"user,omitempty"`
	Issuer   string     `json:"issuer,omitempty"`
	Subjects []string   `json:"subjects"`
	Client   netip.Addr `json:"client"`
	Since    time.Time  `json:"since"`

	Place uint32 `json:"-"` // in the table: a list that begins from there begins with it
}

// Numbers are what a process has open.
type Numbers struct {
	Instance string         `json:"instance"`
	Streams  int            `json:"streams"`
	Routes   map[string]int `json:"routes"`
	Draining bool           `json:"draining"`
}

// fits makes a test of the filter.
func (s *Server) fits(f Filter) func(r *row) bool {
	user := auth.MarksOfUser(f.User)
	number, own := uint64(0), false
	if rest, ok := strings.CutPrefix(f.Connection, s.instance+"-"); ok {
		n, err := strconv.ParseUint(rest, 36, 64)
		number, own = n, err == nil && s.requestID(n) == f.Connection
	}
	return func(r *row) bool {
		switch {
		case f.Connection != "" && (!own || r.number != number):
			return false
		case f.User != "" && !r.marks.SameUser(&user):
			return false
		case f.Issuer != "" && r.issuer != f.Issuer:
			return false
		case f.Route != "" && s.lives.at(r.route).name != f.Route:
			return false
		case f.Subject == "":
			return true
		}
		for followed := range strings.SplitSeq(r.about.subjects, " ") {
			if subject.Intersects(followed, f.Subject) {
				return true
			}
		}
		return false
	}
}

// Connections lists open streams from a place in the table on, limit of them at most, and says where the next ones begin; 0 = there are
// none. What begins or ends meanwhile may be on it or not. It needs Config.Control.
func (s *Server) Connections(f Filter, from uint32, limit int) (list []Connection, next uint32) {
	fits := s.fits(f)
	s.streams.each(from, func(r *row) bool {
		if r.about.began == 0 || !fits(r) { // it has no stream yet
			return true
		}
		if len(list) == limit {
			next = r.index
			return false
		}
		list = append(list, Connection{ID: s.requestID(r.number), Route: s.lives.at(r.route).name, User: r.about.user, Issuer: r.issuer, Subjects: strings.Split(r.about.subjects, " "),
			Client: r.address(), Since: time.Unix(int64(r.about.began), 0).UTC(), Place: r.index})
		return true
	})
	return list, next
}

// Kick ends the streams that fit, with $end kicked, and says how many. It is not remembered: who comes back is let in.
func (s *Server) Kick(f Filter) int {
	fits := s.fits(f)
	var tags []uint64
	s.streams.each(0, func(r *row) bool {
		if fits(r) {
			tags = append(tags, r.tag())
		}
		return true
	})
	s.condemned.add(tags, delivery.Kicked)
	return len(tags)
}

// Numbers are what is open now.
func (s *Server) Numbers() Numbers {
	n := Numbers{Instance: s.instance, Routes: map[string]int{}, Draining: s.Draining()}
	for _, rt := range s.current.Load().routes {
		n.Routes[rt.name] = 0
	}
	s.streams.each(0, func(r *row) bool {
		n.Routes[s.lives.at(r.route).name]++ // also of routes that are gone, whose streams are about to end
		n.Streams++
		return true
	})
	return n
}
