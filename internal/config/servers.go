package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

var natsSchemes = []string{"nats", "tls", "ws", "wss"}

// checkServers holds every server of NATS_URL against its form.
func checkServers(n *NATS, r *report) {
	servers := splitList(n.URL)
	if len(servers) == 0 {
		r.fail(Problem{Variable: "NATS_URL", Value: n.URL, Message: "names no server", Example: "NATS_URL=nats://nats:4222"})
	}
	// A password with a comma, a slash or a colon in it falls into pieces that look like something else. So no piece is shown.
	secret := strings.Contains(n.URL, "@")
	for i, s := range servers {
		message, hint := checkServer(s, secret)
		if message == "" {
			continue
		}
		if len(servers) > 1 {
			message = fmt.Sprintf("server %d of %d: %s", i+1, len(servers), message)
		}
		if secret && hint == "" {
			hint = "in a user or password, write %40 for @, %2F for /, %2C for a comma, %25 for %; or use NATS_USER and NATS_PASSWORD_FILE"
		}
		r.fail(Problem{Variable: "NATS_URL", Value: maskURLs(n.URL), Message: message, Hint: hint,
			Example:  "NATS_URL=nats://nats-0:4222,nats://nats-1:4222",
			Expected: "servers, comma separated: host:port, or with nats://, tls://, ws:// or wss:// in front"})
	}
}

// checkServer says what is wrong with one server; with secret it quotes nothing of it.
func checkServer(server string, secret bool) (message, hint string) {
	if !strings.Contains(server, "://") {
		server = "nats://" + server
	}
	piece := func(s string) string {
		if secret {
			return ""
		}
		return " " + strconv.Quote(s)
	}
	u, err := url.Parse(server)
	switch {
	case err != nil:
		return serverProblem(err), ""
	case !slices.Contains(natsSchemes, u.Scheme):
		return "its scheme" + piece(u.Scheme) + " is not one of NATS", nearestHint(u.Scheme, natsSchemes)
	case strings.Contains(server, "@") && u.User == nil:
		return "its user or password holds a character that must be escaped", ""
	case u.Hostname() == "":
		return "it names no host", ""
	}
	if port, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || port == 0) {
		return "its port" + piece(u.Port()) + " is not a number from 1 to 65535", ""
	}
	return "", ""
}

// serverProblem is url.Parse's error without the pieces of the text that it quotes.
func serverProblem(err error) string {
	var escape url.EscapeError
	text := err.Error()
	if u := (*url.Error)(nil); errors.As(err, &u) {
		text = u.Err.Error()
	}
	switch {
	case errors.As(err, &escape):
		return "it holds a % that begins no escape"
	case strings.Contains(text, "invalid port"):
		return "its port is not a number from 1 to 65535"
	case strings.Contains(text, "invalid userinfo"):
		return "its user or password holds a character that must be escaped"
	case strings.Contains(text, "in host name"):
		return "its host holds a character that no host has"
	}
	return "it is not a URL"
}
