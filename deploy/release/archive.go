package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// beside is what a user gets with the program.
var beside = []string{"LICENSE", "README.md", "CHANGELOG.md"}

// entry is one file of an archive.
type entry struct {
	name string
	mode os.FileMode
	from string
}

// archive builds for a platform and packs it: headgate_1.2.3_linux_amd64.tar.gz, a zip for Windows. It returns the file's path.
func archive(ctx context.Context, src source, s stamp, out, platform string) (string, error) {
	work, err := os.MkdirTemp("", "headgate-release-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	system := strings.Split(platform, "/")[0]
	program := "headgate"
	if system == "windows" {
		program += ".exe"
	}
	if err := build(ctx, src, s, platform, filepath.Join(work, program)); err != nil {
		return "", err
	}
	name := fmt.Sprintf("headgate_%s_%s", s.version, strings.ReplaceAll(platform, "/", "_"))
	entries := []entry{{name + "/" + program, 0o755, filepath.Join(work, program)}}
	for _, file := range beside {
		entries = append(entries, entry{name + "/" + file, 0o644, filepath.Join(src.dir, file)})
	}
	if system == "windows" {
		path := filepath.Join(out, name+".zip")
		return path, write(path, func(w io.Writer) error { return writeZip(w, s, entries) })
	}
	path := filepath.Join(out, name+".tar.gz")
	return path, write(path, func(w io.Writer) error { return writeTar(w, s, entries) })
}

func write(path string, fill func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(fill(f), f.Close())
}

// writeTar has no owner, and the mode and the time of the entry instead of the file's.
func writeTar(w io.Writer, s stamp, entries []entry) error {
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	tw := tar.NewWriter(packed)
	for _, e := range entries {
		err := copyFile(e.from, func(size int64) (io.Writer, error) {
			return tw, tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: e.name, Mode: int64(e.mode), Size: size, ModTime: s.time, Format: tar.FormatUSTAR})
		})
		if err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), packed.Close())
}

func writeZip(w io.Writer, s stamp, entries []entry) error {
	zw := zip.NewWriter(w)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: s.time}
		h.SetMode(e.mode)
		if err := copyFile(e.from, func(int64) (io.Writer, error) { return zw.CreateHeader(h) }); err != nil {
			return err
		}
	}
	return zw.Close()
}

// copyFile copies a file to where begin says, which is told its size.
func copyFile(name string, begin func(size int64) (io.Writer, error)) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	to, err := begin(info.Size())
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return err
}
