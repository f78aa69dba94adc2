package gateway

import (
	"net"
	"strings"
)

// localHost says whether a Host field (RFC 9110, section 7.2) names this machine. -dev answers nothing else: a page whose name an
// attacker resolves to 127.0.0.1 counts as same-origin to the browser and would otherwise read and publish freely.
func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.EqualFold(host, "localhost") || host == "127.0.0.1" || host == "::1"
}
