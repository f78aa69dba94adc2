package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// private are the ranges an ingress usually has: RFC 1918, RFC 4193, loopback, link-local, and the shared address space of RFC 6598.
var private = []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
	"::1/128", "fc00::/7", "fe80::/10"}

// Prefixes parses TrustedProxies. Load has refused what it would leave out.
func (h HTTP) Prefixes() []netip.Prefix { return parsePrefixes(h.TrustedProxies) }

func parsePrefixes(list []string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		if s == "private" {
			out = append(out, parsePrefixes(private)...)
		} else if p, ok := parsePrefix(s); ok {
			out = append(out, p)
		}
	}
	return out
}

func parsePrefix(s string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), true
	}
	return netip.Prefix{}, false
}

// checkProxies holds HTTP_TRUSTED_PROXIES against its form.
func checkProxies(list []string, r *report) {
	for _, s := range list {
		p, ok := parsePrefix(s)
		if !ok && s != "private" {
			r.fail(Problem{Variable: "HTTP_TRUSTED_PROXIES", Value: strings.Join(list, ","),
				Message:  fmt.Sprintf("%q is neither a network nor an address", s),
				Expected: "CIDRs, addresses, or private, comma separated", Example: "HTTP_TRUSTED_PROXIES=10.0.0.0/8,192.0.2.7",
				Hint: nearestHint(s, []string{"private"})})
		}
		if ok && p.Bits() == 0 {
			r.warn("HTTP_TRUSTED_PROXIES", s+" trusts everybody: any client can then say which address it has")
		}
	}
}
