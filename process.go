package main

import (
	"log/slog"
	"runtime"
	"runtime/debug"
	"strings"
)

// gcPercent lets the heap grow to five times what is live before a collection. The live heap of idle streams is tiny, so with Go's
// 100 a storm of connects collects all the time; a GOMEMLIMIT still holds.
const gcPercent = 400

// fewFiles is where a limit of open files is worth a warning: a stream takes one.
const fewFiles = 16384

// tune fits the Go runtime to the work, where the operator has not done so himself, and gives the number of shards.
func tune(environ []string, shards int, log *slog.Logger) int {
	if !given(environ, "GOGC") {
		debug.SetGCPercent(gcPercent)
	}
	if given(environ, "GOMAXPROCS") {
		if shards == 0 {
			shards = max(1, runtime.GOMAXPROCS(0)-1)
		}
	} else {
		if shards == 0 {
			shards = runtime.GOMAXPROCS(0) // of the cgroup, where there is one
		}
		// One more than the shards, so that NATS, accepting and timers are not starved while all of them are busy.
		runtime.GOMAXPROCS(shards + 1)
	}
	if files, ok := raiseFiles(); ok && files < fewFiles {
		log.Warn("few files may be open, and each stream takes one: raise the limit, for example with `ulimit -n 1048576`, "+
			"LimitNOFILE= or --ulimit nofile=", "limit", files)
	}
	return shards
}

// given says whether the environment has a value for name.
func given(environ []string, name string) bool {
	for _, line := range environ {
		if value, ok := strings.CutPrefix(line, name+"="); ok && value != "" {
			return true
		}
	}
	return false
}
