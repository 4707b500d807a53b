// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/store"
)

// elsewhere is a config of the same issuer, in the same storage of Caddy, with
// another store.
func elsewhere(t *testing.T, s *site, path string) *site {
	t.Helper()
	return newSharedSite(t, func(other *site) { other.storage = s.storage }, stored(fileStore(t, path), "default"))
}

// ask asks the store of a site, as every request does.
func (s *site) ask(t *testing.T) error {
	t.Helper()
	_, err := s.tenancy().Revoked(t.Context(), someKey.Issuer, someKey.ID)
	return err
}

func (s *site) tenancy() *tenancy { return s.app.Issuers["default"].store }

// A config that fails to load after popauth was started may have named another
// store. If nobody has asked it, the one that runs loses nothing, and the other
// store does not count as one that knows what was revoked since.
func TestStoreOfAFailedConfigIsNotTakenForComplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	running := newSharedSite(t)
	must(t, running.app.Start())
	must(t, running.ask(t))
	complete := running.tenancy().CompleteSince()

	failed := elsewhere(t, running, path)
	must(t, failed.app.Start())
	cleanUp(t, failed)
	must(t, running.ask(t))
	if got := running.tenancy().CompleteSince(); !got.Equal(complete) {
		t.Errorf("the store of the config that runs is complete since %v, want %v as before", got, complete)
	}
	revoked := time.Now() // in the store of the config that runs

	next := elsewhere(t, running, path)
	must(t, next.app.Start())
	must(t, next.ask(t))
	if got := next.tenancy().CompleteSince(); got.Before(revoked) {
		t.Errorf("the other store is complete since %v, want after the revocation at %v", got, revoked)
	}
	cleanUp(t, next)
	cleanUp(t, running)
}

// Of two configs that serve together, with different stores, the older one
// answers nothing once the newer one was asked: what it wrote would be unknown
// there. If the newer one fails to load, what was revoked in its store meanwhile
// is unknown to the older one's.
func TestOnlyTheStoreOfTheNewestConfigServes(t *testing.T) {
	path := filepath.Join(t.TempDir(), "other.db")
	running := newSharedSite(t)
	must(t, running.app.Start())
	auth := running.auth(t, `{}`)
	token := running.token(t)
	newer := elsewhere(t, running, path)
	begin(running.signed(t, token)).through(auth).mustPass(t)

	// a request may come to it before it is started
	must(t, newer.ask(t))
	begin(running.signed(t, token)).through(auth).mustBeRefused(t, "store_unavailable")
	if err := running.ask(t); !errors.Is(err, store.ErrUnavailable) {
		t.Errorf("the store of the older config: got %v, want it to be unavailable", err)
	}
	must(t, newer.app.Start())
	if err := running.ask(t); !errors.Is(err, errNewerServes) {
		t.Errorf("the store of the older config: got %v, want %v", err, errNewerServes)
	}
	revoked := time.Now() // in the store of the newer config

	cleanUp(t, newer)
	if err := newer.ask(t); err == nil {
		t.Error("the store of a config that has ended answers, and is closed")
	}
	must(t, running.ask(t))
	if got := running.tenancy().CompleteSince(); got.Before(revoked) {
		t.Errorf("the store is complete since %v, want after the revocation at %v", got, revoked)
	}
	begin(running.signed(t, running.token(t))).through(auth).mustPass(t)

	// nor is the store made complete by a storage that says nothing of the past
	moved := newSharedSite(t, func(s *site) { s.backend = running.backend })
	must(t, moved.app.Start())
	joined, err := newTenancy(moved.tenancy().handle, running.storage, issuerURL)
	must(t, err)
	must(t, joined.moveIn(t.Context()))
	if got := joined.CompleteSince(); got.Before(revoked) {
		t.Errorf("behind another storage the store is complete since %v, want after the revocation at %v", got, revoked)
	}
	must(t, joined.leave())
	cleanUp(t, moved)
	cleanUp(t, running)
}

// Requests of a config that has ended still drain. They have what they need
// while the next config has the same store, and nothing once a third has another.
func TestEndedConfigAnswersWhileItsStoreServes(t *testing.T) {
	first := newSharedSite(t)
	must(t, first.app.Start())
	second := newSharedSite(t, sharing(first))
	must(t, second.app.Start())
	cleanUp(t, first)
	must(t, first.ask(t))
	must(t, second.ask(t))

	third := elsewhere(t, first, filepath.Join(t.TempDir(), "other.db"))
	must(t, third.app.Start())
	must(t, first.ask(t))
	must(t, third.ask(t))
	if err := first.ask(t); !errors.Is(err, errLeft) {
		t.Errorf("the store of a config that has ended: got %v, want %v", err, errLeft)
	}
	// not even when there is room again: it would move in behind the back of
	// the configs that are there
	cleanUp(t, third)
	must(t, second.ask(t))
	if err := first.ask(t); !errors.Is(err, errLeft) {
		t.Errorf("the store of a config that has ended: got %v, want %v", err, errLeft)
	}
	cleanUp(t, second)
}

// What is kept of a residence goes with its last config, and with one that never
// began.
func TestResidencesEnd(t *testing.T) {
	s := newSharedSite(t)
	key := s.tenancy().key
	next := newSharedSite(t, sharing(s))
	cleanUp(t, s)
	cleanUp(t, s)
	if n, _ := residences.References(key); n != 1 {
		t.Errorf("the residence has %d references, want that of the config that is left", n)
	}
	cleanUp(t, next)
	if n, _ := residences.References(key); n != 0 {
		t.Errorf("the residence has %d references without a config", n)
	}
}
