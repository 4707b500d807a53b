// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"
)

// The marker is a file beside the directory of the keys. It says that there
// were keys once, so that a directory which was emptied or is not mounted is
// told from that of an issuer which is new.
const (
	markerExtension = ".made"
	markerText      = "There were signing keys beside this file then: while it is here and they are gone, no first key is made again."
)

func (r *Ring) marker() string { return r.prefix + markerExtension }

// hasMarker says whether storage has the marker, and when there were keys. That
// there is none it must say clearly: anything else is an error.
func (r *Ring) hasMarker(ctx context.Context) (when string, ok bool, err error) {
	data, err := r.storage.Load(ctx, r.marker())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("reading %s: %w", r.marker(), err)
	}
	text, _, _ := strings.Cut(string(data), " ")
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return "at " + at.UTC().Format(time.RFC3339), true, nil
	}
	return "before", true, nil
}

// mayBegin is nil if an issuer without keys never had any: for another one, a
// new key would void all tokens without a word.
func (r *Ring) mayBegin(ctx context.Context) error {
	when, ok, err := r.hasMarker(ctx)
	if err != nil || !ok {
		return err
	}
	return fmt.Errorf("the signing keys are gone: %s is empty, but there were keys %s; "+
		"restore it, or remove %s to start anew with keys that verify no older token", r.prefix, when, r.marker())
}

// mark stores the marker if it is missing. There must be a key that storage has
// given back: else a crash in between would leave an issuer that never gets
// one. The lock must be held.
func (r *Ring) mark(ctx context.Context) error {
	_, ok, err := r.hasMarker(ctx)
	if err != nil {
		return err
	}
	if !ok {
		text := r.clock.Now().UTC().Format(time.RFC3339) + " " + markerText + "\n"
		if err := r.storage.Store(ctx, r.marker(), []byte(text)); err != nil {
			return fmt.Errorf("storing %s: %w", r.marker(), err)
		}
	}
	r.marked.Store(true)
	return nil
}

// mend stores the marker if it is missing beside keys, as after a crash. It
// looks until the marker is there, and then never again.
func (r *Ring) mend(ctx context.Context) error {
	if r.marked.Load() {
		return nil
	}
	_, ok, err := r.hasMarker(ctx)
	if err != nil {
		return err
	}
	if !ok {
		return r.locked(ctx, r.mark)
	}
	r.marked.Store(true)
	return nil
}
