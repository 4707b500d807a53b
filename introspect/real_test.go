// SPDX-License-Identifier: Apache-2.0

package introspect

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/cnf"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/jwk"
	"github.com/popauth/caddy-popauth/popauth/keys"
	"github.com/popauth/caddy-popauth/popauth/oauth"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// outage is a store that is not always open, and that counts the reads.
type outage struct {
	accesstoken.Store
	down bool
	gets int
}

func (o *outage) err() error {
	if o.down {
		return fmt.Errorf("%w: it is not open", store.ErrUnavailable)
	}
	return nil
}

func (o *outage) Revoked(ctx context.Context, issuer, id [32]byte) (bool, error) {
	if err := o.err(); err != nil {
		return false, err
	}
	return o.Store.Revoked(ctx, issuer, id)
}

func (o *outage) Get(ctx context.Context, key store.Key) ([]byte, bool, error) {
	o.gets++
	if err := o.err(); err != nil {
		return nil, false, err
	}
	return o.Store.Get(ctx, key)
}

// issuers are two issuers on one store, with the same keys and clients.
type issuers struct {
	ours, theirs *accesstoken.Service
	clock        *clock.Fake
	state        *outage
	known        bool
}

func newIssuers(t *testing.T) *issuers {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p256.json"))
	if err != nil {
		t.Fatal(err)
	}
	given, err := keys.ParseGiven(string(text))
	if err != nil {
		t.Fatal(err)
	}
	now := clock.NewFake(time.Unix(1_700_000_000, 0))
	ring, err := keys.NewRing(keys.Config{Given: []*keys.Given{given}, Clock: now})
	if err != nil {
		t.Fatal(err)
	}
	i := &issuers{clock: now, state: &outage{Store: store.NewMirror(store.NewMemory(now), now)}, known: true}
	service := func(issuer string) *accesstoken.Service {
		return accesstoken.New(accesstoken.Config{
			Issuer: issuer, Keys: ring, Store: i.state, Clock: now, Known: func(string) bool { return i.known },
		})
	}
	i.ours, i.theirs = service("https://auth.example.com"), service("https://other.example.com")
	return i
}

// mint mints a token that is bound to a key, whole.
func mint(t *testing.T, s *accesstoken.Service, opaque bool) (string, *accesstoken.Claims) {
	t.Helper()
	key, err := jwk.Parse(fixture.Load(t, "ed25519").JSON(t))
	if err != nil {
		t.Fatal(err)
	}
	token, claims, refusal := s.Mint(t.Context(), accesstoken.Grant{
		ClientID: "reports", Subject: "reports", Audience: []string{"urn:billing"}, Scope: "read",
		Confirmation: cnf.Confirmation{JWK: key}, Opaque: opaque,
	})
	if refusal != nil {
		t.Fatal(refusal)
	}
	return token, claims
}

// Minted, expired, revoked, foreign, forged and broken tokens: a caller can't
// tell the two formats apart, nor what is wrong.
func TestAnswerWithRealTokens(t *testing.T) {
	t.Parallel()
	for format, opaque := range map[string]bool{"jwt": false, "opaque": true} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			i := newIssuers(t)
			good, minted := mint(t, i.ours, opaque)
			foreign, _ := mint(t, i.theirs, opaque)
			revoked, _ := mint(t, i.ours, opaque)
			asked := func(token string) string {
				t.Helper()
				got, refusal := answer(t, i.ours, "billing", map[string][]string{"token": {token}})
				if refusal != nil {
					t.Fatalf("Answer: %v", refusal)
				}
				return got
			}
			confirmation, err := json.Marshal(minted.Confirmation)
			if err != nil {
				t.Fatal(err)
			}
			want := `{"active":true,"scope":"read","client_id":"reports","sub":"reports","aud":"urn:billing","iss":"https://auth.example.com",` +
				`"exp":1700000300,"iat":1700000000,"jti":"` + minted.ID + `","token_type":"Bearer","cnf":` + string(confirmation) + `}`
			if got := asked(good); got != want {
				t.Errorf("a minted token\n got %s\nwant %s", got, want)
			}
			if got := asked(revoked); got == inactive {
				t.Error("a token was inactive before it was revoked")
			}
			if refusal := i.ours.Revoke(t.Context(), revoked, "reports"); refusal != nil {
				t.Fatal(refusal)
			}
			for name, bad := range map[string]string{
				"unknown": "pop_at_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "foreign": foreign, "revoked": revoked,
				"cut short": good[:len(good)-1], "made longer": good + "A", "with a line end": good + "\n",
				"in capitals": strings.ToUpper(good),
			} {
				if got := asked(bad); got != inactive {
					t.Errorf("a token that is %s: %s, want %s", name, got, inactive)
				}
			}
			i.known = false
			if got := asked(good); got != inactive {
				t.Errorf("the token of a client that is gone: %s, want %s", got, inactive)
			}
			i.known = true
			if got := asked(good); got != want {
				t.Errorf("the token itself afterwards\n got %s\nwant %s", got, want)
			}
			i.clock.Advance(5 * time.Minute)
			if got := asked(good); got != inactive {
				t.Errorf("an expired token: %s, want %s", got, inactive)
			}
		})
	}
}

func TestAnswerReadsNothingForAMisshapenToken(t *testing.T) {
	t.Parallel()
	i := newIssuers(t)
	good, _ := mint(t, i.ours, true)
	for name, bad := range map[string]string{
		"a character shorter": good[:len(good)-1], "a character longer": good + "A",
		"in capitals": strings.ToUpper(good), "another character": good[:20] + "." + good[21:],
	} {
		if got, refusal := answer(t, i.ours, "gateway", map[string][]string{"token": {bad}}); refusal != nil || got != inactive {
			t.Errorf("%s: %s, %v, want %s", name, got, refusal, inactive)
		}
	}
	if i.state.gets != 0 {
		t.Errorf("the store was read %d times, want never", i.state.gets)
	}
}

// A store that can't answer makes a token neither active nor inactive.
func TestAnswerWithoutTheStore(t *testing.T) {
	t.Parallel()
	for format, opaque := range map[string]bool{"jwt": false, "opaque": true} {
		i := newIssuers(t)
		good, _ := mint(t, i.ours, opaque)
		form := map[string][]string{"token": {good}}
		for _, down := range []bool{false, true, false} {
			i.state.down = down
			got, refusal := answer(t, i.ours, "gateway", form)
			if !down {
				if refusal != nil || got == inactive {
					t.Errorf("%s: %s, %v, want it active", format, got, refusal)
				}
				continue
			}
			if refusal == nil || refusal.Reason != oauth.StoreUnavailable {
				t.Fatalf("%s: %s, %v, want %s", format, got, refusal, oauth.StoreUnavailable)
			}
			if rule := refusal.Reason.Rule(); rule.Endpoint != 503 || !rule.Retry {
				t.Errorf("%s: the answer is %d with Retry-After %v, want 503 with it", format, rule.Endpoint, rule.Retry)
			}
		}
	}
}
