package auth

import (
	"errors"
	"fmt"
	"strings"

	"headgate/internal/subject"
)

// maxPatterns is how many patterns one list of a token can have. Each is looked at for every subject that is asked for.
const maxPatterns = 256

// Grants are the permissions of an identity, shaped as in the JWT of a NATS user: what it may read, and what it may publish. A nil list
// of allowed subjects is no list; an empty one allows nothing.
type Grants struct {
	Sub, Pub Permissions
}

// grants are valid Grants.
type grants struct {
	sub, pub Permissions
}

func (g Grants) compile() (grants, error) {
	for _, list := range [][]string{g.Sub.Allow, g.Sub.Deny, g.Pub.Allow, g.Pub.Deny} {
		if len(list) > maxPatterns {
			return grants{}, fmt.Errorf("more than %d patterns in one list", maxPatterns)
		}
		for _, pattern := range list {
			if err := subject.Valid(pattern); err != nil {
				return grants{}, err
			}
		}
	}
	return grants{g.Sub, g.Pub}, nil
}

var errShape = errors.New("not an object with sub and pub, and with nothing but lists allow and deny in them")

// grantsOf reads the permissions in a claim. Whatever is not understood of sub and pub refuses it all: a deny must not get lost, in a
// misspelt name neither, nor in one of the other case. Beside sub and pub, NATS has more, which is not for us.
func grantsOf(claim any) (grants, error) {
	object, ok := claim.(map[string]any)
	if !ok {
		return grants{}, errShape
	}
	for name := range object {
		// NATS, which reads names in any case, would see a sub here: one that is overlooked may be a deny.
		if name != "sub" && name != "pub" && (strings.EqualFold(name, "sub") || strings.EqualFold(name, "pub")) {
			return grants{}, errShape
		}
	}
	var g Grants
	for name, into := range map[string]*Permissions{"sub": &g.Sub, "pub": &g.Pub} {
		value, there := object[name]
		if !there {
			continue
		}
		if err := side(value, into); err != nil {
			return grants{}, err
		}
	}
	return g.compile()
}

// side reads sub or pub.
func side(value any, into *Permissions) error {
	lists, ok := value.(map[string]any)
	if !ok {
		return errShape
	}
	for name, value := range lists {
		list, ok := patterns(value)
		switch {
		case !ok:
			return errShape
		case name == "allow":
			into.Allow = list
		case name == "deny":
			into.Deny = list
		default:
			return errShape
		}
	}
	return nil
}

// patterns reads a list. One that is there but empty is not nil; null is none.
func patterns(value any) ([]string, bool) {
	elements, ok := value.([]any)
	if !ok {
		return nil, false
	}
	list := make([]string, len(elements))
	for i, e := range elements {
		if list[i], ok = e.(string); !ok {
			return nil, false
		}
	}
	return list, true
}

// A subject comes from one of two sides. Fixed is one that the route makes of its template; it needs to be in the list of allowed
// subjects only if the identity has such a list. Named is one that the caller names; it needs to be in the list in any case.
const (
	Fixed = false
	Named = true
)

// MayRead says whether the identity may read everything that a valid subject matches. A key of a bucket is asked for as
// $KV.bucket.key, as NATS names it.
func (id *Identity) MayRead(s string, named bool) error { return id.grants().sub.permit(s, named) }

// MayPublish says whether the identity may publish to a valid subject: always only what its pub allows, whoever made the subject.
func (id *Identity) MayPublish(s string) error { return id.grants().pub.permit(s, Named) }

func (id *Identity) grants() *grants {
	if id.may == nil {
		return &grants{}
	}
	return id.may
}

func (p Permissions) permit(s string, named bool) error {
	if !named && p.Allow == nil && !p.denies(s) {
		return nil
	}
	return p.check(s)
}
