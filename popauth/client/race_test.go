// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// unnumbered keeps no generation, as on the first start of a server.
type unnumbered struct{}

func (unnumbered) Load(context.Context) (store.Mark, error) { return store.Mark{}, nil }
func (unnumbered) Store(context.Context, store.Mark) error  { return nil }

// F12: TestAssertionsInARaceAreConsumedOnce has many workers use one assertion
// after the other at the same moment, over the store on disk.
func TestAssertionsInARaceAreConsumedOnce(t *testing.T) {
	t.Parallel()
	const workers = 8
	rounds := fixture.Scale(100, 10_000)
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	file, err := store.OpenFile(t.Context(), store.FileConfig{
		Path: filepath.Join(t.TempDir(), "store.db"), Clock: c, Generation: unnumbered{},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close(context.Background()) })
	c.Advance(time.Hour)
	r, err := NewRegistry(all(t), Assertions{Issuer: issuerURL, Store: file, Clock: c})
	if err != nil {
		t.Fatal(err)
	}
	k := &keyed{Registry: r, clock: c}
	for round := range rounds {
		form := asserted(k.sign(t, "p256", "p256", nil, members{"jti": fmt.Sprint(round)}))
		begin := make(chan struct{})
		var passed atomic.Int32
		var wg sync.WaitGroup
		for range workers {
			wg.Go(func() {
				a, refusal := r.Authenticate(nil, form)
				<-begin
				if refusal == nil && a.Consume(t.Context()) == nil {
					passed.Add(1)
				}
			})
		}
		close(begin)
		wg.Wait()
		if got := passed.Load(); got != 1 {
			t.Fatalf("round %d: %d of %d passed, want 1", round, got, workers)
		}
	}
	fixture.Figure(t, "F12", "assertions=%d workers=%d consumed=%d", rounds, workers, rounds)
}
