package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"headgate/internal/cursor"
	"headgate/internal/subject"
)

// checkSources checks the sources and gives the patterns of their subjects and keys, for the rules about tokens.
func (b *builder) checkSources(route *Route, y *routeYAML, segments []segment, used map[string]bool) (patterns []string) {
	list := y.list()
	allow := 0
	for i := range list {
		s := &list[i].v
		if s.Name.said() && !routeName.MatchString(s.Name.v) {
			b.d.fail(s.Name.at, Problem{Message: "name: " + quoteShort(s.Name.v) + " cannot be a source's name", Expected: routeNameForm, Hint: nameHint(s.Name.v)})
		}
		for _, o := range route.Sources[:i] {
			if o.Name == route.Sources[i].Name {
				b.d.fail(list[i].at, Problem{Message: "two sources of the route are called " + o.Name, Hint: "give one of them another name"})
			}
		}
		b.checkForeign(s)
		switch s.Type.v {
		case typeCore, "": // without a type, which has been reported, as what most are
			patterns = append(patterns, b.checkSubjects(&list[i], route, segments, used)...)
		case typeStream:
			b.checkStream(&list[i])
			patterns = append(patterns, b.checkSubjects(&list[i], route, segments, used)...)
		case typeKV:
			patterns = append(patterns, b.checkKV(&list[i], route, segments, used)...)
		default: // reported; but its placeholders are used
			for _, x := range []val[string]{s.Subject, s.Key} {
				if t, err := subject.ParseTemplate(x.v); err == nil {
					for _, name := range t.Placeholders() {
						used[name] = true
					}
				}
			}
		}
		if len(s.Allow) > 0 && s.Type.v != typeKV {
			allow++
		}
	}
	if allow > 1 {
		b.d.fail(list[len(list)-1].at, Problem{Message: "several sources with allow: clients could not say which one they mean", Hint: "put all patterns into one allow"})
	}
	b.checkEntries(route, list)
	return patterns
}

// checkForeign refuses the fields that belong to another type.
func (b *builder) checkForeign(s *sourceYAML) {
	allow := val[string]{}
	if len(s.Allow) > 0 {
		allow.at = s.Allow[0].at
	}
	for _, x := range []struct {
		name  string
		at    pos
		types []string
	}{
		{"stream", s.Stream.at, []string{typeStream}}, {"bucket", s.Bucket.at, []string{typeKV}}, {"key", s.Key.at, []string{typeKV}},
		{"subject", s.Subject.at, []string{typeCore, typeStream}}, {"allow", allow.at, []string{typeCore, typeStream}},
	} {
		t := s.Type.v
		if x.at.line == 0 || t != typeCore && t != typeStream && t != typeKV || slices.Contains(x.types, t) {
			continue
		}
		hint := "it belongs to type: " + orList(x.types)
		switch {
		case t == typeKV && x.name == "stream":
			hint = "write bucket: …, the name of the bucket"
		case t == typeKV:
			hint = "write key: …, a key or a pattern of keys"
		}
		b.d.fail(x.at, Problem{Message: x.name + " does not belong to type: " + t, Hint: hint})
	}
}

// checkSubjects checks what a source of type core or stream follows: one of subject and allow.
func (b *builder) checkSubjects(source *val[sourceYAML], route *Route, segments []segment, used map[string]bool) (patterns []string) {
	s := &source.v
	named := ""
	if s.Type.v == typeStream {
		named = "stream: ORDERS, "
	}
	switch {
	case s.Subject.said() && len(s.Allow) > 0:
		b.d.fail(source.at, Problem{Message: "subject and allow in one source", Hint: "subject: the route names the subject; allow: clients name it"})
	case !s.Subject.said() && !s.Subject.bad && len(s.Allow) == 0 && s.Type.said():
		b.d.fail(source.at, Problem{Message: "the source has neither subject nor allow",
			Example: fmt.Sprintf(`{type: %s, %ssubject: "prices.{symbol}"} or {type: %[1]s, %[2]sallow: ["feed.>"]}`, s.Type.v, named)})
	}
	if s.Subject.said() {
		if t, ok := b.template(s.Subject, "subject", route, segments, used); ok {
			patterns = append(patterns, t.Pattern())
		}
	}
	for _, a := range s.Allow {
		if !a.said() {
			continue
		}
		if strings.ContainsAny(a.v, "{}") {
			b.d.fail(a.at, Problem{Message: notYet("a placeholder in allow")})
		} else if message := patternProblem(a.v, route.UnsafeFirstToken); message != "" {
			b.d.fail(a.at, Problem{Message: "allow: " + message, Hint: firstTokenHint(message)})
		} else {
			patterns = append(patterns, a.v)
		}
	}
	return patterns
}

func firstTokenHint(message string) string {
	if strings.Contains(message, "first token") {
		return "write the first token out, or say unsafe_first_token: true for the route"
	}
	return ""
}

const (
	streamNameForm = "1 to 255 bytes without white space, control characters, . * > / and \\"
	bucketNameForm = "1 to 252 letters, digits, - and _"
	maxStreamName  = 255 // JSMaxNameLen of nats-server
	bucketPrefix   = "KV_"
)

// checkStream wants the name of a stream, since it becomes a token of subjects (ADR-6 of nats-architecture-and-design).
func (b *builder) checkStream(source *val[sourceYAML]) {
	name := &source.v.Stream
	switch {
	case !name.said():
		if !name.bad {
			b.d.fail(source.at, Problem{Message: "the source does not say which stream", Example: `{type: stream, stream: ORDERS, subject: "orders.>"}`})
		}
	case !streamName(name.v):
		b.d.fail(name.at, Problem{Message: "stream: " + quoteShort(name.v) + " cannot be a stream's name", Expected: streamNameForm,
			Hint: "the name of the stream, not of one of its subjects: nats stream ls lists them"})
	case strings.HasPrefix(name.v, bucketPrefix):
		b.d.fail(name.at, Problem{Message: "stream: " + name.v + " is the stream of a Key-Value bucket",
			Hint: "write {type: kv, bucket: " + strings.TrimPrefix(name.v, bucketPrefix) + "}"})
	}
}

func streamName(name string) bool {
	return name != "" && len(name) <= maxStreamName && !strings.ContainsFunc(name, func(c rune) bool {
		return unicode.IsSpace(c) || unicode.IsControl(c) || c == unicode.ReplacementChar || strings.ContainsRune(`.*>/\`, c)
	})
}

// bucketName is that of ADR-8 of nats-architecture-and-design; with KV_ before it, it is the name of a stream.
var bucketName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,252}$`)

// checkKV checks a source of type kv. The bucket itself is the border, so that the first token of a key may be a placeholder.
func (b *builder) checkKV(source *val[sourceYAML], route *Route, segments []segment, used map[string]bool) (patterns []string) {
	s := &source.v
	if !s.Bucket.said() && !s.Bucket.bad {
		b.d.fail(source.at, Problem{Message: "the source does not say which bucket", Example: `{type: kv, bucket: FLAGS, key: "{env}.>"}`})
	}
	if s.Bucket.said() && !bucketName.MatchString(s.Bucket.v) {
		p := Problem{Message: "bucket: " + quoteShort(s.Bucket.v) + " cannot be a bucket's name", Expected: bucketNameForm}
		b.d.fail(s.Bucket.at, p)
	}
	if s.Bucket.v != "" && s.Bucket.v == b.c.Auth.RevocationBucket {
		b.d.fail(s.Bucket.at, Problem{Message: "bucket: " + s.Bucket.v + " holds the revocations (AUTH_REVOCATION_BUCKET), which are not for clients",
			Hint: "keep what clients read in another bucket"})
	}
	if !s.Key.said() {
		return []string{">"}
	}
	t, err := subject.ParseKey(s.Key.v)
	if err != nil {
		p := Problem{Message: "key: " + err.Error()}
		if strings.HasPrefix(s.Key.v, "$KV.") {
			p.Hint = "only what stands behind the name of the bucket: a key, not a subject"
		}
		b.d.fail(s.Key.at, p)
		return nil
	}
	if !b.placeholders(t, s.Key.at, "key", route, segments, used) {
		return nil
	}
	return []string{t.Pattern()}
}

// checkEntries wants every stream once, and no more of them than a position can hold.
func (b *builder) checkEntries(route *Route, list []val[sourceYAML]) {
	core, entries := 0, 0
	seen := map[string]int{}
	for i, s := range route.Sources {
		name := s.Stream
		switch {
		case s.Type == typeCore && len(s.Allow) > 0:
			core += b.c.Limit.SubjectsPerStream
		case s.Type == typeCore:
			core++
		case name != "":
			if s.Type == typeKV {
				name = bucketPrefix + name
			}
			if first, twice := seen[name]; twice {
				b.d.fail(list[i].at, Problem{Message: fmt.Sprintf("%s and %s are sources of the same %s, %s", route.Sources[first].Name, s.Name,
					pick(s.Type == typeKV, "bucket", "stream"), s.Stream), Hint: "one source with a wildcard, or two routes"})
				continue
			}
			seen[name] = i
			entries++
		}
	}
	if entries == 0 {
		return
	}
	if entries += min(core, b.c.NATS.DataConnections); entries > cursor.MaxEntries {
		b.d.fail(list[len(list)-1].at, Problem{Message: fmt.Sprintf("the ids of the route would have %d parts, and %d are possible", entries, cursor.MaxEntries),
			Expected: fmt.Sprintf("one part for each stream and bucket, and for core subjects up to NATS_DATA_CONNECTIONS=%d", b.c.NATS.DataConnections),
			Hint:     "make two routes of it"})
	}
}
