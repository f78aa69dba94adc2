package gateway

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"headgate/auth"
	"headgate/internal/flow"
	"headgate/internal/subject"
)

// kindLetters tell kinds of sources apart in a key.
var kindLetters = [...]byte{flow.Core: 'c', flow.Stream: 's', flow.KV: 'k'}

// claimsPrefix begins the names of placeholders that stand for claims.
const claimsPrefix = "claims."

// specs fills in the route's sources for a request, and returns the key that equal streams share: what claims have to do with a stream
// is in its subjects. The subjects own their memory. id is nil where callers have no identity.
func (rt *route) specs(r *http.Request, id *auth.Identity, q query, limit int) ([]flow.Spec, string, error) {
	if err := rt.checkParams(r); err != nil {
		return nil, "", err
	}
	specs := make([]flow.Spec, len(rt.sources))
	key := strings.Builder{}
	key.WriteString(rt.life.key)
	for i, src := range rt.sources {
		subjects, err := rt.subjects(src, r, id, q, limit)
		if err != nil {
			return nil, "", err
		}
		if err := readable(src, subjects, id); err != nil {
			return nil, "", err
		}
		specs[i] = src.spec
		specs[i].Subjects = subjects
		key.WriteByte(0)
		key.WriteByte(kindLetters[src.spec.Kind])
		key.WriteString(src.spec.Stream)
		for _, s := range subjects {
			key.WriteByte(' ')
			key.WriteString(s)
		}
	}
	return specs, key.String(), nil
}

// readable holds the subjects against the identity's own permissions, which never go beyond the route's. What a route makes itself is
// its operator's word, so an identity without a list may have it; what a client names must be in the list.
func readable(src source, subjects []string, id *auth.Identity) error {
	if id == nil {
		return nil
	}
	for _, s := range subjects {
		whole := s
		if src.spec.Kind == flow.KV {
			whole = "$KV." + src.spec.Stream + "." + s // ADR-8 of nats-architecture-and-design
		}
		err := id.MayRead(whole, src.clientNamed())
		if err == nil {
			continue
		}
		detail := "What this route reads is not within your permissions."
		if src.clientNamed() {
			detail = fmt.Sprintf("%q is not within your permissions.", s)
		}
		return forbidden(id, notReadable, detail, err)
	}
	return nil
}

func (rt *route) subjects(src source, r *http.Request, id *auth.Identity, q query, limit int) ([]string, error) {
	if src.clientNamed() {
		return rt.named(src.allow, q, limit)
	}
	s, err := rt.expand(src.template, r, id)
	if err != nil {
		return nil, err
	}
	return []string{s}, nil
}

// checkParams holds the path parameters against the route's patterns.
func (rt *route) checkParams(r *http.Request) error {
	for _, p := range rt.params {
		if !p.pattern.MatchString(r.PathValue(p.name)) {
			return &refusal{kind: parameterInvalid, detail: fmt.Sprintf("{%s} must match %s.", p.name, p.text)}
		}
	}
	return nil
}

// expand puts the values of the path and of claims into a template. Those of the path come decoded from the mux, so %2E%2E is two dots
// here, and refused.
func (rt *route) expand(t subject.Template, r *http.Request, id *auth.Identity) (string, error) {
	s, err := t.Expand(func(name string) (string, bool) {
		if claim, ok := strings.CutPrefix(name, claimsPrefix); ok {
			if id == nil {
				return "", false
			}
			return id.Claim(claim)
		}
		return r.PathValue(name), true
	})
	var value *subject.PlaceholderError
	switch {
	case err == nil:
		return strings.Clone(s), nil
	case errors.As(err, &value) && strings.HasPrefix(value.Name, claimsPrefix):
		return "", &refusal{kind: claimsForbidden, detail: value.Error() + ".", cause: err}
	case errors.As(err, &value):
		return "", &refusal{kind: parameterInvalid, detail: value.Error() + "."}
	case errors.Is(err, subject.ErrInternal):
		return "", &refusal{kind: parameterInvalid, detail: "The first token may not start with $ or _."}
	}
	return "", &refusal{kind: parameterInvalid, detail: "The subject becomes too long."}
}

// named is the subjects a client asks for with ?subject=, checked against what the route allows. They are put in order, so that
// clients that ask for the same share a group.
func (rt *route) named(allow []string, q query, limit int) ([]string, error) {
	if q.err != nil {
		return nil, &refusal{kind: queryInvalid}
	}
	asked := q.values["subject"]
	if len(asked) == 0 {
		return nil, &refusal{kind: subjectMissing}
	}
	if limit > 0 && len(asked) > limit {
		return nil, &refusal{kind: subjectTooMany, detail: fmt.Sprintf("%d were named, at most %d are possible.", len(asked), limit)}
	}
	permissions := auth.Permissions{Allow: allow}
	list := make([]string, len(asked))
	for i, s := range asked {
		if err := subject.Valid(s); err != nil {
			return nil, &refusal{kind: subjectInvalid, detail: sentence(err)}
		}
		if subject.Internal(s) {
			return nil, &refusal{kind: subjectForbidden, detail: fmt.Sprintf("%q starts with $ or _, which is reserved.", s)}
		}
		if s[0] == '*' || s[0] == '>' {
			if !rt.unsafe {
				return nil, &refusal{kind: subjectForbidden, detail: fmt.Sprintf("The first token of %q must be literal.", s)}
			}
		}
		if err := permissions.Check(s); err != nil {
			return nil, &refusal{kind: subjectForbidden, detail: fmt.Sprintf("%q is not within what this route allows.", s), cause: err}
		}
		list[i] = strings.Clone(s)
	}
	list = subject.Normalize(list)
	slices.Sort(list)
	return list, nil
}

// sentence makes an error text one for a client.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}
