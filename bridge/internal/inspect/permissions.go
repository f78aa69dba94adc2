package inspect

import (
	"slices"
	"strconv"
	"strings"

	"headgate/bridge/internal/jsapi"
	"headgate/internal/config"
	"headgate/internal/subject"
)

// Permissions are all that the NATS user of headgate needs for its routes. Each is used: without direct gets reads are slow, without any other
// one something does not work.
type Permissions struct {
	Publish   []string
	Subscribe []string
}

// apiRequests are the requests that each stream takes, with what follows its name. The names of consumers are random, so they cannot be
// pinned, and neither can filters: a scan for several clients has none in its subject.
var apiRequests = []struct{ request, rest string }{
	{"STREAM.INFO", ""},
	{"STREAM.MSG.GET", ""},
	{"DIRECT.GET", ""}, // while allow_direct is on, which can be switched at any time
	{"CONSUMER.CREATE", ".>"},
	{"CONSUMER.MSG.NEXT", ".*"},
	{"CONSUMER.DELETE", ".*"},
}

// permitted is the API as permissions name it. A server maps the API of its own domain to the plain one before it looks at them.
func permitted(api jsapi.API, domain string) jsapi.API {
	if domain != "" && api == jsapi.New(domain, "") {
		return jsapi.New("", "")
	}
	return api
}

// permissions are those for the routes of a configuration. stores: publishes ask whether a stream stores them, and wait for its word.
func permissions(cfg Config, api jsapi.API, uses []usage, stores bool) Permissions {
	var p Permissions
	var streams []string
	for _, u := range uses {
		if u.stream == "" {
			p.Subscribe = append(p.Subscribe, u.patterns...)
		} else if !slices.Contains(streams, u.stream) {
			streams = append(streams, u.stream)
		}
	}
	for _, stream := range streams {
		for _, r := range apiRequests {
			p.Publish = append(p.Publish, api.Subject(r.request, stream)+r.rest)
		}
	}
	asks := stores && slices.ContainsFunc(cfg.Routes, func(r config.Route) bool { return r.Publish != nil })
	if asks {
		p.Publish = append(p.Publish, api.Subject("STREAM.NAMES"))
	}
	if asks || len(streams) > 0 || cfg.Bucket != "" {
		p.Subscribe = append(p.Subscribe, inboxPrefix(cfg)+".>")
	}
	p.operators(cfg, api)
	for _, r := range cfg.Routes {
		if r.Publish == nil {
			continue
		}
		if t, err := subject.ParseTemplate(r.Publish.Subject); err == nil {
			p.Publish = append(p.Publish, t.Pattern())
		}
	}
	p.Publish, p.Subscribe = subject.Normalize(p.Publish), subject.Normalize(p.Subscribe)
	return p
}

// inboxPrefix is that of the subjects that answers come to.
func inboxPrefix(cfg Config) string {
	if cfg.NATS.InboxPrefix == "" {
		return "_INBOX"
	}
	return strings.TrimSuffix(cfg.NATS.InboxPrefix, ".")
}

// String is the permissions in the two forms in which operators write them.
func (p Permissions) String() string {
	return "The NATS user of headgate needs these permissions for these routes, and no others.\n\nIn the configuration of nats-server, for the user:\n\n" +
		p.Block() + "\nWith nsc, where the user is called headgate:\n\n" + p.NSC()
}

// Block is the permissions block of a user in nats-server's configuration.
func (p Permissions) Block() string {
	return "permissions {\n" + block("publish", p.Publish) + block("subscribe", p.Subscribe) + "}\n"
}

// block is one side. Without a list the server would allow everything.
func block(name string, list []string) string {
	if len(list) == 0 {
		return "  " + name + " { deny: \">\" }\n"
	}
	var b strings.Builder
	b.WriteString("  " + name + " {\n    allow: [\n")
	for _, s := range list {
		b.WriteString("      " + strconv.Quote(s) + "\n")
	}
	b.WriteString("    ]\n  }\n")
	return b.String()
}

// NSC is the command that gives a user of a JWT account these permissions.
func (p Permissions) NSC() string {
	return "nsc edit user --name headgate" + nscFlags("pub", p.Publish) + nscFlags("sub", p.Subscribe) + "\n"
}

func nscFlags(side string, list []string) string {
	if len(list) == 0 {
		return " \\\n  --deny-" + side + " '>'"
	}
	var b strings.Builder
	for _, s := range list {
		b.WriteString(" \\\n  --allow-" + side + " " + shellQuote(s))
	}
	return b.String()
}

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
