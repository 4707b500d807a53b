// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func TestNewAlgorithmMakesANewKeyAndKeepsTheOld(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "ES256")
	old, err := r.Sign(t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		t.Fatal(err)
	}
	oldKid := kid(t, r)
	c.Advance(time.Hour)
	r, _ = newRing(t, s, c, "EdDSA")
	if got := r.Algorithms(); !slices.Equal(got, []string{"EdDSA"}) {
		t.Errorf("Algorithms() before first need = %q, want EdDSA", got)
	}
	newKid := kid(t, r)
	if newKid == oldKid {
		t.Errorf("%q still signs", oldKid)
	}
	if got := verify(t, r, old); got != oldKid {
		t.Errorf("the old token is by %q, want %q", got, oldKid)
	}
	if got := r.Algorithms(); !slices.Equal(got, []string{"EdDSA", "ES256"}) {
		t.Errorf("Algorithms() = %q, want both", got)
	}
	c.Advance(time.Hour)
	r, _ = newRing(t, s, c, "ES256")
	if got := kid(t, r); got != oldKid {
		t.Errorf("back at ES256 %q signs, want %q", got, oldKid)
	}
}

func TestTimesDecideWhichKeySigns(t *testing.T) {
	t.Parallel()
	at := func(hours int) time.Time { return start.Add(time.Duration(hours) * time.Hour) }
	type dated struct{ from, retire int } // in hours; retire 0: never
	tests := []struct {
		name      string
		keys      []dated
		active    int
		published []int
	}{
		{"one", []dated{{-1, 0}}, 0, []int{0}},
		{"the one active last", []dated{{-3, 0}, {-1, 0}, {-2, 0}}, 1, []int{0, 1, 2}},
		{"active just now", []dated{{-3, 0}, {0, 0}}, 1, []int{0, 1}},
		{"the next is published but not active", []dated{{-3, 0}, {1, 0}}, 0, []int{0, 1}},
		{"the first one of a node whose clock is ahead", []dated{{2, 0}, {1, 0}}, 1, []int{0, 1}},
		{"the last one is retired", []dated{{-3, 0}, {-2, -1}}, 0, []int{0}},
		{"one that retires now", []dated{{-3, 0}, {-1, 1}, {-2, 0}}, 1, []int{0, 1, 2}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			var kids []string
			for _, d := range test.keys {
				single := newMemory()
				r, _ := newRing(t, single, clock.NewFake(at(d.from)), "")
				kid := kid(t, r)
				data := single.files[r.path(kid)]
				if d.retire != 0 {
					data = edit(t, data, "retire_at", at(d.retire))
				}
				s.files[r.path(kid)] = data
				kids = append(kids, kid)
			}
			r, _ := newRing(t, s, c, "")
			if got, want := kid(t, r), kids[test.active]; got != want {
				t.Errorf("key %d signs, want %d", slices.Index(kids, got), test.active)
			}
			published, err := r.Published(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []int
			for _, k := range published {
				got = append(got, slices.Index(kids, k.ID()))
			}
			slices.Sort(got)
			if !slices.Equal(got, test.published) {
				t.Errorf("keys %v are published, want %v", got, test.published)
			}
			for i, kid := range kids {
				k, err := r.Find(t.Context(), kid)
				if err != nil || (k != nil) != slices.Contains(test.published, i) {
					t.Errorf("Find(key %d) = %v, %v", i, k, err)
				}
			}
		})
	}
}

// edit sets a member of a file.
func edit(t *testing.T, data []byte, name string, value any) []byte {
	t.Helper()
	var members map[string]any
	if err := json.Unmarshal(data, &members); err != nil {
		t.Fatal(err)
	}
	members[name] = value
	data, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
