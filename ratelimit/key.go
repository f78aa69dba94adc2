package ratelimit

import (
	"encoding/binary"
	"net/netip"
)

// key is what one client address, or one user, is limited by: eight bytes, because there may be a hundred thousand of them. For IPv6 addresses it is the /64,
// the smallest network that is given to a customer. For IPv4 it is the whole address, written as the /64 that 6to4 gives its owner
// (RFC 3056, section 2: 2002:V4ADDR::/48), which nobody else can come from.
type key uint64

func keyOf(a netip.Addr) key {
	a = a.Unmap()
	if a.Is4() {
		b := a.As4()
		return key(0x2002<<48 | uint64(binary.BigEndian.Uint32(b[:]))<<16)
	}
	b := a.As16()
	return key(binary.BigEndian.Uint64(b[:8]))
}
