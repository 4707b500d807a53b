// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// workers are how many send at the same time.
const workers = 64

// volley sends requests in random order, each of them so many times, over all
// versions of HTTP. It returns how many times each was answered with 200, and
// holds all other answers to some statuses.
func (s *server) volley(t *testing.T, requests []*http.Request, times int, refused ...int) (accepted []int32) {
	t.Helper()
	counts := make([]atomic.Int32, len(requests))
	shots := make(chan int, times*len(requests))
	for _, i := range rand.Perm(cap(shots)) {
		shots <- i % len(requests)
	}
	close(shots)
	var clients []*http.Client
	for _, protocol := range protocols {
		clients = append(clients, s.client(t, protocol))
	}
	var all sync.WaitGroup
	for w := range workers {
		all.Go(func() {
			for i := range shots {
				r := requests[i].Clone(t.Context())
				r.Body, _ = requests[i].GetBody()
				switch got, err := send(clients[w%len(clients)], r); {
				case err != nil:
					t.Error(err)
					return
				case got.status == http.StatusOK:
					counts[i].Add(1)
				case !slices.Contains(refused, got.status):
					t.Errorf("over %s: got %d %s, want 200 or %d", got.proto, got.status, got.body, refused)
				}
			}
		})
	}
	all.Wait()
	for i := range counts {
		accepted = append(accepted, counts[i].Load())
	}
	return accepted
}

// onlyOnce checks that each of some requests was accepted exactly once.
func onlyOnce(t *testing.T, what string, accepted []int32) {
	t.Helper()
	for _, n := range accepted {
		if n != 1 {
			t.Errorf("%s was accepted %d times, want once", what, n)
		}
	}
}

// F11: TestProofsInARaceAreAcceptedOnce sends each of many proofs twenty times,
// by 64 workers. As many requests pass as there are proofs.
func TestProofsInARaceAreAcceptedOnce(t *testing.T) {
	t.Parallel()
	const times, volley = 20, 50
	volleys := fixture.Scale(1, 10_000/volley)
	s := start(t, stateGlobals, stateSites)
	for n := range volleys {
		// a nonce lives for two minutes
		v := s.visitor(t, protocols[n%2], []string{jwtClient, opaqueClient}[n%2])
		target := s.site("api", "/reports")
		if err := v.issue(); err != nil {
			t.Fatal(err)
		}
		if err := v.call(target); err != nil {
			t.Fatal(err)
		}
		var requests []*http.Request
		for range volley {
			requests = append(requests, v.proven(target))
		}
		onlyOnce(t, "a proof", s.volley(t, requests, times, http.StatusUnauthorized))
		if t.Failed() {
			return
		}
	}
	proofs := volley * volleys
	fixture.Figure(t, "F11", "proofs=%d sent=%d workers=%d accepted=%d", proofs, times*proofs, workers, proofs)
}

// F12: TestAssertionsInARaceAreAcceptedOnce sends each of many client
// assertions eight times at once, against the store on disk. Each gets one
// token.
func TestAssertionsInARaceAreAcceptedOnce(t *testing.T) {
	t.Parallel()
	const times, volley = 8, 20
	volleys := fixture.Scale(1, 2000/volley)
	s := startAsserted(t, stores["file"])
	key := fixture.Load(t, "ed25519")
	cnf := cnfKey(t, fixture.Load(t, "p256"))
	refused := []int{http.StatusBadRequest}
	if volleys > 1 {
		// on a fast machine these are more failures than all clients together may
		// have, which keeps no assertion from being taken once
		refused = append(refused, http.StatusTooManyRequests)
	}
	for range volleys {
		var requests []*http.Request
		for range volley {
			f := url.Values{
				"grant_type": {"client_credentials"}, "cnf_key": {cnf},
				"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
				"client_assertion":      {s.assertion(t, key, nil, nil)},
			}
			requests = append(requests, newRequest(t, http.MethodPost, s.site("auth", "/oauth2/token"), f.Encode(),
				// few failures from each address, so that none is answered as one too many
				"Content-Type", "application/x-www-form-urlencoded", "X-Forwarded-For", newAddress()))
		}
		onlyOnce(t, "an assertion", s.volley(t, requests, times, refused...))
		if t.Failed() {
			return
		}
	}
	assertions := volley * volleys
	fixture.Figure(t, "F12", "assertions=%d sent=%d workers=%d accepted=%d", assertions, times*assertions, workers, assertions)
}

// F20: TestFirstUseAfterARevocationIsRefused uses tokens, revokes them, and uses
// them again as soon as that is answered, while others do the same.
func TestFirstUseAfterARevocationIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, stateGlobals, stateSites)
	target := s.site("api", "/reports")
	revokes := func(v *visitor) error {
		if err := v.issue(); err != nil {
			return err
		}
		if err := v.call(target); err != nil {
			return err
		}
		if err := v.revoke(); err != nil {
			return err
		}
		return v.challenged(v.proven(target), "invalid_token")
	}
	var visitors []*visitor
	for _, protocol := range protocols {
		for _, client := range formats {
			visitors = append(visitors, s.visitor(t, protocol, client))
		}
	}
	rounds := fixture.Scale(15, 10_000/len(visitors)+1)
	var all sync.WaitGroup
	for _, v := range visitors {
		all.Go(func() {
			for range rounds {
				if err := revokes(v); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	n := rounds * len(visitors)
	fixture.Figure(t, "F20", "revocations=%d refused=%d", n, n)
}
