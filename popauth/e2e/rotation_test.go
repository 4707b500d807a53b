// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// guardGlobals is a server that only guards an API with the tokens of another
// one, whose issuer it knows and whose storage it shares.
const guardGlobals = `
	popauth {
		issuer https://auth.localhost:%d
		store memory
		client reports reports-secret
	}
`

const guardSites = `
guard.localhost {
	pop_auth
	respond "guarded"
}
`

// F09: TestKeyRotationUnderLoad has an issuer change its signing key while clients
// get tokens and use them, also at other processes that share its storage. No
// token may fail, whatever key has signed it, and both keys are published all
// the time.
func TestKeyRotationUnderLoad(t *testing.T) {
	t.Parallel()
	s := prepare(t, stateGlobals, stateSites)
	first, second := fixture.Fresh(t), fixture.Fresh(t)
	s.keep(t, first, time.Now().Add(-time.Hour))
	s.run(t)
	var guards []*server
	for range fixture.Scale(1, 2) {
		guards = append(guards, s.guard(t))
	}
	nextSecond(t)

	signed := signatures{counts: map[string]int{}}
	traffic := s.traffic(t, 10*time.Millisecond, func(v *visitor) error {
		if err := v.issue(); err != nil {
			return err
		}
		if v.client == jwtClient { // nobody signs the others
			signed.count(v.token)
			for _, guard := range guards {
				if err := v.call(guard.site("guard", "/reports")); err != nil {
					return err
				}
			}
		}
		if err := v.call(s.site("api", "/reports")); err != nil {
			return err
		}
		return v.published(s, signed.expected()...)
	})
	kids := []string{first.Thumbprint(t), second.Thumbprint(t)}
	signed.expect(kids[0])
	enough := func(kid string) func() bool {
		return func() bool { return traffic.over.Load() || signed.of(kid) >= fixture.Scale(25, 500) }
	}
	await(t, "tokens of the first key", enough(kids[0]))

	// another node makes the next key, which this one hears of from a token
	s.keep(t, second, time.Now().Add(3*time.Second))
	if !s.active(t, s.client(t, "HTTP/2.0"), s.signedBy(t, second)) {
		t.Error("a token that another node signed with a new key is not active")
	}
	signed.expect(kids...)
	await(t, "tokens of the second key", enough(kids[1]))
	traffic.end()
	visits, _ := traffic.counts()
	if got := slices.Sorted(maps.Keys(signed.counts)); !slices.Equal(got, slices.Sorted(slices.Values(kids))) {
		t.Errorf("got tokens signed by the keys %q, want %q", got, kids)
	}
	fixture.Figure(t, "F09", "nodes=%d visits=%d tokens_of_the_old_key=%d of_the_new=%d failed=0", 1+len(guards), visits,
		signed.of(kids[0]), signed.of(kids[1]))
}

// signatures are how many tokens each key has signed.
type signatures struct {
	mu     sync.Mutex
	counts map[string]int
	kids   []string // that must be published
}

// count reads in a JWT which key has signed it.
func (s *signatures) count(token string) {
	head, _, _ := strings.Cut(token, ".")
	raw, _ := base64.RawURLEncoding.DecodeString(head)
	var header struct {
		KeyID string `json:"kid"`
	}
	_ = json.Unmarshal(raw, &header)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[header.KeyID]++
}

func (s *signatures) of(kid string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[kid]
}

func (s *signatures) expect(kids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kids = kids
}

func (s *signatures) expected() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kids
}

// published fails if one of the keys is not.
func (v *visitor) published(s *server, kids ...string) error {
	r := newRequest(v.t, http.MethodGet, s.site("auth", "/oauth2/jwks"), "")
	got, err := v.send(r)
	if err != nil {
		return err
	}
	for _, kid := range kids {
		if !strings.Contains(got.body, `"kid":"`+kid+`"`) {
			return &unexpected{r, got}
		}
	}
	return nil
}

// keep puts a signing key into the storage of the issuer, as a node does.
func (s *server) keep(t *testing.T, k fixture.Key, activeFrom time.Time) {
	t.Helper()
	scalar, err := k.Private.(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	file, err := json.Marshal(map[string]any{
		"jwk":         with(k.JWK, "d", base64.RawURLEncoding.EncodeToString(scalar)),
		"algorithm":   k.Alg,
		"created":     time.Now().UTC(),
		"active_from": activeFrom.UTC().Truncate(time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	issuer := sha256.Sum256([]byte(s.site("auth", "")))
	folder := filepath.Join(s.dir, "storage", "popauth", hex.EncodeToString(issuer[:]), "keys")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	// as Caddy does: nobody may read half a file
	name := filepath.Join(folder, k.Thumbprint(t))
	if err := os.WriteFile(name+".tmp", file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".tmp", name+".json"); err != nil {
		t.Fatal(err)
	}
}

// guard starts a second process beside s. Its store knows of no token that was
// issued in the second in which it starts.
func (s *server) guard(t *testing.T) *server {
	t.Helper()
	g := prepare(t, fmt.Sprintf(guardGlobals, s.https), guardSites)
	if err := os.Symlink(filepath.Join(s.dir, "storage"), filepath.Join(g.dir, "storage")); err != nil {
		t.Fatal(err)
	}
	g.run(t)
	return g
}

// signedBy is a token of the issuer, signed with a key. Its iat is the next
// second, as the store may have been made in this one.
func (s *server) signedBy(t *testing.T, k fixture.Key) string {
	t.Helper()
	now := time.Now().Unix()
	return k.JWS(t, map[string]any{"typ": "at+jwt", "alg": k.Alg, "kid": k.Thumbprint(t)}, map[string]any{
		"iss": s.site("auth", ""), "sub": "reports", "client_id": "reports", "aud": s.site("auth", ""),
		"iat": now + 1, "exp": now + 300, "jti": "0123456789abcdef",
	})
}
