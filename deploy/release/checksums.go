package main

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const sums = "SHA256SUMS"

// checksums writes SHA256SUMS of what users fetch from a directory, for sha256sum -c.
func checksums(dir string) error {
	entries, err := os.ReadDir(dir) // by name
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, e := range entries {
		if e.IsDir() || !strings.HasPrefix(e.Name(), "headgate_") {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		fmt.Fprintf(&text, "%x  %s\n", sha256.Sum256(body), e.Name())
	}
	if text.Len() == 0 {
		return fmt.Errorf("there is nothing in %s to make checksums of: make release builds it", dir)
	}
	return os.WriteFile(filepath.Join(dir, sums), []byte(text.String()), 0o644)
}
