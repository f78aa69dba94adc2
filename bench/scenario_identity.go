//go:build linux

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// tokens are made by an issuer of the bench's own, which publishes its keys in a file or at an endpoint.
type tokens struct {
	method   jwt.SigningMethod
	key      crypto.Signer
	settings []string // of headgate
	endpoint *keyEndpoint
}

var identityMethods = []jwt.SigningMethod{jwt.SigningMethodRS256, jwt.SigningMethodES256, jwt.SigningMethodEdDSA}

func newTokens(l *Lab, method jwt.SigningMethod) (t *tokens, err error) {
	t = &tokens{method: method}
	switch method {
	case jwt.SigningMethodRS256:
		t.key, err = rsa.GenerateKey(rand.Reader, 2048)
	case jwt.SigningMethodES256:
		t.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, t.key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(t.key.Public())
	if err != nil {
		return nil, err
	}
	file := filepath.Join(l.dir, "issuer-"+method.Alg()+".pem")
	t.settings = []string{"AUTH_MODE=jwt", "AUTH_ISSUER=https://issuer.example", "AUTH_AUDIENCE=headgate", "AUTH_KEY_FILE=" + file,
		"AUTH_QUERY_PARAMETER=access_token"}
	return t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600)
}

// path is that of the shared subject with the token of a user, with what such tokens usually say.
func (t *tokens) path(user int) (string, error) {
	at := time.Now()
	made := jwt.NewWithClaims(t.method, jwt.MapClaims{"iss": "https://issuer.example", "aud": "headgate", "sub": fmt.Sprintf("user-%08d", user),
		"jti": fmt.Sprintf("token-%08d", user), "iat": at.Unix(), "exp": at.Add(2 * time.Hour).Unix(), "scope": "openid profile feed:read"})
	if t.endpoint != nil {
		made.Header["kid"] = newKey
	}
	token, err := made.SignedString(t.key)
	return pathOf(shared) + "?access_token=" + token, err
}

// paths are those of n users, or n times that of one.
func (t *tokens) paths(n int, each bool) ([]string, error) {
	list := make([]string, n)
	for i := range list {
		if i > 0 && !each {
			list[i] = list[0]
			continue
		}
		var err error
		if list[i], err = t.path(i); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// memoryIdentity: what an idle stream costs whose caller has shown a token.
func memoryIdentity(l *Lab) ([]Row, error) {
	t, err := newTokens(l, jwt.SigningMethodES256)
	if err != nil {
		return nil, err
	}
	var rows []Row
	for _, each := range []bool{false, true} {
		row := Row{Name: fmt.Sprintf("memory per idle stream with identity, %d streams of one user", l.size.Idle), Unit: "bytes"}
		if each {
			row.Name = fmt.Sprintf("memory per idle stream with identity, %d streams, each its own user and token", l.size.Idle)
		}
		perStream, live := samples{}, samples{}
		err := l.interleave(&row, 1, []string{"headgate"}, func(string) error {
			paths, err := t.paths(l.size.Idle, each)
			if err != nil {
				return err
			}
			rss, heap, err := identityGrowth(l, t, paths)
			if err == nil {
				perStream.add("headgate", rss)
				live.add("headgate", heap)
			}
			return err
		})
		if err != nil {
			return rows, err
		}
		row.Figures = perStream.figures()
		if each {
			row.below(1536) // as for clients with a subject each: what is kept is each one's own
		} else {
			row.below(600)
		}
		row.note("growth of the live heap per stream, in bytes: %s", listed(live))
		if each {
			row.note("most of what is more than for one user are identities that are remembered for the next request: 65,536 and 128 MiB at most, whatever the number of streams")
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// identityGrowth is what a stream adds to the resident memory, and to the live heap.
func identityGrowth(l *Lab, t *tokens, paths []string) (rss, heap float64, err error) {
	server, err := l.StartHeadgate(t.settings...)
	if err != nil {
		return 0, 0, err
	}
	defer l.Stop(server)
	swarm, err := NewSwarm(server.Addr, false)
	if err != nil {
		return 0, 0, err
	}
	defer swarm.Close()
	before, err := l.Settle(server, time.Second)
	if err != nil {
		return 0, 0, err
	}
	heapBefore, err := server.LiveHeap()
	if err != nil {
		return 0, 0, err
	}
	if err := swarm.Add(len(paths), func(i int) string { return paths[i] }, 2*time.Minute); err != nil {
		return 0, 0, err
	}
	after, err := l.Settle(server, l.size.Still)
	if err != nil {
		return 0, 0, err
	}
	if swarm.ended+swarm.refused > 0 {
		return 0, 0, fmt.Errorf("%d streams were ended, %d refused", swarm.ended, swarm.refused)
	}
	heapAfter, err := server.LiveHeap()
	n := float64(len(paths))
	return float64(after-before) / n, float64(heapAfter-heapBefore) / n, err
}

// How a token is met.
const (
	known    = "one token, verified before"
	cached   = "each its own token, cached keys"
	uncached = "each its own token, uncached keys"
)

// mostForAKey are fewer than may wait for one fetch of keys: who comes beside them is turned away (docs/security.md).
const mostForAKey = 48

// connectIdentity: what opening a stream costs the server when the token is known to it, when it has to be verified, and when the key for
// that has to be fetched first.
func connectIdentity(l *Lab) ([]Row, error) {
	var rows []Row
	for _, method := range identityMethods {
		for _, kind := range []string{known, cached} {
			row := Row{Name: fmt.Sprintf("connects with identity, %d clients, %s, %s", l.size.Many, method.Alg(), kind), Unit: "µs of server CPU per connect"}
			if err := connectAs(l, method, &row, kind, l.size.Many); err != nil {
				return rows, err
			}
			if kind == known {
				row.below(100)
			}
			rows = append(rows, row)
		}
	}
	// What a fetch takes is no matter of the algorithm.
	row := Row{Name: fmt.Sprintf("connects with identity, %d clients at once, ES256, %s", mostForAKey, uncached), Unit: "µs of server CPU per connect"}
	err := connectAs(l, jwt.SigningMethodES256, &row, uncached, mostForAKey)
	return append(rows, row), err
}

func connectAs(l *Lab, method jwt.SigningMethod, row *Row, kind string, n int) error {
	cpu, perSecond, all := samples{}, samples{}, samples{}
	err := l.interleave(row, max(1, l.size.Passes*3/5), []string{"headgate"}, func(server string) error {
		t, err := newTokens(l, method)
		if err != nil {
			return err
		}
		if kind == uncached {
			if err := t.publish(); err != nil {
				return err
			}
			defer func() { _ = t.endpoint.Close() }()
		}
		paths, err := t.paths(n, kind != known)
		if err != nil {
			return err
		}
		s, took, err := l.connected(t, paths, kind)
		if err != nil {
			return err
		}
		cpu.add(server, perEvent(s.CPU, uint64(n)))
		perSecond.add(server, float64(n)/took.Seconds())
		all.add(server, ms(took))
		return nil
	})
	row.Figures = cpu.figures()
	row.note("connects/s: %s", listed(perSecond))
	if kind == uncached {
		row.note("ms until all of them are open, the one fetch of their key among them: %s", listed(all))
	}
	return err
}

// connected opens all of them, and says how long that took.
func (l *Lab) connected(t *tokens, paths []string, kind string) (s Sample, took time.Duration, err error) {
	server, err := l.StartHeadgate(t.settings...)
	if err != nil {
		return s, 0, err
	}
	defer l.Stop(server)
	swarm, err := NewSwarm(server.Addr, false)
	if err != nil {
		return s, 0, err
	}
	defer swarm.Close()
	before := 0
	switch kind {
	case known:
		before = 1
		if err := swarm.Add(before, func(int) string { return paths[0] }, time.Minute); err != nil {
			return s, 0, err
		}
	case uncached:
		if err := t.rotate(l.ctx); err != nil {
			return s, 0, err
		}
	}
	s, err = l.Measure(server, func() (Run, error) {
		start := now()
		err := swarm.Add(len(paths), func(i int) string { return paths[i-before] }, time.Minute)
		took = time.Duration(now() - start)
		if err != nil {
			return Run{}, err
		}
		return Run{}, l.quiet(server)
	})
	if err == nil && kind == uncached && t.endpoint.asked.Load() != 2 {
		err = fmt.Errorf("keys were fetched %d times, not at the start and once more", t.endpoint.asked.Load())
	}
	return s, took, err
}
