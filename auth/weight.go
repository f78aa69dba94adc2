package auth

import "encoding/json"

const (
	weightIdentity = 512 // of an Identity, its place in the cache, and what belongs to it in any case
	weightValue    = 16  // of an interface, or of the header of a string
	weightList     = 24
	weightMap      = 48
	weightSlot     = 34 // of a map: key, value and a bit more. Maps have 8 of them, or twice as many as before when they are nearly full
)

// weight is about what an identity takes in memory. A token says little about that: base64 of [[],[],[]] is a tenth of what it becomes.
func (id *Identity) weight() int {
	n := weightIdentity + weigh(id.claims)
	for _, list := range [][]string{id.may.sub.Allow, id.may.sub.Deny, id.may.pub.Allow, id.may.pub.Deny} {
		for _, pattern := range list {
			n += weightValue + len(pattern)
		}
	}
	return n
}

// weigh is about what a decoded claim takes. Its depth is that of the token's JSON, which encoding/json bounds.
func weigh(claim any) int {
	switch v := claim.(type) {
	case string:
		return weightValue + len(v)
	case json.Number:
		return weightValue + len(v)
	case []any:
		n := weightList
		for _, e := range v {
			n += 2*weightValue + weigh(e) // lists grow by doubling
		}
		return n
	case map[string]any:
		if len(v) == 0 {
			return weightMap
		}
		slots := 8
		for len(v) > 8 && len(v) > slots*7/8 {
			slots *= 2
		}
		n := weightMap + slots*weightSlot
		for k, e := range v {
			n += len(k) + weigh(e)
		}
		return n
	}
	return 0
}
