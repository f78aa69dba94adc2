package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
)

// Set by the linker in a release, which is built without looking at the repository, so that a copy of the sources makes the same bytes:
// -X main.version=1.2.3 -X main.commit=0a1b2c….
var version, commit string

// versionText is the linker's version, else what the build knows of itself.
func versionText() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// versionLine says which sources and which Go a program is of: the first things to know of a bug, or when Go mends a weakness.
func versionLine() string {
	facts := []string{runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	if c := commitText(); c != "" {
		facts = append([]string{"commit " + c}, facts...)
	}
	return fmt.Sprintf("%s (%s)", versionText(), strings.Join(facts, ", "))
}

// commitText is the linker's commit, else the one that the go command has noted, or "".
func commitText() string {
	if commit != "" {
		return commit
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	var revision, changed string
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", with changes"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + changed
}
