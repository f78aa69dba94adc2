package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// platforms are those of the archives.
var platforms = []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"}

// build writes the program for a platform to file, with the flags of the Dockerfile. Neither where it stands nor what the repository
// around it says goes into it.
func build(ctx context.Context, src source, s stamp, platform, file string, tags ...string) error {
	system, arch, ok := strings.Cut(platform, "/")
	if !ok {
		return fmt.Errorf("%q is no platform: say linux/amd64, for example", platform)
	}
	file, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	flags := fmt.Sprintf("-s -w -buildid= -X main.version=%s -X main.commit=%s", s.version, s.commit)
	_, err = src.command(ctx, []string{"CGO_ENABLED=0", "GOFLAGS=", "GOOS=" + system, "GOARCH=" + arch, "GOAMD64=v1", "GOARM64=v8.0"},
		"go", "build", "-tags", strings.Join(tags, ","), "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", file, ".")
	if err != nil {
		return fmt.Errorf("build for %s: %w", platform, err)
	}
	return nil
}
