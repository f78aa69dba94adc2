package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// source is the tree that is released.
type source struct{ dir string }

// stamp is what a release says of itself. Nothing else of the place or the time of the build goes into it.
type stamp struct {
	version string
	commit  string
	time    time.Time // of every file in the archives: that of the commit
}

func (s source) stamp(ctx context.Context, version string) (stamp, error) {
	commit, err := s.git(ctx, "rev-parse", "HEAD")
	if err != nil {
		return stamp{}, err
	}
	at, err := s.git(ctx, "log", "-1", "--format=%ct")
	if err != nil {
		return stamp{}, err
	}
	seconds, err := strconv.ParseInt(at, 10, 64)
	if err != nil {
		return stamp{}, fmt.Errorf("the time of commit %s: %w", commit, err)
	}
	return stamp{version, commit, time.Unix(seconds, 0).UTC()}, nil
}

// committed says whether the tree is what its commit says, so that others can make the same release from it.
func (s source) committed(ctx context.Context) error {
	changed, err := s.git(ctx, "status", "--porcelain")
	if err != nil {
		return err
	}
	if changed != "" {
		return fmt.Errorf("the tree differs from its commit, so nobody could build this again: commit or stash\n%s", changed)
	}
	return nil
}

func (s source) git(ctx context.Context, args ...string) (string, error) {
	out, err := s.command(ctx, nil, "git", args...)
	if err != nil {
		return "", fmt.Errorf("%w\nA release is made from a clone of the repository; of one that belongs to somebody else after git config --global --add safe.directory '%s'", err, s.dir)
	}
	return strings.TrimSpace(out), nil
}

// command runs a command in the tree, and gives what it prints.
func (s source) command(ctx context.Context, env []string, name string, args ...string) (string, error) {
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.dir, &out, &said
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}
