// Command release makes what a release consists of, apart from the image, which deploy/test/image.sh builds. `make release` runs it all:
//
//	go run ./deploy/release check -version 1.2.3       VERSION, the changelog, the chart and the repository agree
//	go run ./deploy/release archives -version 1.2.3    the program for each platform, in archives
//	go run ./deploy/release sbom -version 1.2.3        what is in the program, and in the image's, as CycloneDX JSON
//	go run ./deploy/release image -archive dist/….tar  the image's archive, without what is random in it
//	go run ./deploy/release checksums                  of everything in the directory
//
// The same commit and the same Go make the same bytes, wherever and whenever it runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = "say what to make: check, archives, sbom, image or checksums, as in: go run ./deploy/release archives -version 1.2.3 -out dist"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "release: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New(usage)
	}
	set := flag.NewFlagSet(args[0], flag.ContinueOnError)
	version := set.String("version", "", "of the release, as 1.2.3")
	out := set.String("out", "dist", "directory to write to")
	saved := set.String("archive", "", "of an image")
	only := set.String("platforms", strings.Join(platforms, ","), "to build for")
	if err := set.Parse(args[1:]); err != nil {
		return err
	}
	src := source{dir: "."}
	switch args[0] {
	case "check":
		return check(ctx, src, *version)
	case "archives":
		if err := check(ctx, src, *version); err != nil {
			return err
		}
		return archives(ctx, src, *version, *out, strings.Split(*only, ","))
	case "sbom":
		return sboms(ctx, src, *version, *out, strings.Split(*only, ","))
	case "image":
		return settle(*saved, *version)
	case "checksums":
		return checksums(*out)
	}
	return fmt.Errorf("there is no %q: %s", args[0], usage)
}

// check says whether the tree is one to release as that version.
func check(ctx context.Context, src source, version string) error {
	if err := agree(src, version); err != nil {
		return err
	}
	return src.committed(ctx)
}

// archives builds the program for each platform and packs it, with what a user should have beside it. NOTES.md is for the release's page.
func archives(ctx context.Context, src source, version, out string, platforms []string) error {
	if err := fresh(out); err != nil {
		return err
	}
	stamp, err := src.stamp(ctx, version)
	if err != nil {
		return err
	}
	notes, err := src.notes(version)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(out, "NOTES.md"), []byte(notes), 0o644); err != nil {
		return err
	}
	for _, p := range platforms {
		name, err := archive(ctx, src, stamp, out, p)
		if err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

// fresh makes the directory, which must hold nothing of another release: the checksums are of all that is there.
func fresh(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	there, err := os.ReadDir(dir)
	if err == nil && len(there) > 0 {
		err = fmt.Errorf("%s is not empty, and all that is there would become part of the release: remove it, or name another directory (OUT)", dir)
	}
	return err
}
