package auth

const (
	weightIdentity = 400 // of an Identity, its place in the cache, its sub and jti
	weightGrants   = 128
	weightPattern  = 16 // of a string, beside its bytes
)

// weight is about what an identity takes in memory.
func (id *Identity) weight() int {
	n := weightIdentity + len(id.claims) + len(id.subject) + len(id.token)
	if id.may == nil {
		return n
	}
	n += weightGrants
	for _, list := range [][]string{id.may.sub.Allow, id.may.sub.Deny, id.may.pub.Allow, id.may.pub.Deny} {
		for _, pattern := range list {
			n += weightPattern + len(pattern)
		}
	}
	return n
}
