// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// reread reads storage and makes what is there the keys of the ring. After an
// error it has those that were known before and the new ones that could be
// read; a ring that knew none has none.
func (r *Ring) reread(ctx context.Context) (keyring, error) {
	known, number := r.beginReading()
	all, err := r.read(ctx, known)
	if err != nil && known == nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, nil
	}
	all.sort()
	all = all.schedule(r.lifetime)
	for _, k := range known {
		if all.find(k.public.ID()) == nil && !k.retired(r.clock.Now()) {
			r.notify(Event{
				Message: "a signing key has gone from storage and is not used any more",
				KeyID:   k.public.ID(), Err: fs.ErrNotExist,
			})
		}
	}
	return r.adopt(all, number), err
}

// beginReading returns the keys of the ring, and the number of the reading that
// begins.
func (r *Ring) beginReading() (all keyring, number uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.readings++
	if p := r.keys.Load(); p != nil {
		all = *p
	}
	return all, r.readings
}

// adopt makes all the keys of the ring, unless a reading that began later has
// ended before: it may know a key that this one does not. It returns those that
// the ring has now.
func (r *Ring) adopt(all keyring, number uint64) keyring {
	r.mu.Lock()
	defer r.mu.Unlock()
	if number < r.adopted {
		return *r.keys.Load()
	}
	r.adopted = number
	r.keys.Store(&all)
	return all
}

// read returns all keys in storage. One that can't be read is an error, not
// a key less: else a bad disk would have us make a new key, and void all
// tokens that the old one has signed. Beside the error are those that could be
// read and the known ones.
//
// Files never change, so that those of known keys are not read again. One that
// has gone is not known any more: it was deleted because it leaked, or never
// got to where other nodes look. That all have gone is taken for a disk that
// is not mounted.
func (r *Ring) read(ctx context.Context, known keyring) (keyring, error) {
	names, err := r.list(ctx, known != nil)
	if err != nil {
		return known, fmt.Errorf("listing: %w", err)
	}
	var all keyring
	for _, name := range names {
		// such as the files that a storage writes to before it renames them
		kid, ok := strings.CutSuffix(path.Base(name), extension)
		if !ok {
			continue
		}
		k := known.find(kid)
		if k == nil {
			var failure error
			if k, failure = r.readFile(ctx, kid); failure != nil {
				err = failure
				continue
			}
		}
		all = append(all, k)
	}
	if err == nil && len(all) == 0 && len(known) > 0 {
		err = errors.New("storage has none of the keys that it had")
	}
	if err != nil {
		for _, k := range known {
			if all.find(k.public.ID()) == nil {
				all = append(all, k)
			}
		}
	}
	return all, err
}

// list returns the names of all files. That there are none is no error.
func (r *Ring) list(ctx context.Context, expected bool) (names []string, err error) {
	for range 3 {
		names, err = r.storage.List(ctx, r.prefix, false)
		if !errors.Is(err, fs.ErrNotExist) {
			return names, err
		}
		if len(names) == 0 && !expected {
			return nil, nil
		}
		// Caddy's file storage says so as well if a file goes while it lists
		// them, such as one that another node renames
	}
	if len(names) == 0 {
		return nil, nil
	}
	return nil, err
}

func (r *Ring) readFile(ctx context.Context, kid string) (*key, error) {
	data, err := r.storage.Load(ctx, r.path(kid))
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", kid, err)
	}
	k, err := parseFile(kid, data)
	if err != nil {
		return nil, fmt.Errorf("reading key %q: %w", kid, err)
	}
	return k, nil
}
