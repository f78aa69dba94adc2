package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"
)

// settle makes an image's archive (docker save, buildah push docker-archive:) the same bytes whenever the same image is built: the random
// names of the containers that it was built in go out of its description, so does every name of the image but the one of the release, and
// so do the files for a Docker older than 1.10, whose names are made of all that. The layers stay as they are.
func settle(archive, version string) error {
	files, err := parts(archive)
	if err != nil {
		return fmt.Errorf("%s: %w", archive, err)
	}
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil || len(manifest) != 1 {
		return fmt.Errorf("%s is no archive of one image: %w", archive, err)
	}
	image := &manifest[0]
	description, err := nameless(files[image.Config])
	if err != nil {
		return fmt.Errorf("%s: the description of the image: %w", archive, err)
	}
	image.Config = fmt.Sprintf("%x.json", sha256.Sum256(description)) // its name says what is in it
	image.RepoTags = slices.DeleteFunc(image.RepoTags, func(name string) bool { return !strings.HasSuffix(name, "/headgate:"+version) })
	if len(image.RepoTags) != 1 {
		return fmt.Errorf("%s: no image headgate:%s in it", archive, version)
	}
	list, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	to := tar.NewWriter(&out)
	add := func(name string, text []byte) {
		if err == nil && text == nil {
			err = fmt.Errorf("%s: no %s in it", archive, name)
		}
		if err == nil {
			err = to.WriteHeader(&tar.Header{Name: name, Mode: 0o444, Size: int64(len(text)), ModTime: time.Unix(0, 0), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = to.Write(text)
		}
	}
	add("manifest.json", list)
	add(image.Config, description)
	for _, layer := range image.Layers {
		add(layer, files[layer])
	}
	if err == nil {
		err = to.Close()
	}
	if err != nil {
		return err
	}
	return os.WriteFile(archive, out.Bytes(), 0o644)
}

// nameless is an image's description without the names of containers.
func nameless(description []byte) ([]byte, error) {
	var d map[string]any
	in := json.NewDecoder(bytes.NewReader(description))
	in.UseNumber()
	if err := in.Decode(&d); err != nil {
		return nil, err
	}
	delete(d, "container")
	delete(d, "container_config") // config, once more
	config, ok := d["config"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("it has no config")
	}
	delete(config, "Hostname")
	return json.Marshal(d) // keys in order
}

func parts(archive string) (map[string][]byte, error) {
	f, err := os.Open(archive)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	files := map[string][]byte{}
	for in := tar.NewReader(f); ; {
		h, err := in.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		if files[h.Name], err = io.ReadAll(in); err != nil {
			return nil, err
		}
	}
}
