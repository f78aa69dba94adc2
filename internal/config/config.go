// Package config is everything an operator can set: the environment, the routes file, the flags, and the errors that tell what
// is wrong with them. It is the only package that sees env and YAML; the others take the structs below.
package config

import "time"

// Config is one process's configuration. DefaultConfig holds every default; a variable that is absent or empty leaves it.
// The doc tags below are the only description of a setting: -help and docs/configuration.md are made from them.
type Config struct {
	HTTP      HTTP      `envPrefix:"HTTP_" doc:"The public listener"`
	Admin     Admin     `envPrefix:"ADMIN_" doc:"The listener for probes and metrics; nothing of it is ever on the public one"`
	NATS      NATS      `envPrefix:"NATS_" doc:"How to reach NATS; at most one of credentials file, nkey, user and token"`
	JetStream JetStream `envPrefix:"JETSTREAM_" doc:"Streams and buckets; at most one of domain and API prefix"`
	SSE       SSE       `envPrefix:"SSE_" doc:"How streams behave; a route may override what its table below names too"`
	Auth      Auth      `envPrefix:"AUTH_" doc:"Who may read"`
	CORS      CORS      `envPrefix:"CORS_" doc:"Pages of other origins, where a route says nothing itself"`
	Limit     Limit     `envPrefix:"LIMIT_" doc:"How much may be used"`
	Shutdown  Shutdown  `envPrefix:"SHUTDOWN_" doc:"The end of the process"`
	Log       Log       `envPrefix:"LOG_" doc:"The log, on standard error"`

	RoutesFile     string   `env:"ROUTES_FILE" doc:"path of the routes file" example:"/etc/headgate/routes.yaml"`
	RoutesReload   Duration `env:"ROUTES_RELOAD" doc:"how often the routes file is looked at, and read again when it has changed; 0 = only at SIGHUP"`
	RoutesSpread   Duration `env:"ROUTES_SPREAD" doc:"streams whose route has changed or is gone end within this time, spread at random; 0 = all at once"`
	SubjectsAllow  []string `env:"SUBJECTS_ALLOW" doc:"subjects that clients may name on the route /events, with or without a routes file" example:"feed.>,prices.*"`
	Control        bool     `env:"CONTROL" doc:"answer operators over NATS, as the micro service headgate: stats, connections, kick, revoke"`
	ControlPrefix  string   `env:"CONTROL_PREFIX" doc:"what the subjects of that begin with; its first token starts with _ or $, which no route can reach; whoever may publish there is an operator" example:"_HEADGATE"`
	Console        bool     `env:"CONSOLE" doc:"serve the console page at /console/, without its publish box"`
	ReadyNATSGrace Duration `env:"READINESS_NATS_GRACE" doc:"how long /readyz stays ok while NATS is away after having been there; 0 = for ever"`

	// Routes come from the routes file, then from SubjectsAllow; with -dev and neither, from the demo routes.
	Routes []Route `env:"-"`
	// RoutesText is what the routes file says; nil without one.
	RoutesText []byte `env:"-"`
	// Dev is the -dev flag: embedded NATS, demo routes. Load refuses every address with it that is not of this machine alone.
	Dev bool `env:"-"`
}

// Duration is a time.Duration in the form Go writes it: 15s, 1m30s, 500ms.
type Duration = time.Duration

// HTTP is the public listener.
type HTTP struct {
	Addr           string   `env:"ADDR" doc:"address to listen on; no host = all" example:":8080" form:"addr"`
	MoreAddrs      []string `env:"MORE_ADDRS" doc:"more addresses to listen on: a proxy has some 28,000 source ports for each of them" example:":8081,:8082"`
	H2C            bool     `env:"H2C" doc:"accept HTTP/2 without TLS, by prior knowledge"`
	HTTP2          bool     `env:"HTTP2" doc:"accept HTTP/2 over TLS"`
	TLSCertFile    string   `env:"TLS_CERT_FILE" doc:"certificate chain, PEM; read again when it changes" example:"/tls/tls.crt"`
	TLSKeyFile     string   `env:"TLS_KEY_FILE" doc:"its key, PEM; read again when it changes" example:"/tls/tls.key"`
	TrustedProxies []string `env:"TRUSTED_PROXIES" doc:"peers whose X-Forwarded-For is believed: CIDRs, addresses, or private" example:"10.0.0.0/8,private"`
	BasePath       string   `env:"BASE_PATH" doc:"put in front of the path of every route and of the console" example:"/edge"`
	MaxHeaderBytes Bytes    `env:"MAX_HEADER_BYTES" doc:"request line and header fields of one request" min:"1024" max:"16777216"`
	HeaderTimeout  Duration `env:"HEADER_TIMEOUT" doc:"a request's head must have arrived by then" min:"1"`
	IdleTimeout    Duration `env:"IDLE_TIMEOUT" doc:"a kept-alive connection between two requests is closed after this" min:"1"`
}

// Admin is the listener for probes and metrics. Nothing of it is ever on the public one.
type Admin struct {
	Addr  string `env:"ADDR" doc:"address to listen on: /livez, /readyz, /metrics, /openapi.json, /schema/routes.json, /debug/consistency" example:":9090" form:"addr"`
	Pprof bool   `env:"PPROF" doc:"serve /debug/pprof there too"`
}

// NATS is how to reach NATS. At most one of creds, nkey, user and token.
type NATS struct {
	URL      string `env:"URL" doc:"servers, comma separated" example:"nats://nats-0:4222,nats://nats-1:4222"`
	Name     string `env:"NAME" doc:"name of our connections, shown by the server; empty = the host name" example:"headgate-eu"`
	User     string `env:"USER" doc:"user name" example:"headgate"`
	Password string `env:"PASSWORD" doc:"the user's password" secret:"true" example:"…"`
	// PasswordFile is read by Load into Password. ReadPassword reads it again: call that at every connect.
	PasswordFile string `env:"PASSWORD_FILE" doc:"file that holds the password; read again at every connect" example:"/run/secrets/nats-password" secret:"file"`
	Token        string `env:"TOKEN" doc:"token" secret:"true" example:"…"`
	// TokenFile is read by Load into Token. ReadToken reads it again: call that at every connect.
	TokenFile       string   `env:"TOKEN_FILE" doc:"file that holds the token; read again at every connect" example:"/run/secrets/nats-token" secret:"file"`
	CredsFile       string   `env:"CREDS_FILE" doc:"credentials file (user JWT and seed); read again at every connect" example:"/run/secrets/headgate.creds" secret:"file"`
	NkeyFile        string   `env:"NKEY_FILE" doc:"file that holds an nkey seed" example:"/run/secrets/headgate.nk" secret:"file"`
	TLSCAFile       string   `env:"TLS_CA_FILE" doc:"certificate authorities, PEM; empty = the system's" example:"/tls/ca.crt"`
	TLSCertFile     string   `env:"TLS_CERT_FILE" doc:"client certificate, PEM" example:"/tls/tls.crt"`
	TLSKeyFile      string   `env:"TLS_KEY_FILE" doc:"its key, PEM" example:"/tls/tls.key"`
	TLSFirst        bool     `env:"TLS_FIRST" doc:"TLS handshake before the server says anything"`
	DataConnections int      `env:"DATA_CONNECTIONS" doc:"connections over which core subjects are spread" min:"1" max:"64"`
	ReconnectWait   Duration `env:"RECONNECT_WAIT" doc:"between two attempts to reconnect, for ever" min:"1000000"`
	ReconnectJitter Duration `env:"RECONNECT_JITTER" doc:"random part on top"`
	PingInterval    Duration `env:"PING_INTERVAL" doc:"two pings without an answer end a connection" min:"100000000"`
	PendingMsgs     int      `env:"PENDING_MSGS" doc:"messages between NATS and headgate, per data connection; beyond it they are lost and clients get a $gap" min:"1"`
	RingBytes       Bytes    `env:"RING_BYTES" doc:"core subjects: memory for the messages kept for clients that come back, all subjects and data connections together; the oldest go first" min:"1"`
	TopicLinger     Duration `env:"TOPIC_LINGER" doc:"a topic is kept so long after its last client"`
	ConfirmTimeout  Duration `env:"CONFIRM_TIMEOUT" doc:"how long a new stream waits until NATS has confirmed its subscription" min:"1000000"`
	PublishTimeout  Duration `env:"PUBLISH_TIMEOUT" doc:"how long a publish waits for NATS" min:"1000000"`
	InboxPrefix     string   `env:"INBOX_PREFIX" doc:"prefix of our inboxes, for narrow permissions" example:"_INBOX_headgate"`
}

// JetStream is how streams and buckets are read.
type JetStream struct {
	Domain          string   `env:"DOMAIN" doc:"JetStream domain, where it is not that of the account headgate connects to" example:"hub"`
	APIPrefix       string   `env:"API_PREFIX" doc:"the same as a prefix, for an API that is imported under another name" example:"$JS.hub.API"`
	TailBytes       Bytes    `env:"TAIL_BYTES" doc:"memory for the newest messages of all streams, the values of all buckets and the states that clients are given, together; what does not fit is read from NATS" min:"1048576"`
	TailAge         Duration `env:"TAIL_AGE" doc:"how far back the messages of a stream are read into memory at start"`
	PrefillTimeout  Duration `env:"PREFILL_TIMEOUT" doc:"/readyz waits at most so long for that" min:"1"`
	HistoryParallel int      `env:"HISTORY_PARALLEL" doc:"reads of older messages that run at once" min:"1" max:"64"`
	LostAfter       Duration `env:"LOST_AFTER" doc:"a stream or bucket that has been missing for so long ends its clients' streams with source-lost" min:"1000000000"`
	ReplayEvents    int      `env:"REPLAY_EVENTS" doc:"of what a client of a stream missed, it gets the newest so many events, and a $gap for the rest; 0 = no bound" min:"0"`
	ReplayBytes     Bytes    `env:"REPLAY_BYTES" doc:"the same in bytes; 0 = no bound"`
	ReplayAge       Duration `env:"REPLAY_AGE" doc:"the same by age; 0 = no bound"`

	// VerifyEvery is how often what was read of a stream is compared with what its leader says it has; 0 = 5 s. Only tests change it: how
	// long one replica waits for the others to notice the same depends on it.
	VerifyEvery time.Duration `env:"-"`
}

// SSE is how streams behave.
type SSE struct {
	Heartbeat      Duration `env:"HEARTBEAT" doc:"longest silence on a stream; keep it below the idle timeout of every proxy in front" min:"1000000000"`
	HeartbeatEvent string   `env:"HEARTBEAT_EVENT" doc:"send heartbeats as events of this type, which pages can see; empty = comments" example:"ping"`
	Retry          Duration `env:"RETRY" doc:"reconnection time told to clients" min:"1000000"`
	RetryJitter    Duration `env:"RETRY_JITTER" doc:"random part on top, per client"`
	OverloadRetry  Duration `env:"OVERLOAD_RETRY" doc:"reconnection time told to clients that are turned away" min:"1000000"`
	OverloadJitter Duration `env:"OVERLOAD_JITTER" doc:"random part on top, per client"`
	WriteTimeout   Duration `env:"WRITE_TIMEOUT" doc:"a blocked client that takes nothing for so long is ended" min:"100000000"`
	BufferBytes    Bytes    `env:"BUFFER_BYTES" doc:"how much memory a client may hold that falls behind: its events, and about 200 bytes for each round of them" min:"4096"`
	BufferEvents   int      `env:"BUFFER_EVENTS" doc:"the same in events; 0 = no bound" min:"0"`
	BufferAge      Duration `env:"BUFFER_AGE" doc:"the same in time; 0 = no bound"`
	SlowConsumer   string   `env:"SLOW_CONSUMER" doc:"what happens at those bounds: end the stream (a reconnect resumes it), or jump to the present with a $gap" oneof:"disconnect,drop_oldest"`
	MaxEventBytes  Bytes    `env:"MAX_EVENT_BYTES" doc:"larger messages become a $gap with reason too-large" min:"1"`
	MaxAge         Duration `env:"MAX_AGE" doc:"streams end after this long, give or take a tenth, and reconnect; 0 = never"`
	ResumeEvents   int      `env:"RESUME_EVENTS" doc:"core subjects: events kept per subject for clients that come back; 0 = no resume, streams carry no ids" min:"0" max:"1000000"`
	ResumeAge      Duration `env:"RESUME_AGE" doc:"core subjects: how long they are kept" min:"1"`
	Shards         int      `env:"SHARDS" doc:"delivery loops; 0 = one per CPU" min:"0" max:"1024"`
}

// Auth is who may read. The variables from ISSUER to TYPE are one issuer; several stand in the routes file.
type Auth struct {
	Mode             string   `env:"MODE" doc:"must be said, except with -dev. none = everybody may use every route; jwt = callers show signed tokens" oneof:"none,jwt"`
	Issuer           string   `env:"ISSUER" doc:"whose tokens are accepted: their iss claim, exactly; several issuers stand in the routes file, auth.issuers" example:"https://issuer.example"`
	Audience         []string `env:"AUDIENCE" doc:"what their aud claim must hold, one of these" example:"headgate"`
	JWKSURL          string   `env:"JWKS_URL" doc:"where the issuer publishes its keys: https, or http on this machine" example:"https://issuer.example/.well-known/jwks.json"`
	KeyFile          string   `env:"KEY_FILE" doc:"instead: its public keys, PEM, a JWK or a JWK set; read again when it changes" example:"/keys/issuer.pem"`
	SecretFile       string   `env:"SECRET_FILE" doc:"instead: a secret shared with it, for HS algorithms; read again when it changes" example:"/keys/secret.txt" secret:"file"`
	Algorithms       []string `env:"ALGORITHMS" doc:"accepted algorithms; empty = all with public keys, or with a secret HS256" example:"RS256,ES256"`
	Type             string   `env:"TYPE" doc:"the typ header that tokens must have; empty = any" example:"at+jwt"`
	PermissionsClaim string   `env:"PERMISSIONS_CLAIM" doc:"claim with the subjects a caller may use, shaped as in the JWT of a NATS user: sub and pub, with allow and deny; dots lead into objects"`
	Leeway           Duration `env:"LEEWAY" doc:"how far clocks may differ: tokens are good, and streams go on, until exp + this" max:"3600000000000"`
	ExpiryNotice     Duration `env:"EXPIRY_NOTICE" doc:"how long before exp, not exp + leeway, a stream says $expiring; 0 = never" max:"86400000000000"`
	Cookie           string   `env:"COOKIE" doc:"name of a cookie that may hold the token, besides Authorization: Bearer; empty = none" example:"__Host-session"`
	QueryParameter   string   `env:"QUERY_PARAMETER" doc:"name of a query parameter that may hold the token; proxies and browsers keep URLs in logs and histories; empty = none" example:"access_token"`
	// Revocations: see docs/security.md.
	RevocationBucket  string   `env:"REVOCATION_BUCKET" doc:"Key-Value bucket that says which tokens, users, sessions and connections are revoked; empty = nothing can be revoked" example:"REVOKED"`
	RevocationTTL     Duration `env:"REVOCATION_TTL" doc:"make the bucket if it is missing, with values that are kept so long; longer than any token lives; 0 = it must be there" example:"24h" max:"31536000000000000"`
	RevocationEntries int      `env:"REVOCATION_ENTRIES" doc:"how many revocations are held in memory, about 1 KiB each; with more of them no token can be checked any more, and none is accepted" min:"1" max:"10000000"`
	SessionClaim      string   `env:"SESSION_CLAIM" doc:"claim that names the session a token belongs to, for revocations; dots lead into objects"`

	// Issuers are those of the routes file, or the one of the variables.
	Issuers []Issuer `env:"-"`
	// Anonymous is what callers without a token may use, on routes with auth.required: false.
	Anonymous Grants `env:"-"`
}

// CORS is the default for routes that say nothing themselves.
type CORS struct {
	AllowedOrigins   []string `env:"ALLOWED_ORIGINS" doc:"origins of the pages that may read: scheme://host[:port], or * for all" example:"https://app.example,http://localhost:5173"`
	AllowCredentials bool     `env:"ALLOW_CREDENTIALS" doc:"let those pages send cookies; not with *"`
}

// Limit is how much may be used. 0 switches a limit off.
type Limit struct {
	Connections            int     `env:"CONNECTIONS" doc:"open streams in this process; 0 = no limit" min:"0"`
	ConnectionsPerIP       int     `env:"CONNECTIONS_PER_IP" doc:"open streams per client address (IPv6: per /64); 0 = no limit, -1 = 50 where HTTP_TRUSTED_PROXIES is set, else no limit" min:"-1"`
	ConnectionsPerUser     int     `env:"CONNECTIONS_PER_USER" doc:"open streams per user, with AUTH_MODE=jwt: the sub of an issuer; callers without a token have the limits of their address; 0 = no limit" min:"0"`
	ConnectRate            float64 `env:"CONNECT_RATE" doc:"new streams a second per client address; 0 = no limit, -1 = 5 where HTTP_TRUSTED_PROXIES is set, else no limit" min:"-1"`
	ConnectBurst           int     `env:"CONNECT_BURST" doc:"how many of them at once, and per user" min:"1"`
	ConnectRatePerUser     float64 `env:"CONNECT_RATE_PER_USER" doc:"new streams a second per user; 0 = no limit" min:"0"`
	GlobalConnectRate      float64 `env:"GLOBAL_CONNECT_RATE" doc:"new streams a second in this process; 0 = no limit" min:"0"`
	PublishBytes           Bytes   `env:"PUBLISH_BYTES" doc:"body of a publish, where the route sets no max_bytes" min:"1"`
	PublishRate            float64 `env:"PUBLISH_RATE" doc:"publishes a second per client address; those of one second may come at once, here and below; 0 = no limit" min:"0"`
	PublishRatePerUser     float64 `env:"PUBLISH_RATE_PER_USER" doc:"publishes a second per user; 0 = no limit" min:"0"`
	EventsPerSecond        float64 `env:"EVENTS_PER_SECOND" doc:"events a second that one stream is sent; those of one second may come at once; a stream that is over it for a second meets SSE_SLOW_CONSUMER, replays are slowed down to it; 0 = no limit" min:"0"`
	BytesPerSecond         Bytes   `env:"BYTES_PER_SECOND" doc:"the same in bytes; 0 = no limit"`
	ReplayEventRate        float64 `env:"REPLAY_EVENT_RATE" doc:"streams and buckets: events a second that are replayed to all clients together; those of ten seconds may come at once, beyond it replays are slowed down; 0 = no limit" min:"0"`
	ReplayByteRate         Bytes   `env:"REPLAY_BYTE_RATE" doc:"the same in bytes; 0 = no limit"`
	ReplayEventRatePerUser float64 `env:"REPLAY_EVENT_RATE_PER_USER" doc:"the same per user, or per client address of callers without a token; 0 = no limit" min:"0"`
	ReplayByteRatePerUser  Bytes   `env:"REPLAY_BYTE_RATE_PER_USER" doc:"the same in bytes; 0 = no limit"`
	Topics                 int     `env:"TOPICS" doc:"distinct subjects followed at once; idle ones make room first" min:"1"`
	SubjectsPerStream      int     `env:"SUBJECTS_PER_STREAM" doc:"subjects that one client may name" min:"1" max:"1024"`
	Addresses              int     `env:"ADDRESSES" doc:"client addresses that the limits remember" min:"1"`
	Users                  int     `env:"USERS" doc:"users that the limits remember" min:"1"`
	WaitingConnections     int     `env:"WAITING_CONNECTIONS" doc:"connections on which no request is under way: new ones, kept-alive ones, half-open ones; beyond it the one that has waited longest is closed, if for more than a second; 0 = no limit" min:"0"`
}

// Shutdown is the end of the process.
type Shutdown struct {
	Delay   Duration `env:"DELAY" doc:"the public listener stays open at least so long after the first signal, also when no stream is open, so that load balancers see /readyz fail first; at most SHUTDOWN_TIMEOUT"`
	Drain   Duration `env:"DRAIN" doc:"open streams are ended spread over this"`
	Timeout Duration `env:"TIMEOUT" doc:"everything that is left is cut after this; more than SHUTDOWN_DRAIN"`
}

// Log is the log.
type Log struct {
	Level  string `env:"LEVEL" doc:"the least important level that is written" oneof:"debug,info,warn,error"`
	Format string `env:"FORMAT" doc:"auto = text on a terminal, else json" oneof:"auto,json,text"`
}

// Per-address limits where a value of -1 leaves the choice to Load and client addresses are known.
const (
	defaultConnectionsPerIP = 50
	defaultConnectRate      = 5
)

// DefaultConfig is the only place where a default stands.
func DefaultConfig() Config {
	return Config{
		HTTP: HTTP{Addr: ":8080", HTTP2: true, BasePath: "/", MaxHeaderBytes: 64 << 10, HeaderTimeout: 10 * time.Second,
			IdleTimeout: 2 * time.Minute},
		Admin: Admin{Addr: ":9090"},
		NATS: NATS{URL: "nats://127.0.0.1:4222", DataConnections: 1, ReconnectWait: 500 * time.Millisecond,
			ReconnectJitter: time.Second, PingInterval: 15 * time.Second, PendingMsgs: 65536, RingBytes: 64 << 20,
			TopicLinger: 30 * time.Second, ConfirmTimeout: 5 * time.Second, PublishTimeout: 5 * time.Second, InboxPrefix: "_INBOX_headgate"},
		JetStream: JetStream{TailBytes: 256 << 20, TailAge: 10 * time.Minute, PrefillTimeout: 30 * time.Second, HistoryParallel: 4,
			LostAfter: 30 * time.Second, ReplayEvents: 10_000, ReplayBytes: 16 << 20},
		SSE: SSE{Heartbeat: 15 * time.Second, Retry: 2 * time.Second, RetryJitter: time.Second, OverloadRetry: 10 * time.Second,
			OverloadJitter: 20 * time.Second, WriteTimeout: 10 * time.Second, BufferBytes: 1 << 20, BufferAge: 30 * time.Second,
			SlowConsumer: "disconnect", MaxEventBytes: 1 << 20, ResumeEvents: 64, ResumeAge: time.Minute},
		Limit: Limit{ConnectionsPerIP: -1, ConnectionsPerUser: 20, ConnectRate: -1, ConnectBurst: 20, PublishBytes: 64 << 10, Topics: 100_000,
			SubjectsPerStream: 32, Addresses: 100_000, Users: 100_000, WaitingConnections: 20_000},
		Auth: Auth{PermissionsClaim: "nats", Leeway: 30 * time.Second, ExpiryNotice: 30 * time.Second, RevocationEntries: 100_000,
			SessionClaim: "sid"},
		Shutdown: Shutdown{Delay: 5 * time.Second, Drain: 30 * time.Second, Timeout: 40 * time.Second},
		Log:      Log{Level: "info", Format: "auto"},

		ControlPrefix: "_HEADGATE",
		RoutesReload:  5 * time.Second,
		RoutesSpread:  10 * time.Second,
	}
}

// routeDefaults is a route that says nothing: what is built in, then what the environment says.
func (c Config) routeDefaults() Route {
	return Route{
		AuthRequired:  c.Auth.Mode == "jwt",
		Data:          "text",
		Envelope:      "none",
		Heartbeat:     c.SSE.Heartbeat,
		SlowConsumer:  c.SSE.SlowConsumer,
		OnOverload:    "auto",
		MaxEventBytes: c.SSE.MaxEventBytes,
		Limits:        RouteLimits{EventsPerSecond: c.Limit.EventsPerSecond, BytesPerSecond: c.Limit.BytesPerSecond},
		Resume:        Resume{Enabled: c.SSE.ResumeEvents > 0, MaxEvents: c.SSE.ResumeEvents, MaxAge: c.SSE.ResumeAge, OnGap: onGapEvent},
		CORS:          c.CORS,
	}
}

// ClientAddressesKnown says whether a client's address can be told from a proxy's, which is what per-address limits need.
func (c Config) ClientAddressesKnown() bool { return len(c.HTTP.TrustedProxies) > 0 }
