package control

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"regexp"
	"time"

	"headgate/auth"
)

// maxBar is the longest time that a kick can keep a user out. Whoever should stay out longer is revoked where tokens are issued.
const maxBar = 24 * time.Hour

// kick ends the streams of this replica that are chosen; every other one does the same. With for, the user is kept out so long, by an
// entry in the bucket that all replicas write and that is stored once.
func (d *Desk) kick(ctx context.Context, id string, request []byte, _ int) ([]byte, error) {
	var ask struct {
		choice
		For    string `json:"for"`
		Reason string `json:"reason"`
	}
	if err := decode(request, &ask); err != nil {
		return nil, err
	}
	f, err := d.filter(ask.choice)
	if err != nil {
		return nil, err
	}
	bar, err := span("for", ask.For)
	only := ask.Connection == "" && ask.Route == "" && ask.Subject == ""
	switch {
	case err != nil:
		return nil, err
	case ask.choice == choice{}:
		return nil, refuse("400", "the request names nobody: expected at least one of connection, user, issuer, route and subject")
	case bar > 0 && (ask.User == "" || !only):
		return nil, refuse("400", "for keeps a user out: name the user, with the issuer if you like, and nothing else")
	case bar > maxBar:
		return nil, refuse("400", "for is longer than %s; whoever should stay out is revoked where the tokens are issued", maxBar)
	case len(ask.Reason) > maxValue:
		return nil, refuse("400", "reason has %d bytes, at most %d are possible", len(ask.Reason), maxValue)
	}
	answer := struct {
		Instance string     `json:"instance"`
		Ended    int        `json:"ended"`
		Until    *time.Time `json:"until,omitempty"`
	}{Instance: d.streams.Numbers().Instance}
	answer.Ended = d.streams.Kick(f)
	d.log.Info("an operator ends streams", "streams", answer.Ended, "by_user", ask.User != "", "route", ask.Route, "for", bar.String(), "reason", ask.Reason)
	if bar > 0 {
		until := d.now().Add(bar).UTC()
		if _, err := d.write(ctx, keyOf(auth.Kick, ask.Issuer, ask.User), auth.Revocation{Until: until, Reason: ask.Reason}, once(id, request)); err != nil {
			return nil, refuse("503", "%d streams were ended, but the user is not kept out: %v", answer.Ended, err)
		}
		answer.Until = &until
	}
	return json.Marshal(answer)
}

// once is an id that all replicas have for the same request, and that no other one has.
func once(id string, request []byte) string {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256(append([]byte(id+"\x00"), request...))
	return hex.EncodeToString(sum[:16])
}

// connectionID is what stands in $ready.
var connectionID = regexp.MustCompile(`^[0-9a-z]{1,32}-[0-9a-z]{1,32}$`)

// revoke writes a revocation into the bucket. It counts on all replicas as soon as they have it, this one among them.
func (d *Desk) revoke(ctx context.Context, _ string, request []byte, _ int) ([]byte, error) {
	var ask struct {
		Token      string `json:"token"`
		User       string `json:"user"`
		Session    string `json:"session"`
		Connection string `json:"connection"`
		Issuer     string `json:"issuer"`
		Before     string `json:"before"`
		Until      string `json:"until"`
		For        string `json:"for"`
		Reason     string `json:"reason"`
	}
	if err := decode(request, &ask); err != nil {
		return nil, err
	}
	named := map[auth.RevocationKind]string{auth.ByToken: ask.Token, auth.ByUser: ask.User, auth.BySession: ask.Session, auth.ByConnection: ask.Connection}
	var kind auth.RevocationKind
	n := 0
	for k, v := range named {
		if v != "" {
			kind, n = k, n+1
		}
	}
	before, err1 := d.moment("before", ask.Before)
	until, err2 := d.moment("until", ask.Until)
	bar, err3 := span("for", ask.For)
	for _, err := range []error{short(map[string]string{"token": ask.Token, "user": ask.User, "session": ask.Session, "reason": ask.Reason}), d.issued(ask.Issuer), err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	switch {
	case n != 1:
		return nil, refuse("400", "expected one of token (its jti), user (its sub), session and connection")
	case kind == auth.ByConnection && !connectionID.MatchString(ask.Connection):
		return nil, refuse("400", "connection is not an id as in $ready and in the log")
	case kind == auth.ByConnection && ask.Issuer != "":
		return nil, refuse("400", "a connection has no issuer: name it alone")
	case bar > 0 && ask.Until != "":
		return nil, refuse("400", "expected until or for, not both")
	case bar > 0:
		until = d.now().Add(bar)
	}
	if !until.IsZero() && !until.After(d.now()) {
		return nil, refuse("400", "until is over already")
	}
	key := keyOf(kind, ask.Issuer, named[kind])
	revision, err := d.write(ctx, key, auth.Revocation{Before: before, Until: until, Reason: ask.Reason}, "")
	if err != nil {
		return nil, err
	}
	d.log.Info("an operator revokes", "key", key, "reason", ask.Reason)
	return json.Marshal(struct {
		Instance string `json:"instance"`
		Key      string `json:"key"`
		Revision uint64 `json:"revision"`
	}{d.streams.Numbers().Instance, key, revision})
}

// keyOf names whom it is about: tokens of one issuer, or of whichever.
func keyOf(kind auth.RevocationKind, issuer, value string) string {
	if issuer == "" {
		return auth.RevocationKey(kind, value)
	}
	return auth.RevocationKeyOf(kind, issuer, value)
}

func (d *Desk) write(ctx context.Context, key string, r auth.Revocation, id string) (uint64, error) {
	text, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	revision, err := d.bucket.Revoke(ctx, key, text, id)
	if err != nil {
		return 0, failed(err)
	}
	return revision, nil
}
