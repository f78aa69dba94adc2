// Package control is what operators can ask for over NATS: what is open, who it belongs to, and to end it. It reads their requests and
// writes the answers; bridge brings them, gateway and auth do what they say. docs/control.md has the requests.
//
// Whoever may publish to the control subjects is an operator: there is no other check.
package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"headgate/auth"
	"headgate/gateway"
	"headgate/internal/exactjson"
	"headgate/internal/flow"
	"headgate/internal/subject"
)

// Streams are those of this process.
type Streams interface {
	Connections(f gateway.Filter, from uint32, limit int) (list []gateway.Connection, next uint32)
	Kick(f gateway.Filter) int
	Numbers() gateway.Numbers
}

// Bucket takes revocations, from where every replica has them. What was written under the same id is not written again. It fails with
// flow.ErrMissing where there is none, and with flow.ErrUnavailable.
type Bucket interface {
	Revoke(ctx context.Context, key string, value []byte, id string) (revision uint64, err error)
}

// Revocations say what this process knows of them.
type Revocations interface {
	State() auth.RevocationState
}

// Issuers say whose tokens are accepted.
type Issuers interface {
	Accepts(name string) bool
}

// Endpoint is one thing that can be asked for. Everybody says whether each replica answers, or one for all.
type Endpoint struct {
	Name      string
	Doc       string
	Everybody bool
	Answer    func(ctx context.Context, id string, request []byte, room int) ([]byte, error)
}

// Refusal is an error that the operator can mend.
type Refusal struct {
	Code string // as of HTTP
	Text string
}

func (r *Refusal) Error() string { return r.Text }

func refuse(code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// Desk answers operators.
type Desk struct {
	streams Streams
	bucket  Bucket
	revoked Revocations // nil: nobody can be revoked
	issuers Issuers     // nil: nobody issues tokens
	log     *slog.Logger
	now     func() time.Time
}

// New makes a Desk. revoked is nil where nobody can be revoked, and issuers where nobody issues tokens.
func New(s Streams, b Bucket, revoked Revocations, issuers Issuers, log *slog.Logger) *Desk {
	return &Desk{streams: s, bucket: b, revoked: revoked, issuers: issuers, log: log, now: time.Now}
}

// Endpoints are all there are.
func (d *Desk) Endpoints() []Endpoint {
	return []Endpoint{
		{"stats", "what is open in each replica", true, d.stats},
		{"connections", "lists open streams: {user, issuer, route, subject, connection, limit, after}", true, d.connections},
		{"kick", "ends open streams: {user, issuer, route, subject, connection, for, reason}", true, d.kick},
		{"revoke", "revokes one of {token, user, session, connection}: {…, issuer, before, until or for, reason}", false, d.revoke},
	}
}

// decode reads a request strictly: what is misspelt, or said twice, must not widen what a filter chooses.
func decode(request []byte, into any) error {
	if len(bytes.TrimSpace(request)) == 0 {
		return nil // a request that says nothing
	}
	err := exactjson.Decode(request, into)
	if err == nil {
		return nil
	}
	what := strings.TrimPrefix(err.Error(), "json: ")
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) { // its own words are about Go
		what = "a member is of the wrong kind: " + wrong.Value
		if wrong.Field == "" {
			what = "it is of the kind " + wrong.Value
		}
	}
	return refuse("400", "the request is not the JSON object that is expected: %s", what)
}

// maxValue is the longest name in a request, as of claims that can be revoked.
const maxValue = 1 << 10

func short(fields map[string]string) error {
	for name, v := range fields {
		if len(v) > maxValue {
			return refuse("400", "%s has %d bytes, at most %d are possible", name, len(v), maxValue)
		}
	}
	return nil
}

// choice is the part of a request that chooses streams.
type choice struct {
	Connection string `json:"connection"`
	User       string `json:"user"`
	Issuer     string `json:"issuer"`
	Route      string `json:"route"`
	Subject    string `json:"subject"`
}

func (d *Desk) filter(c choice) (gateway.Filter, error) {
	if err := short(map[string]string{"connection": c.Connection, "user": c.User, "route": c.Route, "subject": c.Subject}); err != nil {
		return gateway.Filter{}, err
	}
	if err := d.issued(c.Issuer); err != nil {
		return gateway.Filter{}, err
	}
	if c.Subject != "" {
		if err := subject.Valid(c.Subject); err != nil {
			return gateway.Filter{}, refuse("400", "%v", err)
		}
	}
	return gateway.Filter{Connection: c.Connection, User: c.User, Issuer: c.Issuer, Route: c.Route, Subject: c.Subject}, nil
}

// issued refuses the name of an issuer whose tokens nobody can have: misspelt, it would choose nobody, and be taken for success.
func (d *Desk) issued(issuer string) error {
	if issuer == "" || d.issuers != nil && d.issuers.Accepts(issuer) {
		return nil
	}
	return refuse("400", "issuer is not one whose tokens are accepted here: expected its iss claim, letter for letter")
}

// stats answers with what is open here.
func (d *Desk) stats(_ context.Context, _ string, request []byte, _ int) ([]byte, error) {
	if err := decode(request, &struct{}{}); err != nil {
		return nil, err
	}
	type revocations struct {
		Known   int     `json:"entries"`
		All     bool    `json:"complete"`
		Stale   float64 `json:"stale_seconds"`
		Details string  `json:"detail"`
	}
	answer := struct {
		gateway.Numbers
		Revocations *revocations `json:"revocations,omitempty"`
	}{Numbers: d.streams.Numbers()}
	if d.revoked != nil {
		s := d.revoked.State()
		answer.Revocations = &revocations{s.Entries, s.Known, s.Stale.Seconds(), s.Detail}
	}
	return json.Marshal(answer)
}

// failed turns an error of the bucket into the operator's words.
func failed(err error) error {
	switch {
	case errors.Is(err, flow.ErrMissing):
		return refuse("503", "there is no bucket to write it into: set AUTH_REVOCATION_BUCKET, and make the bucket (nats kv add) or set AUTH_REVOCATION_TTL")
	case errors.Is(err, flow.ErrUnavailable):
		return refuse("503", "NATS is away; try again")
	}
	return refuse("503", "the bucket did not take it: %v", err)
}

// moment is a time in a request: RFC 3339.
func (d *Desk) moment(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, refuse("400", "%s is not a time like 2026-01-02T15:04:05Z", name)
	}
	return t, nil
}

// span is a duration in a request.
func span(name, text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	s, err := time.ParseDuration(text)
	if err != nil || s <= 0 {
		return 0, refuse("400", "%s is not a duration like 90s, 10m or 24h", name)
	}
	return s, nil
}
