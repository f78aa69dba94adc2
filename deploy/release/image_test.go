package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saved writes an archive as buildah does, of an image that was built in containers with such a name.
func saved(t *testing.T, container string) string {
	t.Helper()
	config := fmt.Sprintf(`{"created":"1970-01-01T00:00:00Z","container":%q,"container_config":{"Hostname":%q,"User":"65532"},"config":{"Hostname":%q,"User":"65532",
"Healthcheck":{"Interval":10000000000}},"architecture":"arm64","rootfs":{"type":"layers","diff_ids":["sha256:aa","sha256:bb"]}}`, container, container, container)
	name := fmt.Sprintf("%x.json", sha256.Sum256([]byte(config)))
	file := filepath.Join(t.TempDir(), "image.tar")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	to := tar.NewWriter(f)
	for _, part := range [][2]string{{"aa.tar", "base"}, {"bb.tar", "headgate"}, {name, config}, {container + "/json", "{}"},
		{"manifest.json", fmt.Sprintf(`[{"Config":%q,"RepoTags":["docker.io/library/headgate:1.2.3","localhost/headgate:test"],"Layers":["aa.tar","bb.tar"]}]`, name)}} {
		if err := to.WriteHeader(&tar.Header{Name: part[0], Mode: 0o600, Size: int64(len(part[1])), ModTime: time.Now()}); err != nil {
			t.Fatal(err)
		}
		if _, err := to.Write([]byte(part[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestImage_TheSameImageIsTheSameBytesWhateverItsContainersWereCalled(t *testing.T) {
	one, two := saved(t, "bb96c82ec855"), saved(t, "f9b019e69c02")
	for _, file := range []string{one, two} {
		if err := settle(file, "1.2.3"); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(one)
	if err != nil {
		t.Fatal(err)
	}
	if other, err := os.ReadFile(two); err != nil || string(other) != string(text) {
		t.Errorf("two archives: %v", err)
	}
	files, err := parts(one)
	if err != nil {
		t.Fatal(err)
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		t.Fatal(err)
	}
	config := files[manifest[0].Config]
	if want := fmt.Sprintf("%x.json", sha256.Sum256(config)); manifest[0].Config != want || len(files) != 4 {
		t.Errorf("%s of %d files, not %s", manifest[0].Config, len(files), want)
	}
	if fmt.Sprint(manifest[0].RepoTags, manifest[0].Layers) != "[docker.io/library/headgate:1.2.3] [aa.tar bb.tar]" || string(files["bb.tar"]) != "headgate" {
		t.Errorf("%v, %q", manifest, files["bb.tar"])
	}
	for _, kept := range []string{`"User":"65532"`, `"Interval":10000000000`, `"architecture":"arm64"`, `"diff_ids":["sha256:aa","sha256:bb"]`, `"created":"1970-01-01T00:00:00Z"`} {
		if !strings.Contains(string(config), kept) {
			t.Errorf("no %s in %s", kept, config)
		}
	}
}

func TestImage_WhatIsNoArchiveOfTheReleaseIsRefused(t *testing.T) {
	if err := settle(saved(t, "bb96c82ec855"), "1.2.4"); err == nil || !strings.Contains(err.Error(), "headgate:1.2.4") {
		t.Errorf("another version: %v", err)
	}
	file := filepath.Join(t.TempDir(), "image.tar")
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := settle(file, "1.2.3"); err == nil {
		t.Error("nonsense is taken")
	}
	if err := settle(file+".not", "1.2.3"); err == nil {
		t.Error("nothing is taken")
	}
}
