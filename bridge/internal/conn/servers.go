package conn

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// splitServers gives each server of NATS_URL with a scheme.
func splitServers(list string) (servers []string) {
	for s := range strings.SplitSeq(list, ",") {
		s = strings.TrimSpace(s)
		if !strings.Contains(s, "://") {
			s = "nats://" + s
		}
		servers = append(servers, s)
	}
	return servers
}

// hostPort is all of a server's URL that may be shown.
func hostPort(server string) string {
	u, err := url.Parse(server)
	if err != nil {
		return "" // whose text may quote a part of the password
	}
	return u.Host
}

// hostPorts are the servers of NATS_URL for the operator's eyes.
func hostPorts(list string) string {
	var hosts []string
	for _, s := range splitServers(list) {
		hosts = append(hosts, hostPort(s))
	}
	return strings.Join(hosts, ",")
}

// checkServers reports what nats.go would take for something else than was meant. A special character in a password that is not
// escaped ends the user part of a URL early, and what is left of the password is then looked up as a host. So no value is shown.
func checkServers(list string) error {
	const expected = "expected for example nats://nats.example:4222, with %23, %2F, %2C and so on for special characters in user or password"
	var errs []error
	bad := func(n int, what string) {
		errs = append(errs, fmt.Errorf("NATS_URL: server %d of the list %s; %s", n+1, what, expected))
	}
	given := strings.Split(list, ",")
	for n, s := range splitServers(list) {
		u, err := url.Parse(s)
		switch {
		case err != nil:
			bad(n, "is not a URL")
		case u.Hostname() == "":
			bad(n, "has no host")
		case strings.Contains(u.EscapedPath()+u.RawQuery+u.EscapedFragment(), "@"):
			bad(n, "has an @ behind the host")
		case strings.Trim(u.Path, "/") != "" && !strings.HasPrefix(u.Scheme, "ws"):
			bad(n, "has a path")
		case n > 0 && u.User != nil && !strings.Contains(given[n], "://") && !strings.Contains(given[n-1], "@"):
			bad(n, "may be the rest of a password with a comma: write a scheme before it if it is not")
		}
	}
	return errors.Join(errs...)
}
