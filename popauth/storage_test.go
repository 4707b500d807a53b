// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
)

func init() {
	caddy.RegisterModule(storageModule{})
}

// storageModule lets a test have its own storage in a Caddy configuration.
type storageModule struct {
	ID string `json:"id"`
}

func (storageModule) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "caddy.storage.popauth_test", New: func() caddy.Module { return new(storageModule) }}
}

func (m *storageModule) CertMagicStorage() (certmagic.Storage, error) {
	if s, ok := storages.Load(m.ID); ok {
		return s.(*storage), nil
	}
	return nil, errors.New("no such storage")
}

var storages sync.Map

// storage keeps files in a folder of the test. It counts how often it is
// called, and answers with an error while it is down.
type storage struct {
	files certmagic.FileStorage
	calls atomic.Int64
	down  atomic.Bool
	raw   json.RawMessage // how a Caddy configuration names it
}

func newStorage(t testing.TB) *storage {
	t.Helper()
	dir := t.TempDir()
	raw, err := json.Marshal(map[string]string{"module": "popauth_test", "id": dir})
	if err != nil {
		t.Fatal(err)
	}
	s := &storage{files: certmagic.FileStorage{Path: dir}, raw: raw}
	storages.Store(dir, s)
	t.Cleanup(func() { storages.Delete(dir) })
	return s
}

var errDown = errors.New("the disk is on fire")

func (s *storage) called() error {
	s.calls.Add(1)
	if s.down.Load() {
		return errDown
	}
	return nil
}

// String tells it from the storages of other tests.
func (s *storage) String() string { return string(s.raw) }

func (s *storage) Lock(ctx context.Context, name string) error {
	if err := s.called(); err != nil {
		return err
	}
	return s.files.Lock(ctx, name)
}

func (s *storage) Unlock(ctx context.Context, name string) error {
	if err := s.called(); err != nil {
		return err
	}
	return s.files.Unlock(ctx, name)
}

func (s *storage) Store(ctx context.Context, key string, value []byte) error {
	if err := s.called(); err != nil {
		return err
	}
	return s.files.Store(ctx, key, value)
}

func (s *storage) Load(ctx context.Context, key string) ([]byte, error) {
	if err := s.called(); err != nil {
		return nil, err
	}
	return s.files.Load(ctx, key)
}

func (s *storage) Delete(ctx context.Context, key string) error {
	if err := s.called(); err != nil {
		return err
	}
	return s.files.Delete(ctx, key)
}

func (s *storage) Exists(ctx context.Context, key string) bool {
	return s.called() == nil && s.files.Exists(ctx, key)
}

func (s *storage) List(ctx context.Context, path string, recursive bool) ([]string, error) {
	if err := s.called(); err != nil {
		return nil, err
	}
	return s.files.List(ctx, path, recursive)
}

func (s *storage) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	if err := s.called(); err != nil {
		return certmagic.KeyInfo{}, err
	}
	return s.files.Stat(ctx, key)
}

func TestKeysOfAnIssuerSurviveAndAreItsOwn(t *testing.T) {
	t.Parallel()
	kept := newStorage(t)
	jwks := func(url string) string {
		s := newSite(t, func(s *site) {
			s.storage = kept
			i := s.config.Issuers["default"]
			i.URL, i.Signing = url, nil
		})
		return begin(get("/oauth2/jwks")).through(s.server(t, `{}`)).Body.String()
	}
	first, again, other := jwks(issuerURL), jwks(issuerURL), jwks("https://login.example.org")
	if first != again {
		t.Errorf("after a restart the keys are %s, were %s", again, first)
	}
	if first == other {
		t.Error("two issuers have the same keys")
	}
	if _, err := kept.files.Load(t.Context(), "popauth"); errors.Is(err, fs.ErrNotExist) {
		t.Error("the keys are not in Caddy's storage")
	}
}

var (
	_ certmagic.Storage      = (*storage)(nil)
	_ caddy.StorageConverter = (*storageModule)(nil)
)
