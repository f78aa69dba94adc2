package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"headgate/auth"
	"headgate/internal/flow"
	"headgate/ratelimit"
)

// bodyWait bounds how long a request may take to send its body.
var bodyWait = 30 * time.Second // a variable for tests

// crossSite tells requests that other sites make through a visitor's browser (Fetch Metadata, section 2.1; RFC 6454, section 7).
var crossSite = http.NewCrossOriginProtection()

// publish sends the body of a request to the route's subject.
func (s *Server) publish(c *call) error {
	if err := crossSite.Check(c.r); err != nil && !c.originAllowed() || severalOrigins(c.r) {
		return &refusal{kind: crossOrigin, cause: err}
	}
	if err := s.chargeAddress(c); err != nil {
		return err
	}
	id, err := s.identify(c)
	if err != nil {
		return err
	}
	if err := c.route.checkParams(c.r); err != nil {
		return err
	}
	subj, err := c.route.expand(c.route.publish.template, c.r, id)
	if err != nil {
		return err
	}
	if err := publishable(id, subj); err != nil {
		return err
	}
	if err := s.chargeUser(c, id); err != nil {
		return err
	}
	body, err := c.readBody(c.route.publish.maxBytes)
	if err != nil {
		return err
	}
	if s.overtaken(c) {
		return errStale // the route may be gone, or narrower; who calls may be less
	}
	if err := s.stillGood(c, id); err != nil {
		return err
	}
	ack, err := s.bridge.Publish(c.r.Context(), subj, c.route.publish.header(c.r.Header), body)
	if err != nil {
		return publishFailed(c, err)
	}
	c.outcome = outcomePublished
	c.w.Header().Set("Cache-Control", "no-store") // RFC 9111, section 5.2.2.5
	if ack.Stream == "" {
		s.answer(c, http.StatusAccepted, nil) // RFC 9110, section 15.3.3: taken, and nobody says by whom
		return nil
	}
	text, err := json.Marshal(struct {
		Stream string `json:"stream"`
		Seq    uint64 `json:"seq"`
	}{ack.Stream, ack.Seq})
	if err != nil {
		return fmt.Errorf("encoding the acknowledgement: %w", err)
	}
	c.w.Header().Set("Content-Type", "application/json") // RFC 8259, section 11
	s.answer(c, http.StatusOK, append(text, '\n'))
	return nil
}

// publishable refuses a subject that the caller may not publish to.
func publishable(id *auth.Identity, subj string) error {
	if id == nil {
		return nil
	}
	if err := id.MayPublish(subj); err != nil {
		return forbidden(id, notPublishable, "", err)
	}
	return nil
}

// chargeAddress asks the rate of the address, once for each request.
func (s *Server) chargeAddress(c *call) error {
	if c.kept.address {
		return nil
	}
	if refused, ok := s.limiter.Publish(c.addr); !ok {
		return overLimit(refused)
	}
	c.kept.address = true
	return nil
}

// chargeUser asks the rates of the user and the route, once for each request; should a reload give the path to another route, then of that too.
func (s *Server) chargeUser(c *call, id *auth.Identity) error {
	user := limited(id)
	switch {
	case !c.kept.user:
	case c.kept.route == c.route.name:
		return nil
	default:
		user = ratelimit.Nobody
	}
	if refused, ok := s.limiter.PublishAs(user, c.route.name); !ok {
		return overLimit(refused)
	}
	c.kept.user, c.kept.route = true, c.route.name
	return nil
}

// originAllowed says whether the route's CORS rules let this origin publish.
func (c *call) originAllowed() bool {
	return c.route.cors != nil && c.r.Header.Get("Origin") != "" && c.route.cors.OriginAllowed(c.r)
}

// readBody reads the whole body, at most so much, within a bounded time.
func (c *call) readBody(most int64) ([]byte, error) {
	tooLarge := &refusal{kind: bodyTooLarge, detail: fmt.Sprintf("At most %d bytes are taken.", most)}
	if c.r.ContentLength > most || int64(len(c.kept.body)) > most {
		return nil, tooLarge
	}
	if c.kept.read {
		return c.kept.body, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, most))
	var over *http.MaxBytesError
	switch {
	case err == nil:
		_ = http.NewResponseController(c.w).SetReadDeadline(time.Time{}) // there is nothing more to wait for
		c.kept.body, c.kept.read = body, true
		return body, nil
	case errors.As(err, &over):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &refusal{kind: bodyTimeout, cause: err}
	}
	return nil, &refusal{kind: bodyUnreadable, cause: err}
}

// header is the request fields that become message headers: the listed ones, under the names the route gives them.
func (p *publisher) header(h http.Header) map[string][]string {
	var out map[string][]string
	for _, name := range p.headers {
		values := h.Values(name)
		if len(values) == 0 {
			continue
		}
		if out == nil {
			out = make(map[string][]string, len(p.headers))
		}
		out[name] = values
	}
	return out
}

// publishFailed turns what bridge fails with into a refusal. A publish is never answered with a stream.
func publishFailed(c *call, err error) error {
	if c.r.Context().Err() != nil {
		c.outcome, c.answered = "client-gone", true
		return nil
	}
	switch {
	case errors.Is(err, flow.ErrTooLarge):
		return &refusal{kind: bodyTooLarge, detail: "The NATS server takes no message of that size.", cause: err}
	case errors.Is(err, flow.ErrRefused):
		return &refusal{kind: publishRefused, cause: err}
	case errors.Is(err, flow.ErrNotStored):
		return &refusal{kind: notStored, cause: err}
	}
	return openFailed(err)
}
