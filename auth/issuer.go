package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const maxKeyBytes = 1 << 20 // of a file or a JWK set

// issuer is an issuer and its keys.
type issuer struct {
	// fixed after New
	name       string
	sum        issuerSum // of name
	typ        string
	algorithms []string
	validator  *jwt.Validator
	remote     bool // keys are fetched, not read from a file
	where      string
	read       func(ctx context.Context) ([]byte, error)
	parse      func(data []byte) ([]key, error)
	changed    func() // is told after other keys are in place
	metrics    *metrics
	log        *slog.Logger
	wake       chan struct{} // a token with an unknown key has come

	mu        sync.Mutex
	keys      []key     // the last good ones; nil: there have been none yet
	data      []byte    // they were made of
	attempted time.Time // begin of the last attempt
	lastGood  time.Time // end of the last good one
	fetching  bool
	failed    error         // of the last attempt; nil: it was good
	done      chan struct{} // closed at the end of the running or the next attempt
	waiters   int           // requests that wait for that
}

func newIssuer(i Issuer, o Options) (*issuer, error) {
	n := 0
	for _, place := range []string{i.JWKSURL, i.KeyFile, i.SecretFile} {
		if place != "" {
			n++
		}
	}
	switch {
	case i.Name == "":
		return nil, errors.New("it has no name, which is compared with the iss claim")
	case len(i.Audience) == 0 || slices.Contains(i.Audience, ""):
		return nil, errors.New("it has no audience, so tokens for other services would be accepted")
	case n != 1:
		return nil, errors.New("its keys must come from one place: a JWKS URL, a key file or a secret file")
	case i.JWKSURL != "" && o.Fetch == nil:
		return nil, errors.New("there is no way to fetch keys")
	}
	algorithms, err := algorithmsOf(i.Algorithms, i.SecretFile != "")
	if err != nil {
		return nil, err
	}
	made := &issuer{name: i.Name, sum: issuerSumOf(i.Name), typ: i.Type, algorithms: algorithms, validator: newValidator(i, o.Leeway), log: o.Log, parse: parseKeys,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	switch {
	case i.JWKSURL != "":
		made.remote, made.where = true, "JWKS URL"
		made.read = func(ctx context.Context) ([]byte, error) { return o.Fetch(ctx, i.JWKSURL, maxKeyBytes) }
	case i.KeyFile != "":
		made.where = "key file"
		made.read = func(context.Context) ([]byte, error) { return os.ReadFile(i.KeyFile) }
	default:
		made.where = "secret file"
		made.read = func(context.Context) ([]byte, error) { return os.ReadFile(i.SecretFile) }
		made.parse = func(data []byte) ([]key, error) { return parseSecret(data, algorithms) }
	}
	return made, nil
}

func (i *issuer) accepts(alg string) bool { return slices.Contains(i.algorithms, alg) }

// find is the keys that may have signed a token. A kid that nobody knows is a reason to fetch the keys again, so that a token with a
// new key is not refused until the next refresh. Who makes up names keeps others from that for a while: so a token that says it was issued
// since the keys were read may be good later. It may lie; then its bearer hears less of what is wrong with it, and that is all.
func (i *issuer) find(ctx context.Context, alg, kid string, issued int64) ([]jwt.VerificationKey, error) {
	list, known := choose(i.current(), alg, kid)
	if !known {
		if err := i.refreshed(ctx); err != nil {
			return nil, err
		}
		if list, known = choose(i.current(), alg, kid); !known && i.olderThan(issued) {
			return nil, errNewKey
		}
	}
	if len(list) == 0 {
		return nil, errKey
	}
	return list, nil
}

// olderThan says whether the keys were read before that moment, in Unix milliseconds, or in its second. One that is still to come is nobody's.
func (i *issuer) olderThan(issued int64) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return issued > i.attempted.UnixMilli()-1000 && issued < time.Now().Add(apart).UnixMilli()
}

// problem is why the keys could not be read at the last attempt, and which are in use; empty when they could.
func (i *issuer) problem() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.failed == nil && i.keys == nil:
		return fmt.Sprintf("issuer %q: its %s has not been read yet", i.name, i.where)
	case i.failed == nil:
		return ""
	case i.keys == nil:
		return fmt.Sprintf("issuer %q: its %s: %v; until that is mended its tokens cannot be checked", i.name, i.where, i.failed)
	}
	return fmt.Sprintf("issuer %q: its %s: %v; the keys read at %s stay in use", i.name, i.where, i.failed, i.lastGood.UTC().Format(time.RFC3339))
}

// lastRead is when the keys were last read; zero = never.
func (i *issuer) lastRead() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.lastGood
}

func (i *issuer) current() []key {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys
}

// attempt reads the keys once, and takes them if they are good: what is there now stays until then.
func (i *issuer) attempt(ctx context.Context) error {
	i.mu.Lock()
	i.attempted, i.fetching = time.Now(), true
	i.mu.Unlock()

	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	data, err := i.read(ctx)
	cancel()
	if err == nil && len(data) > maxKeyBytes {
		err = fmt.Errorf("it is larger than %d bytes", maxKeyBytes)
	}
	var keys []key
	if err == nil {
		keys, err = i.parse(data)
	}

	i.mu.Lock()
	first := i.keys == nil
	changed := err == nil && (first || string(data) != string(i.data))
	if err == nil {
		i.lastGood = time.Now()
	}
	if changed {
		i.keys, i.data = keys, data
	}
	i.fetching, i.failed = false, err
	close(i.done)
	i.done = make(chan struct{})
	i.mu.Unlock()

	if changed {
		i.changed()
		i.log.Info("keys of an issuer taken", "issuer", i.name, "from", i.where, "keys", len(keys))
	}
	if err != nil {
		i.metrics.keysFailed()
		return fmt.Errorf("auth: issuer %q: its %s: %w", i.name, i.where, err)
	}
	return nil
}
