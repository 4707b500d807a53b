// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// limited is stateGlobals with a limit to the size of the store, of which each
// opaque token takes a page, so that it is filled by some hundred, and with a
// client that authenticates by assertions.
func limited(size string) string {
	return strings.NewReplacer(
		"store file $DIR/store.db", "store file $DIR/store.db {\n\t\t\tmax_size "+size+"\n\t\t}",
		"access_token opaque", "access_token opaque\n\t\t\taudience https://auth.localhost:$HTTPS https://"+strings.Repeat("a", 3000),
		"client inspector", "client signer {\n\t\t\tjwks_file $DIR/signer.jwks\n\t\t}\n\t\tclient inspector",
	).Replace(stateGlobals)
}

// F03: TestFullStore fills the store with opaque tokens. Then there are no more of
// them and nobody authenticates by an assertion, and all else goes on.
func TestFullStore(t *testing.T) {
	t.Parallel()
	covers(t, "T35")
	s := prepare(t, limited("4MiB"), stateSites)
	signer := fixture.Load(t, "ed25519")
	if err := os.WriteFile(filepath.Join(s.dir, "signer.jwks"), []byte(`{"keys":[`+string(signer.JSON(t))+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	nextSecond(t) // the store is younger than no assertion from now on
	since := len(s.log(t))
	var mu sync.Mutex
	var tokens []string
	begin := make(chan struct{})
	full := s.crowd(t, each, time.Microsecond, func(v *visitor) error {
		<-begin
		if v.client != opaqueClient {
			return errFull
		}
		err := v.issue()
		if u, refused := errors.AsType[*unexpected](err); refused && u.answer.status == http.StatusServiceUnavailable {
			if u.answer.header.Get("Retry-After") == "" || !strings.Contains(u.answer.body, "temporarily_unavailable") {
				return err
			}
			return errFull
		}
		mu.Lock()
		defer mu.Unlock()
		tokens = append(tokens, v.token)
		return err
	})
	full.broken.Store(true) // errFull ends a visit, and nothing else does
	close(begin)
	await(t, "the store to be full", func() bool { return full.over.Load() || len(s.said(t, since, almostFull)) > 0 })
	full.end()
	if got := len(s.said(t, since, almostFull)); got != 1 {
		t.Errorf("the log says %d times that the store is almost full, want once", got)
	}
	t.Logf("%d opaque tokens in 4 MiB", len(tokens))

	c := s.client(t, "HTTP/2.0")
	refused := len(s.log(t))
	got := s.post(t, c, "/oauth2/token", form("grant_type", "client_credentials", "cnf_key", cnfKey(t, fixture.Load(t, "p256"))),
		"Authorization", basic(opaqueClient, opaqueClient+"-secret"))
	s.refusedEndpoint(t, got, refused, want{503, "temporarily_unavailable", oauth.StoreUnavailable, false, "Retry-After"})
	if log := string(s.log(t)[refused:]); !strings.Contains(log, "max_size") {
		t.Errorf("the log does not name the option to change: %s", log)
	}
	refused = len(s.log(t))
	got = s.asserted(t, c, s.assertion(t, signer, nil, nil))
	s.refusedEndpoint(t, got, refused, want{503, "temporarily_unavailable", oauth.StoreUnavailable, false, "Retry-After"})
	hand := s.dealFor(t, c, jwtClient)
	if got := do(t, c, hand.with(hand.proof(hand.key, nil))); got.status != http.StatusOK {
		t.Errorf("a request with a JWT: got %d %s, want 200", got.status, got.body)
	}
	revoke := tokens[:len(tokens)/2]
	var wg sync.WaitGroup
	for part := range each {
		wg.Go(func() {
			v := s.visitor(t, protocols[part%2], opaqueClient)
			for i := part; i < len(revoke); i += each {
				if v.token = revoke[i]; v.revoke() != nil {
					t.Errorf("revocation %d failed: %v", i, v.revoke())
				}
			}
		})
	}
	wg.Wait()
	for i, token := range tokens {
		if i%20 == 0 && s.active(t, c, token) != (i >= len(revoke)) {
			t.Errorf("token %d of %d, of which %d are revoked, is active: %v", i, len(tokens), len(revoke), i < len(revoke))
		}
	}
	// more room, without a restart
	s.load(t, limited("64MiB"), stateSites)
	s.tokenOf(t, c, fixture.Load(t, "p256"), opaqueClient)
	if got := s.asserted(t, c, s.assertion(t, signer, nil, nil)); got.status != http.StatusOK {
		t.Errorf("an assertion, with room again: got %d %s, want 200", got.status, got.body)
	}
	if got := s.said(t, since, "the store has room again"); len(got) != 1 || got[0]["level"] != "info" {
		t.Errorf("the log says %v, want once that there is room again", got)
	}
	fixture.Figure(t, "F03", "max_size=4MiB opaque_tokens=%d revoked_when_full=%d", len(tokens), len(revoke))
}

// errFull is what a visitor is told by a full store.
var errFull = errors.New("the store is full")

const almostFull = "the store is almost full"

// said are the entries of the log since an offset whose message begins so.
func (s *server) said(t *testing.T, since int, message string) (said []map[string]any) {
	t.Helper()
	for _, entry := range s.entries(t, since) {
		if text, _ := entry["msg"].(string); strings.HasPrefix(text, message) {
			said = append(said, entry)
		}
	}
	return said
}
