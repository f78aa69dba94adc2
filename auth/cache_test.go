package auth

import (
	"fmt"
	"testing"
)

func TestCache_IsBoundedAndKeepsWhatIsUsed(t *testing.T) {
	var c cache
	used := digest("used")
	_, generation := c.get(used)
	id := &Identity{subject: "used"}
	c.put(used, id, 100, generation)
	for n := range 5 * cacheEntries {
		c.put(digest(fmt.Sprint(n)), &Identity{}, 100, generation)
		if n%1000 == 0 {
			if got, _ := c.get(used); got != id {
				t.Fatalf("forgotten after %d", n)
			}
		}
	}
	if n := len(c.fresh) + len(c.old); n > 2*cacheEntries {
		t.Errorf("%d entries", n)
	}
	for n := range 5000 {
		c.put(digest(fmt.Sprint("large", n)), &Identity{}, MaxToken, generation)
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
	c.put(name, &Identity{}, 1, generation)
	if id, _ := c.get(name); id != nil {
		t.Error("kept")
	}
}
