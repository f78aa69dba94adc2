package auth

import (
	"crypto/sha256"
	"sync"
)

const (
	cacheEntries = 32 << 10 // of each half
	cacheBytes   = 64 << 20 // of identities, of each half
)

// digest is the name of a token in the cache, which so holds no tokens.
func digest(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// cache remembers verified tokens. It has two halves: when the new one is full, it becomes the old one, and what was in the old one
// since is forgotten. What is used moves to the new one. Only good tokens get in, so a forger fills nothing.
type cache struct {
	mu         sync.Mutex
	fresh, old map[[sha256.Size]byte]cached
	bytes      int    // of fresh
	generation uint64 // of the keys
}

type cached struct {
	id    *Identity
	bytes int
}

// get returns the identity, or nil and the generation that put wants.
func (c *cache) get(name [sha256.Size]byte) (*Identity, uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.fresh[name]; ok {
		return e.id, c.generation
	}
	e, ok := c.old[name]
	if ok {
		c.add(name, e)
	}
	return e.id, c.generation
}

// put keeps an identity, unless the keys have changed since its verification began.
func (c *cache) put(name [sha256.Size]byte, id *Identity, generation uint64) {
	bytes := id.weight()
	c.mu.Lock()
	defer c.mu.Unlock()
	if generation == c.generation {
		c.add(name, cached{id, bytes})
	}
}

func (c *cache) add(name [sha256.Size]byte, e cached) {
	if _, ok := c.fresh[name]; ok {
		return
	}
	if c.fresh == nil || len(c.fresh) >= cacheEntries || c.bytes+e.bytes > cacheBytes {
		c.old, c.fresh, c.bytes = c.fresh, map[[sha256.Size]byte]cached{}, 0
	}
	c.fresh[name] = e
	c.bytes += e.bytes
}

// clear forgets everything. It is called after new keys are in place.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fresh, c.old, c.bytes = nil, nil, 0
	c.generation++
}
