package ratelimit

import (
	"net/netip"
	"strings"
	"testing"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range list {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func TestClientAddress_Table(t *testing.T) {
	trusted := prefixes("10.0.0.0/8", "fd00::/8", "fe80::/10")
	tests := []struct {
		name, peer string
		forwarded  []string
		want       string
	}{
		{"no header", "10.0.0.1", nil, "10.0.0.1"},
		{"untrusted peer", "203.0.113.9", []string{"198.51.100.1"}, "203.0.113.9"},
		{"one proxy", "10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"the client's own header is not believed", "10.0.0.1", []string{"1.2.3.4, 198.51.100.1"}, "198.51.100.1"},
		{"two proxies", "10.0.0.1", []string{"1.2.3.4, 198.51.100.1, 10.0.0.2"}, "198.51.100.1"},
		{"several lines are one list", "10.0.0.1", []string{"1.2.3.4", "198.51.100.1", "10.0.0.3,10.0.0.2"}, "198.51.100.1"},
		{"everybody trusted", "10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		{"malformed", "10.0.0.1", []string{"198.51.100.1, junk"}, "10.0.0.1"},
		{"malformed behind a trusted hop", "10.0.0.1", []string{"198.51.100.1, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"obfuscated", "10.0.0.1", []string{"198.51.100.1, _hidden"}, "10.0.0.1"},
		{"empty element", "10.0.0.1", []string{"198.51.100.1, , 10.0.0.2"}, "10.0.0.2"},
		{"empty line", "10.0.0.1", []string{"198.51.100.1", ""}, "10.0.0.1"},
		{"comma at the end", "10.0.0.1", []string{"198.51.100.1,"}, "10.0.0.1"},
		{"with port", "10.0.0.1", []string{"198.51.100.1:4711"}, "198.51.100.1"},
		{"IPv6", "10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv6 in brackets", "10.0.0.1", []string{"[2001:db8::1]"}, "2001:db8::1"},
		{"IPv6 with port", "10.0.0.1", []string{"[2001:db8::1]:4711"}, "2001:db8::1"},
		{"IPv4 in brackets", "10.0.0.1", []string{"[198.51.100.1]"}, "10.0.0.1"},
		{"open bracket", "10.0.0.1", []string{"[2001:db8::1"}, "10.0.0.1"},
		{"zone", "10.0.0.1", []string{"2001:db8::1%eth0"}, "2001:db8::1"},
		{"trusted with zone", "fe80::1%eth0", []string{"2001:db8::1"}, "2001:db8::1"},
		{"IPv4-mapped peer", "::ffff:10.0.0.1", []string{"198.51.100.1"}, "198.51.100.1"},
		{"IPv4-mapped hop", "10.0.0.1", []string{"198.51.100.1, ::ffff:10.0.0.2"}, "198.51.100.1"},
		{"IPv4-mapped client", "10.0.0.1", []string{"::ffff:198.51.100.1"}, "198.51.100.1"},
		{"IPv4-mapped untrusted peer", "::ffff:203.0.113.9", nil, "203.0.113.9"},
		{"spaces and tabs", "10.0.0.1", []string{" \t198.51.100.1\t "}, "198.51.100.1"},
		{"other white space", "10.0.0.1", []string{"\u00a0198.51.100.1"}, "10.0.0.1"},
		{"octal", "10.0.0.1", []string{"010.0.0.2"}, "10.0.0.1"},
		{"quoted", "10.0.0.1", []string{`"198.51.100.1"`}, "10.0.0.1"},
		{"short form", "10.0.0.1", []string{"127.1"}, "10.0.0.1"},
		{"number", "10.0.0.1", []string{"3325256705"}, "10.0.0.1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ClientAddress(netip.MustParseAddr(tt.peer), tt.forwarded, trusted); got.String() != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestClientAddress_WithoutTrustIsThePeer(t *testing.T) {
	peer := netip.MustParseAddr("10.0.0.1")
	if got := ClientAddress(peer, []string{"198.51.100.1"}, nil); got != peer {
		t.Errorf("got %s", got)
	}
	if got := ClientAddress(netip.Addr{}, []string{"198.51.100.1"}, prefixes("0.0.0.0/0", "::/0")); got.IsValid() {
		t.Errorf("a peer without address became %s", got)
	}
}

func TestClientAddress_FollowsALimitedNumberOfHops(t *testing.T) {
	long := "198.51.100.1" + strings.Repeat(",10.0.0.2", 10_000)
	if got := ClientAddress(netip.MustParseAddr("10.0.0.1"), []string{long}, prefixes("10.0.0.0/8")); got.String() != "10.0.0.2" {
		t.Errorf("got %s", got)
	}
	if n := testing.AllocsPerRun(100, func() {
		ClientAddress(alice, []string{"198.51.100.1, 192.0.2.7", "2001:db8::1"}, prefixesAll)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var prefixesAll = prefixes("0.0.0.0/0", "::/0")

// slowClientAddress is the rule in other words: split everything first, then walk.
func slowClientAddress(peer netip.Addr, forwarded []string, trusted []netip.Prefix) netip.Addr {
	var list []string
	if len(forwarded) > 0 {
		list = strings.Split(strings.Join(forwarded, ","), ",")
	}
	hop := peer.Unmap().WithZone("")
	for n := 0; len(list) > 0 && n < maxHops; n++ {
		in := false
		for _, p := range trusted {
			in = in || p.Contains(hop)
		}
		next, ok := parseHop(strings.Trim(list[len(list)-1], " \t"))
		if !in || !ok {
			break
		}
		hop, list = next, list[:len(list)-1]
	}
	return hop
}

// FuzzClientAddress: no header makes an untrusted peer somebody else, and nothing to the left of the first untrusted or malformed
// element has any influence.
func FuzzClientAddress(f *testing.F) {
	f.Add("10.0.0.1", "1.2.3.4, 10.0.0.2", "[::1]:5")
	f.Add("203.0.113.9", "1.2.3.4", "")
	f.Add("::ffff:10.0.0.1", "junk,,", "10.0.0.3")
	f.Fuzz(func(t *testing.T, peerText, a, b string) {
		peer, err := netip.ParseAddr(peerText)
		if err != nil {
			return
		}
		trusted := prefixes("10.0.0.0/8", "fd00::/8", "fe80::/10", "::1/128")
		got := ClientAddress(peer, []string{a, b}, trusted)
		if want := slowClientAddress(peer, []string{a, b}, trusted); got != want {
			t.Fatalf("%s with %q, %q: got %s, want %s", peer, a, b, got, want)
		}
		if got.Zone() != "" || got.Is4In6() || !got.IsValid() {
			t.Fatalf("%s is not plain", got)
		}
		if plain := peer.Unmap().WithZone(""); !isTrusted(plain, trusted) && got != plain {
			t.Fatalf("the untrusted %s became %s", peer, got)
		}
		if !isTrusted(got, trusted) {
			// Whatever a client writes before what the proxies wrote changes nothing.
			if forged := ClientAddress(peer, []string{"9.9.9.9", "8.8.8.8," + a, b}, trusted); forged != got {
				t.Fatalf("a forged header turned %s into %s", got, forged)
			}
		}
		if keyOf(got) != keyOf(got.Unmap()) {
			t.Fatalf("two keys for %s", got)
		}
	})
}

func TestKeyOf_TellsNetworksApart(t *testing.T) {
	seen := map[key]string{}
	for _, s := range []string{"192.0.2.1", "192.0.2.2", "0.0.0.0", "255.255.255.255", "::", "2001:db8::1", "2001:db8:0:1::1", "ffff::1"} {
		k := keyOf(netip.MustParseAddr(s))
		if other, ok := seen[k]; ok {
			t.Errorf("%s and %s have the same key", s, other)
		}
		seen[k] = s
	}
}
