package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// mask stands for a secret wherever one would be printed.
const mask = "***"

// maskURLs hides user, password and token in a list of NATS URLs. What is not understood is hidden rather than shown: a password
// with a slash or a comma breaks the URL, and must not be seen for that.
func maskURLs(text string) string {
	parts := strings.Split(text, ",")
	torn := false // what follows may be the end of a password, so this may be its beginning
	for i := len(parts) - 1; i >= 0; i-- {
		scheme := ""
		if n := strings.Index(parts[i], "://"); n >= 0 {
			scheme = parts[i][:n+3]
		}
		n := strings.LastIndex(parts[i], "@")
		if n >= 0 {
			parts[i] = scheme + mask + parts[i][n:]
		} else if torn {
			parts[i] = scheme + mask
		}
		torn = (torn || n >= 0) && scheme == ""
	}
	return strings.Join(parts, ",")
}

// maskQuery hides the query of a URL, which may hold a key of its own.
func maskQuery(text string) string {
	if before, _, ok := strings.Cut(text, "?"); ok {
		return before + "?" + mask
	}
	return text
}

// readSecrets takes the secrets that stand in files. The value and the file of one secret exclude each other.
func readSecrets(c *Config, read func(string) ([]byte, error), r *report) {
	one := func(name, file string, value *string) {
		if file == "" {
			return
		}
		if *value != "" {
			r.fail(Problem{Variable: name, Message: "given together with " + name + "_FILE",
				Hint: "keep the file and drop " + name + ": files do not show up in process listings"})
			return
		}
		text, err := readSecret(file, read)
		if err != nil {
			r.fail(unreadable(name+"_FILE", file, err))
			return
		}
		*value = text
	}
	one("NATS_PASSWORD", c.NATS.PasswordFile, &c.NATS.Password)
	one("NATS_TOKEN", c.NATS.TokenFile, &c.NATS.Token)
}

var errEmpty = errors.New("the file is empty")

// readSecret reads a file and drops the white space round its content: editors and echo leave a line end.
func readSecret(file string, read func(string) ([]byte, error)) (string, error) {
	data, err := read(file)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(data))
	if text == "" {
		return "", errEmpty
	}
	return text, nil
}

// shownFile is the value of a variable that names a file, as messages may have it. A path is no secret; but the secret itself may
// have been given to the variable that wants its path, so what does not look like a path is not shown.
func shownFile(variable, value string) string {
	i := slices.IndexFunc(fields(), func(f field) bool { return f.name == variable })
	secret := i >= 0 && fields()[i].secretFile
	if strings.ContainsFunc(value, unicode.IsControl) || strings.Contains(value, "-----BEGIN") || secret && !pathLike.MatchString(value) {
		return mask
	}
	return value
}

// pathLike is a path that says so by its beginning, by its extension, or by directories with plain names.
var pathLike = regexp.MustCompile(`^(?:(?:/|\.{1,2}/|[A-Za-z]:[/\\])[\w./\\ -]*|(?:[\w.-]+/)*[\w.-]+\.(?:creds|nk|seed|jwt|txt|token|pass|password|secret|key|pem)|` +
	`(?:[a-z][a-z0-9_.-]*/)+[a-z][a-z0-9_.-]*)$`)

// unreadable is the problem of a file that cannot be read.
func unreadable(variable, file string, err error) Problem {
	p := Problem{Variable: variable, Value: shownFile(variable, file), Expected: "the path of a file that this process may read"}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	p.Message = "cannot be read: " + err.Error()
	switch {
	case errors.Is(err, errEmpty):
		p.Message, p.Hint = err.Error(), "write the value into it, without quotes"
	case errors.Is(err, fs.ErrNotExist):
		p.Hint = "in Kubernetes, look whether the volume is mounted and the key of the Secret or ConfigMap is called like that"
	case errors.Is(err, fs.ErrPermission):
		p.Hint = "headgate's image runs as user 65532: set the volume's defaultMode to 0440 and fsGroup to 65532"
	}
	if p.Value == mask {
		p.Hint = "the value is not shown, because it may be a secret itself, and the variable takes the path of a file; start a path with / or ./"
	} else if errors.Is(err, fs.ErrNotExist) && !filepath.IsAbs(file) {
		p.Hint = "the path is relative, so it begins at the working directory of the process"
	}
	return p
}

// ReadPassword gives the password as it is now: PasswordFile is read again, so that a rotated secret needs no restart. On an
// error the password is the one that Load saw. Safe for concurrent use; call it at every connect.
func (n NATS) ReadPassword() (string, error) { return reread(n.PasswordFile, n.Password) }

// ReadToken is ReadPassword for the token.
func (n NATS) ReadToken() (string, error) { return reread(n.TokenFile, n.Token) }

func reread(file, last string) (string, error) {
	if file == "" {
		return last, nil
	}
	text, err := readSecret(file, os.ReadFile)
	if err != nil {
		return last, err
	}
	return text, nil
}

// String is the one way in which fmt and slog show these settings: a Config that slips into a log line must not take secrets along.
func (n NATS) String() string {
	type plain NATS
	n.URL = maskURLs(n.URL)
	for _, secret := range []*string{&n.Password, &n.Token} {
		if *secret != "" {
			*secret = mask
		}
	}
	return fmt.Sprintf("%+v", plain(n))
}

// GoString is String, for %#v.
func (n NATS) GoString() string { return n.String() }
