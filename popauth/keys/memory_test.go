// SPDX-License-Identifier: Apache-2.0

package keys

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"maps"
	"path"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/jws"
)

const prefix = "popauth/0123/keys"

var start = time.Unix(1_800_000_000, 0)

// memory is a certmagic.Storage. Methods that a Ring has no business with
// panic, since the embedded interface is nil.
type memory struct {
	certmagic.Storage

	mu    sync.Mutex
	files map[string][]byte
	// mark is the marker, apart from the keys: tests count those. Its methods
	// are called "Load marker" and "Store marker".
	mark  []byte
	calls map[string]int
	fail  map[string]error // by method

	locked  chan struct{} // holds one element while locked
	keep    bool          // whether Store keeps what it gets
	holdUp  chan struct{} // if not nil, List waits until it is closed, then says what there was
	listing chan struct{} // gets one element when List waits
	onStore func()
}

func newMemory() *memory {
	return &memory{
		files: map[string][]byte{}, calls: map[string]int{}, fail: map[string]error{},
		locked: make(chan struct{}, 1), keep: true,
	}
}

func (m *memory) call(method string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls[method]++
	if errors.Is(m.fail[method], errPanics) {
		panic("the storage has a defect")
	}
	return m.fail[method]
}

// errPanics as the failure of a method makes it panic.
var errPanics = errors.New("panics")

func (m *memory) count(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}

func (m *memory) total() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, calls := range m.calls {
		n += calls
	}
	return n
}

func (m *memory) setFail(method string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail[method] = err
}

func (m *memory) snapshot() map[string][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.files)
}

func (m *memory) Lock(ctx context.Context, _ string) error {
	if err := m.call("Lock"); err != nil {
		return err
	}
	select {
	case m.locked <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memory) Unlock(ctx context.Context, _ string) error {
	if err := errors.Join(m.call("Unlock"), ctx.Err()); err != nil {
		return err
	}
	<-m.locked
	return nil
}

func (m *memory) storeMarker(value []byte) error {
	if err := m.call("Store marker"); err != nil {
		return err
	}
	if len(m.locked) == 0 {
		return errors.New("Store without the lock")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mark != nil {
		return errors.New("Store on a file that exists")
	}
	m.mark = bytes.Clone(value)
	return nil
}

func (m *memory) loadMarker() ([]byte, error) {
	if err := m.call("Load marker"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mark == nil {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(m.mark), nil
}

func (m *memory) Store(_ context.Context, name string, value []byte) error {
	if name == prefix+".made" {
		return m.storeMarker(value)
	}
	if err := m.call("Store"); err != nil {
		return err
	}
	if m.onStore != nil {
		m.onStore()
	}
	if len(m.locked) == 0 {
		return errors.New("Store without the lock")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.files[name]; ok {
		return errors.New("Store on a file that exists")
	}
	if m.keep {
		m.files[name] = bytes.Clone(value)
	}
	return nil
}

func (m *memory) Load(_ context.Context, name string) ([]byte, error) {
	if name == prefix+".made" {
		return m.loadMarker()
	}
	if err := m.call("Load"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	value, ok := m.files[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return bytes.Clone(value), nil
}

func (m *memory) Delete(_ context.Context, name string) error {
	if err := m.call("Delete"); err != nil {
		return err
	}
	if len(m.locked) == 0 {
		return errors.New("Delete without the lock")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.files, name)
	return nil
}

func (m *memory) List(ctx context.Context, dir string, recursive bool) ([]string, error) {
	if err := m.call("List"); err != nil {
		return nil, err
	}
	if recursive {
		return nil, errors.New("List of all there is")
	}
	m.mu.Lock()
	var names []string
	for name := range m.files {
		if path.Dir(name) == dir {
			names = append(names, name)
		}
	}
	m.mu.Unlock()
	if m.holdUp != nil {
		m.listing <- struct{}{}
		<-m.holdUp
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(names) == 0 {
		return nil, fs.ErrNotExist
	}
	return names, nil
}

// events collects what a Ring says.
type events struct {
	mu  sync.Mutex
	all []Event
}

func (e *events) add(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) messages() (list []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, event := range e.all {
		list = append(list, event.Message)
	}
	return list
}

func newRing(t *testing.T, s certmagic.Storage, c clock.Clock, alg string) (*Ring, *events) {
	t.Helper()
	var e events
	r, err := NewRing(Config{Storage: s, Prefix: prefix, Algorithm: alg, Clock: c, Notify: e.add})
	if err != nil {
		t.Fatalf("NewRing: %v", err)
	}
	return r, &e
}

// kid signs with the ring, verifies the signature with what the ring finds,
// and returns the kid.
func kid(t *testing.T, r *Ring) string {
	t.Helper()
	compact, err := r.Sign(t.Context(), "at+jwt", []byte(`{"sub":"me"}`))
	if err != nil {
		t.Fatalf("Sign: %v", err)
	}
	return verify(t, r, compact)
}

func verify(t *testing.T, r *Ring, compact string) string {
	t.Helper()
	m, err := jws.Parse(compact, jws.Limits{Size: 8 << 10, Header: 2 << 10})
	if err != nil {
		t.Fatalf("Parse: %v", err)
	}
	k, err := r.Find(t.Context(), m.KeyID())
	if err != nil || k == nil {
		t.Fatalf("Find(%q) = %v, %v; want a key", m.KeyID(), k, err)
	}
	if err := m.Verify(k, k.Algorithm()); err != nil {
		t.Fatalf("Verify: %v", err)
	}
	if m.Type() != "at+jwt" || m.Header.Len() != 3 || string(m.Payload) != `{"sub":"me"}` {
		t.Errorf("header %v, payload %s; want typ, alg, kid and the payload", m.Header.Names(), m.Payload)
	}
	return m.KeyID()
}
