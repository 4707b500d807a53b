// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"encoding/json"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestMemoryStoreIsTheDefault(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", `{"backend":"memory"}`} {
		s := newSite(t, func(s *site) {
			if raw != "" {
				s.config.Issuers["default"].StoreRaw = json.RawMessage(raw)
			}
		})
		backend := s.app.Issuers["default"].store
		if _, ok := backend.(*MemoryStore); !ok {
			t.Fatalf("%q: got %T", raw, backend)
		}
		if got := backend.Identity(); got != new(MemoryStore).Identity() {
			t.Errorf("%q: got identity %q, want that of all memory stores", raw, got)
		}
		opened, err := backend.Open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := opened.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestMemoryStoreInTheCaddyfile(t *testing.T) {
	t.Parallel()
	if err := new(MemoryStore).UnmarshalCaddyfile(caddyfile.NewTestDispenser("memory")); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"memory large", "memory {\n\tsize 1\n}"} {
		mustSay(t, new(MemoryStore).UnmarshalCaddyfile(caddyfile.NewTestDispenser(text)), "the memory store has no options, expected: store memory")
	}
}
