package config

// Route is one entry of the routes file, defaults filled in: a path that leads to sources, to a publish subject, or to both.
type Route struct {
	Name    string
	Path    string // of http.ServeMux, without method and without HTTP.BasePath: /v1/prices/{symbol}
	Sources []Source
	Publish *Publish

	AuthRequired     bool              // auth.required, or the default of AUTH_MODE
	AuthRequiredSaid bool              // whether the route said it
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
	Resume           Resume
	CORS             CORS
	UnsafeFirstToken bool
	Line             int // in the routes file, 0 when it comes from elsewhere
}

// Source is one source of a route.
type Source struct {
	Name    string   // what $gap calls it; default: the route's name, or <route>.<n> from the second on
	Type    string   // core
	Subject string   // template; "" when Allow is set
	Allow   []string // patterns within which clients may name subjects
}

// Resume is what a quick reconnect gets.
type Resume struct {
	Enabled   bool     // ids are sent, Last-Event-ID is honoured
	MaxEvents int      // core: events kept per subject
	MaxAge    Duration // core: how long
}

// Publish makes a route an entrance.
type Publish struct {
	Subject  string // template
	MaxBytes Bytes
	Headers  []string // request header fields that become NATS headers
}
