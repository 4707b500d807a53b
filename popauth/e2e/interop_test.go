// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
)

// interopClients are the clients of both issuers of TestInterop.
const interopClients = `
	client "cc:odd/1" "a+b%41: c&d=~" {
		scopes read write
	}
	client api api-secret {
		introspect
	}
	client keyed-ES256 {
		jwk {file.$DIR/ES256.jwk}
	}
	client keyed-ES384 {
		jwk {file.$DIR/ES384.jwk}
	}
	client keyed-Ed25519 {
		jwk {file.$DIR/Ed25519.jwk}
	}
	client keyed-PS256 {
		jwk {file.$DIR/PS256.jwk}
	}
	client keyed-RS256 {
		jwk {file.$DIR/RS256.jwk}
	}
`

const interopGlobals = `
	popauth {
		issuer https://auth.localhost:$HTTPS
		audience https://api.localhost:$HTTPS
		store memory
` + interopClients + `
	}
	popauth strict {
		issuer https://strict.localhost:$HTTPS
		audience https://api.localhost:$HTTPS https://files.localhost:$HTTPS/v1/
		nonce required
		access_token opaque
		store memory
` + interopClients + `
	}
`

const interopSites = `
(api) {
	respond "{http.request.orig_method} {http.request.orig_uri} by {http.auth.user.client_id}"
}

auth.localhost {
	pop_server {
		issuer default
	}
}

strict.localhost {
	pop_server {
		issuer strict
	}
}

api.localhost {
	pop_auth {
		issuer default strict
		nonce required
	}
	import api
}

single.localhost {
	pop_auth {
		issuer default strict
		nonce single_use
	}
	import api
}

off.localhost {
	pop_auth {
		issuer default strict
		nonce off
	}
	import api
}

files.localhost {
	pop_auth {
		issuer strict
		audience https://files.localhost:$HTTPS/v1/
		scope read
	}
	import api
}
`

// interopKeys are the keys of the clients keyed-<algorithm>.
var interopKeys = map[string]string{"ES256": "p256", "ES384": "p384", "Ed25519": "ed25519", "PS256": "rsa2048", "RS256": "rsa2048"}

// TestInterop runs testdata/interop: client libraries as they are published.
func TestInterop(t *testing.T) {
	t.Parallel()
	suite := npm(t)
	s := prepare(t, interopGlobals, interopSites)
	for alg, name := range interopKeys {
		jwk := maps.Clone(fixture.Load(t, name).JWK)
		jwk["alg"], jwk["kid"] = alg, alg
		text, err := json.Marshal(jwk)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, alg+".jwk"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.run(t)
	out := runIn(t, suite, []string{
		"NODE_EXTRA_CA_CERTS=" + s.rootFile(),
		"POPAUTH_PORT=" + strconv.Itoa(s.https),
		"POPAUTH_KEYS=" + filepath.Join(fixture.Root(t), "testdata", "keys"),
	}, "npm", "test", "--silent")
	if !regexp.MustCompile(`(?m)^# pass [1-9]`).MatchString(out) || !strings.Contains(out, "\n# skipped 0\n") {
		t.Errorf("the suite has run no test, or has left some out:\n%s", out)
	}
}

// npm is a copy of testdata/interop with the libraries that it names, which npm
// fetches or has in its cache.
func npm(t *testing.T) string {
	t.Helper()
	needs(t, "node", "npm")
	version := strings.TrimSpace(runIn(t, t.TempDir(), nil, "node", "--version"))
	if major, err := strconv.Atoi(strings.TrimPrefix(strings.Split(version, ".")[0], "v")); err != nil || major < 20 {
		lacks(t, "this test needs Node 20 or newer, not "+version+": install it")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(fixture.Root(t), "testdata", "interop"))); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, nil, "npm", "install", "--silent", "--prefer-offline", "--no-progress", "--ignore-scripts")
	return dir
}

// installing is how long an installation or a suite may take. It is no
// assertion on time, only an end to waiting.
const installing = 5 * time.Minute

// runIn runs a program that must succeed, and returns what it printed.
func runIn(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), installing)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return string(out)
}
