// SPDX-License-Identifier: Apache-2.0

package clock

import (
	"testing"
	"time"
)

func TestSystemNowCarriesNoMonotonicReading(t *testing.T) {
	t.Parallel()
	now := System.Now()
	if got, want := now, now.Round(0); got != want {
		t.Errorf("System.Now() = %v, want it without a monotonic reading", got)
	}
}

func TestSystemMonoNeverDecreases(t *testing.T) {
	t.Parallel()
	last := System.Mono()
	for range 1000 {
		next := System.Mono()
		if next < last {
			t.Fatalf("System.Mono() went from %v to %v", last, next)
		}
		last = next
	}
}

func TestFakeStepMovesOnlyTheWall(t *testing.T) {
	t.Parallel()
	start := time.Unix(1_700_000_000, 0)
	c := NewFake(start)
	c.Advance(2 * time.Minute)
	c.Step(-time.Hour)
	if got, want := c.Now(), start.Add(2*time.Minute-time.Hour); !got.Equal(want) {
		t.Errorf("Now() = %v, want %v", got, want)
	}
	if got, want := c.Mono(), 2*time.Minute; got != want {
		t.Errorf("Mono() = %v, want %v", got, want)
	}
}
