// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	bolt "go.etcd.io/bbolt"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/store"
)

// stored gives the issuers named a store.
func stored(raw json.RawMessage, ids ...string) func(*site) {
	return func(s *site) {
		for _, id := range ids {
			s.config.Issuers[id].StoreRaw = raw
		}
	}
}

// fileStore is a file store as the JSON has it; with "", without a path.
func fileStore(t testing.TB, path string) json.RawMessage {
	t.Helper()
	raw, err := json.Marshal(FileStore{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	if path == "" {
		return json.RawMessage(`{"backend":"file"}`)
	}
	return json.RawMessage(`{"backend":"file",` + string(raw[1:]))
}

func TestMemoryStoreIsOneForAll(t *testing.T) {
	t.Parallel()
	s := newSite(t, stored(json.RawMessage(`{"backend":"memory"}`), "default"))
	h := s.app.Issuers["default"].store.handle
	if _, ok := h.backend.(*MemoryStore); !ok {
		t.Fatalf("got %T", h.backend)
	}
	other := newSite(t, stored(json.RawMessage(`{"backend":"memory"}`), "default"))
	if other.app.Issuers["default"].store.handle != h {
		t.Error("two configs have a memory store each")
	}
	if err := verbs["Get"](t.Context(), h); err != nil {
		t.Error(err)
	}
}

func TestStoresInTheCaddyfile(t *testing.T) {
	t.Parallel()
	if err := new(MemoryStore).UnmarshalCaddyfile(caddyfile.NewTestDispenser("memory")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"memory large", "memory {\n\tsize 1\n}"} {
		mustSay(t, new(MemoryStore).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)), "the memory store has no options, expected: store memory")
	}
	for text, want := range map[string]FileStore{
		"file":                                   {},
		"file /var/lib/store.db":                 {Path: "/var/lib/store.db"},
		"file `a b`":                             {Path: "a b"},
		"file a {\n}":                            {Path: "a"},
		"file {\n\tmax_size 64MiB\n}":            {MaxSize: 64 << 20},
		"file a {\n\tmax_size \"1.5 GB\"\n}":     {Path: "a", MaxSize: 1_500_000_000},
		"file {\n\tmax_size 1000000000000000\n}": {MaxSize: 1_000_000_000_000_000},
	} {
		f := new(FileStore)
		if err := f.UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)); err != nil || *f != want {
			t.Errorf("%s: got %+v, error %v, want %+v", text, *f, err, want)
		}
	}
	for text, want := range map[string]string{
		"file a b":                          "wrong number of arguments, expected: store file [<path>] { max_size <size> }",
		"file {\n\tpath a\n}":               `unrecognized option "path" in store file, expected max_size`,
		`file ""`:                           "the path is empty, expected: store file [<path>]",
		"file {\n\tmax_size\n}":             "wrong number of arguments, expected: max_size <size>",
		"file {\n\tmax_size 1 2\n}":         "wrong number of arguments, expected: max_size <size>",
		"file {\n\tmax_size -1\n}":          `invalid size "-1"`,
		"file {\n\tmax_size 9EiB\n}":        `invalid size "9EiB"`,
		"file {\n\tmax_size 1\nmax_size 2}": "max_size is already specified",
	} {
		mustSay(t, new(FileStore).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)), want)
	}
}

func TestFileStoreOfAnImpossibleSize(t *testing.T) {
	for _, size := range []int64{-1, 1, store.SmallestMaxSize() - 1} {
		f := &FileStore{Path: "/srv/store.db", MaxSize: size}
		mustSay(t, f.Provision(caddy.Context{}), "expected at least "+strconv.FormatInt(store.SmallestMaxSize(), 10))
	}
}

func TestPathOfTheFileStore(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	t.Setenv("POPAUTH_STORES", "/var/lib/stores")
	work, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	standard := filepath.Join(data, "caddy", "popauth", "store.db")
	tests := []struct {
		name string
		raw  json.RawMessage
		want string
	}{
		{"a file store is the default", nil, standard},
		{"no path", fileStore(t, ""), standard},
		{"an empty path", json.RawMessage(`{"backend":"file","path":""}`), standard},
		{"an absolute path", fileStore(t, "/srv/store.db"), "/srv/store.db"},
		{"an absolute path that is not clean", fileStore(t, "/srv//x/../store.db"), "/srv/store.db"},
		{"a relative path", fileStore(t, "store.db"), filepath.Join(work, "store.db")},
		{"a placeholder", fileStore(t, "{env.POPAUTH_STORES}/a.db"), "/var/lib/stores/a.db"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			raw := json.RawMessage(`{"issuers":{"default":{"url":"https://auth.example.com"}}}`)
			if tt.raw != nil {
				raw = json.RawMessage(`{"issuers":{"default":{"url":"https://auth.example.com","store":` + string(tt.raw) + `}}}`)
			}
			ctx, err := provision(newStorage(t), caddy.ModuleMap{"popauth": raw})
			if err != nil {
				t.Fatal(err)
			}
			backend := appIn(t, ctx).Issuers["default"].store.backend
			if _, ok := backend.(*FileStore); !ok || backend.Identity() != tt.want {
				t.Errorf("got %T at %q, want a file store at %q", backend, backend.Identity(), tt.want)
			}
		})
	}
	if left, err := os.ReadDir(data); err != nil || len(left) > 0 {
		t.Errorf("to provision has made %v, %v", left, err)
	}
}

func TestStartMakesTheDefaultStore(t *testing.T) {
	data := t.TempDir()
	t.Setenv("XDG_DATA_HOME", data)
	s := newSite(t, stored(fileStore(t, ""), "default"))
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(data, "caddy", "popauth", "store.db")
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("others may read the store: %v", got)
	}
	// its number in Caddy's storage, by which it notices that it is a backup
	node, err := nodeID()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := store.NewGeneration(s.storage, node+" "+file).Load(t.Context()); err != nil || got.Number == 0 {
		t.Errorf("got the generation %v, %v, want one", got, err)
	}
	if got, _ := store.NewGeneration(s.storage, file).Load(t.Context()); got != (store.Mark{}) {
		t.Error("another node with the same path would share the generation")
	}
}

// Which configs and issuers have one store, and which have two.
func TestStoresAreSharedByIdentity(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	a, alias, b := fileStore(t, filepath.Join(dir, "a.db")), fileStore(t, dir+"/x/../a.db"), fileStore(t, filepath.Join(dir, "b.db"))
	s := newSite(t, func(s *site) {
		for id, raw := range map[string]json.RawMessage{"second": alias, "third": b, "fourth": s.backend.raw, "fifth": s.backend.raw} {
			s.config.Issuers[id] = &Issuer{URL: "https://" + id + ".example.com", StoreRaw: raw}
		}
	}, stored(a, "default"))
	if err := s.app.Start(); err != nil {
		t.Fatal(err)
	}
	of := func(id string) *handle { return s.app.Issuers[id].store.handle }
	if of("default") != of("second") || of("fourth") != of("fifth") {
		t.Error("two issuers with one identity have two stores")
	}
	if of("default") == of("third") || of("default") == of("fourth") {
		t.Error("two identities have one store")
	}
	next := newSite(t, stored(a, "default"))
	if next.app.Issuers["default"].store.handle != of("default") {
		t.Error("two configs with one identity have two stores")
	}
	if got, _ := stores.References(keyOf(of("default").backend)); got != 2 {
		t.Errorf("two configs hold %d references, want 2", got)
	}
	for _, err := range []error{s.app.Cleanup(), s.app.Cleanup(), next.app.Cleanup()} {
		if err != nil {
			t.Error(err)
		}
	}
	for _, h := range []*handle{next.app.Issuers["default"].store.handle, of("third"), of("fourth")} {
		mustNotKnow(t, h)
		if _, held := stores.References(keyOf(h.backend)); held {
			t.Error("a store outlives the last config")
		}
	}
}

// A config with a store that can't be used is refused, and says what to do.
func TestStartRefusesAStoreThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, path string) // something at that path
		want string
	}{
		{"a directory", func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "is a directory: give the path of a file in it"},
		{"beneath a file", func(t *testing.T, path string) { must(t, os.WriteFile(filepath.Dir(path), nil, 0o600)) }, "not a directory"},
		{"something else", func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("nothing of ours\n", 1024)), 0o600))
		}, "is damaged or something else than a store: move it away"},
		{"another database", func(t *testing.T, path string) { edit(t, path, "other", "format", "1") }, "is damaged or something else than a store: move it away"},
		{"of a newer version", func(t *testing.T, path string) {
			made, err := store.OpenFile(t.Context(), store.FileConfig{Path: path, Clock: clock.System, Generation: store.NewGeneration(newStorage(t), path)})
			must(t, err)
			must(t, made.Close(t.Context()))
			edit(t, path, "meta", "format", "\x00\x00\x00\x00\x00\x00\x00\x63")
		}, "was written by a newer version, it has format 99: use that version"},
		{"in use", func(t *testing.T, path string) {
			db, err := bolt.Open(path, 0o600, nil)
			must(t, err)
			t.Cleanup(func() { _ = db.Close() })
		}, "is in use by another process: stop that, or give this one another path"},
		{"unreadable", func(t *testing.T, path string) {
			if os.Geteuid() == 0 {
				t.Skip("root may read everything")
			}
			must(t, os.WriteFile(path, nil, 0))
		}, "can't be used by this user: let the user that runs Caddy own it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "popauth", "store.db")
			if tt.name != "beneath a file" {
				must(t, os.Mkdir(filepath.Dir(path), 0o700))
			}
			tt.make(t, path)
			s := newSite(t, stored(fileStore(t, path), "default"))
			before := s.memory.Stats()
			err := s.app.Start()
			mustSay(t, err, `opening store "file": `)
			mustSay(t, err, tt.want)
			mustSay(t, err, strconv.Quote(path))
			if after := s.memory.Stats(); after != before {
				t.Errorf("the refused config changed the memory to %+v, it was %+v", after, before)
			}
		})
	}
}

// A storage that does not answer might know that the file is a backup.
func TestStartRefusesAStoreOfUnknownAge(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	s := newSite(t, stored(fileStore(t, path), "default"))
	s.storage.down.Store(true)
	mustSay(t, s.app.Start(), errDown.Error())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// edit writes one value into a database.
func edit(t *testing.T, path, bucket, key, value string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte(bucket))
		if err != nil {
			return err
		}
		return b.Put([]byte(key), []byte(value))
	}))
	must(t, db.Close())
}

func TestStoreEventsAreLogged(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.DebugLevel)
	logStoreEvent(zap.New(core), "/srv/store.db", store.Event{Message: "a record is damaged", Damaged: 3})
	logStoreEvent(zap.New(core), "/srv/store.db", store.Event{Message: "it is a backup", Err: errors.New("generation 1")})
	logStoreEvent(zap.New(core), "/srv/store.db", store.Event{Message: "it has room again", Resolved: true})
	entries := logs.All()
	if len(entries) != 3 || entries[2].Level != zapcore.InfoLevel {
		t.Fatalf("got %v, want an INFO line at the end", entries)
	}
	for i, want := range []map[string]any{{"damaged": uint64(3), "error": nil}, {"damaged": nil, "error": "generation 1"}} {
		fields := entries[i].ContextMap()
		if entries[i].Level != zapcore.ErrorLevel || fields["path"] != "/srv/store.db" {
			t.Errorf("got %v, want an ERROR line that names the file", entries[i])
		}
		for name, value := range want {
			if fields[name] != value {
				t.Errorf("%s: got %s %v, want %v", entries[i].Message, name, fields[name], value)
			}
		}
	}
}

// What the store has to say is in the log of the config that runs, also when
// another one has opened it.
func TestStoreEventsComeFromTheConfigThatRuns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	newest, logs := observer.New(zapcore.ErrorLevel)
	first := newSite(t, stored(fileStore(t, path), "default"))
	must(t, first.app.Start())
	second := newSite(t, sharing(first), stored(fileStore(t, path), "default"))
	second.app.host.logger = zap.New(newest)
	must(t, second.app.Start())
	must(t, first.app.Cleanup())
	second.storage.down.Store(true)
	_ = second.app.Cleanup() // the generation can't be stored
	if logs.FilterField(zap.String("path", path)).Len() != 1 {
		t.Errorf("got %v, want a line on the storage that is down", logs.All())
	}
}

// An open store outlives the config that opened it, but not its limit.
func TestReloadChangesTheSizeOfTheStore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	limit := func(size int64, ids ...string) func(*site) {
		raw, err := json.Marshal(map[string]any{"backend": "file", "path": path, "max_size": size})
		must(t, err)
		return func(s *site) {
			for _, id := range ids {
				s.config.Issuers[id] = &Issuer{URL: "https://" + id + ".example.com", StoreRaw: raw}
			}
		}
	}
	mustBe := func(s *site, want int64) {
		t.Helper()
		must(t, s.app.Start())
		open := s.app.Issuers["default"].store.handle.open.Load()
		if got := open.Store.(*store.File).MaxSize(); got != want {
			t.Errorf("the store may have %d bytes, want %d", got, want)
		}
	}
	first := newSite(t, limit(64<<20, "default"))
	mustBe(first, 64<<20)
	mustBe(newSite(t, sharing(first), limit(32<<20, "default")), 32<<20)
	// of several issuers, the largest counts
	mustBe(newSite(t, sharing(first), limit(128<<20, "second"), limit(16<<20, "default", "third")), 128<<20)
	mustBe(newSite(t, sharing(first), stored(fileStore(t, path), "default")), store.DefaultMaxSize)
}

// The file survives the process, which the memory does not.
func TestFileStoreSurvivesTheProcess(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "store.db")
	opaque := func(s *site) {
		s.config.Issuers["default"].AccessToken = &AccessToken{Format: "opaque"}
	}
	first := newSite(t, stored(fileStore(t, path), "default"), opaque)
	good, revoked := first.token(t), first.token(t)
	begin(first.revocation(revoked)).through(first.server(t, `{}`)).mustBeDone(t)
	must(t, first.app.Cleanup())

	again := newSite(t, sharing(first), stored(fileStore(t, path), "default"), opaque)
	auth := again.auth(t, `{}`)
	begin(again.signed(t, good)).through(auth).mustPass(t)
	begin(again.signed(t, revoked)).through(auth).mustBeRefused(t, "token_revoked")
}

// A lost store is noticed: a token that may have been revoked in it passes no
// more, and new ones do.
func TestTokensFromBeforeTheStoreAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, stored(fileStore(t, filepath.Join(t.TempDir(), "store.db")), "default"))
	auth := s.auth(t, `{}`)
	old := s.mint(t, map[string]any{"iat": time.Now().Add(-time.Minute).Unix()})
	x := begin(s.signed(t, old)).through(auth)
	x.mustBeRefused(t, "issued_before_store")
	if lines := s.lines(); len(lines) != 1 || lines[0]["option"] != "store" {
		t.Errorf("got %v, want one line that names the option", lines)
	}
	begin(s.signed(t, s.token(t))).through(auth).mustPass(t)
}

// A container may have nothing that can be written but Caddy's storage, which
// is elsewhere.
func TestMemoryStoreNeedsNoDataDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_DATA_HOME", file)
	s := newSite(t, stored(json.RawMessage(`{"backend":"memory"}`), "default"))
	auth := s.auth(t, `{}`)
	begin(s.signed(t, s.token(t))).through(auth).mustPass(t)

	s = newSite(t, stored(fileStore(t, filepath.Join(t.TempDir(), "store.db")), "default"))
	mustSay(t, s.app.Start(), "telling this node from others")
}

// Several issuers and stores ask at once, at the first start.
func TestNodeHasOneID(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	ids := make([]string, 32)
	var all sync.WaitGroup
	for i := range ids {
		all.Go(func() {
			var err error
			if ids[i], err = nodeID(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 1 || len(ids[0]) < 26 {
		t.Errorf("got the ids %q, want one", ids)
	}
	if left, err := filepath.Glob(filepath.Join(caddy.AppDataDir(), "popauth", "*")); err != nil || len(left) != 1 {
		t.Errorf("got the files %q, %v, want one", left, err)
	}
}
