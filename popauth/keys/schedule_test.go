// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"slices"
	"testing"
	"time"
)

const day = 24 * time.Hour

// dated is a key that becomes active so long after start.
type dated struct {
	alg  string
	from time.Duration
}

// scheduled makes keys, the one at index n with the nth smallest kid, so that
// ties are decided in the order of the list.
func scheduled(t *testing.T, lifetime time.Duration, list []dated) (keyring, []string) {
	t.Helper()
	var all keyring
	for _, d := range list {
		private, err := generate(d.alg)
		if err != nil {
			t.Fatal(err)
		}
		k, err := newKey(private, string(rune('a'+len(all))), d.alg)
		if err != nil {
			t.Fatal(err)
		}
		k.activeFrom = start.Add(d.from)
		all = append(all, k)
	}
	var kids []string
	for _, k := range all {
		kids = append(kids, k.public.ID())
	}
	all.sort()
	return all.schedule(lifetime), kids
}

func TestTimesOfAllKeysDecideWhatEachOfThemDoes(t *testing.T) {
	t.Parallel()
	const es, ed = "ES256", "EdDSA"
	const lifetime = 5 * time.Minute
	one := []dated{{es, 0}}
	two := []dated{{es, 0}, {es, 30 * day}}
	changed := []dated{{es, 0}, {ed, 10 * day}}
	overdue := []dated{{es, 0}, {ed, 40 * day}}
	back := []dated{{es, 0}, {ed, 10 * day}, {ed, 40 * day}, {es, 45 * day}}
	mixed := []dated{{es, 0}, {ed, 10 * day}, {es, 30 * day}, {ed, 40 * day}}
	wrong := []dated{{es, 0}, {es, 365 * day}}
	retire := lifetime + margin
	tests := []struct {
		name      string
		keys      []dated
		alg       string
		at        time.Duration
		active    int
		published []int
		due       bool
		outlived  []int
	}{
		{"the first one signs at once", one, es, 0, 0, []int{0}, false, nil},
		{"its clock is ahead of ours", one, es, -time.Minute, 0, []int{0}, false, nil},
		{"its period is nearly over", one, es, 30*day - ahead - 1, 0, []int{0}, false, nil},
		{"its successor is due", one, es, 30*day - ahead, 0, []int{0}, true, nil},
		{"its successor is long overdue", one, es, 400 * day, 0, []int{0}, true, nil},
		{"the successor is published and does not sign yet", two, es, 30*day - 1, 0, []int{0, 1}, false, nil},
		{"the successor signs", two, es, 30 * day, 1, []int{0, 1}, false, nil},
		{"tokens of the old one may still be valid", two, es, 30*day + retire - 1, 1, []int{0, 1}, false, nil},
		{"no token of the old one is valid", two, es, 30*day + retire, 1, []int{1}, false, nil},
		{"the file of the old one is still there", two, es, 30*day + retire + keep - 1, 1, []int{1}, false, nil},
		{"the file of the old one may go", two, es, 30*day + retire + keep, 1, []int{1}, false, []int{0}},
		{"the clock is before all of them", two, es, -day, 0, []int{0, 1}, false, nil},
		{"a tie goes to the smallest kid", []dated{{es, 0}, {es, 0}}, es, 1, 0, []int{0, 1}, false, nil},
		{"the other one of a tie retires", []dated{{es, 0}, {es, 0}}, es, retire, 0, []int{0}, false, nil},
		{"a tie of two algorithms ends neither", []dated{{es, 0}, {ed, 0}}, ed, 40 * day, 1, []int{0, 1}, true, nil},
		{"several too new ones: the first of them", []dated{{es, 3}, {es, 2}, {es, 5}}, es, 1, 1, []int{0, 1, 2}, false, nil},

		{"another algorithm: the old one goes on, a new one is due", one, ed, day, 0, []int{0}, true, nil},
		{"another algorithm: the old one goes on until the new one is active", changed, ed, 10*day - 1, 0, []int{0, 1}, false, nil},
		{"another algorithm: a new one is on its way", changed, ed, 10*day - ahead, 0, []int{0, 1}, false, nil},
		{"another algorithm: the new one signs", changed, ed, 10 * day, 1, []int{0, 1}, false, nil},
		{"a node with the old configuration goes on with its key", changed, es, 10 * day, 0, []int{0, 1}, false, nil},
		{"a node with the old configuration rotates its key", changed, es, 30*day - ahead, 0, []int{0, 1}, true, nil},
		{"a node with the old configuration was late", changed, es, 30 * day, 1, []int{0, 1}, true, nil},
		{"the last one of the old algorithm stays for its period", changed, ed, 30*day + retire - 1, 1, []int{0, 1}, false, nil},
		{"the last one of the old algorithm retires", changed, ed, 30*day + retire, 1, []int{1}, false, nil},
		{"an overdue one goes on until the new algorithm is active", overdue, es, 40*day - 1, 0, []int{0, 1}, true, nil},
		{"an overdue one retires after the new algorithm is active", overdue, ed, 40*day + retire - 1, 1, []int{0, 1}, false, nil},
		{"back at the old algorithm: its key is still good", changed, es, 12 * day, 0, []int{0, 1}, false, nil},
		{"back at the old algorithm: its key is over", changed, es, 31 * day, 1, []int{0, 1}, true, nil},
		{"a retired key does not come back", back, es, 45*day - 1, 2, []int{2, 3}, false, []int{0}},
		{"a retired key does not come back later", back, es, 45 * day, 3, []int{2, 3}, false, []int{0}},
		{"two configurations: one", mixed, es, 35 * day, 2, []int{1, 2, 3}, false, nil},
		{"two configurations: the other", mixed, ed, 35 * day, 1, []int{1, 2, 3}, false, nil},

		{"one of a clock that was wrong keeps nobody from rotating", wrong, es, 30*day - ahead, 0, []int{0, 1}, true, nil},
		{"one of a clock that was wrong does not sign", append(wrong, dated{es, 30 * day}), es, 31 * day, 2, []int{0, 1, 2}, false, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			all, kids := scheduled(t, lifetime, test.keys)
			at := start.Add(test.at)
			if got := slices.Index(kids, all.active(test.alg, at).public.ID()); got != test.active {
				t.Errorf("key %d signs, want %d", got, test.active)
			}
			var published, outlived []int
			for _, k := range all.published(at) {
				published = append(published, slices.Index(kids, k.ID()))
			}
			for _, k := range all.outlived(at) {
				outlived = append(outlived, slices.Index(kids, k.public.ID()))
			}
			slices.Sort(published)
			if !slices.Equal(published, test.published) {
				t.Errorf("keys %v are published, want %v", published, test.published)
			}
			if !slices.Equal(outlived, test.outlived) {
				t.Errorf("keys %v have outlived their use, want %v", outlived, test.outlived)
			}
			if got := all.due(test.alg, at); got != test.due {
				t.Errorf("a new one is due: %t, want %t", got, test.due)
			}
		})
	}
}

// F09: TestKeyIsPublishedLongBeforeItSigns allows for five minutes of caching, a
// minute between two looks, and clocks that are half a minute off.
func TestKeyIsPublishedLongBeforeItSigns(t *testing.T) {
	t.Parallel()
	if got, want := ahead-every-time.Minute, 3*5*time.Minute; got < want {
		t.Errorf("all nodes publish a key %v before the first one signs with it, want %v", got, want)
	}
}
