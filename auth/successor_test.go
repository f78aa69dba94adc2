package auth

import (
	"context"
	"crypto"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// endpoints are JWK sets by URL, which count who asks them.
type endpoints struct {
	mu    sync.Mutex
	sets  map[string]string
	asked map[string]int
}

func (e *endpoints) fetch(_ context.Context, url string, _ int64) ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked[url]++
	set, ok := e.sets[url]
	if !ok {
		return nil, errors.New("away")
	}
	return []byte(set), nil
}

func (e *endpoints) count(url string) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.asked[url]
}

// at is an issuer whose keys are at a URL of the same name.
func at(name string) Issuer { return Issuer{Name: name, Audience: []string{"headgate"}, JWKSURL: name} }

func of(issuer string, key crypto.Signer, alg string) string {
	return sign(alg, key, good(jwt.MapClaims{"iss": issuer}), "kid", "k")
}

// succeeding runs a verifier of the issuers a and b.
func succeeding(t *testing.T) (*Verifier, *endpoints, func()) {
	t.Helper()
	e := &endpoints{asked: map[string]int{}, sets: map[string]string{
		"a": jwks(jwk(p256().Public(), map[string]any{"kid": "k"})), "b": jwks(jwk(p384().Public(), map[string]any{"kid": "k"}))}}
	v, err := New(Options{Issuers: []Issuer{at("a"), at("b")}, PermissionsClaim: "nats", Fetch: e.fetch})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = v.Run(ctx) }()
	synctest.Wait()
	return v, e, func() { cancel(); <-ended }
}

// Whoever knows the first verifier hears of what is in force: operators do.
func TestNext_AcceptsWhatIsInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, e, end := succeeding(t)
		defer end()
		e.mu.Lock()
		e.sets["c"] = e.sets["a"]
		e.mu.Unlock()
		next, err := v.Next(t.Context(), Trust{Issuers: []Issuer{at("b"), at("c")}})
		if err != nil {
			t.Fatal(err)
		}
		if !v.Accepts("a") || v.Accepts("c") {
			t.Error("what is not in force yet counts")
		}
		next.Use()
		if v.Accepts("a") || !v.Accepts("b") || !v.Accepts("c") {
			t.Error("what was in force before counts")
		}
	})
}

func TestNext_AnIssuerThatIsGoneIsGoneAndTheOthersKeepTheirKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, e, end := succeeding(t)
		defer end()
		ofA, ofB := of("a", p256(), "ES256"), of("b", p384(), "ES384")
		a, b := accepted(t, v, ofA), accepted(t, v, ofB)
		next, err := v.Next(t.Context(), Trust{Issuers: []Issuer{at("b")}, PermissionsClaim: "nats"})
		if err != nil {
			t.Fatal(err)
		}
		next.Use()
		synctest.Wait()
		refused(t, next, ofA, errIssuer)
		if err := next.Check(a); !errors.Is(err, errIssuer) {
			t.Errorf("who was identified before: %v", err)
		}
		if err := next.Check(b); err != nil {
			t.Errorf("of the issuer that stays: %v", err)
		}
		if again := accepted(t, next, ofB); again.Ground() != b.Ground() {
			t.Error("the issuer that stays has other rules")
		}
		if err := next.Check(v.Anonymous()); err != nil {
			t.Errorf("anonymous callers: %v", err)
		}
		if over := next.Over(v); !slices.Equal(over, []Over{{a.Ground(), "a", true}}) {
			t.Errorf("over: %+v", over)
		}
		before, other := e.count("a"), e.count("b")
		if other != 1 {
			t.Errorf("the keys of the issuer that stays were read %d times", other)
		}
		time.Sleep(3 * refreshURL)
		if e.count("a") != before || e.count("b") == other {
			t.Errorf("afterwards the keys were read %d and %d times", e.count("a")-before, e.count("b")-other)
		}
	})
}

func TestNext_OtherRulesOfAnIssuerMakeItsIdentitiesOutdated(t *testing.T) {
	wider := at("a")
	wider.Audience = []string{"headgate", "others"}
	deny := Grants{Sub: Permissions{Deny: []string{"secret.>"}}}
	for name, c := range map[string]struct {
		trust              Trust
		a, anonymous, news bool // that are outdated; whether keys are read anew
	}{
		"nothing":     {Trust{[]Issuer{at("b"), at("a")}, "nats", Grants{}}, false, false, false},
		"audience":    {Trust{[]Issuer{wider, at("b")}, "nats", Grants{}}, true, false, true},
		"claim":       {Trust{[]Issuer{at("a"), at("b")}, "rights", Grants{}}, true, false, false},
		"anonymous":   {Trust{[]Issuer{at("a"), at("b")}, "nats", deny}, false, true, false},
		"publishing":  {Trust{[]Issuer{at("a"), at("b")}, "nats", Grants{Pub: Permissions{Allow: []string{"x"}}}}, false, false, false},
		"one is more": {Trust{[]Issuer{at("a"), at("b"), at("c")}, "nats", Grants{}}, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, e, end := succeeding(t)
				defer end()
				e.sets["c"] = e.sets["b"]
				a, anonymous := accepted(t, v, of("a", p256(), "ES256")), v.Anonymous()
				next, err := v.Next(t.Context(), c.trust)
				if err != nil {
					t.Fatal(err)
				}
				next.Use()
				for what, p := range map[string]struct {
					id   *Identity
					want bool
				}{"a caller of a": {a, c.a}, "an anonymous one": {anonymous, c.anonymous}} {
					if err := next.Check(p.id); errors.Is(err, ErrOutdated) != p.want || !p.want && err != nil {
						t.Errorf("%s: %v", what, err)
					}
					in := slices.Contains(next.Over(v), Over{p.id.Ground(), p.id.Issuer(), false})
					if in != p.want {
						t.Errorf("%s is over: %v", what, in)
					}
				}
				if got := e.count("a"); got != 1+btoi(c.news) {
					t.Errorf("the keys were read %d times", got)
				}
				accepted(t, next, of("a", p256(), "ES256"))
				accepted(t, next, of("b", p384(), "ES384"))
				if len(c.trust.Issuers) == 3 {
					accepted(t, next, of("c", p384(), "ES384")) // its keys were there before anybody could ask
				}
			})
		})
	}
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func TestNext_WithoutKeysChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, e, end := succeeding(t)
		defer end()
		a := accepted(t, v, of("a", p256(), "ES256"))
		for _, trust := range []Trust{
			{Issuers: []Issuer{at("b"), at("c"), {Name: "d", Audience: []string{"x"}, KeyFile: "/nowhere"}}}, {},
			{Issuers: []Issuer{at("a"), at("a")}}, {Issuers: []Issuer{at("a")}, Anonymous: Grants{Sub: Permissions{Allow: []string{"a..b"}}}}} {
			_, err := v.Next(t.Context(), trust)
			if err == nil {
				t.Fatalf("taken: %+v", trust)
			}
			if len(trust.Issuers) == 3 && (!strings.Contains(err.Error(), `"c"`) || !strings.Contains(err.Error(), `"d"`)) {
				t.Errorf("not all of it is said: %v", err)
			}
		}
		if err := v.Check(a); err != nil {
			t.Error(err)
		}
		accepted(t, v, of("a", p256(), "ES256"))
		time.Sleep(2 * refreshURL)
		if e.count("a") < 2 {
			t.Error("the keys are not looked after any more")
		}
	})
}

// Keys that change between the first question to a successor and its Use are not forgotten: an issuer that both have tells the one in force.
func TestUse_ForgetsWhatWasVerifiedWithKeysThatHaveChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, e, end := succeeding(t)
		defer end()
		next, err := v.Next(t.Context(), Trust{Issuers: []Issuer{at("a")}, PermissionsClaim: "nats"})
		if err != nil {
			t.Fatal(err)
		}
		token := of("a", p256(), "ES256")
		accepted(t, next, token)
		e.mu.Lock()
		e.sets["a"] = jwks(jwk(p521().Public(), map[string]any{"kid": "k"}))
		e.mu.Unlock()
		if err := v.issuers[0].attempt(t.Context()); err != nil {
			t.Fatal(err)
		}
		next.Use()
		refused(t, next, token, errKey)
	})
}

// The age of keys is that of the issuer whose keys are oldest, and of those in force alone.
func TestMetrics_AgeOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, e, end := succeeding(t)
		defer end()
		age := func() time.Duration { return v.line.age(time.Now()) }
		time.Sleep(10 * refreshURL)
		if got := age(); got > 2*refreshURL {
			t.Errorf("read again and again, and %s old", got)
		}
		e.mu.Lock()
		delete(e.sets, "b")
		e.mu.Unlock()
		time.Sleep(10 * refreshURL)
		if got := age(); got < 9*refreshURL {
			t.Errorf("away for long, and %s old", got)
		}
		next, err := v.Next(t.Context(), Trust{Issuers: []Issuer{at("a")}})
		if err != nil {
			t.Fatal(err)
		}
		next.Use()
		if got := age(); got > 2*refreshURL {
			t.Errorf("of the one that is left: %s", got)
		}
	})
}
