package auth

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// heapOf is the live heap.
func heapOf() uint64 {
	runtime.GC() // twice, for what has finalizers
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What is remembered of a usual token: there is one for each user who was here lately.
func TestMemory_OfAnIdentityThatIsRemembered(t *testing.T) {
	const users = 5_000
	v := withFile(t, publicPEM(p256()))
	v.claim = ""
	tokens := make([]string, users)
	for n := range tokens {
		at := time.Now()
		tokens[n] = sign("ES256", p256(), jwt.MapClaims{"iss": "https://issuer.example", "aud": "headgate", "sub": fmt.Sprintf("user-%08d", n),
			"jti": fmt.Sprintf("token-%08d", n), "iat": at.Unix(), "exp": at.Add(2 * time.Hour).Unix(), "scope": "openid profile feed:read"})
	}
	before := heapOf()
	weight := 0
	for _, token := range tokens {
		weight += accepted(t, v, token).weight()
	}
	per := float64(heapOf()-before) / users
	t.Logf("%.0f bytes each, %d are reckoned", per, weight/users)
	if per > 600 || float64(weight/users) < per*0.9 {
		t.Errorf("%.0f bytes each, %d are reckoned; 600 at most should be, and no fewer be reckoned than there are", per, weight/users)
	}
	runtime.KeepAlive(v)
	runtime.KeepAlive(tokens)
}
