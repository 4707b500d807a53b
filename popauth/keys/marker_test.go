// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/clock"
)

func TestKeysThatAreGoneAreNotReplaced(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	files := s.files
	s.files = map[string][]byte{}
	c.Advance(time.Hour)

	r, e := newRing(t, s, c, "EdDSA")
	for range 10 {
		r.maintain(t.Context())
		compact, err := r.Sign(t.Context(), "at+jwt", nil)
		if err == nil {
			t.Fatalf("Sign = %q, want an error", compact)
		}
		for _, want := range []string{
			"the signing keys are gone: " + prefix + " is empty", "at " + start.UTC().Format(time.RFC3339),
			"remove " + prefix + ".made",
		} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("Sign: %v, want %q in it", err, want)
			}
		}
		if k, err := r.Find(t.Context(), first); k != nil || err == nil {
			t.Errorf("Find = %v, %v; want an error", k, err)
		}
		c.Advance(time.Second)
	}
	if len(s.files) != 0 || len(s.locked) != 0 {
		t.Errorf("%d files, %d locks; want none", len(s.files), len(s.locked))
	}

	s.files = files
	r.maintain(t.Context())
	if got := kid(t, r); got != first {
		t.Errorf("%q signs, want the key that is back", got)
	}
	got := e.messages()
	want := []string{
		"signing keys cannot be had from storage", "signing keys are all right again",
		"made a signing key", // of the new algorithm
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("events = %q, want %q", got, want)
	}
}

func TestDamagedMarkerIsAMarker(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "\x00SECRET", "2027-01-15"} {
		s := newMemory()
		s.mark = []byte(text)
		r, _ := newRing(t, s, clock.NewFake(start), "")
		_, err := r.Sign(t.Context(), "at+jwt", nil)
		if err == nil || !strings.Contains(err.Error(), "there were keys before;") {
			t.Errorf("marker %q: Sign: %v, want an error that quotes nothing of it", text, err)
		}
		if len(s.files) != 0 {
			t.Errorf("marker %q: a key was made", text)
		}
	}
}

func TestWithoutTheMarkerAnIssuerStartsAnew(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	s.files = map[string][]byte{}
	r, _ = newRing(t, s, c, "")
	if _, err := r.Sign(t.Context(), "at+jwt", nil); err == nil {
		t.Fatal("Sign: no error beside the marker")
	}
	s.mark = nil
	c.Advance(time.Second)
	if got := kid(t, r); got == first || s.mark == nil {
		t.Errorf("%q signs, marker %q; want another key, and a new one", got, s.mark)
	}
}

// The key is stored before its marker, so that there never is a marker alone.
func TestCrashBeforeTheMarkerHeals(t *testing.T) {
	t.Parallel()
	for _, method := range []string{"List", "Store", "Store marker"} {
		t.Run(method, func(t *testing.T) {
			t.Parallel()
			s, c := newMemory(), clock.NewFake(start)
			switch method {
			case "List": // the key cannot be read back
				s.onStore = func() { s.setFail(method, errors.New("broken")) }
			default:
				s.setFail(method, errors.New("broken"))
			}
			r, _ := newRing(t, s, c, "")
			_, err := r.Sign(t.Context(), "at+jwt", nil)
			if good := method == "Store marker"; (err == nil) != good || s.mark != nil {
				t.Errorf("Sign: %v, marker %q; want none", err, s.mark)
			}
			s.setFail(method, nil)
			s.onStore = nil
			stored := s.snapshot()

			r, e := newRing(t, s, c, "")
			r.maintain(t.Context())
			got := kid(t, r)
			if _, ok := stored[prefix+"/"+got+".json"]; len(stored) > 0 && !ok || len(s.files) != 1 {
				t.Errorf("%q signs, with %d files; want the one key", got, len(s.files))
			}
			if s.mark == nil {
				t.Error("there is no marker")
			}
			if slices.Contains(e.messages(), "signing keys cannot be kept up to date") {
				t.Errorf("events = %q, want no trouble", e.messages())
			}
		})
	}
}

// As in storage that another version has written.
func TestMaintainMendsTheMarkerOfARing(t *testing.T) {
	t.Parallel()
	s, c := newMemory(), clock.NewFake(start)
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	s.mark = nil
	c.Advance(day)
	for _, method := range []string{"Load marker", "Store marker"} {
		broken := errors.New("broken " + method)
		s.setFail(method, broken)
		r, e := newRing(t, s, c, "")
		for range 3 {
			r.maintain(t.Context())
		}
		if got := e.all; len(got) != 1 || !errors.Is(got[0].Err, broken) {
			t.Errorf("events = %v, want one with %v", got, broken)
		}
		if got := kid(t, r); got != first || s.mark != nil || len(s.locked) != 0 {
			t.Errorf("%q signs, marker %q, %d locks; want the known key, none, none", got, s.mark, len(s.locked))
		}
		s.setFail(method, nil)
		r.maintain(t.Context())
		if want := start.Add(day).UTC().Format(time.RFC3339) + " "; !strings.HasPrefix(string(s.mark), want) {
			t.Errorf("marker %q, want it to begin with %q", s.mark, want)
		}
		calls := s.total()
		r.maintain(t.Context())
		if n := s.total() - calls; n != 1 {
			t.Errorf("a round with nothing to do made %d calls to storage, want one", n)
		}
		s.mark = nil
	}
}

func TestEmptiedDirectoryOfCaddysFileStorageMakesNoKey(t *testing.T) {
	t.Parallel()
	c, root := clock.NewFake(start), t.TempDir()
	s := &certmagic.FileStorage{Path: root}
	r, _ := newRing(t, s, c, "")
	first := kid(t, r)
	directory, away := filepath.Join(root, prefix), filepath.Join(root, "away")
	if err := os.Rename(directory, away); err != nil {
		t.Fatal(err)
	}
	for _, empty := range []bool{false, true} {
		if empty {
			if err := os.Mkdir(directory, 0o700); err != nil {
				t.Fatal(err)
			}
		}
		r, _ = newRing(t, s, c, "")
		if compact, err := r.Sign(t.Context(), "at+jwt", nil); err == nil {
			t.Errorf("Sign = %q, want an error", compact)
		}
		if names, _ := filepath.Glob(filepath.Join(directory, "*")); len(names) != 0 {
			t.Errorf("storage has %q, want nothing", names)
		}
	}
	if err := errors.Join(os.Remove(directory), os.Rename(away, directory)); err != nil {
		t.Fatal(err)
	}
	c.Advance(time.Second)
	if got := kid(t, r); got != first {
		t.Errorf("%q signs, want the key that is back", got)
	}
}
