package gateway

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"headgate/internal/flow"
	"headgate/internal/sse"
	"headgate/ratelimit"
)

// How a route answers when it is not the caller's fault.
const (
	overloadStatus = "status" // with 429 or 503
	overloadRetry  = "retry"  // with a stream that says come back later
)

// turnAway gives the overload answer: a 200 that is an event stream, tells the client when to come back, and ends. A browser's
// EventSource gives up for ever on any other status and reconnects after this one (HTML Living Standard, section 9.2.3). It carries no
// id, so the client keeps the one it has.
func (s *Server) turnAway(c *call, r *refusal) bool {
	if !c.wantsRetry() {
		return false
	}
	retry := max(s.overloadRetry(), r.retryAfter)
	body := sse.AppendRetry(nil, retry.Milliseconds())
	body = overloadEnd[problems[r.kind].cause].AppendBlock(body, nil)
	streamHeader(c.w.Header())
	s.answer(c, http.StatusOK, body)
	return true
}

// overloadEnd has the $end frame for every cause.
var overloadEnd = func() map[string]*sse.Frame {
	frames := map[string]*sse.Frame{}
	for _, p := range problems {
		if p.cause != "" {
			frames[p.cause] = sse.NewFrame("$end", []byte(`{"reason":"overloaded","cause":"`+p.cause+`","reconnect":true}`))
		}
	}
	return frames
}()

// wantsRetry says whether the request gets the overload answer in place of a 429 or 503. Only a GET of a stream can: the answer is one.
func (c *call) wantsRetry() bool {
	if c.route == nil || c.r.Method != http.MethodGet {
		return false
	}
	switch c.route.overload {
	case overloadRetry:
		return true
	case overloadStatus:
		return false
	}
	return c.named
}

// overloadRetry is when a client that was turned away may come back. It is random, so that those turned away together do not come
// back together.
func (s *Server) overloadRetry() time.Duration {
	return s.cfg.SSE.OverloadRetry + jitter(s.cfg.SSE.OverloadJitter)
}

// jitter is random in [0, most].
func jitter(most time.Duration) time.Duration {
	if most <= 0 {
		return 0
	}
	return rand.N(most + 1)
}

// overLimits are the refusals for the limits of somebody. What concerns the caller is 429 (RFC 6585, section 4), what concerns everybody is
// 503 (RFC 9110, section 15.6.4); but a publish is 429 in any case, since whoever sends less gets through.
var overLimits = map[string]kind{
	ratelimit.StreamsPerAddress: capAddress, ratelimit.ConnectRate: rateAddress, ratelimit.PublishRate: rateAddress,
	ratelimit.StreamsPerUser: capUser, ratelimit.StreamsPerUserAndRoute: capUser, ratelimit.UserConnectRate: rateUser,
	ratelimit.UserPublishRate: rateUser, ratelimit.RoutePublishRate: rateRoute,
}

// overLimit turns the limiter's refusal into ours.
func overLimit(r ratelimit.Refusal) *refusal {
	out := &refusal{cause: errors.New("limit: " + r.Limit), kind: capProcess}
	if r.Cause == ratelimit.Rate {
		out.retryAfter = r.RetryAfter // when there is a token again; when a cap has room nobody knows, so the operator's wait stands
		out.kind = rateProcess
	}
	if k, ok := overLimits[r.Limit]; ok {
		out.kind = k
	}
	return out
}

// openFailed turns what bridge fails with into a refusal.
func openFailed(err error) *refusal {
	r := &refusal{kind: internal, cause: err}
	switch {
	case errors.Is(err, flow.ErrUnavailable), errors.Is(err, flow.ErrUnconfirmed), errors.Is(err, flow.ErrClosed):
		r.kind = upstream
	case errors.Is(err, flow.ErrRefused), errors.Is(err, flow.ErrMissing):
		r.kind = sourceRefused
	case errors.Is(err, flow.ErrTopics):
		r.kind = capProcess
	}
	return r
}
