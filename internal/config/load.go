package config

import "os"

// Options is what Load needs besides the files it is told of.
type Options struct {
	Environ  []string                     // KEY=value, as os.Environ gives it
	Dev      bool                         // the -dev flag
	ReadFile func(string) ([]byte, error) // nil = os.ReadFile
	// DevKeyFile is the public key of the tokens that `headgate token` signs; "" = there are none. Only Dev makes use of it.
	DevKeyFile string
}

// Load makes the configuration from the environment and the routes file. It starts nothing, changes nothing and may be called
// again. The error is an Errors that holds everything that is wrong, in words for an operator; the Config is only good without.
func Load(o Options) (Config, []Warning, error) {
	if o.ReadFile == nil {
		o.ReadFile = os.ReadFile
	}
	c := DefaultConfig()
	if o.Dev {
		c = devConfig(c)
	}
	r := &report{}
	vars := environ(o.Environ)
	readEnv(&c, vars, r)
	checkUnknown(vars, r)
	devIdentity(&c, o.DevKeyFile, vars)
	readSecrets(&c, o.ReadFile, r)
	check(&c, o.ReadFile, r)
	c.Routes = loadRoutes(&c, o.ReadFile, r)
	devIssuer(&c, o.DevKeyFile)
	settleIssuers(&c, o.ReadFile, r)
	return c, r.warnings, r.err()
}
