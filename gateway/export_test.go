package gateway

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"time"
	"unsafe"
	"weak"

	"headgate/auth"
	"headgate/internal/config"
	"headgate/internal/delivery"
)

// What the tests in package gateway_test need to see.

var (
	WeighAccept = weighAccept
	Canonical   = canonical
	LocalHost   = localHost
	EncodeHead  = encodeHead
)

// SetBodyWait changes it until the test ends. The servers of the test begin after it.
func SetBodyWait(t interface{ Cleanup(func()) }, d time.Duration) {
	old := bodyWait
	bodyWait = d
	t.Cleanup(func() { bodyWait = old })
}

// SetWaitingAge changes it for servers that are made until the test ends.
func SetWaitingAge(t interface{ Cleanup(func()) }, d time.Duration) {
	old := waitingAge
	waitingAge = d
	t.Cleanup(func() { waitingAge = old })
}

// Slugs are all refusals.
func Slugs() []string {
	var all []string
	for _, p := range problems {
		all = append(all, p.slug)
	}
	return all
}

// Problem is one row of the table.
type Problem struct {
	Slug, Title, Remedy, Cause string
	Status                     int
}

func Problems() []Problem {
	var all []Problem
	for _, p := range problems {
		all = append(all, Problem{p.slug, p.title, p.remedy, p.cause, p.status})
	}
	return all
}

const StreamSize = unsafe.Sizeof(stream{})

var StreamType = reflect.TypeFor[stream]()

// Table is a table of streams.
type Table struct{ t streams }

func NewTable() *Table {
	t := &Table{}
	t.t.init(false, false)
	return t
}

func (t *Table) Take(route uint32, number uint64, addr netip.Addr) uint64 {
	return t.t.take(route, number, addr)
}
func (t *Table) Count() int { return t.t.count() }
func (t *Table) Give(tag uint64) (number uint64, ok bool) {
	st, ok := t.t.give(tag)
	return st.number, ok
}

// Lose forgets the first route, whose streams go on, until what it returns is called.
func (s *Server) Lose() (find func()) {
	all := s.lives.all.Load()
	s.lives.remove((*all)[:1])
	return func() { s.lives.all.Store(all) }
}

// Gone says, of the routes that there are now, whether nobody has them in memory any more.
func (s *Server) Gone() func() bool {
	now := weak.Make(s.current.Load())
	return func() bool {
		runtime.GC()
		return now.Value() == nil
	}
}

// Lives is how many routes may have streams.
func (s *Server) Lives() int {
	n := 0
	for _, lf := range s.lives.copied() {
		if lf != nil {
			n++
		}
	}
	return n
}

// Waiting is how many connections wait for a request.
func (s *Server) Waiting() int { return s.waiting.len() }

// Admitted is how many admissions are out.
func (s *Server) Admitted() int { return s.streams.count() }

// Specs compiles a route and asks it for subjects and position, as the pipeline does.
func Specs(cr config.Route, limit int, r *http.Request) (subjects []string, position string, err error) {
	rt, err := compileRoute(cr, config.DefaultConfig())
	if err != nil {
		return nil, "", err
	}
	q := queryOf(r)
	specs, _, err := rt.specs(r, nil, q, limit)
	if err != nil {
		return nil, "", err
	}
	position, _, err = rt.position(r, q, time.Now())
	for _, sp := range specs {
		subjects = append(subjects, sp.Subjects...)
	}
	return subjects, position, err
}

// Shown is the token of a request for a route, and whether a cookie would count.
func Shown(cr config.Route, r *http.Request) (token string, cookieOnly, counts bool, err error) {
	rt, err := compileRoute(cr, config.DefaultConfig())
	if err != nil {
		return "", false, false, err
	}
	s := &Server{}
	s.cfg.Auth.Cookie, s.cfg.Auth.QueryParameter = "session", "access_token"
	seen, err := s.shownToken(r)
	return seen.token, seen.cookieOnly, (&call{r: r, route: rt}).cookieCounts(), err
}

// Refused is the slug of a refusal, and whether err is one.
func Refused(err error) (string, bool) {
	r, ok := err.(*refusal)
	if !ok {
		return "", false
	}
	return problems[r.kind].slug, true
}

// PutEndings passes n ended streams to the log and writes what it writes.
func (s *Server) PutEndings(n int, r delivery.Reason) {
	for range n {
		s.endings.put(ending{ended: delivery.Ended{Reason: r, Duration: time.Second}, route: "r", id: "x-1"})
	}
}

func ParseQuery(raw string) url.Values {
	return queryOf(&http.Request{URL: &url.URL{RawQuery: raw}}).values
}

// WithPlainConn is the context of a request on plain TCP.
func WithPlainConn(ctx context.Context) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{plain: true})
}

// Known is how many connections are known that are not a stream of a shard.
func (s *Server) Known() int {
	n := 0
	s.conns.Range(func(any, any) bool { n++; return true })
	return n
}

// Sweep makes a table of streams whose identities have these marks, and returns what looks for the revoked ones.
func Sweep(n int, r Revocations, m func(i int) auth.Marks) func() {
	s := &Server{revoked: r}
	s.streams.init(true, false)
	s.condemned.init()
	for i := range n {
		s.streams.own(s.streams.take(0, uint64(i), netip.IPv6Unspecified()), m(i), about{}, "")
	}
	return s.findRevoked
}
