package config

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Print writes what -print-config shows: every variable with the value that counts, in the form of an env file, secrets
// masked; then the routes with all defaults filled in, in the form of a routes file.
func Print(w io.Writer, c Config) error {
	var b strings.Builder
	printEnv(&b, &c)
	b.WriteString("\n--- # routes file\n")
	printRoutes(&b, &c)
	_, err := io.WriteString(w, b.String())
	return err
}

func printEnv(b *strings.Builder, c *Config) {
	defaults, group := DefaultConfig(), ""
	if c.Dev {
		defaults = devConfig(defaults)
		b.WriteString("# -dev\n")
	}
	for _, f := range fields() {
		if f.group != group {
			group = f.group
			b.WriteString("# " + group + "\n")
		}
		text := f.text(c)
		switch {
		case f.secret && secretFile(f.name, c) != "":
			text = "" // the file is what was given; both would be refused
		case f.secret && text != "":
			text = mask
		case f.name == "NATS_URL":
			text = maskURLs(text)
		case f.name == "AUTH_JWKS_URL":
			text = maskQuery(text)
		}
		if text == "" {
			b.WriteString("# ")
		}
		b.WriteString(f.name + "=" + text + "\n")
	}
}

// secretFile is the file that a secret came from, "" when it came from its own variable.
func secretFile(name string, c *Config) string {
	for _, f := range fields() {
		if f.name == name+"_FILE" {
			return f.text(c)
		}
	}
	return ""
}

// printRoutes leaves out the route of SUBJECTS_ALLOW, which printEnv shows.
func printRoutes(b *strings.Builder, c *Config) {
	b.WriteString("version: 1\n" + identityText(&c.Auth) + "routes:\n")
	for _, r := range c.Routes {
		if r.Line == 0 && r.Name == subjectsName && len(c.SubjectsAllow) > 0 {
			continue
		}
		printRoute(b, &r, c.routeDefaults().AuthRequired)
	}
}

// printRoute writes one route. byDefault says whether identity is required where nothing is said.
func printRoute(b *strings.Builder, r *Route, byDefault bool) {
	lead := "  - "
	line := func(key, value string) {
		b.WriteString(strings.TrimRight(lead+key+": "+value, " ") + "\n")
		lead = "    "
	}
	line("name", yamlText(r.Name))
	line("path", yamlText(r.Path))
	if len(r.Sources) > 0 {
		line("sources", "")
		for i, s := range r.Sources {
			if i > 0 && s.Name == defaultName(r.Name, i) {
				s.Name = "" // the file cannot say it
			}
			b.WriteString("      - " + sourceText(s) + "\n")
		}
	}
	if p := r.Publish; p != nil {
		line("publish", flow("subject", yamlText(p.Subject), "max_bytes", p.MaxBytes.String(), "headers", optionalList(p.Headers)))
	}
	if text := routeAuthText(r, byDefault); text != "{}" {
		line("auth", text)
	}
	if len(r.Params) > 0 {
		var params []string
		for _, name := range slices.Sorted(maps.Keys(r.Params)) {
			params = append(params, name, flow("pattern", yamlText(r.Params[name])))
		}
		line("params", flow(params...))
	}
	if r.Event != "" || r.EventSource != "" {
		line("event", flow("type", optional(r.Event), "source", optional(r.EventSource)))
	}
	line("data", r.Data)
	line("envelope", r.Envelope)
	line("headers", yamlList(r.Headers))
	line("heartbeat", durationText(r.Heartbeat))
	line("slow_consumer", r.SlowConsumer)
	line("on_overload", r.OnOverload)
	line("max_event_bytes", r.MaxEventBytes.String())
	line("limits", limitsText(r))
	line("resume", resumeText(r))
	if s := r.Snapshot; s.Mode == modeSince {
		line("snapshot", flow("mode", s.Mode, "since", durationText(s.Since)))
	} else if s.Mode != "" {
		line("snapshot", s.Mode)
	}
	if e := r.End; e.Field != "" {
		line("end", flow("when", flow("field", yamlText(e.Field), "in", "["+strings.Join(e.In, ", ")+"]")))
	}
	line("cors", flow("origins", yamlList(r.CORS.AllowedOrigins), "credentials", strconv.FormatBool(r.CORS.AllowCredentials)))
	if r.UnsafeFirstToken {
		line("unsafe_first_token", "true")
	}
}

func limitsText(r *Route) string {
	number := func(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
	perUser, publishes := positive(r.Limits.ConnectionsPerUser), ""
	if r.Publish != nil && r.Limits.PublishRate > 0 {
		publishes = number(r.Limits.PublishRate)
	}
	return flow("connections", strconv.Itoa(r.MaxStreams), "connections_per_user", perUser,
		"events_per_second", number(r.Limits.EventsPerSecond), "bytes_per_second", r.Limits.BytesPerSecond.String(), "publish_rate", publishes)
}

func sourceText(s Source) string {
	if s.Type == typeKV {
		return flow("name", optional(s.Name), "type", s.Type, "bucket", yamlText(s.Stream), "key", yamlText(s.Subject))
	}
	return flow("name", optional(s.Name), "type", s.Type, "stream", optional(s.Stream), "subject", optional(s.Subject), "allow", optionalList(s.Allow))
}

// resumeText shows the bounds that hold for all sources of the route, since the file cannot say others. What it leaves out is in the
// environment.
func resumeText(r *Route) string {
	events, age := r.Resume.MaxEvents, r.Resume.MaxAge
	if replay := r.Resume.Replay; r.has(typeStream) {
		if !r.has(typeCore) {
			events, age = replay.MaxEvents, replay.MaxAge
		}
		if events != replay.MaxEvents {
			events = 0
		}
		if age != replay.MaxAge {
			age = 0
		}
	}
	if r.has(typeCore) && r.Resume.MaxEvents == 0 || len(r.Sources) == 0 && events == 0 {
		age = 0 // nothing is kept that could have an age
	}
	text := ""
	if age > 0 {
		text = durationText(age)
	}
	return flow("enabled", strconv.FormatBool(r.Resume.Enabled), "max_events", positive(events), "max_age", text, "on_gap", r.Resume.OnGap)
}

// flow writes {key: value, …} of pairs, without those that have no value.
func flow(pairs ...string) string {
	var parts []string
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			parts = append(parts, pairs[i]+": "+pairs[i+1])
		}
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

func optional(s string) string {
	if s == "" {
		return ""
	}
	return yamlText(s)
}

func optionalList(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return yamlList(list)
}

func positive(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func yamlList(list []string) string {
	parts := make([]string, len(list))
	for i, s := range list {
		parts[i] = yamlText(s)
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// plain is text that YAML readers take for text, but for reserved: words, paths and literal subjects.
var (
	plain    = regexp.MustCompile(`^/?[a-z][a-z0-9_./-]*$`)
	reserved = []string{"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
)

// yamlText writes text plain where that is safe, else between double quotes; Go's escapes are a subset of YAML's.
func yamlText(s string) string {
	if plain.MatchString(s) && !slices.Contains(reserved, s) {
		return s
	}
	return strconv.Quote(s)
}

// Help writes the variables and their defaults as -help shows them, by component.
func Help(w io.Writer) error {
	var b strings.Builder
	defaults, group := DefaultConfig(), ""
	for _, f := range fields() {
		if f.group != group {
			group = f.group
			fmt.Fprintf(&b, "\n%s:\n", group)
		}
		fmt.Fprintf(&b, "  %s", f.name)
		if text := f.text(&defaults); text != "" {
			fmt.Fprintf(&b, "=%s", text)
		}
		fmt.Fprintf(&b, "\n        %s\n", f.help())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// help is the field's description with the values it takes.
func (f field) help() string {
	if len(f.oneOf) > 1 {
		return f.doc + " (" + orList(f.oneOf) + ")"
	}
	return f.doc
}
