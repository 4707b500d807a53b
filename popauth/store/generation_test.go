// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/store"
)

func wantGeneration(t *testing.T, g store.Generation, want uint64) {
	t.Helper()
	if got, err := g.Load(t.Context()); got != want || err != nil {
		t.Errorf("Load = %d, %v; want %d", got, err, want)
	}
}

func TestGenerationIsKeptByIdentity(t *testing.T) {
	t.Parallel()
	s := &certmagic.FileStorage{Path: t.TempDir()}
	one, another := store.NewGeneration(s, "file /one"), store.NewGeneration(s, "file /another")
	wantGeneration(t, one, 0)
	for _, number := range []uint64{1, 2, 1<<64 - 1} {
		if err := one.Store(t.Context(), number); err != nil {
			t.Fatal(err)
		}
		wantGeneration(t, one, number)
		wantGeneration(t, store.NewGeneration(s, "file /one"), number)
		wantGeneration(t, another, 0)
	}
}

// broken is a storage that fails otherwise than by not finding.
type broken struct{ certmagic.Storage }

var errBroken = errors.New("storage is broken")

func (broken) Load(context.Context, string) ([]byte, error) { return nil, errBroken }
func (broken) Store(context.Context, string, []byte) error  { return errBroken }

func TestGenerationIsUnknownWhenStorageFails(t *testing.T) {
	t.Parallel()
	g := store.NewGeneration(broken{}, "")
	if got, err := g.Load(t.Context()); got != 0 || !errors.Is(err, errBroken) {
		t.Errorf("Load = %d, %v; want the error of storage", got, err)
	}
	if err := g.Store(t.Context(), 1); !errors.Is(err, errBroken) {
		t.Errorf("Store: %v, want the error of storage", err)
	}
}

func TestGenerationIsUnknownWhenItIsDamaged(t *testing.T) {
	t.Parallel()
	for _, content := range []string{"", "x", "-1", "1 ", "18446744073709551616"} {
		directory := t.TempDir()
		g := store.NewGeneration(&certmagic.FileStorage{Path: directory}, "")
		if err := g.Store(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(directory, "popauth", "store", "*", "generation"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the files are %v (%v), want one", files, err)
		}
		if err := os.WriteFile(files[0], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Load(t.Context()); got != 0 || err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: Load = %d, %v; want it to say what to do", content, got, err)
		}
	}
}
