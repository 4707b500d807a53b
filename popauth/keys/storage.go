// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// file is a key in storage, under Prefix + "/" + kid + ".json", where kid is
// its thumbprint. A file is written once and never changed: Caddy's storage
// can't compare and swap, so two nodes that changed one could lose a key.
// Which key signs follows from the times of all of them.
type file struct {
	JWK       json.RawMessage `json:"jwk"` // with private members
	Algorithm string          `json:"algorithm"`
	Created   time.Time       `json:"created"`

	// ActiveFrom is when the key begins to sign, unless it is the first. When
	// it ends to follows from the next one's.
	ActiveFrom time.Time `json:"active_from"`
}

const extension = ".json"

// fromStorage reads the keys, and makes one if there is none and never was.
func (r *Ring) fromStorage(ctx context.Context) (keyring, error) {
	all, err := r.reread(ctx)
	if err != nil || len(all) > 0 {
		return all, err
	}
	err = r.locked(ctx, func(ctx context.Context) error {
		// another node may have made it while this one waited for the lock
		if all, err = r.reread(ctx); err != nil || len(all) > 0 {
			return err
		}
		if err = r.mayBegin(ctx); err != nil {
			return err
		}
		if all, err = r.make(ctx, r.clock.Now()); err != nil {
			return err
		}
		// the key is good without it; Maintain tries again, and tells
		_ = r.mark(ctx)
		return nil
	})
	return all, err
}

// locked calls do while no other node is in here.
func (r *Ring) locked(ctx context.Context, do func(context.Context) error) error {
	if err := r.storage.Lock(ctx, r.prefix); err != nil {
		return fmt.Errorf("locking storage: %w", err)
	}
	// also when ctx has ended: a lock that stays would stop other nodes
	defer func() {
		if err := r.storage.Unlock(context.WithoutCancel(ctx), r.prefix); err != nil {
			r.notify(Event{Message: "the lock of the signing keys cannot be released", Err: err})
		}
	}()
	return do(ctx)
}

// make makes a key and returns all keys. The lock must be held.
func (r *Ring) make(ctx context.Context, from time.Time) (keyring, error) {
	kid, err := r.create(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	// only what storage gives back is used: a key that it did not keep would
	// sign tokens that nobody can verify after a restart
	all, err := r.reread(ctx)
	if err != nil {
		return nil, err
	}
	if all.find(kid) == nil {
		return nil, fmt.Errorf("key %q was stored but is not there", kid)
	}
	r.notify(Event{Message: "made a signing key", KeyID: kid})
	return all, nil
}

// create stores a new key.
func (r *Ring) create(ctx context.Context, from time.Time) (kid string, err error) {
	private, err := generate(r.algorithm)
	if err != nil {
		return "", err
	}
	k, err := newKey(private, "", r.algorithm)
	if err != nil {
		return "", err
	}
	f := file{
		Algorithm:  r.algorithm,
		Created:    r.clock.Now().UTC().Truncate(time.Second),
		ActiveFrom: from.UTC().Truncate(time.Second),
	}
	if f.JWK, err = (jose.JSONWebKey{Key: private}).MarshalJSON(); err != nil {
		return "", err
	}
	data, err := json.MarshalIndent(f, "", "\t")
	if err != nil {
		return "", err
	}
	kid = k.public.ID()
	return kid, r.storage.Store(ctx, r.path(kid), data)
}

func (r *Ring) path(kid string) string { return path.Join(r.prefix, kid+extension) }

// parseFile reads a file. Its errors contain nothing of it.
func parseFile(kid string, data []byte) (*key, error) {
	var f file
	if len(data) > 2*maxSize || json.Unmarshal(data, &f) != nil {
		return nil, errors.New("it is damaged")
	}
	if f.Algorithm == "" || f.ActiveFrom.IsZero() {
		return nil, errors.New("it is incomplete")
	}
	p, err := parseJWK(f.JWK)
	if err != nil {
		return nil, err
	}
	k, err := newKey(p.private, "", f.Algorithm)
	if err != nil {
		return nil, err
	}
	if k.public.ID() != kid {
		return nil, errors.New("it is another key than its name says")
	}
	k.activeFrom = f.ActiveFrom
	return k, nil
}
