// Headgate exposes NATS to browsers as server-sent events. This file has the flags; serve.go builds the parts and runs them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"headgate/bridge"
	"headgate/internal/config"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // something went wrong while it ran, or it is not alive
	exitUsage  = 2 // wrong flags or configuration: starting again will not help
)

const healthTimeout = 3 * time.Second

// program is one run, with everything it takes from its surroundings.
type program struct {
	args    []string // without the program's name
	environ []string
	stdout  io.Writer
	stderr  io.Writer
	signals <-chan os.Signal // the first begins the drain, the second stops at once; SIGHUP may ask for another look at the routes file
	name    string           // what to call it in a shell
	cache   string           // the user's directory for what can be made again, "" if there is none
}

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	cache, _ := os.UserCacheDir() // only -dev needs it, and says so
	p := program{args: os.Args[1:], environ: os.Environ(), stdout: os.Stdout, stderr: os.Stderr, signals: signals, name: callName(os.Args[0]), cache: cache}
	os.Exit(p.run(context.Background()))
}

// flags are actions, not settings: settings come from the environment and the routes file.
type flags struct {
	dev, check, online, print, health, version, help bool
}

func (p *program) parse() (flags, error) {
	var f flags
	set := flag.NewFlagSet("headgate", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&f.dev, "dev", false, "")
	set.BoolVar(&f.check, "check", false, "")
	set.BoolVar(&f.online, "online", false, "")
	set.BoolVar(&f.print, "print-config", false, "")
	set.BoolVar(&f.health, "healthcheck", false, "")
	set.BoolVar(&f.version, "version", false, "")
	set.BoolVar(&f.help, "help", false, "")
	err := set.Parse(p.args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		f.help = true
		return f, nil
	case err != nil:
		return f, err
	case f.online && !f.check:
		return f, errors.New("-online belongs to -check: headgate -check -online")
	case f.online && f.dev:
		return f, errors.New("-online asks the NATS of NATS_URL, and -dev brings its own: drop one of them")
	case set.NArg() > 0:
		return f, fmt.Errorf("unexpected argument %q: headgate takes flags only (and token), its settings come from the environment", set.Arg(0))
	}
	return f, nil
}

// run is the whole program, from its flags to its exit code. It ends early when ctx does, as at the first signal.
func (p *program) run(ctx context.Context) int {
	if len(p.args) > 0 && p.args[0] == "token" {
		return p.token(p.args[1:])
	}
	f, err := p.parse()
	switch {
	case err != nil:
		fmt.Fprintf(p.stderr, "headgate: %v\nheadgate -help lists the flags and every setting.\n", err)
		return exitUsage
	case f.help:
		return p.help()
	case f.version:
		fmt.Fprintf(p.stdout, "headgate %s\n", versionLine())
		return exitOK
	}
	if f.health {
		cfg, _, _ := config.Load(config.Options{Environ: p.environ, Dev: f.dev}) // for its address, whatever else is wrong
		return p.healthcheck(ctx, cfg.Admin.Addr)
	}
	cfg, warnings, err := p.load(f.dev)
	if err != nil || f.check {
		for _, w := range warnings {
			fmt.Fprintf(p.stderr, "warning: %s\n", w)
		}
	}
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitUsage
	}
	switch {
	case f.check:
		return p.check(ctx, cfg, f.online)
	case f.print:
		return p.print(cfg)
	}
	log := newLogger(cfg.Log, p.stderr)
	for _, w := range warnings {
		log.Warn(w.Text, "where", w.Where)
	}
	if cfg.Dev {
		return p.serveDev(ctx, cfg, log)
	}
	return p.serve(ctx, cfg, log, nil)
}

// load reads the configuration. With -dev the key pair of this machine is part of it; without one, nobody is asked for tokens.
func (p *program) load(dev bool) (config.Config, []config.Warning, error) {
	return p.loadWith(dev, nil)
}

// loadWith does so, reading files with read; nil = as they are.
func (p *program) loadWith(dev bool, read func(string) ([]byte, error)) (config.Config, []config.Warning, error) {
	options := config.Options{Environ: p.environ, Dev: dev, ReadFile: read}
	var missing []config.Warning
	if dev {
		var err error
		if _, options.DevKeyFile, err = devKeys(p.cache); err != nil {
			options.DevKeyFile = ""
			missing = []config.Warning{{Text: "-dev has no key for tokens, so it shows no routes that need one: " + err.Error()}}
		}
	}
	cfg, warnings, err := config.Load(options)
	return cfg, append(missing, warnings...), err
}

const usage = `headgate exposes NATS to browsers as server-sent events.

  headgate -dev            everything on this machine: NATS, demo routes, console page; insecure
  headgate                 serve, as the environment and the routes file say
  headgate -check          tell everything that is wrong with the configuration, and exit
  headgate -check -online  ask NATS too whether the routes can work, and list the permissions that its user needs
  headgate -print-config   show the configuration with all defaults, without secrets
  headgate -healthcheck    ask /livez of the process with this environment: exit 0 when it lives
  headgate token -sub me   print a token that headgate -dev accepts; headgate token -help
  headgate -version        which version this is, of which commit, built with which Go
  headgate -help

Settings come from the environment, routes from ROUTES_FILE or SUBJECTS_ALLOW. The values below are the defaults.
`

func (p *program) help() int {
	fmt.Fprint(p.stdout, usage)
	return p.shown(config.Help(p.stdout))
}

func (p *program) print(cfg config.Config) int { return p.shown(config.Print(p.stdout, cfg)) }

// shown is the exit code after writing to stdout.
func (p *program) shown(err error) int {
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// check has come this far, so the configuration is fine in itself; the gateway has its own view on how routes go together.
func (p *program) check(ctx context.Context, cfg config.Config, online bool) int {
	if err := dryRun(cfg); err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitUsage
	}
	routes := "1 route"
	if n := len(cfg.Routes); n != 1 {
		routes = fmt.Sprintf("%d routes", n)
	}
	fmt.Fprintf(p.stdout, "The configuration is good: %s.\n", routes)
	if online {
		return p.inspect(ctx, cfg)
	}
	return exitOK
}

// inspect asks NATS whether the routes can work. A signal ends it.
func (p *program) inspect(ctx context.Context, cfg config.Config) int {
	ctx, cancel := context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-p.signals:
			cancel()
		case <-ctx.Done():
		}
	})
	found, err := bridge.Inspect(ctx, cfg)
	cancel()
	waiting.Wait()
	if err != nil {
		fmt.Fprintf(p.stderr, "headgate: %v\n", err)
		return exitFailed
	}
	if _, err := found.WriteTo(p.stdout); err != nil || found.Failed() {
		return exitFailed
	}
	return exitOK
}

// healthcheck asks the process that runs with this environment whether it lives, for container engines without HTTP probes.
func (p *program) healthcheck(ctx context.Context, addr string) int {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	if err := askLive(ctx, addr); err != nil {
		fmt.Fprintf(p.stderr, "headgate: not alive: %v\n", err)
		return exitFailed
	}
	fmt.Fprintln(p.stdout, "alive")
	return exitOK
}

func askLive(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("ADMIN_ADDR=%s: %w", addr, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost" // a listener on every address is also there
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/livez", nil)
	if err != nil {
		return err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy from the environment
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s answered %s", req.URL, resp.Status)
	}
	return nil
}

// callName is how a person calls the program that was started as arg0: what `go run` builds goes away with it.
func callName(arg0 string) string {
	if strings.Contains(arg0, "go-build") {
		return "go run ."
	}
	if strings.ContainsAny(arg0, " '\"$\\&;()<>|*?`") {
		return "headgate"
	}
	return arg0
}
