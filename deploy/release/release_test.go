package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

var (
	here = source{dir: filepath.Join("..", "..")}
	mark = stamp{version: "1.2.3", commit: "0a1b2c3d", time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
)

// tree is a copy of the program's sources elsewhere, made now, with nothing of the repository around it.
func tree(t *testing.T) source {
	t.Helper()
	dir := t.TempDir()
	err := filepath.WalkDir(here.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(here.dir, path)
		top := strings.Split(filepath.ToSlash(rel), "/")[0]
		switch {
		case err != nil:
			return err
		case d.IsDir() && (top == "e2e" || top == "docs" || top == "examples" || top == "dist" || top == "bench" || top != "." && strings.HasPrefix(top, ".")):
			return filepath.SkipDir
		case d.IsDir():
			return os.MkdirAll(filepath.Join(dir, rel), 0o700)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, rel), text, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return source{dir}
}

// The same sources in another place, at another time and with other modes, make the same archive; and the program in it is what it says.
func TestArchive_TwoPlacesMakeTheSameBytesAndTheProgramSaysItsVersion(t *testing.T) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	if runtime.GOOS == "windows" {
		t.Skip("unpacks a tar.gz")
	}
	var sums []string
	var file string
	for _, src := range []source{here, tree(t)} {
		var err error
		file, err = archive(t.Context(), src, mark, t.TempDir(), platform)
		if err != nil {
			t.Fatal(err)
		}
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(body)))
	}
	if sums[0] != sums[1] {
		t.Errorf("two builds have the sums %s", sums)
	}

	dir := t.TempDir()
	for name, e := range untar(t, file) {
		if e.at != mark.time || e.owner != "0 0  " {
			t.Errorf("%s: time %s, owner %q", name, e.at, e.owner)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), e.body, e.mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range beside {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "headgate"), "-version").CombinedOutput()
	want := fmt.Sprintf("headgate 1.2.3 (commit 0a1b2c3d, %s, %s)\n", runtime.Version(), platform)
	if err != nil || string(out) != want {
		t.Errorf("%v: the program says %q, not %q", err, out, want)
	}
}

type packed struct {
	body  []byte
	mode  os.FileMode
	at    time.Time
	owner string
}

func untar(t *testing.T, file string) map[string]packed {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]packed{}
	for r := tar.NewReader(plain); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		all[h.Name] = packed{body, h.FileInfo().Mode(), h.ModTime.UTC(), fmt.Sprintf("%d %d %s %s", h.Uid, h.Gid, h.Uname, h.Gname)}
	}
}

func TestWriteZip_HasModesTimesAndContents(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), []byte("body"), 0o600); err != nil {
		t.Fatal(err)
	}
	var made []string
	for range 2 {
		var out bytes.Buffer
		if err := writeZip(&out, mark, []entry{{"x/headgate.exe", 0o755, filepath.Join(dir, "a")}}); err != nil {
			t.Fatal(err)
		}
		made = append(made, out.String())
		if err := os.Chtimes(filepath.Join(dir, "a"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if made[0] != made[1] {
		t.Error("the time of a file is in the archive")
	}
	r, err := zip.NewReader(strings.NewReader(made[0]), int64(len(made[0])))
	if err != nil || len(r.File) != 1 {
		t.Fatalf("%v %v", err, r)
	}
	f := r.File[0]
	if f.Name != "x/headgate.exe" || f.Mode() != 0o755 || !f.Modified.Equal(mark.time) {
		t.Errorf("%s %s %s", f.Name, f.Mode(), f.Modified)
	}
}

func TestChecksums_AreWhatSha256sumReads(t *testing.T) {
	dir := t.TempDir()
	if err := checksums(dir); err == nil || !strings.Contains(err.Error(), "make release") {
		t.Errorf("of nothing: %v", err)
	}
	for name, body := range map[string]string{"headgate_b": "two", "headgate_a": "one", "NOTES.md": "three"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := checksums(dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, sums))
	want := fmt.Sprintf("%x  headgate_a\n%x  headgate_b\n", sha256.Sum256([]byte("one")), sha256.Sum256([]byte("two")))
	if err != nil || string(text) != want {
		t.Errorf("%v %s", err, text)
	}
	program, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip("SKIPPED in part: sha256sum is missing")
	}
	check := exec.CommandContext(t.Context(), program, "-c", sums)
	check.Dir = dir
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("sha256sum -c: %v\n%s", err, out)
	}
}

func TestRun_SaysWhatItCanMake(t *testing.T) {
	for _, args := range [][]string{nil, {"images"}} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), "check, archives, sbom, image or checksums") {
			t.Errorf("%q: %v", args, err)
		}
	}
}

func TestFresh_NothingOfAnotherReleaseIsTakenAlong(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dist")
	if err := fresh(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "headgate_1.2.2_linux_amd64.tar.gz"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := fresh(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("%v", err)
	}
}
