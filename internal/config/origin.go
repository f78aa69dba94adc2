package config

import (
	"net/netip"
	"net/url"
	"strings"
)

const originForm = "scheme://host, or scheme://host:port where the port is not the scheme's own; in lower case, without a path"

// checkOrigins refuses what would be unsafe, and what browsers never send, which would silently match nothing. fail gets the index
// of the origin.
func checkOrigins(c CORS, fail func(i int, p Problem)) {
	for i, o := range c.AllowedOrigins {
		message, hint := checkOrigin(o)
		if o == "*" && c.AllowCredentials {
			message, hint = "every origin together with credentials", "every page on the web could read with its visitor's cookies: name the origins"
		} else if o == "*" && len(c.AllowedOrigins) > 1 {
			message, hint = "* next to other origins", "* allows them already: drop one or the other"
		}
		if message != "" {
			fail(i, Problem{Message: message, Expected: originForm, Example: "https://app.example", Hint: hint})
		}
	}
}

// checkOrigin holds one origin against the form that browsers send (RFC 6454, section 6.2): message is "" when it is one.
func checkOrigin(o string) (message, hint string) {
	switch {
	case o == "*":
		return "", ""
	case o == "null":
		return "the origin null", "sandboxed frames of any page, and files, have it: it stands for everybody"
	case strings.Contains(o, "*"):
		return "a wildcard inside the origin " + quoteShort(o), "name every origin; a suffix would also match hosts that others register"
	}
	u, err := url.Parse(o)
	if err != nil || u.Scheme == "" || u.Host == "" || u.User != nil {
		if _, e := url.Parse("https://" + o); e == nil && !strings.Contains(o, "/") {
			return quoteShort(o) + " is not an origin", "did you mean https://" + strings.ToLower(o) + "?"
		}
		return quoteShort(o) + " is not an origin", ""
	}
	plain := strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Host)
	if u.Scheme == "https" && u.Port() == "443" || u.Scheme == "http" && u.Port() == "80" {
		plain = strings.ToLower(u.Scheme) + "://" + strings.ToLower(u.Hostname())
	}
	if plain != o {
		return quoteShort(o) + " is not how browsers write an origin", "did you mean " + plain + "?"
	}
	if strings.HasSuffix(u.Host, ":") || !validHost(u.Hostname()) {
		return quoteShort(o) + " is not an origin", ""
	}
	return "", ""
}

// validHost accepts addresses, and names in the ASCII form in which browsers send them.
func validHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	return host != "" && strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789-._") == ""
}
