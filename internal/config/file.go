package config

import (
	"reflect"
	"strings"
)

// routesFile is the routes file as it is written. The tags describe it once: for the decoder, for its hints, and for the
// reference in docs/configuration.md. later marks what parses and refuses the start until a later version does it.
type routesFile struct {
	Version  val[int]          `yaml:"version" doc:"version of this format" required:"true" example:"1"`
	Auth     val[identityYAML] `yaml:"auth" doc:"who callers are, with AUTH_MODE=jwt"`
	Defaults sharedYAML        `yaml:"defaults" doc:"what routes get that do not say it themselves"`
	Routes   []val[routeYAML]  `yaml:"routes" doc:"the routes" required:"true" example:"[{name: …, path: …, source: …}]"`
}

// sharedYAML are the fields that a route has and defaults may set.
type sharedYAML struct {
	Auth          authYAML      `yaml:"auth" doc:"who may use the route"`
	Data          val[string]   `yaml:"data" doc:"what a message's payload is: text, JSON that is checked, or bytes sent as base64" oneof:"text,json,base64" def:"text"`
	Envelope      val[string]   `yaml:"envelope" doc:"headgate = data is a JSON object of subject or key, source where there are several, time, id, headers and data; cloudevents = data is a CloudEvent (cloudevents.io, 1.0, JSON)" oneof:"none,headgate,cloudevents" def:"none; headgate where all sources are kv"`
	Headers       []val[string] `yaml:"headers" doc:"message headers that the envelope may show; cloudevents has them as attributes, without all but letters and digits" example:"[Content-Type]"`
	Heartbeat     val[Duration] `yaml:"heartbeat" doc:"longest silence on a stream" def:"SSE_HEARTBEAT" min:"1000000000" example:"15s"`
	SlowConsumer  val[string]   `yaml:"slow_consumer" doc:"what happens to a client that falls too far behind" oneof:"disconnect,drop_oldest" def:"SSE_SLOW_CONSUMER"`
	OnOverload    val[string]   `yaml:"on_overload" doc:"how clients are turned away: with a status, with a 200 that makes EventSource retry, or auto = retry for those that accept text/event-stream" oneof:"auto,status,retry" def:"auto"`
	MaxEventBytes val[Bytes]    `yaml:"max_event_bytes" doc:"larger messages become a $gap" def:"SSE_MAX_EVENT_BYTES" min:"1" example:"256KiB"`
	Limits        limitsYAML    `yaml:"limits" doc:"how much the route may be used"`
	Resume        resumeYAML    `yaml:"resume" doc:"what clients get that come back with a Last-Event-ID; off = nothing, and streams carry no ids"`
	CORS          corsYAML      `yaml:"cors" doc:"pages of other origins"`
}

// routeYAML is one route.
type routeYAML struct {
	Name       val[string]          `yaml:"name" doc:"name in logs, metrics and $ready: lower case letters, digits, - and _" required:"true" example:"prices"`
	Path       val[string]          `yaml:"path" doc:"path of the URL, with placeholders for whole segments" required:"true" example:"/v1/prices/{symbol}"`
	Source     val[sourceYAML]      `yaml:"source" doc:"where the events come from" example:"{type: core, subject: \"prices.{symbol}\"}"`
	Sources    []val[sourceYAML]    `yaml:"sources" doc:"the same for several sources on one stream"`
	Publish    val[publishYAML]     `yaml:"publish" doc:"POST on the path publishes"`
	Params     map[string]paramYAML `yaml:"params" doc:"what the placeholders of the path may be" example:"{symbol: {pattern: \"[A-Z]{1,6}\"}}"`
	Event      eventYAML            `yaml:"event" doc:"type of the events; without it a message's Sse-Event header says it, and of kv what happened to the key"`
	Snapshot   val[snapshotYAML]    `yaml:"snapshot" doc:"type stream: the state that comes before what happens now" example:"last_per_subject"`
	End        val[endYAML]         `yaml:"end" doc:"types stream and kv: the message behind which a stream ends for good" example:"{when: {field: status, in: [done, failed]}}"`
	sharedYAML `yaml:",inline"`

	UnsafeFirstToken val[bool] `yaml:"unsafe_first_token" doc:"let the first token of a subject be a placeholder or a wildcard: clients may then reach every subject" def:"false"`
}

type sourceYAML struct {
	Name    val[string]   `yaml:"name" doc:"what $gap calls it" def:"the route's name, then <route>.2, …"`
	Type    val[string]   `yaml:"type" doc:"core = live messages of NATS; stream = messages of a JetStream stream, none of them missed; kv = values of a Key-Value bucket and their changes" required:"true" oneof:"core,stream,kv" example:"core"`
	Stream  val[string]   `yaml:"stream" doc:"type stream: its name" example:"ORDERS"`
	Subject val[string]   `yaml:"subject" doc:"types core and stream: subject or pattern; {placeholders} of the path stand for whole tokens" example:"prices.{symbol}"`
	Allow   []val[string] `yaml:"allow" doc:"instead of subject: clients name subjects inside these patterns, ?subject=feed.eu.>" example:"[\"feed.>\"]"`
	Bucket  val[string]   `yaml:"bucket" doc:"type kv: its name" example:"FLAGS"`
	Key     val[string]   `yaml:"key" doc:"type kv: key or pattern; {placeholders} of the path stand for whole tokens" def:"all keys" example:"\"{env}.>\""`
}

type publishYAML struct {
	Subject  val[string]   `yaml:"subject" doc:"subject without wildcards; {placeholders} of the path stand for whole tokens" required:"true" example:"\"users.{user}.notify.web\""`
	MaxBytes val[Bytes]    `yaml:"max_bytes" doc:"largest body" def:"LIMIT_PUBLISH_BYTES" min:"1" example:"64KiB"`
	Headers  []val[string] `yaml:"headers" doc:"request header fields that become message headers" example:"[Content-Type]"`
}

type authYAML struct {
	Required val[bool]                   `yaml:"required" doc:"whether clients must say who they are; a route that publishes says false while there are no identities" def:"AUTH_MODE is not none"`
	Require  map[string]val[requireYAML] `yaml:"require" doc:"what their claims must say: all of it; a claim inside another is named with dots" example:"{tenant: \"{tenant}\", scope: {contains: \"orders:read\"}}"`
}

// requireYAML is what a route requires of one claim.
type requireYAML struct {
	Equals   val[string]   `yaml:"equals" doc:"the claim is this; written as claim: value too. One {placeholder} of the path may stand in it" example:"\"{tenant}\""`
	Contains val[string]   `yaml:"contains" doc:"the claim is a list with this element, or a text with this word" example:"\"orders:read\""`
	In       []val[string] `yaml:"in" doc:"the claim is one of these" example:"[admin, auditor]"`
}

// scalar reads tenant: "{tenant}", which is equals.
func (y *requireYAML) scalar(_ *decoder, text string, at pos) bool {
	y.Equals = val[string]{v: text, at: at}
	return true
}

// identityYAML is who callers are.
type identityYAML struct {
	Issuers          []val[issuerYAML] `yaml:"issuers" doc:"whose tokens are accepted" def:"the one of AUTH_ISSUER" example:"[{issuer: \"https://issuer.example\", audience: [headgate], jwks_url: \"https://issuer.example/jwks.json\"}]"`
	PermissionsClaim val[string]       `yaml:"permissions_claim" doc:"claim with the subjects a caller may use, shaped as in the JWT of a NATS user" def:"AUTH_PERMISSIONS_CLAIM" example:"nats"`
	Anonymous        grantsYAML        `yaml:"anonymous" doc:"the same for callers without a token, on routes with auth.required: false" example:"{sub: {allow: [\"feed.>\"]}}"`
}

type issuerYAML struct {
	Issuer     val[string]   `yaml:"issuer" doc:"the iss claim, exactly" required:"true" example:"https://issuer.example"`
	Audience   []val[string] `yaml:"audience" doc:"what the aud claim must hold, one of these" required:"true" example:"[headgate]"`
	JWKSURL    val[string]   `yaml:"jwks_url" doc:"where it publishes its keys: https, or http on this machine" example:"https://issuer.example/.well-known/jwks.json"`
	KeyFile    val[string]   `yaml:"key_file" doc:"instead: public keys, PEM, a JWK or a JWK set; read again when it changes" example:"/keys/issuer.pem"`
	SecretFile val[string]   `yaml:"secret_file" doc:"instead: a secret shared with it, for HS algorithms; read again when it changes" example:"/keys/secret.txt"`
	Algorithms []val[string] `yaml:"algorithms" doc:"accepted algorithms" def:"all with public keys, or with a secret HS256" example:"[RS256, ES256]"`
	Type       val[string]   `yaml:"typ" doc:"the typ header that tokens must have" def:"any" example:"at+jwt"`
}

type grantsYAML struct {
	Sub sideYAML `yaml:"sub" doc:"what they may read" example:"{allow: [\"feed.>\"]}"`
	Pub sideYAML `yaml:"pub" doc:"what they may publish" example:"{allow: [\"chat.*\"]}"`
}

type sideYAML struct {
	Allow []val[string] `yaml:"allow" doc:"subjects and patterns" example:"[\"feed.>\"]"`
	Deny  []val[string] `yaml:"deny" doc:"stronger than allow: what intersects it is refused" example:"[\"feed.internal.>\"]"`
}

type paramYAML struct {
	Pattern val[string] `yaml:"pattern" doc:"regular expression (RE2) for the whole value" required:"true" example:"\"[A-Z]{1,6}\""`
}

type eventYAML struct {
	Type   val[string] `yaml:"type" doc:"a fixed type, or {subject[n]} = token n of the message's subject, or key, from 0" example:"price"`
	Source val[string] `yaml:"source" doc:"with envelope: cloudevents, the source attribute of the events that headgate makes" def:"urn:headgate:route:<name>" example:"https://shop.example/orders"`
}

type limitsYAML struct {
	Connections        val[int]     `yaml:"connections" doc:"open streams on the route, in this process; 0 = no limit" min:"0" def:"0"`
	ConnectionsPerUser val[int]     `yaml:"connections_per_user" doc:"open streams on the route per user, in this process, besides LIMIT_CONNECTIONS_PER_USER; 0 = no limit" min:"0" def:"0" example:"3"`
	EventsPerSecond    val[float64] `yaml:"events_per_second" doc:"events a second that one stream is sent; those of one second may come at once; 0 = no limit" min:"0" def:"LIMIT_EVENTS_PER_SECOND" example:"200"`
	BytesPerSecond     val[Bytes]   `yaml:"bytes_per_second" doc:"the same in bytes; 0 = no limit" def:"LIMIT_BYTES_PER_SECOND" example:"100KiB"`
	PublishRate        val[float64] `yaml:"publish_rate" doc:"publishes a second on the route, of all callers together, in this process; those of one second may come at once; 0 = no limit" min:"0" def:"0" example:"50"`
}

type resumeYAML struct {
	Enabled   val[bool]     `yaml:"enabled" doc:"false is the same as resume: off" def:"true"`
	MaxEvents val[int]      `yaml:"max_events" doc:"core: events kept per subject; stream: of what was missed, the newest so many events" def:"SSE_RESUME_EVENTS, of a stream JETSTREAM_REPLAY_EVENTS" min:"1" max:"1000000" example:"64"`
	MaxAge    val[Duration] `yaml:"max_age" doc:"core: how long they are kept; stream: nothing older" def:"SSE_RESUME_AGE, of a stream JETSTREAM_REPLAY_AGE" min:"1" example:"1m"`
	OnGap     val[string]   `yaml:"on_gap" doc:"what follows a hole: the events behind it, or the state that snapshot says" oneof:"event,snapshot" def:"event"`
}

// scalar reads resume: off, and its counterpart on.
func (y *resumeYAML) scalar(_ *decoder, text string, at pos) bool {
	switch text {
	case "off", "false":
		y.Enabled = val[bool]{v: false, at: at}
	case "on", "true":
		y.Enabled = val[bool]{v: true, at: at}
	default:
		return false
	}
	return true
}

type corsYAML struct {
	Origins     []val[string] `yaml:"origins" doc:"origins of the pages that may read, or [\"*\"] for all" def:"CORS_ALLOWED_ORIGINS" example:"[\"https://app.example\"]"`
	Credentials val[bool]     `yaml:"credentials" doc:"let those pages send cookies; not with *" def:"CORS_ALLOW_CREDENTIALS"`
}

type snapshotYAML struct {
	Mode  val[string]   `yaml:"mode" doc:"which messages: the last of each subject, the last one, all, or those of the last while" required:"true" oneof:"last_per_subject,last,all,since" example:"last_per_subject"`
	Since val[Duration] `yaml:"since" doc:"mode since: how far back" min:"1" example:"1h"`
}

// scalar reads snapshot: last, the mode alone.
func (y *snapshotYAML) scalar(d *decoder, text string, at pos) bool {
	y.Mode = val[string]{v: text, at: at}
	d.checkMember(members(reflect.TypeFor[snapshotYAML]())[0], reflect.ValueOf(&y.Mode).Elem(), "snapshot")
	return true
}

type endYAML struct {
	When val[endWhenYAML] `yaml:"when" doc:"what the message says" required:"true" example:"{field: status, in: [done, failed]}"`
}

type endWhenYAML struct {
	Field val[string]    `yaml:"field" doc:"field of the payload, which is JSON; dots lead into objects" required:"true" example:"status"`
	In    []val[literal] `yaml:"in" doc:"its values: text, numbers, true, false, null" required:"true" example:"[done, failed]"`
}

// fieldAliases are names that people write for ours, in the mapping where ours stands.
var fieldAliases = map[string]string{
	"subject": "source: {type: core, subject: …}", "subjects": "sources: [{type: core, subject: …}, …]", "url": "path",
	"event_type": "event: {type: …}", "slow_consumer_policy": "slow_consumer", "origin": "origins: […]",
	"allowed_origins": "origins: […]", "allow_credentials": "credentials", "max_connections": "connections",
	"connections_per_client": "connections_per_user", "max_events_per_second": "events_per_second", "publishes_per_second": "publish_rate", "kind": "type",
	"allow_subjects": "allow: […]", "route": "routes", "stream_name": "stream", "keys": "key", "replay": "resume: {…}",
	"initial": "snapshot", "until": "end: {when: {field: …, in: […]}}",
}

// member is one field of a mapping, as its tags describe it.
type member struct {
	name        string
	doc         string
	example     string
	def         string // the default, in words or as a variable
	later       string // what it is for, when this version does not do it
	oneOf       []string
	laterValues []string
	min, max    string
	required    bool
	hidden      bool
	index       []int
	typ         reflect.Type
}

// members lists the fields of a struct of this file, those of embedded structs in their place.
func members(t reflect.Type) []member {
	var list []member
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			for _, m := range members(f.Type) {
				m.index = append([]int{i}, m.index...)
				list = append(list, m)
			}
			continue
		}
		m := member{name: f.Tag.Get("yaml"), doc: f.Tag.Get("doc"), example: f.Tag.Get("example"), def: f.Tag.Get("def"),
			oneOf: splitList(f.Tag.Get("oneof")), min: f.Tag.Get("min"), max: f.Tag.Get("max"),
			required: f.Tag.Get("required") == "true", hidden: f.Tag.Get("hidden") == "true", index: []int{i}, typ: f.Type}
		if later := f.Tag.Get("later"); len(m.oneOf) > 0 {
			m.laterValues = splitList(later)
		} else {
			m.later = later
		}
		list = append(list, m)
	}
	return list
}

// inner is the type of the value itself: without val, and of the entries of a list or mapping.
func (m member) inner() reflect.Type { return innerType(m.typ) }

func innerType(t reflect.Type) reflect.Type {
	switch {
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return innerType(t.Elem())
	case t.Kind() == reflect.Struct && t.Implements(reflect.TypeFor[interface{ isVal() }]()):
		return innerType(t.Field(0).Type)
	}
	return t
}

func (v val[T]) isVal() {}

// shapeOf is what a mapping looks like, in one line.
func shapeOf(list []member) string {
	names := shownNames(list)
	for i := range names {
		names[i] += ": …"
	}
	return "{" + strings.Join(names, ", ") + "}"
}
