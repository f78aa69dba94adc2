package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"headgate/internal/flow"
	"headgate/internal/sse"
)

// safeHeader sets what every answer has.
func safeHeader(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff") // Fetch Standard, section 3.6
	h.Set("Referrer-Policy", "no-referrer")    // Referrer Policy, section 3.1: a URL may hold what is nobody else's business
}

// streamHeader sets the fields of a stream's head, beside what CORS has put there.
func streamHeader(h http.Header) {
	h.Set("Content-Type", eventStream)               // HTML Living Standard, section 9.2.3: exactly this, or the client fails
	h.Set("Cache-Control", "no-store, no-transform") // RFC 9111, section 5.2.2: kept by no cache, compressed by no proxy
	h.Set("X-Accel-Buffering", "no")                 // nginx, ngx_http_proxy_module, proxy_buffering: event by event
}

// answerHead is the answer to HEAD: the fields GET would get (RFC 9110, section 9.3.2).
func (s *Server) answerHead(c *call) {
	streamHeader(c.w.Header())
	c.closeAfter()
	c.outcome, c.answered = "head", true
	c.w.WriteHeader(http.StatusOK)
}

// handWritten are the fields of the header map that appendHead writes itself, or that a stream cannot have.
var handWritten = map[string]bool{"Connection": true, "Content-Length": true, "Date": true, "Transfer-Encoding": true}

// encodeHead writes a stream's head as HTTP/1.1 has it on the wire (RFC 9112, section 2.1), with everything that is in the header map.
// Header.WriteSubset leaves out names that are none, and CR and LF in values.
func encodeHead(h http.Header, now time.Time) []byte {
	var b bytes.Buffer
	b.Grow(512)
	b.WriteString("HTTP/1.1 200 OK\r\nDate: ") // RFC 9112, section 4; RFC 9110, section 6.6.1
	b.WriteString(now.UTC().Format(http.TimeFormat))
	b.WriteString("\r\n")
	_ = h.WriteSubset(&b, handWritten) // a Buffer does not fail
	// RFC 9112, section 9.6: without it HAProxy puts other requests on the connection and answers them with 502 when the stream ends.
	// There is no transfer coding: the body ends with the connection (RFC 9112, section 6.3, rule 8). HAProxy holds back what follows a
	// chunk for 200 ms, hoping for the next one; and the same bytes serve every client of a group.
	b.WriteString("Connection: close\r\n\r\n")
	return b.Bytes()
}

// readyFrame is the $ready event.
func readyFrame(id, route string, start flow.Start) *sse.Frame {
	return control("$ready", struct {
		Connection string `json:"connection"`
		Route      string `json:"route"`
		Position   string `json:"position"`
	}{id, route, string(start)})
}

func control(eventType string, data any) *sse.Frame {
	text, err := json.Marshal(data)
	if err != nil {
		panic("gateway: a struct of strings does not marshal: " + err.Error())
	}
	return sse.NewFrame(eventType, text)
}

// lifetime is how long a stream may last: SSE_MAX_AGE, give or take a tenth, so that streams opened together do not end together.
func (s *Server) lifetime() time.Duration {
	age := s.cfg.SSE.MaxAge
	if age <= 0 {
		return 0
	}
	return age - age/10 + jitter(age/5)
}
