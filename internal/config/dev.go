package config

import (
	_ "embed"
	"time"
)

// DevIssuer is the issuer, and the audience, of the tokens that `headgate token` signs. Only -dev accepts them: nobody can configure an
// issuer of that name.
const DevIssuer = "headgate-dev"

// devRoutes are the routes of -dev where the operator names none.
//
//go:embed dev_routes.yaml
var devRoutes []byte

// devPrivate are those for callers with a token.
//
//go:embed dev_private.yaml
var devPrivate []byte

// devConfig is what -dev changes in DefaultConfig: loopback only, console on, nobody is asked who he is, nobody balances load, and no crowd
// comes back when a stream that was missing has been made.
func devConfig(c Config) Config {
	c.Dev = true
	c.HTTP.Addr, c.Admin.Addr = "127.0.0.1:8080", "127.0.0.1:9090"
	c.Console = true
	c.Auth.Mode = "none"
	c.Shutdown.Delay = 0
	c.SSE.OverloadRetry, c.SSE.OverloadJitter = time.Second, 0
	return c
}

// devIdentity makes the demo ask its callers for tokens, where there is a key to check them with. Routes of the operator's own are
// open with -dev, unless AUTH_MODE=jwt says otherwise.
func devIdentity(c *Config, keyFile string, vars map[string]string) {
	if c.Dev && keyFile != "" && vars["AUTH_MODE"] == "" && c.RoutesFile == "" && len(c.SubjectsAllow) == 0 && firstIssuerVariable(c.Auth.variables()) == "" {
		c.Auth.Mode = "jwt"
	}
}

// devIssuer makes -dev accept its own tokens where nobody else's are.
func devIssuer(c *Config, keyFile string) {
	if c.Dev && keyFile != "" && c.Auth.Mode == "jwt" && len(c.Auth.Issuers) == 0 && firstIssuerVariable(c.Auth.variables()) == "" {
		c.Auth.Issuers = []Issuer{{Issuer: DevIssuer, Audience: []string{DevIssuer}, KeyFile: keyFile, Algorithms: []string{"EdDSA"}}}
	}
}
