// Package config is everything an operator can set: the environment, the routes file, the flags, and the errors that tell what
// is wrong with them. It is the only package that sees env and YAML; the others take the structs below.
package config

import (
	"net/netip"
	"time"
)

// Config is one process's configuration. DefaultConfig holds every default; an env variable that is absent or empty leaves it.
type Config struct {
	HTTP     HTTP     `envPrefix:"HTTP_"`
	Admin    Admin    `envPrefix:"ADMIN_"`
	NATS     NATS     `envPrefix:"NATS_"`
	SSE      SSE      `envPrefix:"SSE_"`
	Auth     Auth     `envPrefix:"AUTH_"`
	CORS     CORS     `envPrefix:"CORS_"`
	Limit    Limit    `envPrefix:"LIMIT_"`
	Shutdown Shutdown `envPrefix:"SHUTDOWN_"`
	Log      Log      `envPrefix:"LOG_"`

	RoutesFile     string   `env:"ROUTES_FILE"`          // path of the routes file; none by default
	SubjectsAllow  []string `env:"SUBJECTS_ALLOW"`       // subjects that clients may name on /events, without a routes file
	Console        bool     `env:"CONSOLE"`              // serve the console page at /console/, without its publish box
	ReadyNATSGrace Duration `env:"READINESS_NATS_GRACE"` // how long /readyz stays ok while NATS is away after having been there; 0 = for ever

	// Routes come from the routes file, or from SubjectsAllow, or from -dev.
	Routes []Route
	// Dev is the -dev flag: embedded NATS, demo routes, loopback only.
	Dev bool
}

// Duration is a time.Duration in the form Go writes it: 15s, 1m30s, 500ms.
type Duration = time.Duration

// Bytes is a size: 65536, 64KiB, 1MiB, 1.5GiB, or with KB, MB, GB for powers of ten.
type Bytes int64

// HTTP is the public listener.
type HTTP struct {
	Addr           string   `env:"ADDR"`             // public listener
	H2C            bool     `env:"H2C"`              // HTTP/2 without TLS, by prior knowledge
	HTTP2          bool     `env:"HTTP2"`            // HTTP/2 over TLS
	TLSCertFile    string   `env:"TLS_CERT_FILE"`    // certificate chain, PEM; read again when it changes
	TLSKeyFile     string   `env:"TLS_KEY_FILE"`     // its key, PEM
	TrustedProxies []string `env:"TRUSTED_PROXIES"`  // CIDRs, addresses, or "private": peers whose X-Forwarded-For is believed
	BasePath       string   `env:"BASE_PATH"`        // prefix of every route's path
	MaxHeaderBytes Bytes    `env:"MAX_HEADER_BYTES"` // request line and header fields of one request
	HeaderTimeout  Duration `env:"HEADER_TIMEOUT"`   // a request's head must have arrived by then
	IdleTimeout    Duration `env:"IDLE_TIMEOUT"`     // kept-alive connections between requests
}

// Admin is the listener for probes and metrics. Nothing of it is ever on the public one.
type Admin struct {
	Addr  string `env:"ADDR"`  // admin listener: /livez, /readyz, /metrics
	Pprof bool   `env:"PPROF"` // serve /debug/pprof there
}

// NATS is how to reach NATS. At most one of creds, nkey, user and token.
type NATS struct {
	URL             string   `env:"URL"`                    // comma list of servers
	Name            string   `env:"NAME"`                   // connection name; the host name by default
	CredsFile       string   `env:"CREDS_FILE"`             // user JWT and seed; read again at each connect
	NkeyFile        string   `env:"NKEY_FILE"`              // nkey seed
	User            string   `env:"USER"`                   // user name
	Password        string   `env:"PASSWORD" secret:"true"` // its password
	Token           string   `env:"TOKEN" secret:"true"`    // token
	TLSCAFile       string   `env:"TLS_CA_FILE"`            // certificate authorities, PEM
	TLSCertFile     string   `env:"TLS_CERT_FILE"`          // client certificate, PEM
	TLSKeyFile      string   `env:"TLS_KEY_FILE"`           // its key, PEM
	TLSFirst        bool     `env:"TLS_FIRST"`              // TLS handshake before the server's INFO
	DataConnections int      `env:"DATA_CONNECTIONS"`       // connections that core subjects are spread over
	ReconnectWait   Duration `env:"RECONNECT_WAIT"`         // between attempts
	ReconnectJitter Duration `env:"RECONNECT_JITTER"`       // random part on top
	PingInterval    Duration `env:"PING_INTERVAL"`          // two missed pings end a connection
	PendingMsgs     int      `env:"PENDING_MSGS"`           // messages between NATS and us, per data connection; beyond it they are lost with a $gap
	TopicLinger     Duration `env:"TOPIC_LINGER"`           // a topic without clients is kept that long
	ConfirmTimeout  Duration `env:"CONFIRM_TIMEOUT"`        // how long a new stream waits for NATS to confirm its subscription
	PublishTimeout  Duration `env:"PUBLISH_TIMEOUT"`        // how long a publish waits for NATS
	InboxPrefix     string   `env:"INBOX_PREFIX"`           // prefix of our inboxes, for narrow permissions
}

// SSE is how streams behave. Routes may override what is marked so in docs/configuration.md.
type SSE struct {
	Heartbeat      Duration `env:"HEARTBEAT"`       // longest silence on a stream
	HeartbeatEvent string   `env:"HEARTBEAT_EVENT"` // send heartbeats as events of this type, instead of comments
	Retry          Duration `env:"RETRY"`           // reconnection time told to clients
	RetryJitter    Duration `env:"RETRY_JITTER"`    // random part on top, per client
	OverloadRetry  Duration `env:"OVERLOAD_RETRY"`  // reconnection time told to clients turned away
	OverloadJitter Duration `env:"OVERLOAD_JITTER"` // random part on top
	WriteTimeout   Duration `env:"WRITE_TIMEOUT"`   // a blocked client that takes nothing for so long is ended
	BufferBytes    Bytes    `env:"BUFFER_BYTES"`    // how far a client may fall behind
	BufferEvents   int      `env:"BUFFER_EVENTS"`   // the same in events; 0 = no bound
	BufferAge      Duration `env:"BUFFER_AGE"`      // the same in time; 0 = no bound
	SlowConsumer   string   `env:"SLOW_CONSUMER"`   // disconnect or drop_oldest, at those bounds
	MaxEventBytes  Bytes    `env:"MAX_EVENT_BYTES"` // larger messages become a $gap too-large
	MaxAge         Duration `env:"MAX_AGE"`         // streams end after this long, give or take a tenth; 0 = never
	Shards         int      `env:"SHARDS"`          // delivery loops; 0 = one per CPU
}

// Auth is who may read. jwt is not available yet.
type Auth struct {
	Mode string `env:"MODE"` // none; must be said, except with -dev
}

// CORS is the default for routes that say nothing themselves.
type CORS struct {
	AllowedOrigins   []string `env:"ALLOWED_ORIGINS"`   // https://app.example, or * without credentials
	AllowCredentials bool     `env:"ALLOW_CREDENTIALS"` // cookies from other origins
}

// Limit is how much may be used. 0 switches a limit off.
type Limit struct {
	Connections       int     `env:"CONNECTIONS"`         // open streams in this process
	ConnectionsPerIP  int     `env:"CONNECTIONS_PER_IP"`  // open streams per client address (IPv6: per /64); -1 = 50 when client addresses are known, else off
	ConnectRate       float64 `env:"CONNECT_RATE"`        // new streams a second per client address; -1 = 5 when client addresses are known, else off
	ConnectBurst      int     `env:"CONNECT_BURST"`       // how many at once
	GlobalConnectRate float64 `env:"GLOBAL_CONNECT_RATE"` // new streams a second in this process
	PublishBytes      Bytes   `env:"PUBLISH_BYTES"`       // body of a publish, where the route sets no max_bytes
	PublishRate       float64 `env:"PUBLISH_RATE"`        // publishes a second per client address
	Topics            int     `env:"TOPICS"`              // distinct subjects followed
	SubjectsPerStream int     `env:"SUBJECTS_PER_STREAM"` // subjects one client may name
	Addresses         int     `env:"ADDRESSES"`           // client addresses remembered by the limits
}

// Shutdown is the end of the process.
type Shutdown struct {
	Drain   Duration `env:"DRAIN"`   // streams are ended spread over this
	Timeout Duration `env:"TIMEOUT"` // everything is cut after this
}

// Log is the log.
type Log struct {
	Level  string `env:"LEVEL"`  // debug, info, warn, error
	Format string `env:"FORMAT"` // json, text, auto = text on a terminal
}

// Route is one entry of the routes file, defaults filled in: path to sources, or path to a publish subject.
type Route struct {
	Name    string
	Path    string // of http.ServeMux, without method: /v1/prices/{symbol}
	Sources []Source
	Publish *Publish

	AuthRequired     bool              // auth.required, or the default of AUTH_MODE
	AuthRequiredSaid bool              // whether the route said it
	Params           map[string]string // path parameter -> pattern, anchored
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

// DefaultConfig is the only place where a default stands.
func DefaultConfig() Config {
	return Config{
		HTTP: HTTP{Addr: ":8080", HTTP2: true, BasePath: "/", MaxHeaderBytes: 64 << 10, HeaderTimeout: 10 * time.Second,
			IdleTimeout: 2 * time.Minute},
		Admin: Admin{Addr: ":9090"},
		NATS: NATS{URL: "nats://127.0.0.1:4222", DataConnections: 1, ReconnectWait: 500 * time.Millisecond,
			ReconnectJitter: time.Second, PingInterval: 15 * time.Second, PendingMsgs: 65536, TopicLinger: 30 * time.Second,
			ConfirmTimeout: 5 * time.Second, PublishTimeout: 5 * time.Second, InboxPrefix: "_INBOX_headgate"},
		SSE: SSE{Heartbeat: 15 * time.Second, Retry: 2 * time.Second, RetryJitter: time.Second, OverloadRetry: 10 * time.Second,
			OverloadJitter: 20 * time.Second, WriteTimeout: 10 * time.Second, BufferBytes: 1 << 20, BufferAge: 30 * time.Second,
			SlowConsumer: "disconnect", MaxEventBytes: 1 << 20},
		Limit: Limit{ConnectionsPerIP: -1, ConnectRate: -1, ConnectBurst: 20, PublishBytes: 64 << 10, Topics: 100_000,
			SubjectsPerStream: 32, Addresses: 100_000},
		Shutdown: Shutdown{Drain: 30 * time.Second, Timeout: 40 * time.Second},
		Log:      Log{Level: "info", Format: "auto"},
	}
}

// ClientAddressesKnown says whether a client's address can be told from a proxy's, which is what per-address limits need.
func (c Config) ClientAddressesKnown() bool { return len(c.HTTP.TrustedProxies) > 0 }

// Prefixes parses TrustedProxies. Validate has checked them.
func (h HTTP) Prefixes() []netip.Prefix { return parsePrefixes(h.TrustedProxies) }
