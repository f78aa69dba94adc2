package gateway

import "errors"

// errStale is of a request that a reload has overtaken: nothing has come of it yet, and it begins again, with the routes and the rules that
// there are now.
var errStale = errors.New("the routes are others now")

// kept is what a request takes along when it begins again. What it has had of rates it is not asked for twice, and the body can be read once.
type kept struct {
	table *table // that it runs by
	stale bool   // it is to begin again

	address, user bool   // it has been charged to the rates of its address; of its user and the process
	route         string // and of this route

	body []byte
	read bool // body is all of it
}

// again says whether the request is to begin again, and lets it.
func (k *kept) again() bool {
	stale := k.stale
	k.stale = false
	return stale
}

// overtaken says whether another table has taken the place of the one that the request runs by.
func (s *Server) overtaken(c *call) bool { return c.kept.table != s.current.Load() }
