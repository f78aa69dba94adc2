package ratelimit

import (
	"net/netip"
	"strings"
)

// maxHops is how many trusted proxies are passed over. Chains are two or three long; a header of 64 KiB could name thousands.
const maxHops = 32

// ClientAddress is the address of the client behind peer. It follows X-Forwarded-For from right to left for as long as the hop it
// stands on is trusted: each proxy appends the address it was called from, so what a trusted hop wrote is true, and what stands
// further left was written by others. Something malformed ends the walk at the last trusted hop. forwarded are the field lines in
// the order in which they came, which together are one list (RFC 9110, section 5.2); unlike there, an empty element is not skipped,
// because a hop that wrote nothing has vouched for nothing. The result is never IPv4-mapped and has no zone.
func ClientAddress(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	hop := plain(peer)
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		rest, more := forwarded[i], true
		for more {
			if hops++; hops > maxHops || !isTrusted(hop, trusted) {
				return hop
			}
			var element string
			comma := strings.LastIndexByte(rest, ',')
			element, rest, more = rest[comma+1:], rest[:max(comma, 0)], comma >= 0
			next, ok := parseHop(strings.Trim(element, " \t"))
			if !ok {
				return hop
			}
			hop = next
		}
	}
	return hop
}

// parseHop takes an address, alone or with the port that some proxies add, IPv6 with or without brackets.
func parseHop(s string) (netip.Addr, bool) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		if inner, ok = strings.CutSuffix(inner, "]"); ok {
			a, err := netip.ParseAddr(inner)
			return plain(a), err == nil && a.Is6()
		}
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return plain(a), true
	}
	ap, err := netip.ParseAddrPort(s)
	return plain(ap.Addr()), err == nil
}

// plain is the form in which addresses are compared: 192.0.2.1 for ::ffff:192.0.2.1, and no zone.
func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }

func isTrusted(a netip.Addr, trusted []netip.Prefix) bool {
	for _, p := range trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
