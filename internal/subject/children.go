package subject

const fewChildren = 8 // up to here a list is smaller than a map, and as quick

// children are the nodes below a node of a trie, by their token.
type children[N any] struct {
	few  []child[N]
	many map[string]*N // instead of few
	peak int           // the most that many has had; a Go map does not shrink by itself
}

type child[N any] struct {
	token string
	node  *N
}

func (c *children[N]) get(token string) *N {
	if c.many != nil {
		return c.many[token]
	}
	for i := range c.few {
		if c.few[i].token == token {
			return c.few[i].node
		}
	}
	return nil
}

// add adds a child that is not there yet.
func (c *children[N]) add(token string, n *N) {
	if c.many == nil && len(c.few) < fewChildren {
		c.few = append(c.few, child[N]{token, n})
		return
	}
	if c.many == nil {
		c.many = make(map[string]*N, 2*fewChildren)
		for _, k := range c.few {
			c.many[k.token] = k.node
		}
		c.few = nil
	}
	c.many[token] = n
	c.peak = max(c.peak, len(c.many))
}

func (c *children[N]) remove(token string) {
	for i := range c.few {
		if c.few[i].token == token {
			last := len(c.few) - 1
			c.few[i] = c.few[last]
			c.few[last] = child[N]{}
			c.few = c.few[:last]
			return
		}
	}
	delete(c.many, token)
	if c.peak > 64 && len(c.many) < c.peak/8 {
		smaller := make(map[string]*N, len(c.many))
		for token, n := range c.many {
			smaller[token] = n
		}
		c.many, c.peak = smaller, len(smaller)
	}
}

func (c *children[N]) empty() bool { return len(c.few) == 0 && len(c.many) == 0 }

// each visits the children in no particular order, until visit says false.
func (c *children[N]) each(visit func(token string, n *N) bool) bool {
	for i := range c.few {
		if !visit(c.few[i].token, c.few[i].node) {
			return false
		}
	}
	for token, n := range c.many {
		if !visit(token, n) {
			return false
		}
	}
	return true
}
