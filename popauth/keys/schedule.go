// SPDX-License-Identifier: Apache-2.0

package keys

import "time"

// The life of a key. It is made and published, signs an hour later, is replaced
// after 30 days, retires when no token that it signed can be valid any more,
// and its file is deleted a week later. The times of all files say where in its
// life each of them is; nothing else is kept, so that all nodes agree.
const (
	// period is how long a key signs.
	period = 30 * 24 * time.Hour

	// ahead is how long a key is published before it signs. Nodes look once
	// a minute and caches keep a JWK Set for five; the rest is for a node
	// that can't read storage for a while, and for clocks that differ.
	ahead = time.Hour

	// margin is how long a key stays published after the last token that it
	// signed has expired. It covers a node that went on with it for as long
	// because storage did not answer, and a lifetime that was cut meanwhile.
	margin = 24 * time.Hour

	// keep is how long the file of a retired key stays.
	keep = 7 * 24 * time.Hour
)

// schedule works out, for keys that are sorted, until when each of them signs
// and is published.
func (all keyring) schedule(lifetime time.Duration) keyring {
	list := make(keyring, len(all))
	for i, k := range all {
		dated := *k
		dated.replacedAt, dated.retireAt = all[:i].replacing(k), time.Time{}
		if !dated.replacedAt.IsZero() {
			dated.retireAt = dated.replacedAt.Add(lifetime + margin)
		}
		list[i] = &dated
	}
	return list
}

// replacing returns when k, which is older than all, is replaced: when the next
// key of its algorithm becomes active. Once keys of another algorithm are newer
// it is so after its period in any case: it may be the last one of its
// algorithm, or that of nodes that don't know the new configuration yet, which
// would replace it by then.
func (all keyring) replacing(k *key) time.Time {
	var next, other time.Time
	for _, n := range all { // the last one to be assigned is next to k
		if n.public.Algorithm() == k.public.Algorithm() {
			next = n.activeFrom
		} else if n.activeFrom.After(k.activeFrom) {
			other = n.activeFrom
		}
	}
	if other.IsZero() {
		return next
	}
	if end := k.activeFrom.Add(period); other.Before(end) {
		other = end
	}
	if next.IsZero() || other.Before(next) {
		return other
	}
	return next
}

// due says whether the next key must be made now: the newest one of the
// algorithm has signed for nearly long enough, or there is none. A node for
// which all keys are far off has the wrong time, and makes none.
func (all keyring) due(alg string, now time.Time) (due bool) {
	for _, k := range all {
		// one that is far off was made by a node that had the wrong time, and
		// must not keep the others from rotating
		if k.activeFrom.After(now.Add(2 * ahead)) {
			continue
		}
		if k.public.Algorithm() == alg {
			return !now.Before(k.activeFrom.Add(period - ahead))
		}
		due = true
	}
	return due
}

// outlived returns the keys whose files may go.
func (all keyring) outlived(now time.Time) (list keyring) {
	for _, k := range all {
		if k.retired(now.Add(-keep)) {
			list = append(list, k)
		}
	}
	return list
}

// replaced says whether another key signs.
func (k *key) replaced(now time.Time) bool {
	return !k.replacedAt.IsZero() && !now.Before(k.replacedAt)
}

// retired says whether the key is no longer published.
func (k *key) retired(now time.Time) bool {
	return !k.retireAt.IsZero() && !now.Before(k.retireAt)
}
