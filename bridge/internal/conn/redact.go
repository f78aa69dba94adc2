package conn

import (
	"cmp"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"headgate/internal/config"
)

// userinfo finds the part of a URL that may hold a secret (RFC 3986, section 3.2.1). net/url takes all up to the last @ of the
// authority for it, and lets a quote stand there as it is.
var userinfo = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"]*@`)

// escape is a character in percent-encoding, whose digits may be of either case (RFC 3986, section 2.1).
var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

const (
	mask = "***"

	// minSecret is the shortest secret that is searched for in texts by itself: replacing every "a" would only hide the message.
	minSecret = 4

	// learnedMax bounds what is remembered of secrets that rotate; those before are no good to anybody by then.
	learnedMax = 32
)

// Redactor takes secrets out of texts that come from nats.go and net/url, which quote what they were given. The zero value knows
// no secret, and hides what stands before the @ of a URL.
type Redactor struct {
	configured []string // fixed after NewRedactor
	replace    atomic.Pointer[strings.Replacer]

	mu      sync.Mutex
	learned []string // the newest last
}

// NewRedactor knows the secrets of a configuration, those in the URLs of the servers included.
func NewRedactor(cfg config.NATS) *Redactor {
	r := &Redactor{configured: []string{cfg.Password, cfg.Token}}
	for _, s := range splitServers(cfg.URL) {
		r.configured = append(r.configured, urlSecrets(s)...)
	}
	r.replace.Store(replacer(r.configured))
	return r
}

// urlSecrets are the secrets before the last @ of a server, as they stand there and decoded. A name without a password is a token.
// A name with one is hidden together with it only: the word alone is no secret, and often one of every other message ("nats").
func urlSecrets(server string) (secrets []string) {
	_, rest, _ := strings.Cut(server, "://")
	at := strings.LastIndex(rest, "@")
	if at < 0 {
		return nil
	}
	raw := rest[:at]
	name, password, _ := strings.Cut(raw, ":")
	secrets = append(secrets, raw, password)
	if password == "" {
		secrets = append(secrets, name)
	}
	for _, s := range secrets {
		if decoded, err := url.PathUnescape(s); err == nil {
			secrets = append(secrets, decoded)
		}
	}
	return secrets
}

// replacer looks for each secret in all the ways in which a library may write it.
func replacer(secrets []string) *strings.Replacer {
	var forms []string
	for _, s := range secrets {
		if len(s) < minSecret {
			continue
		}
		quoted := strconv.Quote(s)
		for _, form := range []string{s, url.User(s).String(), url.PathEscape(s), url.QueryEscape(s), quoted[1 : len(quoted)-1]} {
			forms = append(forms, form, escape.ReplaceAllStringFunc(form, strings.ToLower), escape.ReplaceAllStringFunc(form, strings.ToUpper))
		}
	}
	// The first that fits wins: a secret must not lose only its beginning to another.
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	var pairs []string
	for _, f := range slices.Compact(forms) {
		pairs = append(pairs, f, mask)
	}
	return strings.NewReplacer(pairs...)
}

// Learn makes a secret known that came later, from a file that was read again.
func (r *Redactor) Learn(secret string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(secret) < minSecret || slices.Contains(r.configured, secret) || slices.Contains(r.learned, secret) {
		return
	}
	r.learned = append(r.learned, secret)
	if len(r.learned) > learnedMax {
		r.learned = slices.Delete(r.learned, 0, 1)
	}
	r.replace.Store(replacer(slices.Concat(r.configured, r.learned)))
}

// Text is s without secrets.
func (r *Redactor) Text(s string) string {
	if known := r.replace.Load(); known != nil {
		s = known.Replace(s) // first, since it knows where a secret ends
	}
	return userinfo.ReplaceAllString(s, "${1}"+mask+"@")
}

// Err is the error with a text without secrets. errors.Is still finds the cause.
func (r *Redactor) Err(err error) error {
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
