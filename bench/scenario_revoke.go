//go:build linux

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	revokeReplicas = 3
	revokeBucket   = "REVOKED"
	revokeOthers   = 300 // revocations a second of others, in the second row
	revokeWait     = 20 * time.Second
)

const revokeRoutes = `version: 1
routes:
  - name: own
    path: /own
    source: {type: core, subject: "own.{claims.sub}"}
`

// revoke: how long the streams of a session go on after it has been revoked, over three replicas on a cluster of three servers.
func revoke(l *Lab) ([]Row, error) {
	c, err := newRevoking(l, "CONTROL=true")
	if err != nil {
		return nil, err
	}
	defer c.close()
	rows, err := c.memory()
	if err != nil {
		return rows, err
	}
	for _, others := range []int{0, revokeOthers} {
		row := Row{Name: fmt.Sprintf("revocation of a session with %d streams on %d replicas, to the end of the last", l.size.Some, revokeReplicas), Unit: "ms, p50"}
		if others > 0 {
			row.Name += fmt.Sprintf(", while %d others a second are revoked", others)
		}
		took, err := c.measure(others)
		if err != nil {
			return rows, err
		}
		slices.Sort(took)
		p99 := took[(len(took)*99+99)/100-1]
		row.Figures = map[string]Figure{"headgate": {Median: median(took), Min: took[0], Max: took[len(took)-1], Passes: len(took)}}
		row.Checks = append(row.Checks, Check{Target: "p99 < 1 s", Got: p99, Met: p99 < 1000})
		row.note("p50 %s, p99 %s, max %s ms in %d rounds; from the publish of the value to the end of the last connection, as its client sees it",
			number(median(took)), number(p99), number(took[len(took)-1]), len(took))
		row.Noise = l.TakeNoise()
		rows = append(rows, row)
	}
	return rows, nil
}

// revoking is what is revoked and where.
type revoking struct {
	lab     *Lab
	key     *ecdsa.PrivateKey
	servers []*Server
	nc      *nats.Conn
	js      jetstream.JetStream
	round   int
}

func newRevoking(l *Lab, more ...string) (c *revoking, err error) {
	c = &revoking{lab: l}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return c, err
	}
	der, err := x509.MarshalPKIXPublicKey(c.key.Public())
	if err != nil {
		return c, err
	}
	keyFile, routes := filepath.Join(l.dir, "issuer.pem"), filepath.Join(l.dir, "revoke.yaml")
	for file, text := range map[string][]byte{keyFile: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), routes: []byte(revokeRoutes)} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			return c, err
		}
	}
	store, err := os.MkdirTemp(l.dir, "store-")
	if err != nil {
		return c, err
	}
	proc, ready, err := startRole(roleSpec{Role: "cluster", Store: store}, cores.clients)
	if err != nil {
		return c, err
	}
	l.procs = append(l.procs, proc)
	c.servers = append(c.servers, &Server{Proc: proc}) // ends with the others
	urls := strings.Split(ready.Addr, ",")
	if c.nc, err = nats.Connect(urls[0]); err != nil {
		return c, err
	}
	if c.js, err = jetstream.New(c.nc); err != nil {
		return c, err
	}
	if err := c.bucket(); err != nil {
		return c, fmt.Errorf("bucket: %w", err)
	}
	for n := range revokeReplicas {
		s, err := l.StartHeadgate(append(more, "NATS_URL="+urls[n], "ROUTES_FILE="+routes, "AUTH_MODE=jwt", "AUTH_ISSUER=bench", "AUTH_AUDIENCE=headgate",
			"AUTH_KEY_FILE="+keyFile, "AUTH_QUERY_PARAMETER=access_token", "AUTH_REVOCATION_BUCKET="+revokeBucket)...)
		if err != nil {
			return c, err
		}
		c.servers = append(c.servers, s)
	}
	return c, nil
}

// bucket makes it, as soon as the cluster has a leader.
func (c *revoking) bucket() error {
	for deadline := time.Now().Add(revokeWait); ; {
		ctx, cancel := context.WithTimeout(c.lab.ctx, time.Second)
		_, err := c.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{Bucket: revokeBucket, Replicas: revokeReplicas, TTL: time.Hour, LimitMarkerTTL: time.Minute})
		cancel()
		if err == nil || time.Now().After(deadline) || c.lab.ctx.Err() != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond) // nats-server has no event for it
	}
}

func (c *revoking) close() {
	if c.nc != nil {
		c.nc.Close()
	}
	for _, s := range slices.Backward(c.servers) {
		c.lab.Stop(s)
	}
}

// measure revokes one session after another, and returns how many milliseconds each took.
func (c *revoking) measure(others int) (took []float64, err error) {
	ctx, cancel := context.WithCancel(c.lab.ctx)
	failed := make(chan error, 1)
	go func() { failed <- c.revokeOthers(ctx, others) }()
	defer func() {
		cancel()
		if wrong := <-failed; err == nil {
			err = wrong
		}
	}()
	before, err := c.lab.read(nil)
	if err != nil {
		return nil, err
	}
	for range c.lab.size.Rounds {
		d, err := c.once(ctx)
		if err != nil {
			return took, err
		}
		took = append(took, float64(d.Microseconds())/1000)
	}
	after, err := c.lab.read(nil)
	if err != nil {
		return nil, err
	}
	c.lab.note(before, after)
	return took, nil
}

// revokeOthers revokes tokens that nobody has here.
func (c *revoking) revokeOthers(ctx context.Context, rate int) error {
	if rate == 0 {
		return nil
	}
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if _, err := c.js.PublishAsync("$KV."+revokeBucket+"."+revokedKey("jti", fmt.Sprintf("other-%d", n)), nil); err != nil {
			return fmt.Errorf("revoke others: %w", err)
		}
	}
}

// token is one of a session.
func (c *revoking) token(session string) (string, error) {
	return jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"iss": "bench", "aud": "headgate", "sub": "ann", "sid": session,
		"exp": time.Now().Add(time.Hour).Unix()}).SignedString(c.key)
}

// memory is what an idle stream costs that belongs to somebody, and that operators can see: all of one user, on one of the replicas.
func (c *revoking) memory() ([]Row, error) {
	l := c.lab
	row := Row{Name: fmt.Sprintf("memory per idle stream, %d streams, one subject, with an identity, revocation and control", l.size.Idle), Unit: "bytes"}
	replica := c.servers[len(c.servers)-1]
	swarm, err := NewSwarm(replica.Addr, false)
	if err != nil {
		return nil, err
	}
	defer swarm.Close()
	text, err := c.token("memory")
	if err != nil {
		return nil, err
	}
	heap, err := replica.LiveHeap()
	if err != nil {
		return nil, err
	}
	before, err := l.Settle(replica, time.Second)
	if err != nil {
		return nil, err
	}
	if err := swarm.Add(l.size.Idle, func(int) string { return "/own?access_token=" + text }, 2*time.Minute); err != nil {
		return nil, err
	}
	after, err := l.Settle(replica, l.size.Still)
	if err != nil {
		return nil, err
	}
	live, err := replica.LiveHeap()
	if err != nil {
		return nil, err
	}
	row.note("live heap per stream %s bytes", number(float64(live-heap)/float64(l.size.Idle)))
	grown := float64(after-before) / float64(l.size.Idle)
	row.Figures = map[string]Figure{"headgate": {Median: grown, Min: grown, Max: grown, Passes: 1}}
	row.below(600)
	row.Noise = l.TakeNoise()
	return []Row{row}, nil
}

// once opens the streams of a session, revokes it, and waits until the last of them has ended.
func (c *revoking) once(ctx context.Context) (time.Duration, error) {
	c.round++
	session := fmt.Sprintf("session-%d", c.round)
	text, err := c.token(session)
	if err != nil {
		return 0, err
	}
	var swarms []*Swarm
	defer func() {
		for _, s := range swarms {
			s.Close()
		}
	}()
	replicas := c.servers[len(c.servers)-revokeReplicas:]
	for n, replica := range replicas {
		s, err := NewSwarm(replica.Addr, false)
		if err != nil {
			return 0, err
		}
		swarms = append(swarms, s)
		share := c.lab.size.Some/revokeReplicas + min(1, max(0, c.lab.size.Some%revokeReplicas-n))
		if err := s.Add(share, func(int) string { return "/own?access_token=" + text }, revokeWait); err != nil {
			return 0, fmt.Errorf("open: %w: %s", err, replica.Proc.tail.String())
		}
	}
	ended := func() (n int) {
		for _, s := range swarms {
			n += s.ended
		}
		return n
	}
	if n := ended(); n > 0 {
		return 0, fmt.Errorf("%d streams ended before they were revoked", n)
	}
	began := time.Now()
	if _, err := c.js.PublishAsync("$KV."+revokeBucket+"."+revokedKey("sid", session), nil); err != nil {
		return 0, err
	}
	for ended() < c.lab.size.Some {
		for _, s := range swarms {
			if err := s.Poll(time.Millisecond); err != nil {
				return 0, err
			}
		}
		if time.Since(began) > revokeWait || ctx.Err() != nil {
			return 0, fmt.Errorf("%d of %d streams have ended after %v: %w", ended(), c.lab.size.Some, time.Since(began), ctx.Err())
		}
	}
	return time.Since(began), nil
}

// revokedKey is as docs/security.md has it.
func revokedKey(kind, value string) string {
	return fmt.Sprintf("%s.%x", kind, sha256.Sum256([]byte(value)))
}
