// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func TestFirstUseMakesOneKeyAndKeepsIt(t *testing.T) {
	t.Parallel()
	for _, alg := range []string{"", "ES256", "ES384", "EdDSA", "PS256", "RS256"} {
		t.Run("algorithm "+alg, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			r, e := newRing(t, s, c, alg)
			if n := s.total(); n != 0 {
				t.Errorf("NewRing made %d calls to storage, want none", n)
			}
			first := kid(t, r)
			calls := s.total()
			if again := kid(t, r); again != first {
				t.Errorf("the second signature is by %q, want %q", again, first)
			}
			if n := s.total(); n != calls {
				t.Errorf("the second signature made %d calls to storage, want none", n-calls)
			}
			files := s.snapshot()
			if _, ok := files[prefix+"/"+first+".json"]; !ok || len(files) != 1 {
				t.Errorf("storage has %v, want the one key", slices.Collect(maps.Keys(files)))
			}
			if got, want := e.messages(), []string{"made a signing key"}; !slices.Equal(got, want) {
				t.Errorf("events = %q, want %q", got, want)
			}
			if s.count("Lock") != 1 || s.count("Unlock") != 1 {
				t.Errorf("%d locks, %d unlocks; want 1, 1", s.count("Lock"), s.count("Unlock"))
			}
			if got := r.Algorithms(); len(got) != 1 || alg != "" && got[0] != alg || alg == "" && got[0] != "ES256" {
				t.Errorf("Algorithms() = %q, want %q", got, alg)
			}

			c.Advance(24 * time.Hour)
			later, e := newRing(t, s, c, alg)
			if got := kid(t, later); got != first {
				t.Errorf("after a restart %q signs, want %q", got, first)
			}
			if len(e.messages()) != 0 || s.count("Lock") != 1 {
				t.Errorf("after a restart: events %q, %d locks; want none more", e.messages(), s.count("Lock"))
			}
		})
	}
}

func TestKeyFileIsImmutableAndDated(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	name := prefix + "/" + kid(t, r) + ".json"
	var members map[string]any
	if err := json.Unmarshal(s.snapshot()[name], &members); err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(maps.Keys(members)), []string{"active_from", "algorithm", "created", "jwk"}; !slices.Equal(got, want) {
		t.Errorf("members = %q, want %q", got, want)
	}
	if got, want := members["active_from"], start.UTC().Format(time.RFC3339); got != want {
		t.Errorf("active_from = %v, want %v", got, want)
	}
}

func TestTwoRingsOnOneStorageAgree(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	var rings []*Ring
	for range 4 {
		r, _ := newRing(t, s, c, "")
		rings = append(rings, r)
	}
	kids := make([]string, 32)
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for n := range kids {
		wg.Go(func() {
			<-begin
			compact, err := rings[n%4].Sign(t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
			if err != nil {
				t.Errorf("Sign: %v", err)
				return
			}
			kids[n] = verify(t, rings[(n+1)%4], compact)
		})
	}
	close(begin)
	wg.Wait()
	if distinct := slices.Compact(slices.Sorted(slices.Values(kids))); len(distinct) != 1 {
		t.Errorf("signatures are by %q, want one key", distinct)
	}
	if n := s.count("Store"); n != 1 {
		t.Errorf("%d keys were stored, want 1", n)
	}
}

func TestErrorOfStorageMakesNoKey(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"List", "Load", "Lock", "Store", "Load marker"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			if method == "Load" {
				r, _ := newRing(t, s, c, "")
				kid(t, r)
			}
			before := s.snapshot()
			broken := errors.New("broken " + method)
			s.setFail(method, broken)
			r, e := newRing(t, s, c, "")
			if _, err := r.Sign(t.Context(), "at+jwt", nil); !errors.Is(err, broken) {
				t.Errorf("Sign: %v, want %v", err, broken)
			}
			calls := s.total()
			for name, call := range map[string]func() error{
				"Sign":      func() error { _, err := r.Sign(t.Context(), "at+jwt", nil); return err },
				"Find":      func() error { k, err := r.Find(t.Context(), "x"); return wantNil(k == nil, err) },
				"Published": func() error { _, err := r.Published(t.Context()); return err },
				"JWKS":      func() error { _, err := r.JWKS(t.Context()); return err },
			} {
				if err := call(); !errors.Is(err, broken) {
					t.Errorf("%s: %v, want %v", name, err, broken)
				}
			}
			if n := s.total(); n != calls {
				t.Errorf("%d calls to storage within a second of the failure, want none", n-calls)
			}
			if len(s.locked) != 0 {
				t.Error("the lock is still held")
			}
			if got := s.snapshot(); !maps.EqualFunc(got, before, bytes.Equal) {
				t.Errorf("storage has changed from %d to %d files", len(before), len(got))
			}
			if got, want := e.messages(), []string{"signing keys cannot be had from storage"}; !slices.Equal(got, want) {
				t.Errorf("events = %q, want %q", got, want)
			}

			s.setFail(method, nil)
			c.Advance(time.Second)
			got := kid(t, r)
			if len(before) == 1 && before[prefix+"/"+got+".json"] == nil {
				t.Errorf("after the failure %q signs, want the old key", got)
			}
		})
	}
}

func wantNil(isNil bool, err error) error {
	if !isNil {
		return errors.New("got a key beside the error")
	}
	return err
}

func TestKeyThatStorageDidNotKeepIsNotUsed(t *testing.T) {
	t.Parallel()
	s := newMemory()
	s.keep = false
	r, _ := newRing(t, s, clock.NewFake(start), "")
	if compact, err := r.Sign(t.Context(), "at+jwt", nil); err == nil {
		t.Errorf("Sign = %q, want an error", compact)
	}
	if set, err := r.JWKS(t.Context()); err == nil {
		t.Errorf("JWKS = %s, want an error", set)
	}
	if len(s.locked) != 0 {
		t.Error("the lock is still held")
	}
}

// A lock that stays when time is up would keep all nodes from making a key.
func TestLockIsReleasedWhenTheContextEnds(t *testing.T) {
	t.Parallel()
	s := newMemory()
	r, _ := newRing(t, s, clock.NewFake(start), "")
	ctx, cancel := context.WithCancel(t.Context())
	s.onStore = cancel
	if _, err := r.fromStorage(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("fromStorage: %v, want %v", err, context.Canceled)
	}
	if len(s.locked) != 0 {
		t.Error("the lock is still held")
	}
}

func TestLockThatIsNotReleasedIsReported(t *testing.T) {
	t.Parallel()
	s := newMemory()
	s.setFail("Unlock", errors.New("broken"))
	r, e := newRing(t, s, clock.NewFake(start), "")
	kid(t, r) // the key is there and good
	if got := e.messages(); !slices.Contains(got, "the lock of the signing keys cannot be released") {
		t.Errorf("events = %q, want one about the lock", got)
	}
}

func TestDamagedFileIsAnErrorAndNoReasonForANewKey(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	name := prefix + "/" + kid(t, r) + ".json"
	good := string(s.files[name])
	other := newMemory()
	r, _ = newRing(t, other, c, "")
	kid(t, r)
	var foreign string
	for _, data := range other.files {
		foreign = string(data)
	}
	tests := map[string]string{
		"empty":               "",
		"cut off":             good[:len(good)/2],
		"no JSON":             "SECRET",
		"another key":         foreign,
		"another algorithm":   strings.Replace(good, "ES256", "ES384", 1),
		"no algorithm":        strings.Replace(good, `"algorithm"`, `"x"`, 1),
		"no date":             strings.Replace(good, `"active_from"`, `"x"`, 1),
		"no private member":   strings.Replace(good, `"d"`, `"x-d"`, 1),
		"two private members": strings.Replace(good, `"d"`, `"d": "AAAA", "d"`, 1),
		"longer than can be":  good + strings.Repeat(" ", 1<<20),
		"private of another":  strings.Replace(good, member(t, good, "d"), member(t, foreign, "d"), 1),
	}
	for what, data := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := newMemory()
			s.files[name] = []byte(data)
			r, e := newRing(t, s, c, "")
			compact, err := r.Sign(t.Context(), "at+jwt", nil)
			if err == nil {
				t.Fatalf("Sign = %q, want an error", compact)
			}
			if strings.Contains(err.Error(), "SECRET") || strings.Contains(err.Error(), member(t, good, "d")) {
				t.Errorf("the error %q quotes the file", err)
			}
			if n := s.count("Lock") + s.count("Store"); n != 0 || len(e.messages()) != 1 {
				t.Errorf("%d locks and stores, events %q; want none but the error", n, e.messages())
			}
		})
	}
}

// member returns a member of the JWK in a file.
func member(t *testing.T, data, name string) string {
	t.Helper()
	var f struct {
		JWK map[string]string `json:"jwk"`
	}
	if err := json.Unmarshal([]byte(data), &f); err != nil {
		t.Fatal(err)
	}
	return f.JWK[name]
}

func TestOtherFilesAreLeftAlone(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	s.files[prefix+"/1234567"] = []byte("half a key that is being written")
	s.files["popauth/9999/keys/x.json"] = []byte("another issuer's")
	r, _ := newRing(t, s, c, "")
	kid(t, r)
	if published, err := r.Published(t.Context()); err != nil || len(published) != 1 {
		t.Errorf("Published() = %v, %v; want one key", published, err)
	}
}
