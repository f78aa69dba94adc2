package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// kind is one way to be refused. Its slug is the last part of the problem's type and the outcome in the metrics.
type kind uint8

const (
	notFound kind = iota
	methodNotAllowed
	notAcceptable
	hostNotAllowed
	bodyNotAllowed
	pipelined
	parameterInvalid
	queryInvalid
	subjectMissing
	subjectInvalid
	subjectTooMany
	subjectForbidden
	sinceUnsupported
	sinceInvalid
	crossOrigin
	tokenMissing
	tokenInvalid
	tokenAmbiguous
	cookieCrossOrigin
	claimsForbidden
	kicked
	notReadable
	notPublishable
	keysAway
	bodyTooLarge
	bodyUnreadable
	bodyTimeout
	rateAddress
	rateUser
	rateRoute
	rateProcess
	capAddress
	capUser
	capProcess
	descriptors
	upstream
	sourceRefused
	publishRefused
	notStored
	draining
	internal
	kinds
)

// problems is the one table from a refusal to what the client sees (RFC 9457). cause is the word of the overload answer; a kind
// without one is the caller's own mistake, or ours, and is never answered with a 200.
var problems = [kinds]struct {
	slug   string
	status int
	title  string
	remedy string
	cause  string
}{
	notFound:         {"not-found", http.StatusNotFound, "No such path", "Check the path against the routes of this gateway.", ""},
	methodNotAllowed: {"method-not-allowed", http.StatusMethodNotAllowed, "Method not allowed", "Use one of the methods in Allow.", ""},
	notAcceptable: {"not-acceptable", http.StatusNotAcceptable, "Only text/event-stream is available",
		"Leave Accept out, or let it name text/event-stream.", ""},
	hostNotAllowed: {"host-not-allowed", http.StatusMisdirectedRequest, "This host is not served here",
		"With -dev only localhost, 127.0.0.1 and [::1] are answered; open the page under one of them.", ""},
	bodyNotAllowed: {"body-not-allowed", http.StatusBadRequest, "A stream request has no body", "Send the request without a body.", ""},
	pipelined: {"pipelined", http.StatusBadRequest, "Nothing may follow a stream request",
		"A stream ends with its connection; send other requests on another one.", ""},
	parameterInvalid: {"parameter-invalid", http.StatusBadRequest, "A path parameter is not usable",
		"A value is exactly one subject token: not empty, UTF-8, no dot, wildcard, white space or control character, at most 128 bytes.", ""},
	queryInvalid: {"query-invalid", http.StatusBadRequest, "The query cannot be read",
		"Percent-encode the values and separate them with &.", ""},
	subjectMissing: {"subject-missing", http.StatusBadRequest, "No subject was named",
		"Name at least one: ?subject=orders.eu.new, several as ?subject=…&subject=….", ""},
	subjectInvalid: {"subject-invalid", http.StatusBadRequest, "A subject is not valid",
		"Write tokens between dots; * stands for one whole token, > for all at the end.", ""},
	subjectTooMany: {"subject-too-many", http.StatusBadRequest, "Too many subjects",
		"Use a wildcard, or several streams.", ""},
	subjectForbidden: {"subject-forbidden", http.StatusForbidden, "This subject may not be read here",
		"Name a subject within what the route allows.", ""},
	sinceUnsupported: {"since-unsupported", http.StatusBadRequest, "This route cannot start in the past",
		"Leave since out. After a break, send the last event id.", ""},
	sinceInvalid: {"since-invalid", http.StatusBadRequest, "The time to start at cannot be used",
		"Write a time in the past, ?since=2026-01-02T03:04:05Z, or how long ago, ?since=90s or ?since=1h30m.", ""},
	crossOrigin: {"cross-origin", http.StatusForbidden, "Pages of this origin may not publish here",
		"The operator can allow the origin in the route's cors.origins.", ""},
	tokenMissing:   {"token-missing", http.StatusUnauthorized, "Say who you are", "Send a token: Authorization: Bearer …, or the cookie of this service.", ""},
	tokenInvalid:   {"token-invalid", http.StatusUnauthorized, "The token is not accepted", "Get a new token.", ""},
	tokenAmbiguous: {"token-ambiguous", http.StatusBadRequest, "There are different tokens in the request", "Send one token, in one place.", ""},
	cookieCrossOrigin: {"cookie-cross-origin", http.StatusForbidden, "Pages of this origin may not use the visitor's cookie here",
		"Send the token as Authorization: Bearer …; or the operator allows the origin in the route's cors.origins, with credentials.", ""},
	claimsForbidden: {"claims-forbidden", http.StatusForbidden, "The token does not say what this route requires",
		"Ask whoever issues your tokens for the rights.", ""},
	kicked:         {"kicked", http.StatusForbidden, "You are kept out for a while", "Come back later, or ask the operator.", ""},
	notReadable:    {"not-readable", http.StatusForbidden, "You may not read this", "Ask whoever issues your tokens for the rights.", ""},
	notPublishable: {"not-publishable", http.StatusForbidden, "You may not publish this", "Ask whoever issues your tokens for the rights.", ""},
	keysAway:       {"keys", http.StatusServiceUnavailable, "Tokens cannot be checked at the moment", "Wait for the time in Retry-After.", "upstream"},
	bodyTooLarge:   {"body-too-large", http.StatusRequestEntityTooLarge, "The body is too large", "Send less at once.", ""},
	bodyUnreadable: {"body-unreadable", http.StatusBadRequest, "The body could not be read",
		"Check Content-Length and the transfer coding.", ""},
	bodyTimeout: {"body-timeout", http.StatusRequestTimeout, "The body did not arrive in time", "Send it again, faster.", ""},
	rateAddress: {"rate-address", http.StatusTooManyRequests, "Too many requests from this address",
		"Wait for the time in Retry-After.", "rate"},
	rateUser: {"rate-user", http.StatusTooManyRequests, "Too many requests of this user",
		"Wait for the time in Retry-After.", "rate"},
	rateRoute: {"rate-route", http.StatusTooManyRequests, "Too many publishes on this route",
		"Wait for the time in Retry-After.", "rate"},
	rateProcess: {"rate-process", http.StatusServiceUnavailable, "Too many new streams at the moment",
		"Wait for the time in Retry-After.", "rate"},
	capAddress: {"cap-address", http.StatusTooManyRequests, "Too many open streams from this address",
		"Close one, or wait for the time in Retry-After.", "cap"},
	capUser: {"cap-user", http.StatusTooManyRequests, "Too many open streams of this user",
		"Close one, or wait for the time in Retry-After.", "cap"},
	capProcess: {"cap-process", http.StatusServiceUnavailable, "Too many open streams",
		"Wait for the time in Retry-After.", "cap"},
	descriptors: {"descriptors", http.StatusServiceUnavailable, "No room for another stream", "Wait for the time in Retry-After.", "cap"},
	upstream: {"upstream", http.StatusServiceUnavailable, "The messages cannot be reached at the moment",
		"Wait for the time in Retry-After.", "upstream"},
	sourceRefused: {"source", http.StatusServiceUnavailable, "The source of this route is not available",
		"Wait for the time in Retry-After. The operator finds the reason in the log.", "source"},
	publishRefused: {"publish-refused", http.StatusServiceUnavailable, "NATS does not let this service publish to the subject of this route",
		"The operator allows its NATS user to publish there: the subject is in the log, and headgate -check -online prints all permissions.", "source"},
	notStored: {"not-stored", http.StatusServiceUnavailable, "The stream has not stored the message",
		"Send it again later. The operator finds the reason in the log: mostly the stream is full (max_msgs, max_bytes with discard: new), or JetStream has no room.", "source"},
	draining: {"draining", http.StatusServiceUnavailable, "This instance is going away", "Connect again; another one answers.", "draining"},
	internal: {"internal", http.StatusInternalServerError, "Something went wrong here", "Tell the operator the instance.", ""},
}

// refusal is why a request gets no stream. It is an error so that every step can return it.
type refusal struct {
	kind       kind
	detail     string        // what exactly, in the client's terms; the remedy follows it
	retryAfter time.Duration // 0: what the configuration says for overload
	allow      string        // 405
	cause      error         // for the log only
}

func (r *refusal) Error() string {
	text := problems[r.kind].slug
	if r.detail != "" {
		text += ": " + r.detail
	}
	if r.cause != nil {
		text += ": " + r.cause.Error()
	}
	return text
}

func (r *refusal) Unwrap() error { return r.cause }

// problemType makes the type of a problem (RFC 9457, section 3.1.1). It identifies and leads nowhere; docs/protocol.md lists them.
const problemType = "urn:headgate:problem:"

// document is the body of a refusal (RFC 9457, section 3).
func (r *refusal) document(instance string) []byte {
	p := problems[r.kind]
	detail := p.remedy
	if r.detail != "" {
		detail = r.detail + " " + p.remedy
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // people read it in a terminal, and it is never HTML
	if err := e.Encode(struct {
		Type     string `json:"type"`
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Detail   string `json:"detail"`
		Instance string `json:"instance"`
	}{problemType + p.slug, p.title, p.status, detail, instance}); err != nil {
		panic("gateway: a struct of strings does not marshal: " + err.Error())
	}
	return b.Bytes()
}

// refuse answers a request that gets no stream: with a problem document, or where the route wants it with the overload answer.
func (s *Server) refuse(c *call, r *refusal) {
	p := problems[r.kind]
	c.outcome = p.slug
	s.logRefusal(c, r)
	h := c.w.Header()
	h.Del("X-Accel-Buffering")         // of a stream that came to nothing
	h.Set("Cache-Control", "no-store") // RFC 9111, section 5.2.2.5: a 404 may be cached otherwise
	if c.r.ContentLength != 0 || p.cause != "" {
		c.closeAfter() // a body nobody reads; a client that is to stay away for a while
	}
	if p.cause != "" {
		if s.turnAway(c, r) {
			return
		}
		after := r.retryAfter
		if after == 0 {
			after = s.overloadRetry()
		}
		h.Set("Retry-After", strconv.Itoa(max(1, ceilSeconds(after)))) // RFC 9110, section 10.2.3
	}
	if challenge := r.challenge(); challenge != "" {
		h.Set("WWW-Authenticate", challenge) // RFC 9110, section 11.6.1
	}
	if r.allow != "" {
		h.Set("Allow", r.allow) // RFC 9110, section 15.5.6
	}
	h.Set("Content-Type", "application/problem+json") // RFC 9457, section 6.1
	s.answer(c, p.status, r.document(s.requestID(c.number)))
}

func ceilSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// logRefusal keeps the log quiet about what clients do wrong and what limits are there for. Our own faults are loud, and what only
// the operator can mend is loud now and then.
func (s *Server) logRefusal(c *call, r *refusal) {
	log := s.log.Debug
	switch r.kind {
	case internal:
		log = s.log.Error
	case descriptors, sourceRefused, publishRefused, notStored, keysAway:
		s.nowAndThen[r.kind].Do(func() { log = s.log.Warn })
	}
	log("request refused", "request", s.requestID(c.number), "route", c.routeName(), "reason", problems[r.kind].slug,
		"client", c.addr, "detail", r.detail, "error", r.cause)
}
