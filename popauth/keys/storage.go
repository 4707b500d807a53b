// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
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

	// ActiveFrom is when the key begins to sign, unless it is the first.
	ActiveFrom time.Time `json:"active_from"`

	// RetireAt is when the key is no longer published. Zero: as long as the
	// file is there.
	RetireAt time.Time `json:"retire_at,omitzero"`
}

const extension = ".json"

// fromStorage reads the keys, and makes the first one of the algorithm if
// there is none.
func (r *Ring) fromStorage(ctx context.Context) (keyring, error) {
	all, err := r.read(ctx)
	if err != nil || all.active(r.algorithm, r.clock.Now()) != nil {
		return all, err
	}
	if err := r.storage.Lock(ctx, r.prefix); err != nil {
		return nil, fmt.Errorf("locking storage: %w", err)
	}
	// also when ctx has ended: a lock that stays would stop other nodes
	defer func() {
		if err := r.storage.Unlock(context.WithoutCancel(ctx), r.prefix); err != nil {
			r.notify(Event{Message: "the lock of the signing keys cannot be released", Err: err})
		}
	}()
	// another node may have made it while this one waited for the lock
	all, err = r.read(ctx)
	if err != nil || all.active(r.algorithm, r.clock.Now()) != nil {
		return all, err
	}
	kid, err := r.create(ctx)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	// only what storage gives back is used: a key that it did not keep would
	// sign tokens that nobody can verify after a restart
	if all, err = r.read(ctx); err != nil {
		return nil, err
	}
	if all.find(kid) == nil {
		return nil, fmt.Errorf("key %q was stored but is not there", kid)
	}
	r.notify(Event{Message: "made a signing key", KeyID: kid})
	return all, nil
}

// create stores a new key, active at once. The lock must be held.
func (r *Ring) create(ctx context.Context) (kid string, err error) {
	private, err := generate(r.algorithm)
	if err != nil {
		return "", err
	}
	k, err := newKey(private, "", r.algorithm)
	if err != nil {
		return "", err
	}
	now := r.clock.Now().UTC().Truncate(time.Second)
	f := file{Algorithm: r.algorithm, Created: now, ActiveFrom: now}
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

// read returns all keys in storage. One that can't be read is an error, not
// a key less: else a bad disk would have us make a new key, and void all
// tokens that the old one has signed.
func (r *Ring) read(ctx context.Context) (keyring, error) {
	names, err := r.storage.List(ctx, r.prefix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	var all keyring
	for _, name := range names {
		// such as the files that a storage writes to before it renames them
		kid, ok := strings.CutSuffix(path.Base(name), extension)
		if !ok {
			continue
		}
		data, err := r.storage.Load(ctx, r.path(kid))
		if err != nil {
			return nil, fmt.Errorf("reading key %q: %w", kid, err)
		}
		k, err := parseFile(kid, data)
		if err != nil {
			return nil, fmt.Errorf("reading key %q: %w", kid, err)
		}
		all = append(all, k)
	}
	all.sort()
	return all, nil
}

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
	k.activeFrom, k.retireAt = f.ActiveFrom, f.RetireAt
	return k, nil
}
