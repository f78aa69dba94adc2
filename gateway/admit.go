package gateway

import (
	"net/http"
	"net/netip"

	"headgate/auth"
	"headgate/ratelimit"
)

// admit is the first half of an admission: the address is asked before anybody's token is looked at, and the stream entered in the table.
// The tag is the admission: release, or the end of the stream, gives it back. A route that has been given up meanwhile does not wait for
// who comes so late (see Settle).
func (s *Server) admit(c *call) (uint64, error) {
	if s.Draining() {
		return 0, &refusal{kind: draining}
	}
	if refused, ok := s.limiter.Connect(c.addr, c.kept.address); !ok {
		return 0, overLimit(refused)
	}
	c.kept.address = true
	tag := s.streams.take(c.route.life.index, c.number, c.addr)
	if c.route.life.closed.Load() {
		s.release(c, tag)
		return 0, errStale
	}
	return tag, nil
}

// admitCaller is the second half, for somebody who may read what he asks for: the user, the route and the process.
func (s *Server) admitCaller(c *call, id *auth.Identity, tag uint64) error {
	user := limited(id)
	counted, refused, ok := s.limiter.Admit(user, c.route.name, c.kept.user)
	if !ok {
		return overLimit(refused)
	}
	c.kept.user = true
	s.streams.admit(tag, user, counted, groundOf(id))
	return nil
}

// limited is whose limits an identity has. Callers without one have those of their address alone. A token without a sub is a user of its
// own by its jti; those of an issuer that have neither are one user together.
func limited(id *auth.Identity) ratelimit.User {
	switch {
	case id == nil || id.Anonymous():
		return ratelimit.Nobody
	case id.Subject() == "":
		return ratelimit.UserOf(id.Issuer(), "\x00jti "+id.TokenID())
	}
	return ratelimit.UserOf(id.Issuer(), id.Subject())
}

// release gives an admission back that did not become a stream. The name is that of the call's route: the place of the route's life in the
// table may be another's by now.
func (s *Server) release(c *call, tag uint64) {
	if st, ok := s.streams.give(tag); ok {
		s.limiter.Release(st.admission(c.route.name))
	}
}

// clientAddress is who is asking, as far as the limits and the log are concerned. Connect and Release must see the same value, so it has
// the form that survives the table: no IPv4 in IPv6, no zone.
func (s *Server) clientAddress(r *http.Request) netip.Addr {
	peer := peerAddress(r)
	forwarded := r.Header["X-Forwarded-For"]
	if len(forwarded) > 0 && (peer.IsPrivate() || peer.IsLoopback()) && !s.trusted(peer) && s.forwarded.CompareAndSwap(false, true) {
		s.log.Warn("X-Forwarded-For is ignored: it comes from a private address that is not a trusted proxy, so all its clients count as "+
			"one address", "peer", peer, "remedy", "if this is the ingress, set HTTP_TRUSTED_PROXIES=private, or its network")
	}
	return ratelimit.ClientAddress(peer, forwarded, s.proxies)
}

func (s *Server) trusted(peer netip.Addr) bool {
	for _, p := range s.proxies {
		if p.Contains(peer) {
			return true
		}
	}
	return false
}

// peerAddress is the other end of the connection. It is the zero address where there is none, as in tests without sockets.
func peerAddress(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv6Unspecified()
	}
	return ap.Addr().Unmap().WithZone("")
}
