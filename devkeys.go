package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
)

// The key pair of a developer's machine, in the user's cache: `headgate token` signs with it, and -dev accepts what it has signed. Both
// are separate processes, so it is kept; it is good for nothing but -dev, so it need not be kept well.
const (
	devKeyDir     = "headgate"
	devPrivateKey = "dev-token.key"
	devPublicKey  = "dev-token.pub"
)

// devKeys gives the key pair, and makes it where there is none. publicFile is where its public half is.
func devKeys(cache string) (private ed25519.PrivateKey, publicFile string, err error) {
	if cache == "" {
		return nil, "", errors.New("there is no directory for the cache of this user: set HOME, or XDG_CACHE_HOME")
	}
	dir := filepath.Join(cache, devKeyDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", err
	}
	file := filepath.Join(dir, devPrivateKey)
	private, err = readPrivate(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makePrivate(file); err != nil {
			return nil, "", err
		}
		private, err = readPrivate(file)
	}
	if err != nil {
		return nil, "", err
	}
	der, err := x509.MarshalPKIXPublicKey(private.Public())
	if err != nil {
		return nil, "", err
	}
	publicFile = filepath.Join(dir, devPublicKey)
	return private, publicFile, replaceFile(publicFile, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func readPrivate(file string) (ed25519.PrivateKey, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 && runtime.GOOS != "windows" { // which has other means
		return nil, fmt.Errorf("%s can be read by others, who could sign tokens for your -dev: delete it, and a new one is made", file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(text); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if private, ok := key.(ed25519.PrivateKey); ok {
				return private, nil
			}
		}
	}
	return nil, fmt.Errorf("%s is damaged: delete it, and a new one is made", file)
}

// makePrivate makes a key unless somebody else is faster: the file is there at once with all that is in it, and never replaced.
func makePrivate(file string) error {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	temporary, err := writeBeside(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary) }()
	if err := os.Link(temporary, file); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// replaceFile puts content into a file that others may be reading.
func replaceFile(file string, content []byte) error {
	if now, err := os.ReadFile(file); err == nil && string(now) == string(content) {
		return nil
	}
	temporary, err := writeBeside(file, content)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, file); err != nil {
		_ = os.Remove(temporary)
		return err
	}
	return nil
}

// writeBeside writes a temporary file in the same directory, for its owner alone.
func writeBeside(file string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	if err := errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
