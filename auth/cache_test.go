package auth

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

func TestCache_IsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	var c cache
	used := digest("used")
	_, generation := c.get(used)
	id := &Identity{subject: "used"}
	c.put(used, id, generation)
	for n := range 5 * cacheEntries {
		c.put(digest(fmt.Sprint(n)), &Identity{}, generation)
		if n%1000 == 0 {
			if got, _ := c.get(used); got != id {
				t.Fatalf("forgotten after %d", n)
			}
		}
	}
	if n := len(c.fresh) + len(c.old); n > 2*cacheEntries {
		t.Errorf("%d entries", n)
	}
	large := strings.Repeat("x", MaxToken)
	for n := range 3 * cacheBytes / MaxToken {
		c.put(digest(fmt.Sprint("large", n)), &Identity{claims: claims(large)}, generation)
	}
	if len(c.fresh) > cacheBytes/MaxToken || c.bytes > cacheBytes {
		t.Errorf("%d entries, %d bytes", len(c.fresh), c.bytes)
	}
	if got, _ := c.get(digest("0")); got != nil {
		t.Error("the oldest is still there")
	}
}

// A verification that began with the old keys must not outlive them in the cache.
func TestCache_AVerificationWithOldKeysIsNotKept(t *testing.T) {
	var c cache
	name := digest("token")
	_, generation := c.get(name)
	c.clear()
	c.put(name, &Identity{}, generation)
	if id, _ := c.get(name); id != nil {
		t.Error("kept")
	}
}

// What the cache charges for an identity is what it takes, however its token is written.
func TestCache_ChargesWhatAnIdentityTakes(t *testing.T) {
	for name, text := range map[string]string{
		"plain":        `{"iss":"https://issuer.example","sub":"ann","exp":1893456000,"aud":["headgate"],"scope":"a b c"}`,
		"empty lists":  `{"a":[` + strings.TrimSuffix(strings.Repeat("[],", 3000), ",") + `]}`,
		"empty maps":   `{"a":[` + strings.TrimSuffix(strings.Repeat("{},", 3000), ",") + `]}`,
		"numbers":      `{"a":[` + strings.TrimSuffix(strings.Repeat("1,", 5000), ",") + `]}`,
		"many members": `{` + strings.TrimSuffix(members(1500), ",") + `}`,
		"nested":       `{"a":` + strings.Repeat(`{"a":`, 1500) + `1` + strings.Repeat("}", 1500) + `}`,
	} {
		const copies = 400
		decode := func() *Identity {
			all, ok := decoded(text)
			if !ok {
				t.Fatal("no JSON")
			}
			return &Identity{claims: claimsOf(all)}
		}
		before := heapOf()
		kept := make([]*Identity, copies)
		for i := range kept {
			kept[i] = decode()
		}
		takes, charged := int(heapOf()-before)/copies, kept[0].weight()
		if charged*3 < takes*2 || charged > 3*takes+2*weightIdentity {
			t.Errorf("%s: it takes %d bytes, %d are charged; the text has %d", name, takes, charged, len(text))
		}
		runtime.KeepAlive(kept)
	}
}

func members(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"m%d":1,`, i)
	}
	return b.String()
}
