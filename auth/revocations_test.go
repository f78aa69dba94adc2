package auth

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/prometheus/client_golang/prometheus"
)

// revocable makes a verifier with revocations that are known.
func revocable(t *testing.T, entries ...RevocationEntry) (*Verifier, *Revocations) {
	t.Helper()
	r := NewRevocations(100, nil, prometheus.NewRegistry())
	r.Replace(entries)
	r.Watched(true, "")
	i := issuerOf()
	i.KeyFile = file(t, publicPEM(p256()))
	return loaded(t, Options{Issuers: []Issuer{i}, Revocations: r, SessionClaim: "sid"}), r
}

func entry(k RevocationKind, value, text string) RevocationEntry {
	return RevocationEntry{Key: RevocationKey(k, value), Value: []byte(text), Stored: time.Now()}
}

func es256(more ...jwt.MapClaims) string { return sign("ES256", p256(), good(more...)) }

func TestRevocations_FindATokenByWhateverNamesIt(t *testing.T) {
	issued := time.Now().Add(-time.Minute).Unix()
	token := es256(jwt.MapClaims{"jti": "t-1", "sid": "s 1/*>", "iat": issued})
	for _, c := range []struct {
		name  string
		entry RevocationEntry
		want  error
	}{
		{"its id", entry(ByToken, "t-1", ""), errRevoked},
		{"another id", entry(ByToken, "t-2", ""), nil},
		{"its user", entry(ByUser, "ann", "{}"), errRevoked},
		{"another user", entry(ByUser, "bob", "{}"), nil},
		{"a user called like its id", entry(ByUser, "t-1", "{}"), nil},
		{"its session", entry(BySession, "s 1/*>", ""), errRevoked},
		{"a kick", entry(Kick, "ann", ""), ErrKicked},
		{"its user, before it was issued", entry(ByUser, "ann", fmt.Sprintf(`{"before": %d}`, issued-1)), nil},
		{"its user, in the second it was issued", entry(ByUser, "ann", fmt.Sprintf(`{"before": %d}`, issued)), errRevoked},
		{"its session, before it was issued", entry(BySession, "s 1/*>", fmt.Sprintf(`{"before": %q}`, time.Unix(issued-1, 0).UTC().Format(time.RFC3339))), nil},
		{"its session, until some time ago", entry(BySession, "s 1/*>", `{"until": "2020-01-01T00:00:00Z"}`), nil},
		{"its session, until later", entry(BySession, "s 1/*>", `{"until": "2120-01-01T00:00:00Z", "reason": "a laptop was stolen"}`), errRevoked},
		{"its user, by a value that nobody can read", entry(ByUser, "ann", "laptop stolen"), errRevoked},
		{"its user, by a misspelt exception", entry(ByUser, "ann", `{"befor": 1}`), errRevoked},
		{"its user, by an exception that is said twice", entry(ByUser, "ann", `{"before": 1, "before": 2}`), errRevoked},
		{"its user, by an exception of another case", entry(ByUser, "ann", `{"Before": 1}`), errRevoked},
		{"its user, by a time that is none", entry(ByUser, "ann", `{"before": "yesterday"}`), errRevoked},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, _ := revocable(t, c.entry)
			if _, err := v.Identify(t.Context(), token); !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

// A user who was revoked may log in again; a token that does not say when it was issued counts as older.
func TestRevocations_OfAUserLeaveTokensThatCameLater(t *testing.T) {
	e := entry(ByUser, "ann", "")
	e.Stored = time.Now().Add(-10 * time.Second)
	v, _ := revocable(t, e)
	accepted(t, v, es256(jwt.MapClaims{"iat": time.Now().Unix()}))
	refused(t, v, es256(jwt.MapClaims{"iat": time.Now().Add(-time.Minute).Unix()}), errRevoked)
	refused(t, v, es256(), errRevoked)
	// Of a session all tokens are revoked: one that is made of a refresh token later belongs to it still.
	v, _ = revocable(t, entry(BySession, "s", ""))
	refused(t, v, es256(jwt.MapClaims{"iat": time.Now().Add(20 * time.Second).Unix(), "sid": "s"}), errRevoked)
}

// The cache is asked before, never instead of, the revocations.
func TestRevocations_AreAskedBehindTheCache(t *testing.T) {
	v, r := revocable(t)
	token := es256(jwt.MapClaims{"jti": "a"})
	id := accepted(t, v, token)
	r.Apply([]RevocationEntry{entry(ByToken, "a", "")})
	refused(t, v, token, errRevoked)
	if err := v.Check(id); !errors.Is(err, errRevoked) {
		t.Errorf("an identity of before: %v", err)
	}
	r.Apply([]RevocationEntry{{Key: RevocationKey(ByToken, "a"), Gone: true}})
	accepted(t, v, token)
	if v.Check(v.Anonymous()) != nil {
		t.Error("nobody was revoked")
	}
}

// As long as they are not known nobody is let in, and who is known to be revoked is told so.
func TestRevocations_ThatAreNotKnownAreNoPermission(t *testing.T) {
	r := NewRevocations(2, nil, nil)
	i := issuerOf()
	i.KeyFile = file(t, publicPEM(p256()))
	v := loaded(t, Options{Issuers: []Issuer{i}, Revocations: r, SessionClaim: "sid"})
	refused(t, v, es256(), ErrUnavailable)
	r.Replace(nil)
	accepted(t, v, es256())
	// What is known stays when changes are not heard of any more.
	r.Apply([]RevocationEntry{entry(ByUser, "bob", "")})
	r.Watched(false, "NATS is away")
	refused(t, v, es256(jwt.MapClaims{"sub": "bob"}), errRevoked)
	accepted(t, v, es256())
	if s := r.State(); !s.Known || s.Stale == 0 || s.Detail != "NATS is away" {
		t.Errorf("state %+v", s)
	}
	// More than fit: those that are not in memory might be anybody.
	r.Apply([]RevocationEntry{entry(ByUser, "c", ""), entry(ByUser, "d", "")})
	refused(t, v, es256(), ErrUnavailable)
	refused(t, v, es256(jwt.MapClaims{"sub": "bob"}), errRevoked)
	if s := r.State(); s.Known || s.Entries != 2 {
		t.Errorf("state %+v", s)
	}
	r.Replace([]RevocationEntry{entry(ByUser, "c", "")})
	accepted(t, v, es256())
}

func TestRevocations_LeaveTheMemoryWhenTheyHaveExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, r := revocable(t)
		until := func(d time.Duration) string { return fmt.Sprintf(`{"until": %d}`, time.Now().Add(d).Unix()) }
		r.Apply([]RevocationEntry{entry(ByToken, "a", until(15*time.Second)), entry(ByToken, "b", ""), entry(ByToken, "c", until(5*time.Second)),
			entry(ByConnection, "abc-1", until(time.Second))})
		go func() { _ = v.Run(t.Context()) }()
		token := es256(jwt.MapClaims{"jti": "a"})
		refused(t, v, token, errRevoked)
		if ids := r.Connections("abc-"); len(ids) != 1 || ids[0] != "abc-1" {
			t.Errorf("connections %q", ids)
		}
		time.Sleep(14 * time.Second)
		refused(t, v, token, errRevoked)
		time.Sleep(2 * time.Second)
		accepted(t, v, token)
		time.Sleep(pruneEvery)
		if n := r.State().Entries; n != 1 || len(r.Connections("")) != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestRevocations_WarnOfTokensThatOutliveThem(t *testing.T) {
	var log strings.Builder
	r := NewRevocations(10, slog.New(slog.NewTextHandler(&log, nil)), nil)
	r.Replace(nil)
	i := issuerOf()
	i.KeyFile = file(t, publicPEM(p256()))
	v := loaded(t, Options{Issuers: []Issuer{i}, Revocations: r})
	accepted(t, v, es256()) // for ever
	r.Keeps(2 * time.Hour)
	accepted(t, v, es256(jwt.MapClaims{"jti": "a"}))
	if log.Len() > 0 {
		t.Errorf("warned of nothing: %s", log.String())
	}
	r.Keeps(30 * time.Minute)
	token := es256(jwt.MapClaims{"jti": "b"})
	accepted(t, v, token)
	accepted(t, v, es256(jwt.MapClaims{"jti": "c"}))
	if n := strings.Count(log.String(), "lives longer than the bucket keeps"); n != 1 || strings.Contains(log.String(), token) {
		t.Errorf("%d warnings: %s", n, log.String())
	}
}

func TestRevocations_KeysAreWhatTheDocumentsSay(t *testing.T) {
	full := sha256.Sum256([]byte("ann@example.org"))
	if got, want := RevocationKey(ByUser, "ann@example.org"), fmt.Sprintf("sub.%x", full); got != want {
		t.Errorf("key %q, want %q", got, want)
	}
	for k := range revocationKinds {
		n, err := nameOf(RevocationKey(k, "abc-1"))
		if err != nil || n.kind != k || n.sum != sumOf("abc-1") {
			t.Errorf("%v: %+v, %v", k, n, err)
		}
		if strings.ContainsFunc(RevocationKey(k, "abc-1"), func(c rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-.", c) }) {
			t.Errorf("%v: not a key of NATS", k)
		}
	}
	text, err := json.Marshal(Revocation{Before: time.Unix(1, 0), Reason: "x"})
	if err != nil || string(text) != `{"before":"1970-01-01T00:00:01Z","reason":"x"}` {
		t.Errorf("%s, %v", text, err)
	}
}

// Two issuers may have the same sub, jti and sid for different people. A revocation of one issuer's leaves the other's alone, one that
// names none is about both, and one is taken back without the other.
func TestRevocations_TellIssuersApart(t *testing.T) {
	r := NewRevocations(100, nil, prometheus.NewRegistry())
	r.Replace(nil)
	r.Watched(true, "")
	var issuers []Issuer
	for _, name := range []string{"https://a.example", "https://b.example"} {
		i := issuerOf(func(i *Issuer) { i.Name = name })
		i.KeyFile = file(t, publicPEM(p256()))
		issuers = append(issuers, i)
	}
	v := loaded(t, Options{Issuers: issuers, Revocations: r, SessionClaim: "sid"})
	from := func(issuer string) string {
		return es256(jwt.MapClaims{"iss": issuer, "jti": "t", "sub": "ann", "sid": "s", "iat": time.Now().Add(-time.Minute).Unix()})
	}
	a, b := from("https://a.example"), from("https://b.example")
	for k, value := range map[RevocationKind]string{ByToken: "t", ByUser: "ann", BySession: "s", Kick: "ann"} {
		want := error(errRevoked)
		if k == Kick {
			want = ErrKicked
		}
		one := RevocationEntry{Key: RevocationKeyOf(k, "https://a.example", value), Stored: time.Now()}
		both := RevocationEntry{Key: RevocationKey(k, value), Stored: time.Now()}
		gone := func(e RevocationEntry) []RevocationEntry { return []RevocationEntry{{Key: e.Key, Gone: true}} }
		r.Apply([]RevocationEntry{one})
		refused(t, v, a, want)
		accepted(t, v, b)
		r.Apply([]RevocationEntry{both})
		r.Apply(gone(one))
		refused(t, v, a, want)
		refused(t, v, b, want)
		r.Apply([]RevocationEntry{one})
		r.Apply(gone(both))
		refused(t, v, a, want)
		accepted(t, v, b)
		r.Replace([]RevocationEntry{one})
		refused(t, v, a, want)
		accepted(t, v, b)
		r.Replace(nil)
		accepted(t, v, a)
	}
	if !v.Accepts("https://b.example") || v.Accepts("https://b.example/") || v.Accepts("") {
		t.Error("issuers are not known by their names")
	}
}

// Two parts are the issuer and the value; everything else is nobody's key.
func TestRevocations_KeysHaveTwoHashesAtMost(t *testing.T) {
	full := fmt.Sprintf("%x", sha256.Sum256([]byte("ann")))
	for _, key := range []string{"sub." + full + ".", "sub.." + full, "sub." + full + ".ann", "sub.ann." + full, "sub." + full + "." + full + "." + full} {
		if _, err := nameOf(key); !errors.Is(err, errNoKey) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// Whatever stands in the bucket, nobody falls over it, and no value frees whom its key names.
func FuzzRevocationEntries(f *testing.F) {
	f.Add("sub.ann", `{}`)
	f.Add(RevocationKey(ByUser, "ann"), `{"before": 1e300}`)
	f.Add(RevocationKey(ByUser, "ann"), `{"before": 1} until tomorrow`)
	f.Add(RevocationKey(ByUser, "ann"), `{}}`)
	f.Add(RevocationKeyOf(ByUser, "i", "ann"), `{}`)
	f.Add(RevocationKeyOf(ByUser, "i", "ann")+".x", `{}`)
	f.Add("conn.a-1", `{"until":"2026-01-01T00:00:00Z"`)
	f.Add(RevocationKey(ByToken, "x"), `[{"before":-1}]`)
	f.Fuzz(func(t *testing.T, key, value string) {
		r := NewRevocations(4, nil, nil)
		r.Replace([]RevocationEntry{{Key: key, Value: []byte(value), Stored: time.Now()}})
		n, err := nameOf(key)
		if s := r.State(); (err == nil) != (s.Entries == 1) || !s.Known {
			t.Fatalf("key %q: %v, state %+v", key, err, s)
		}
		if err != nil || json.Valid([]byte(value)) || strings.TrimSpace(value) == "" {
			return
		}
		if rule := r.rules[n]; rule.before != forever || rule.until != forever {
			t.Errorf("%q makes %+v", value, rule)
		}
	})
}

func BenchmarkRevocations_Find(b *testing.B) {
	r := NewRevocations(200_000, nil, nil)
	var all []RevocationEntry
	for i := range 100_000 {
		all = append(all, RevocationEntry{Key: RevocationKey(ByUser, fmt.Sprint(i)), Stored: time.Now()})
	}
	r.Replace(all)
	m := Marks{token: sumOf("t"), subject: sumOf("u"), session: sumOf("s"), issued: 1}
	for b.Loop() {
		if r.Find(&m) != Good {
			b.Fatal("revoked")
		}
	}
}
