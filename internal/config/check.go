package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"headgate/internal/sse"
	"headgate/internal/subject"
)

// reader reads a file; tests pass their own.
type reader = func(string) ([]byte, error)

// check holds the environment's values against each other and against the files they name, and settles what depends on others.
func check(c *Config, read reader, r *report) {
	checkAuth(c, r)
	checkListeners(c, read, r)
	checkProxies(c.HTTP.TrustedProxies, r)
	checkNATS(&c.NATS, read, r)
	checkJetStream(&c.JetStream, r)
	checkRevocation(c, r)
	checkControl(c, r)
	checkOrigins(c.CORS, func(_ int, p Problem) {
		p.Variable, p.Value = "CORS_ALLOWED_ORIGINS", strings.Join(c.CORS.AllowedOrigins, ",")
		r.fail(p)
	})
	if e := c.SSE.HeartbeatEvent; e != "" && !sse.ValidType(e) {
		r.fail(Problem{Variable: "SSE_HEARTBEAT_EVENT", Value: e, Message: "not an event type that headgate can send",
			Expected: eventTypeForm, Example: "SSE_HEARTBEAT_EVENT=ping"})
	}
	checkShutdown(c.Shutdown, r)
	checkLimits(c, r)
}

// checkShutdown wants a timeout that comes after all that it bounds.
func checkShutdown(s Shutdown, r *report) {
	longest, message := s.Drain, "SHUTDOWN_DRAIN="+durationText(s.Drain)+": streams would be cut before their turn"
	if s.Delay > longest {
		longest, message = s.Delay, "SHUTDOWN_DELAY="+durationText(s.Delay)+": the listener would be closed before load balancers have looked away"
	}
	if s.Timeout < longest {
		r.fail(Problem{Variable: "SHUTDOWN_TIMEOUT", Value: durationText(s.Timeout), Message: "shorter than " + message,
			Example: "SHUTDOWN_TIMEOUT=" + durationText(roomAfter(longest))})
	}
}

// roomAfter is a third more than d, in numbers that a person would write.
func roomAfter(d Duration) Duration {
	unit := Duration(1)
	for _, u := range []Duration{10 * time.Second, time.Second, 100 * time.Millisecond, time.Millisecond} {
		if d >= 4*u {
			unit = u
			break
		}
	}
	return (d + d/3 + unit - 1) / unit * unit
}

const eventTypeForm = "1 to 64 bytes without control characters; not open, not error, and no $ in front"

func checkAuth(c *Config, r *report) {
	if c.Auth.Mode == "" {
		r.fail(Problem{Variable: "AUTH_MODE", Message: "must be said: headgate does not guess who may read",
			Expected: "none (everybody who reaches headgate may use every route) or jwt (callers show signed tokens)", Example: "AUTH_MODE=none",
			Hint: "headgate -dev needs no AUTH_MODE"})
	}
	checkTokenSources(c, r)
}

// checkLimits settles -1: a limit per address is only fair when addresses are those of clients and not of one proxy.
func checkLimits(c *Config, r *report) {
	known := c.ClientAddressesKnown()
	if c.Limit.ConnectionsPerIP == -1 {
		c.Limit.ConnectionsPerIP = pick(known, defaultConnectionsPerIP, 0)
	}
	if c.Limit.ConnectRate == -1 {
		c.Limit.ConnectRate = pick[float64](known, defaultConnectRate, 0)
	}
	if c.Limit.ConnectRate < 0 {
		r.fail(Problem{Variable: "LIMIT_CONNECT_RATE", Value: strconv.FormatFloat(c.Limit.ConnectRate, 'g', -1, 64),
			Message: "too small", Expected: "a number, 0 or more; or -1", Example: "LIMIT_CONNECT_RATE=5"})
	}
}

func pick[T any](first bool, a, b T) T {
	if first {
		return a
	}
	return b
}

func checkListeners(c *Config, read reader, r *report) {
	if c.HTTP.Addr == c.Admin.Addr && !strings.HasSuffix(c.HTTP.Addr, ":0") {
		r.fail(Problem{Variable: "ADMIN_ADDR", Value: c.Admin.Addr, Message: "the same address as HTTP_ADDR",
			Expected: "an address of its own, which the ingress does not publish", Example: "ADMIN_ADDR=:9090"})
	}
	checkMoreAddrs(c, r)
	if c.Dev {
		checkLoopback("HTTP_ADDR", c.HTTP.Addr, r)
		checkLoopback("ADMIN_ADDR", c.Admin.Addr, r)
	}
	checkBasePath(&c.HTTP, r)
	checkPair("HTTP_TLS_CERT_FILE", c.HTTP.TLSCertFile, "HTTP_TLS_KEY_FILE", c.HTTP.TLSKeyFile, read, r)
}

// checkMoreAddrs wants each of them to be an address, and none to be there twice.
func checkMoreAddrs(c *Config, r *report) {
	const variable, example = "HTTP_MORE_ADDRS", "HTTP_MORE_ADDRS=:8081,:8082"
	taken := []string{c.HTTP.Addr, c.Admin.Addr}
	for _, addr := range c.HTTP.MoreAddrs {
		message, ok := checkAddr(addr)
		if ok && slices.Contains(taken, addr) && !strings.HasSuffix(addr, ":0") {
			message, ok = "an address that is there already", false
		}
		if !ok {
			r.fail(Problem{Variable: variable, Value: addr, Message: message,
				Expected: "host:port, or :port, each of them once, and neither HTTP_ADDR nor ADMIN_ADDR", Example: example})
			return
		}
		taken = append(taken, addr)
		if c.Dev {
			checkLoopback(variable, addr, r)
		}
	}
}

// checkLoopback keeps -dev to this machine: it has no identity, and a publish box.
func checkLoopback(variable, addr string, r *report) {
	_, port, err := net.SplitHostPort(addr)
	if err != nil || loopback(addr) || r.about(variable) {
		return
	}
	r.fail(Problem{Variable: variable, Value: addr, Message: "-dev lets everybody read and publish, and this address is open to more than this machine",
		Expected: "a port of 127.0.0.1, [::1] or localhost", Example: variable + "=" + net.JoinHostPort("127.0.0.1", port),
		Hint: "without -dev any address will do: then say AUTH_MODE, NATS_URL and the routes"})
}

// loopback says whether only this machine reaches the address, by one of the names that a -dev gateway answers to.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err == nil && (host == "localhost" || host == "127.0.0.1" || host == "::1")
}

func checkAddr(addr string) (string, bool) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "not an address", false
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Sprintf("port %q is not a number from 0 to 65535", port), false
	} else if strings.ContainsAny(host, "/ ") || strings.Contains(port, "+") {
		return "not an address", n > 65535
	}
	return "", true
}

// checkBasePath also drops the slash at the end, so that BasePath + path is a path; the root stays "/".
func checkBasePath(h *HTTP, r *report) {
	if h.BasePath == "/" {
		return
	}
	given := h.BasePath
	h.BasePath = strings.TrimSuffix(h.BasePath, "/")
	segments, problem := parsePath(h.BasePath)
	if problem == "" && slices.ContainsFunc(segments, segment.wild) {
		problem = "a placeholder cannot stand here"
	}
	if problem != "" {
		r.fail(Problem{Variable: "HTTP_BASE_PATH", Value: given, Message: problem, Expected: "/, or a path that begins with it",
			Example: "HTTP_BASE_PATH=/edge"})
	}
}

// checkPair wants both or none of a certificate and its key, and that they belong together.
func checkPair(certVar, certFile, keyVar, keyFile string, read reader, r *report) {
	cert, certOK := readable(certVar, certFile, read, r)
	key, keyOK := readable(keyVar, keyFile, read, r)
	if (certFile == "") != (keyFile == "") {
		given, missing := certVar, keyVar
		if certFile == "" {
			given, missing = keyVar, certVar
		}
		r.fail(Problem{Variable: missing, Message: "missing, while " + given + " is given",
			Example: missing + "=" + pick(missing == keyVar, "/tls/tls.key", "/tls/tls.crt")})
	}
	if !certOK || !keyOK {
		return
	}
	if _, err := tls.X509KeyPair(cert, key); err != nil {
		r.fail(Problem{Variable: certVar, Value: certFile, Message: "cannot be used with " + keyVar + "=" + quoteShort(keyFile) + ": " + err.Error(),
			Expected: "a PEM certificate chain, the server's own certificate first, and the PEM key that belongs to it"})
	}
}

// readable reads a file that a variable names; "" is no file.
func readable(variable, file string, read reader, r *report) ([]byte, bool) {
	if file == "" {
		return nil, false
	}
	data, err := read(file)
	if err != nil {
		r.fail(unreadable(variable, file, err))
		return nil, false
	}
	return data, true
}

func checkNATS(n *NATS, read reader, r *report) {
	checkServers(n, r)
	checkCredentials(n, read, r)
	checkPair("NATS_TLS_CERT_FILE", n.TLSCertFile, "NATS_TLS_KEY_FILE", n.TLSKeyFile, read, r)
	if pem, ok := readable("NATS_TLS_CA_FILE", n.TLSCAFile, read, r); ok && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		r.fail(Problem{Variable: "NATS_TLS_CA_FILE", Value: n.TLSCAFile, Message: "holds no certificate", Expected: "a file of PEM certificates"})
	}
	if err := subject.ValidLiteral(n.InboxPrefix); err != nil {
		r.fail(Problem{Variable: "NATS_INBOX_PREFIX", Value: n.InboxPrefix, Message: err.Error(),
			Expected: "a subject without wildcards", Example: "NATS_INBOX_PREFIX=_INBOX_headgate"})
	}
}

// checkJetStream wants one way to the API. It also drops the dot at the end of the prefix.
func checkJetStream(j *JetStream, r *report) {
	if j.Domain != "" && j.APIPrefix != "" {
		r.fail(Problem{Variable: "JETSTREAM_API_PREFIX", Value: j.APIPrefix, Message: "given together with JETSTREAM_DOMAIN",
			Expected: "one of them", Hint: "JETSTREAM_DOMAIN=" + j.Domain + " is the prefix $JS." + j.Domain + ".API"})
	}
	if j.Domain != "" {
		if err := subject.ValidToken(j.Domain); err != nil {
			r.fail(Problem{Variable: "JETSTREAM_DOMAIN", Value: j.Domain, Message: "the value " + err.Error(), Expected: "the name of a JetStream domain",
				Example: "JETSTREAM_DOMAIN=hub"})
		}
	}
	if j.APIPrefix != "" {
		given := j.APIPrefix
		j.APIPrefix = strings.TrimSuffix(given, ".")
		if err := subject.ValidLiteral(j.APIPrefix); err != nil {
			r.fail(Problem{Variable: "JETSTREAM_API_PREFIX", Value: given, Message: err.Error(), Expected: "a subject without wildcards",
				Example: "JETSTREAM_API_PREFIX=$JS.hub.API"})
		}
	}
}

// checkCredentials allows one way to say who headgate is.
func checkCredentials(n *NATS, read reader, r *report) {
	var kinds []string
	add := func(given bool, what string) {
		if given {
			kinds = append(kinds, what)
		}
	}
	add(n.CredsFile != "", "NATS_CREDS_FILE")
	add(n.NkeyFile != "", "NATS_NKEY_FILE")
	add(n.User != "", "NATS_USER")
	add(n.TokenFile != "", "NATS_TOKEN_FILE") // whose content stands in Token too
	add(n.Token != "" && n.TokenFile == "", "NATS_TOKEN")
	add(strings.Contains(n.URL, "@"), "a user in NATS_URL")
	if len(kinds) > 1 {
		r.fail(Problem{Variable: kinds[0], Message: "given together with " + orList(kinds[1:]), Expected: "one kind of credentials",
			Hint: "drop all but one"})
	}
	if n.User == "" && (n.Password != "" || n.PasswordFile != "") {
		r.fail(Problem{Variable: "NATS_PASSWORD", Message: "given without NATS_USER", Example: "NATS_USER=headgate"})
	}
	readable("NATS_CREDS_FILE", n.CredsFile, read, r)
	readable("NATS_NKEY_FILE", n.NkeyFile, read, r)
}
