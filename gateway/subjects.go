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

// specs fills in the route's sources for a request, and returns the key that equal streams share. The subjects own their memory.
func (rt *route) specs(r *http.Request, q query, limit int) ([]flow.Spec, string, error) {
	if err := rt.checkParams(r); err != nil {
		return nil, "", err
	}
	specs := make([]flow.Spec, len(rt.sources))
	key := strings.Builder{}
	key.WriteString(rt.name)
	for i, src := range rt.sources {
		subjects, err := rt.subjects(src, r, q, limit)
		if err != nil {
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

func (rt *route) subjects(src source, r *http.Request, q query, limit int) ([]string, error) {
	if src.clientNamed() {
		return rt.named(src.allow, q, limit)
	}
	s, err := rt.expand(src.template, r)
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

// expand puts the path's values into a template. The values come decoded from the mux, so %2E%2E is two dots here, and refused.
func (rt *route) expand(t subject.Template, r *http.Request) (string, error) {
	s, err := t.Expand(func(name string) (string, bool) {
		v := r.PathValue(name)
		return v, true
	})
	var value *subject.PlaceholderError
	switch {
	case err == nil:
		return strings.Clone(s), nil
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
