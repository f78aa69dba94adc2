package gateway

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"time"

	"headgate/auth"
	"headgate/internal/delivery"
	"headgate/internal/flow"
)

// stream takes a request to the stream of its route. Every step may refuse, and before the first byte has left each refusal is still
// a status. The admission and the source go with the client to delivery; on every other path they are given back here.
func (s *Server) stream(c *call) error {
	if err := streamable(c); err != nil {
		return err
	}
	tag, err := s.admit(c)
	if err != nil {
		return err
	}
	taken := false
	defer func() {
		if !taken {
			s.release(c, tag)
		}
	}()
	asked, err := s.understand(c)
	if err != nil {
		return err
	}
	if c.r.Method == http.MethodHead {
		s.answerHead(c)
		return nil
	}
	if err := s.admitCaller(c, asked.by, tag); err != nil {
		return err
	}
	opened, err := s.bridge.Open(c.r.Context(), asked.request)
	if err != nil {
		return s.notOpened(c, err)
	}
	defer func() {
		if !taken {
			opened.Source.Close()
		}
	}()
	s.own(tag, asked.by, asked.request.Sources)
	if err := s.stillWelcome(c, asked.by); err != nil {
		return err
	}
	err = s.deliver(c, s.client(c, asked, tag, opened), &taken)
	if why := c.route.life.over(); taken && why != delivery.None {
		// A reload has taken its route away. It has ended the streams that it saw; perhaps it did not see this one.
		s.condemned.add([]uint64{tag}, why)
	}
	return err
}

// streamable refuses what can be no request for a stream.
func streamable(c *call) error {
	accepted, named := weighAccept(c.r.Header.Values("Accept"))
	c.named = named
	if !accepted {
		return &refusal{kind: notAcceptable}
	}
	if c.r.ContentLength != 0 {
		return &refusal{kind: bodyNotAllowed}
	}
	return nil
}

// asked is what a request asks for, by whom, and with whom it can share a group.
type asked struct {
	by      *auth.Identity
	key     string
	request flow.Request
}

// understand finds out who is asking for what. Only what the caller may read is asked for.
func (s *Server) understand(c *call) (asked, error) {
	id, err := s.identify(c)
	if err != nil {
		return asked{}, err
	}
	query := queryOf(c.r)
	specs, key, err := c.route.specs(c.r, id, query, s.cfg.Limit.SubjectsPerStream)
	if err != nil {
		return asked{}, err
	}
	position, since, err := c.route.position(c.r, query, s.now())
	if err != nil {
		return asked{}, err
	}
	return asked{id, key, flow.Request{Sources: specs, Format: c.route.format, Cursor: position, Since: since, User: c.user(id)}}, nil
}

// stillWelcome looks again at what may have changed while NATS was waited for.
func (s *Server) stillWelcome(c *call, id *auth.Identity) error {
	if s.Draining() {
		return &refusal{kind: draining}
	}
	if c.route.life.over() != delivery.None {
		return errStale // what it says now may be less
	}
	return s.stillGood(c, id)
}

// notOpened tells a client that went away while we waited, and one that has seen the end of its stream, from a source that could not
// be opened.
func (s *Server) notOpened(c *call, err error) error {
	if errors.Is(err, flow.ErrFinished) {
		s.finished(c)
		return nil
	}
	if c.r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		c.outcome, c.answered = "client-gone", true
		return nil
	}
	return openFailed(err)
}

// finished answers a client that comes back to a stream that has ended: with the status that makes an EventSource stay away for good
// (HTML Living Standard, section 9.2.2). It has neither body nor length (RFC 9110, section 8.6).
func (s *Server) finished(c *call) {
	c.outcome, c.answered = outcomeFinished, true
	c.w.Header().Set("Cache-Control", "no-store") // RFC 9111, section 5.2.2.5: a 204 may be cached otherwise
	c.w.WriteHeader(http.StatusNoContent)
}

// client is the stream as delivery takes it. Nothing in it refers to the request: its strings are parts of one large one.
func (s *Server) client(c *call, a asked, tag uint64, opened flow.Opened) delivery.Client {
	var expires time.Time
	var notice time.Duration
	if a.by != nil {
		expires, notice = a.by.Deadline(), s.notice()
	}
	return delivery.Client{
		Tag:      tag,
		Key:      a.key,
		Source:   opened.Source,
		Policy:   c.route.policy,
		Retry:    s.cfg.SSE.Retry + jitter(s.cfg.SSE.RetryJitter),
		Ready:    readyFrame(s.requestID(c.number), c.route.name, opened.Start),
		Gaps:     opened.Gaps,
		From:     opened.From,
		State:    opened.State,
		Bare:     opened.Start == flow.Snapshot,
		Lifetime: s.lifetime(),
		Expires:  expires,
		Notice:   notice,
	}
}

// notice is how long before its deadline a stream says so. The operator counts from exp, which is a leeway before it: who has been told
// of the end of a token should not have to show one that is over.
func (s *Server) notice() time.Duration {
	if s.cfg.Auth.ExpiryNotice == 0 {
		return 0
	}
	return s.cfg.Auth.Leeway + s.cfg.Auth.ExpiryNotice
}

// user is whose share of what is done for everybody this is. Two issuers may have the same sub for different people, and a sub may look
// like an address: NUL keeps them apart, which is in no address. Of an IPv6 address the network counts, as in the limits.
func (c *call) user(id *auth.Identity) string {
	if id != nil && id.Subject() != "" {
		return "user\x00" + id.Issuer() + "\x00" + id.Subject()
	}
	if c.addr.Is6() {
		return netip.PrefixFrom(c.addr, 64).Masked().Addr().String()
	}
	return c.addr.String()
}
