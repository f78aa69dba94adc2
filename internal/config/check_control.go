package config

import (
	"strings"
	"time"

	"headgate/internal/subject"
)

// checkRevocation wants a bucket that can be one, and somebody who can be revoked.
func checkRevocation(c *Config, r *report) {
	a := &c.Auth
	if a.SessionClaim == "" || len(a.SessionClaim) > 256 {
		r.fail(Problem{Variable: "AUTH_SESSION_CLAIM", Value: a.SessionClaim, Message: "the name of a claim has 1 to 256 bytes", Example: "AUTH_SESSION_CLAIM=sid"})
	}
	switch {
	case a.RevocationBucket == "" && a.RevocationTTL > 0:
		r.fail(Problem{Variable: "AUTH_REVOCATION_TTL", Value: durationText(a.RevocationTTL), Message: "given, but there is no bucket",
			Example: "AUTH_REVOCATION_BUCKET=REVOKED", Hint: "say AUTH_REVOCATION_BUCKET too, or drop it"})
	case a.RevocationBucket == "":
	case a.Mode == "none":
		r.fail(Problem{Variable: "AUTH_REVOCATION_BUCKET", Value: a.RevocationBucket, Message: "given, but with AUTH_MODE=none nobody shows a token that could be revoked",
			Hint: "say AUTH_MODE=jwt, or drop it; open streams can be ended with CONTROL=true"})
	case !bucketName.MatchString(a.RevocationBucket):
		r.fail(Problem{Variable: "AUTH_REVOCATION_BUCKET", Value: a.RevocationBucket, Message: "cannot be a bucket's name", Expected: bucketNameForm,
			Example: "AUTH_REVOCATION_BUCKET=REVOKED"})
	}
	if a.RevocationTTL > 0 && a.RevocationTTL < minRevocationTTL {
		r.fail(Problem{Variable: "AUTH_REVOCATION_TTL", Value: durationText(a.RevocationTTL), Message: "too short: a revoked token would be good again when its revocation is forgotten",
			Expected: "more than any token lives, at least " + durationText(minRevocationTTL), Example: "AUTH_REVOCATION_TTL=24h"})
	}
}

// minRevocationTTL is as short as a token can sensibly live. It is also more than the second that NATS wants.
const minRevocationTTL = time.Minute

// checkControl keeps the operators' subjects where no route gets: what starts with _ or $ is refused everywhere, and not relayed.
func checkControl(c *Config, r *report) {
	prefix := strings.TrimSuffix(c.ControlPrefix, ".")
	fail := func(message, hint string) {
		r.fail(Problem{Variable: "CONTROL_PREFIX", Value: c.ControlPrefix, Message: message,
			Expected: "a subject without wildcards whose first token starts with _ or $", Example: "CONTROL_PREFIX=_HEADGATE", Hint: hint})
	}
	taken, _ := subject.Token(prefix, 0)
	switch err := subject.ValidLiteral(prefix); {
	case err != nil:
		fail(err.Error(), "")
	case !subject.Internal(prefix):
		fail("routes could lead there", "subjects that start with _ or $ are never exposed by a route")
	case taken == "$JS" || taken == "$KV" || taken == "$O" || taken == "$SYS" || taken == "$SRV" || taken == "$MQTT":
		fail("these subjects are NATS's own", "")
	case prefix == c.NATS.InboxPrefix || strings.HasPrefix(prefix, c.NATS.InboxPrefix+".") || strings.HasPrefix(c.NATS.InboxPrefix, prefix+"."):
		fail("answers to headgate come there (NATS_INBOX_PREFIX)", "")
	}
	c.ControlPrefix = prefix
}
