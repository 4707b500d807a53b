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

func wantGeneration(t *testing.T, g store.Generation, want store.Mark) {
	t.Helper()
	if got, err := g.Load(t.Context()); got != want || err != nil {
		t.Errorf("Load = %v, %v; want %v", got, err, want)
	}
}

func TestGenerationIsKeptByIdentity(t *testing.T) {
	t.Parallel()
	s := &certmagic.FileStorage{Path: t.TempDir()}
	one, another := store.NewGeneration(s, "file /one"), store.NewGeneration(s, "file /another")
	wantGeneration(t, one, store.Mark{})
	for _, number := range []uint64{1, 2, 1<<64 - 1} {
		m := store.Mark{ID: [16]byte{1, 15: 0xff}, Number: number}
		if err := one.Store(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		wantGeneration(t, one, m)
		wantGeneration(t, store.NewGeneration(s, "file /one"), m)
		wantGeneration(t, another, store.Mark{})
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
	if got, err := g.Load(t.Context()); got != (store.Mark{}) || !errors.Is(err, errBroken) {
		t.Errorf("Load = %v, %v; want the error of storage", got, err)
	}
	if err := g.Store(t.Context(), store.Mark{Number: 1}); !errors.Is(err, errBroken) {
		t.Errorf("Store: %v, want the error of storage", err)
	}
}

func TestGenerationIsUnknownWhenItIsDamaged(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0a", 16)
	for _, content := range []string{
		"", "x", "7", id, id + " ", id + " -1", id + " 1 ", id + " 01", id + "  1", id + " 18446744073709551616",
		id[1:] + " 1", id + "0a 1", strings.ToUpper(id) + " 1", strings.Repeat("00", 16) + " 0",
	} {
		directory := t.TempDir()
		g := store.NewGeneration(&certmagic.FileStorage{Path: directory}, "")
		if err := g.Store(t.Context(), store.Mark{Number: 7}); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(directory, "popauth", "store", "*", "generation"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the files are %v (%v), want one", files, err)
		}
		if err := os.WriteFile(files[0], []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := g.Load(t.Context()); got != (store.Mark{}) || err == nil || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%q: Load = %v, %v; want it to say what to do", content, got, err)
		}
	}
}
