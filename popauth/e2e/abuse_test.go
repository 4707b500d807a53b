// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// The abuse tables are hostile requests, each with the answer it must get, and
// an honest one after each. The ids in their names are those of the rows in
// abuse_index_test.go.

// abuseGlobals is the authorization server of the abuse tables. It signs with
// a key that the tests have too, so that they can make tokens which are wrong
// in one respect and right in all others.
const abuseGlobals = `
	servers {
		trusted_proxies static 127.0.0.1/32
	}
	popauth {
		issuer https://auth.localhost:$HTTPS
		audience https://api.example.com
		signing_key {file.$DIR/issuer.json}
		store $STORE
		client reports reports-secret {
			scopes reports:read reports:write
		}
		client sealed sealed-secret {
			scopes reports:read reports:write
			access_token opaque
		}
		client cc:odd/1 "p%:+ &a~/=secret\"<>"
		client other other-secret
		client loose loose-secret {
			binding optional
		}
		client inspector inspector-secret {
			introspect
		}
		client proven proven-secret {
			cnf_key_proof required
		}
		client keyed keyed-secret {
			binding required cnf_key
		}
		client signed signed-secret {
			binding optional dpop
		}
		client narrow narrow-secret {
			introspect https://elsewhere.example.com
		}
	}
	popauth jkt {
		issuer https://auth.localhost:$HTTPS/jkt
		audience https://api.example.com
		signing_key {file.$DIR/issuer.json}
		store $STORE
		access_token {
			confirmation jkt
		}
		client reports reports-secret
	}
	popauth strict {
		issuer https://auth.localhost:$HTTPS/strict
		audience https://api.example.com
		signing_key {file.$DIR/issuer.json}
		store $STORE
		nonce required
		client reports reports-secret
	}
`

// newAddress is an address that no request came from yet, for the field
// X-Forwarded-For: whoever fails often from one is told so, and nothing else.
func newAddress() string {
	n := lastAddress.Add(1)
	return fmt.Sprintf("10.%d.%d.%d", n>>16&255, n>>8&255, n&255)
}

var lastAddress atomic.Uint32

const abuseSites = `
auth.localhost {
	pop_server {
		issuer default
	}
	pop_server {
		issuer jkt
	}
	pop_server {
		issuer strict
	}
	respond "no endpoint" 404
}

api.localhost {
	handle /scoped {
		pop_auth {
			issuer default
			scope reports:admin
		}
		respond "scoped"
	}
	handle /once {
		pop_auth {
			issuer default
			nonce single_use
		}
		respond "once"
	}
	handle /clock {
		pop_auth {
			issuer default
			nonce off
		}
		respond "clock"
	}
	handle /unbound {
		pop_auth {
			issuer default
			allow_unbound_tokens
		}
		respond "unbound {http.auth.user.id} {http.request.header.Dpop}"
	}
	handle {
		pop_auth {
			issuer default jkt
		}
		respond "hello {http.auth.user.id}"
	}
}
`

// startAbused runs the server of the abuse tables, with the store that is the
// default.
func startAbused(t *testing.T) *server {
	t.Helper()
	return startAbusedOn(t, stores["file"])
}

func startAbusedOn(t *testing.T, store string) *server {
	t.Helper()
	s := prepare(t, strings.ReplaceAll(abuseGlobals, "$STORE", store), abuseSites)
	key, err := os.ReadFile(filepath.Join(fixture.Root(t), "testdata", "keys", "p384.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "issuer.json"), key, 0o600); err != nil {
		t.Fatal(err)
	}
	s.run(t)
	return s
}

// world is a server and a version of HTTP to speak with it.
type world struct {
	*server
	name, protocol string
	store          string // its name in stores
}

// stores are what the tables are run on that have to do with tokens.
var stores = map[string]string{"file": "file $DIR/store.db", "memory": "memory"}

// worlds are those in which tables are run that have to do with tokens: each
// version of HTTP with each store. Where the store is not asked, as for a proof
// or a cnf_key, there is one server for all versions.
func worlds(t *testing.T) []world {
	t.Helper()
	return worldsOf(t, startAbusedOn)
}

func worldsOf(t *testing.T, start func(t *testing.T, store string) *server) []world {
	t.Helper()
	var all []world
	for name, store := range stores {
		s := start(t, store)
		for _, protocol := range protocols {
			all = append(all, world{s, protocol + " " + name, protocol, name})
		}
	}
	return all
}

// want is what a refused request must get.
type want struct {
	status int
	code   string       // OAuth error code; "" for none
	reason oauth.Reason // in the log
	nonce  bool         // a fresh DPoP-Nonce
	header string       // a further header field that must be there
}

// refusedAPI checks an answer of the API against what is wanted.
func (s *server) refusedAPI(t *testing.T, got answer, since int, w want) {
	t.Helper()
	s.refused(t, got, since, w)
	challenges, err := oauth.ParseChallenges(got.header["Www-Authenticate"])
	if err != nil {
		t.Fatalf("challenge %q: %v", got.header["Www-Authenticate"], err)
	}
	if rule := w.reason.Rule(); rule.Challenge != (len(challenges) == 1) {
		t.Fatalf("got challenges %q, want one: %v", got.header["Www-Authenticate"], rule.Challenge)
	}
	if len(challenges) == 1 {
		if code, _ := challenges[0].Param("error"); challenges[0].Scheme != "DPoP" || code != w.code {
			t.Errorf("got challenge %q, want scheme DPoP and error %q", challenges[0], w.code)
		}
		if _, ok := challenges[0].Param("realm"); ok {
			t.Errorf("got challenge %q, want none with a realm", challenges[0])
		}
	}
	if has := got.header.Get("DPoP-Nonce") != ""; has != w.nonce {
		t.Errorf("got a DPoP-Nonce: %v, want %v", has, w.nonce)
	}
	if body := got.body; body != "" {
		t.Errorf("got the body %q, want none", body)
	}
}

// refusedEndpoint checks an answer of the authorization server.
func (s *server) refusedEndpoint(t *testing.T, got answer, since int, w want) {
	t.Helper()
	s.refused(t, got, since, w)
	if code := object(t, got.body)["error"]; code != w.code {
		t.Errorf("got error %v, want %q", code, w.code)
	}
	if has := got.header.Get("DPoP-Nonce") != ""; has != w.nonce {
		t.Errorf("got a DPoP-Nonce: %v, want %v", has, w.nonce)
	}
	if has := got.header.Get("WWW-Authenticate") != ""; has != (got.status == http.StatusUnauthorized) {
		t.Errorf("got status %d with a WWW-Authenticate field: %v", got.status, has)
	}
}

// refused checks what all refusals have in common.
func (s *server) refused(t *testing.T, got answer, since int, w want) {
	t.Helper()
	checked(t, got.proto)
	s.tells(t, got, since)
	if got.status != w.status {
		t.Fatalf("got status %d %s %v, want %d", got.status, got.body, got.header["Www-Authenticate"], w.status)
	}
	if cc := got.header.Get("Cache-Control"); cc != "no-store" {
		t.Errorf("got Cache-Control %q, want no-store", cc)
	}
	if w.header != "" && got.header.Get(w.header) == "" {
		t.Errorf("got no %s field in %v", w.header, got.header)
	}
	logged := s.refusals(t, since)
	if len(logged) != 1 {
		t.Fatalf("got %d refusals in the log, want 1: %v", len(logged), logged)
	}
	if reason := logged[0]["reason"]; reason != string(w.reason) {
		t.Errorf("got reason %v, want %q; the log line is %v", reason, w.reason, logged[0])
	}
	if level := logged[0]["level"]; level != w.reason.Rule().Level.String() {
		t.Errorf("got log level %v, want %v", level, w.reason.Rule().Level)
	}
}

// secret is what a token, a proof, a cnf_key or the secret of a client begins
// or ends with, and the value that the tables plant where it fits.
var secret = regexp.MustCompile(`eyJ[\w-]{8}|pop_at_\w|\w-secret|` + marker)

// tells checks that an answer does not show what was planted in the request nor
// the value of a placeholder, and that the log since then holds no secret.
func (s *server) tells(t *testing.T, got answer, since int) {
	t.Helper()
	shown := fmt.Sprint(got.header, got.body)
	for _, value := range []string{marker, echoed, s.dir} {
		if strings.Contains(shown, value) {
			t.Errorf("the answer shows %q: %s", value, shown)
		}
	}
	if found := secret.Find(s.log(t)[since:]); found != nil {
		t.Errorf("the log holds %q", found)
	}
}

// planted are header fields that mean nothing.
var planted = []string{"X-Marker", marker, "User-Agent", "Mozilla/5.0 " + marker}

// assertSilent fails if any of the secrets stands in the log or in what Caddy
// printed.
func (s *server) assertSilent(t *testing.T, secrets ...string) {
	t.Helper()
	all := string(s.log(t)) + s.printed(t)
	for _, secret := range secrets {
		if secret != "" && strings.Contains(all, secret) {
			t.Errorf("the log holds %q", secret)
		}
	}
}
