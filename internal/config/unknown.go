package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
)

// aliases are names that people from other products or from memory write for ours.
var aliases = map[string]string{
	"HTTP_LISTEN": "HTTP_ADDR", "HTTP_ADDRESS": "HTTP_ADDR", "HTTP_LISTEN_ADDR": "HTTP_ADDR", "HTTP_BIND": "HTTP_ADDR",
	"HTTP_TLS_CERT": "HTTP_TLS_CERT_FILE", "HTTP_TLS_KEY": "HTTP_TLS_KEY_FILE", "HTTP_CERT_FILE": "HTTP_TLS_CERT_FILE",
	"HTTP_KEY_FILE": "HTTP_TLS_KEY_FILE", "HTTP_PROXIES": "HTTP_TRUSTED_PROXIES", "HTTP_PREFIX": "HTTP_BASE_PATH",
	"ADMIN_LISTEN": "ADMIN_ADDR", "ADMIN_ADDRESS": "ADMIN_ADDR", "METRICS_ADDR": "ADMIN_ADDR",
	"NATS_SERVER": "NATS_URL", "NATS_SERVERS": "NATS_URL", "NATS_ADDR": "NATS_URL", "NATS_ADDRESS": "NATS_URL",
	"NATS_USERNAME": "NATS_USER", "NATS_PASS": "NATS_PASSWORD", "NATS_CREDS": "NATS_CREDS_FILE",
	"NATS_CREDENTIALS": "NATS_CREDS_FILE", "NATS_CREDENTIALS_FILE": "NATS_CREDS_FILE", "NATS_NKEY": "NATS_NKEY_FILE",
	"NATS_CA": "NATS_TLS_CA_FILE", "NATS_CA_FILE": "NATS_TLS_CA_FILE", "NATS_CERT_FILE": "NATS_TLS_CERT_FILE",
	"NATS_KEY_FILE": "NATS_TLS_KEY_FILE", "NATS_TLS_CA": "NATS_TLS_CA_FILE",
	"NATS_TLS_CERT": "NATS_TLS_CERT_FILE", "NATS_TLS_KEY": "NATS_TLS_KEY_FILE",
	"JETSTREAM_PREFIX": "JETSTREAM_API_PREFIX", "NATS_JS_DOMAIN": "JETSTREAM_DOMAIN", "NATS_JETSTREAM_DOMAIN": "JETSTREAM_DOMAIN",
	"SSE_KEEPALIVE": "SSE_HEARTBEAT", "SSE_PING": "SSE_HEARTBEAT", "SSE_HEARTBEAT_INTERVAL": "SSE_HEARTBEAT",
	"CORS_ORIGINS": "CORS_ALLOWED_ORIGINS", "CORS_ALLOW_ORIGINS": "CORS_ALLOWED_ORIGINS",
	"CORS_CREDENTIALS": "CORS_ALLOW_CREDENTIALS", "LIMIT_STREAMS": "LIMIT_CONNECTIONS",
	"LIMIT_CONNECTIONS_PER_ADDRESS": "LIMIT_CONNECTIONS_PER_IP",
	"SHUTDOWN_GRACE":                "SHUTDOWN_TIMEOUT", "LOG_LVL": "LOG_LEVEL", "ROUTES": "ROUTES_FILE", "ROUTES_PATH": "ROUTES_FILE",
	"ROUTE_FILE": "ROUTES_FILE", "SUBJECTS": "SUBJECTS_ALLOW", "SUBJECT_ALLOW": "SUBJECTS_ALLOW", "ALLOW_SUBJECTS": "SUBJECTS_ALLOW",
}

// foreign are names under our prefixes that belong to others: the proxies that Go's clients read, the nats command.
var foreign = []string{"HTTP_PROXY", "NATS_CONTEXT", "NATS_CONFIG_HOME", "NATS_NKEY_SEED", "NATS_TIMEOUT", "NATS_COLOR",
	"NATS_NSC", "NATS_DOMAIN", "NATS_VERSION"}

// checkUnknown looks at the variables that are under our prefixes and not ours. The misspelt ones are errors: what they were
// meant to set would silently keep its default. Values are never shown, for a misspelt password is one too.
func checkUnknown(vars map[string]string, r *report) {
	var known []string
	for _, f := range fields() {
		known = append(known, f.name)
	}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if slices.Contains(known, name) || vars[name] == "" || slices.Contains(foreign, name) || madeByKubernetes(name) {
			continue
		}
		if meant, ok := aliases[name]; ok {
			r.fail(Problem{Variable: name, Message: "there is no such variable", Hint: "it is called " + meant})
			continue
		}
		if !underOurPrefix(name) {
			continue
		}
		if meant, ok := nearest(name, known); ok {
			r.fail(Problem{Variable: name, Message: "there is no such variable", Hint: "did you mean " + meant + "?"})
			continue
		}
		r.warn(name, "headgate has no such variable and ignores it; headgate -help lists all")
	}
}

// madeByKubernetes recognises what a Service called nats, http, sse … puts into the environment of every pod.
func madeByKubernetes(name string) bool {
	return strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_") || strings.Contains(name, "_SERVICE_")
}

func underOurPrefix(name string) bool {
	t := reflect.TypeFor[Config]()
	for i := range t.NumField() {
		if p := t.Field(i).Tag.Get("envPrefix"); p != "" && strings.HasPrefix(name, p) {
			return true
		}
	}
	return slices.ContainsFunc([]string{"ROUTES_", "SUBJECTS_", "READINESS_", "CONTROL_"}, func(p string) bool { return strings.HasPrefix(name, p) })
}
