package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// lister makes the lists. It reads what the linker has noted in the program, so it lists what is in it, not what go.mod would allow.
const lister = "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0"

// sboms writes a list of the modules in the program, with their versions, hashes and licences, as CycloneDX JSON: one for each system, for
// they differ in modules, and one for the image, which has no embedded server.
func sboms(ctx context.Context, src source, version, out string, platforms []string) error {
	if version == "" {
		version = "0.0.0-dev"
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	s, err := src.stamp(ctx, version)
	if err != nil {
		return err
	}
	if err := sbom(ctx, src, s, filepath.Join(out, "headgate_"+version+"_image.cdx.json"), "linux/amd64", "nodev"); err != nil {
		return err
	}
	done := map[string]bool{}
	for _, p := range platforms {
		system, _, _ := strings.Cut(p, "/")
		if done[system] {
			continue
		}
		done[system] = true
		if err := sbom(ctx, src, s, filepath.Join(out, "headgate_"+version+"_"+system+".cdx.json"), p); err != nil {
			return err
		}
	}
	return nil
}

func sbom(ctx context.Context, src source, s stamp, file, platform string, tags ...string) error {
	work, err := os.MkdirTemp("", "headgate-sbom-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	program := filepath.Join(work, "headgate")
	if err := build(ctx, src, s, platform, program, tags...); err != nil {
		return err
	}
	// Without serial number and time, the same program has the same list.
	_, err = src.command(ctx, []string{"GOFLAGS="}, "go", "run", lister, "bin", "-json", "-licenses", "-std", "-noserial", "-notimestamp",
		"-version", s.version, "-output", file, program)
	if err != nil {
		return fmt.Errorf("list the modules of %s: %w", platform, err)
	}
	fmt.Println(file)
	return nil
}
