package config

import "slices"

// Route is one entry of the routes file, defaults filled in: a path that leads to sources, to a publish subject, or to both.
type Route struct {
	Name    string
	Path    string // of http.ServeMux, without method and without HTTP.BasePath: /v1/prices/{symbol}
	Sources []Source
	Publish *Publish

	AuthRequired     bool              // auth.required, or the default of AUTH_MODE
	AuthRequiredSaid bool              // whether the route said it
	AuthRequire      []Require         // auth.require, by claim; only where identity is required
	Params           map[string]string // path parameter -> regular expression for the whole value, not anchored, as the operator wrote it
	Event            string            // fixed event type, "{subject[n]}", or ""
	Data             string            // text, json, base64
	Envelope         string            // none, headgate
	Headers          []string          // message headers an envelope may show
	Heartbeat        Duration
	SlowConsumer     string // disconnect, drop_oldest
	OnOverload       string // auto, status, retry
	MaxEventBytes    Bytes
	MaxStreams       int // limits.connections; 0 = no limit of its own
	Limits           RouteLimits
	Resume           Resume
	Snapshot         Snapshot
	End              End
	CORS             CORS
	UnsafeFirstToken bool
	Line             int // in the routes file, 0 when it comes from elsewhere
}

// RouteLimits is how much of the route may be used, besides how many streams. 0 = no limit.
type RouteLimits struct {
	ConnectionsPerUser int
	EventsPerSecond    float64 // to one stream
	BytesPerSecond     Bytes   // to one stream
	PublishRate        float64 // by all together
}

// Source is one source of a route.
type Source struct {
	Name    string   // what $gap calls it; default: the route's name, or <route>.<n> from the second on
	Type    string   // core, stream, kv
	Stream  string   // stream: its name; kv: the name of the bucket
	Subject string   // template, kv: of keys; "" when Allow is set
	Allow   []string // patterns within which clients may name subjects; never of kv
}

// The types of sources.
const (
	typeCore   = "core"
	typeStream = "stream"
	typeKV     = "kv"
)

// Resume is what clients get that come back.
type Resume struct {
	Enabled   bool     // ids are sent, Last-Event-ID is honoured
	MaxEvents int      // core: events kept per subject
	MaxAge    Duration // core: how long
	Replay    Replay   // stream; zero on routes without one
	OnGap     string   // event, or snapshot: a hole is followed by a fresh state
}

// Replay bounds what a client of a stream gets of what it missed: the newest. 0 = no bound.
type Replay struct {
	MaxEvents int
	MaxBytes  Bytes
	MaxAge    Duration
}

// The values of resume.on_gap.
const (
	onGapEvent    = "event"
	onGapSnapshot = "snapshot"
)

// Snapshot is the state with which the streams of a stream source begin.
type Snapshot struct {
	Mode  string   // last_per_subject, last, all, since; "" = none
	Since Duration // mode since: how far back
}

// modeSince is the mode that has a duration.
const modeSince = "since"

// End is the message that ends a stream.
type End struct {
	Field string   // dotted path into the JSON payload; "" = no message does
	In    []string // the values, as JSON
}

// has says whether a source of the route has one of the types.
func (r *Route) has(types ...string) bool {
	return slices.ContainsFunc(r.Sources, func(s Source) bool { return slices.Contains(types, s.Type) })
}

// Publish makes a route an entrance.
type Publish struct {
	Subject  string // template
	MaxBytes Bytes
	Headers  []string // request header fields that become NATS headers
}
