package conn

import (
	"regexp"
	"strings"

	"headgate/internal/config"
)

// userinfo finds the part of a URL that may hold a secret (RFC 3986, section 3.2.1).
var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"'@]*@`)

// minSecret is the shortest secret that is searched for in texts by itself: replacing every "a" would only hide the message.
const minSecret = 4

// Redactor takes secrets out of texts that come from nats.go and net/url, which quote what they were given.
type Redactor struct {
	secrets *strings.Replacer
}

// NewRedactor knows the secrets of a configuration.
func NewRedactor(cfg config.NATS) Redactor {
	var pairs []string
	for _, s := range []string{cfg.Password, cfg.Token} {
		if len(s) >= minSecret {
			pairs = append(pairs, s, "***")
		}
	}
	return Redactor{secrets: strings.NewReplacer(pairs...)}
}

// Text is s without secrets.
func (r Redactor) Text(s string) string {
	s = userinfo.ReplaceAllString(s, "${1}***@")
	if r.secrets == nil {
		return s
	}
	return r.secrets.Replace(s)
}

// Err is the error with a text without secrets. It still unwraps to the cause.
func (r Redactor) Err(err error) error {
	if err == nil {
		return nil
	}
	text := r.Text(err.Error())
	if text == err.Error() {
		return err
	}
	return redacted{text, err}
}

type redacted struct {
	text  string
	cause error
}

func (e redacted) Error() string        { return e.text }
func (e redacted) Is(target error) bool { return is(e.cause, target) }
