// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// proofAbuse is one hostile use of a DPoP proof at the token endpoint.
type proofAbuse struct {
	name   string
	client string // default: reports
	path   string // of the token endpoint; default: /oauth2/token
	key    string // fixture that is sent as cnf_key; default: none is
	proofs func(h *hand) []string
	want   want
}

// badTokenProof and retryToken are the answers of the token endpoint.
func badTokenProof(reason oauth.Reason) want {
	return want{400, "invalid_dpop_proof", reason, true, ""}
}

func retryToken(reason oauth.Reason) want { return want{400, "use_dpop_nonce", reason, true, ""} }

// tokenProof is an honest proof for the token endpoint with changes laid over
// it.
func (h *hand) tokenProof(key fixture.Key, header, claims map[string]any) string {
	h.Helper()
	return key.Proof(h, fixture.Proof{
		Method: http.MethodPost, URL: h.s.site("auth", "/oauth2/token"), Nonce: h.nonce, Header: header, Claims: claims,
	})
}

// one makes one proof by the own key with changes laid over it.
func one(header, claims map[string]any) func(*hand) []string {
	return func(h *hand) []string { return []string{h.tokenProof(h.key, header, claims)} }
}

var proofAbuses = []proofAbuse{
	{"T17 cnf_key and proof by different keys", "", "", "p256-thief", one(nil, nil), invalidRequest(oauth.ConfirmationKeyMismatch)},
	{"T18 cnf_key alone where it must be proven", "proven", "", "p256", func(*hand) []string { return nil }, badTokenProof(oauth.ProofMissing)},
	{"T19 another's cnf_key where it must be proven", "proven", "", "p256-thief", one(nil, nil), invalidRequest(oauth.ConfirmationKeyMismatch)},
	{"a proof where only cnf_key is taken", "keyed", "", "", one(nil, nil), invalidRequest(oauth.BindingUnauthorized)},
	{"a cnf_key where only proofs are taken", "signed", "", "p256", one(nil, nil), invalidRequest(oauth.BindingUnauthorized)},
	{"a cnf_key alone where only proofs are taken", "signed", "", "p256", func(*hand) []string { return nil }, invalidRequest(oauth.BindingUnauthorized)},
	{"a bad proof where none is needed", "loose", "", "", one(nil, map[string]any{"htm": "GET"}), badTokenProof(oauth.ProofMethodMismatch)},
	{"a bad proof beside a good cnf_key", "", "", "p256", one(nil, map[string]any{"htm": "GET"}), badTokenProof(oauth.ProofMethodMismatch)},
	{"T20 two DPoP fields", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, nil), h.tokenProof(h.key, nil, nil)}
	}, badTokenProof(oauth.AmbiguousProof)},
	{"T20 one and a comma", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, nil) + ", " + h.tokenProof(h.key, nil, nil)}
	}, badTokenProof(oauth.AmbiguousProof)},
	{"T20 not a JWT", "", "", "", func(*hand) []string { return []string{marker} }, badTokenProof(oauth.ProofMalformed)},
	{"T20 empty", "", "", "", func(*hand) []string { return []string{""} }, badTokenProof(oauth.ProofMalformed)},
	{"T20 over 8 KiB", "", "", "", one(nil, map[string]any{"x": strings.Repeat("x", 8<<10)}), badTokenProof(oauth.ProofMalformed)},
	{"T21 a private key", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, map[string]any{"jwk": with(h.key.JWK, "d", marker)}, nil)}
	}, badTokenProof(oauth.ProofKeyInvalid)},
	{"T21 no jwk", "", "", "", one(map[string]any{"jwk": nil}, nil), badTokenProof(oauth.ProofKeyInvalid)},
	{"T21 a kid beside jwk", "", "", "", one(map[string]any{"kid": "x"}, nil), badTokenProof(oauth.ProofKeyInvalid)},
	{"T21 jku", "", "", "", one(map[string]any{"jku": "https://evil.example"}, nil), badTokenProof(oauth.ProofMalformed)},
	{"T21 x5u", "", "", "", one(map[string]any{"x5u": "https://evil.example"}, nil), badTokenProof(oauth.ProofMalformed)},
	{"T21 x5c", "", "", "", one(map[string]any{"x5c": []string{marker}}, nil), badTokenProof(oauth.ProofMalformed)},
	{"T21 jku instead of jwk", "", "", "", one(map[string]any{"jwk": nil, "jku": "https://evil.example"}, nil), badTokenProof(oauth.ProofMalformed)},
	{"T22 typ JWT", "", "", "", one(map[string]any{"typ": "JWT"}, nil), badTokenProof(oauth.ProofTypeWrong)},
	{"T22 typ at+jwt", "", "", "", one(map[string]any{"typ": "at+jwt"}, nil), badTokenProof(oauth.ProofTypeWrong)},
	{"T22 no typ", "", "", "", one(map[string]any{"typ": nil}, nil), badTokenProof(oauth.ProofTypeWrong)},
	{"T22 alg none", "", "", "", one(map[string]any{"alg": "none"}, nil), badTokenProof(oauth.ProofAlgorithmWrong)},
	{"T22 alg HS256", "", "", "", one(map[string]any{"alg": "HS256"}, nil), badTokenProof(oauth.ProofAlgorithmWrong)},
	{"T22 alg ES512", "", "", "", one(map[string]any{"alg": "ES512"}, nil), badTokenProof(oauth.ProofAlgorithmWrong)},
	{"T22 alg of another curve", "", "", "", one(map[string]any{"alg": "ES384"}, nil), badTokenProof(oauth.ProofAlgorithmWrong)},
	{"T23 htm GET", "", "", "", one(nil, map[string]any{"htm": "GET"}), badTokenProof(oauth.ProofMethodMismatch)},
	{"T23 htu of the API", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": h.s.site("api", "/oauth2/token")})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T23 htu with another port", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": "https://auth.localhost:1/oauth2/token"})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T23 htu without a port", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": "https://auth.localhost/oauth2/token"})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T23 htu with http", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": strings.Replace(h.s.site("auth", "/oauth2/token"), "https", "http", 1)})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T23 htu of another issuer", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": h.s.site("auth", "/jkt/oauth2/token")})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T23 htu of another endpoint", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": h.s.site("auth", "/oauth2/revoke")})}
	}, badTokenProof(oauth.ProofURLMismatch)},
	{"T24 no nonce where one is required", "", "/strict/oauth2/token", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"htu": h.s.site("auth", "/strict/oauth2/token"), "nonce": nil})}
	}, retryToken(oauth.NonceMissing)},
	{"T24 forged nonce", "", "", "", one(nil, map[string]any{"nonce": strings.Repeat("A", 43)}), retryToken(oauth.NonceInvalid)},
	{"T24 a flipped bit", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"nonce": flipBit(h.T, h.nonce)})}
	}, retryToken(oauth.NonceInvalid)},
	{"T24 empty nonce", "", "", "", one(nil, map[string]any{"nonce": ""}), retryToken(oauth.NonceInvalid)},
	{"T25 iat too old, no nonce", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"nonce": nil, "iat": time.Now().Unix() - 301})}
	}, retryToken(oauth.ProofExpired)},
	{"T25 iat ahead, no nonce", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"nonce": nil, "iat": time.Now().Unix() + 90})}
	}, retryToken(oauth.ProofFromFuture)},
	{"iat from before the start, no nonce", "", "", "", func(h *hand) []string {
		return []string{h.tokenProof(h.key, nil, map[string]any{"nonce": nil, "iat": time.Now().Unix() - 290})}
	}, retryToken(oauth.Fenced)},
	{"T26 jti absent", "", "", "", one(nil, map[string]any{"jti": nil}), badTokenProof(oauth.ProofMalformed)},
	{"T26 jti empty", "", "", "", one(nil, map[string]any{"jti": ""}), badTokenProof(oauth.ProofMalformed)},
	{"T26 jti a number", "", "", "", one(nil, map[string]any{"jti": 1}), badTokenProof(oauth.ProofMalformed)},
	{"T26 jti of 129 characters", "", "", "", one(nil, map[string]any{"jti": strings.Repeat("j", 129)}), badTokenProof(oauth.ProofMalformed)},
}

// ask sends a token request with these DPoP fields.
func (h *hand) ask(client, path, cnfKey string, proofs ...string) answer {
	h.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "unknown": {marker}}
	if cnfKey != "" {
		form.Set("cnf_key", cnfKey)
	}
	fields := append([]string{"Authorization", basic(client, client+"-secret")}, planted...)
	for _, proof := range proofs {
		fields = append(fields, "Dpop", proof)
	}
	return h.s.post(h.T, h.c, path, form, fields...)
}

// honestByProof is the story of a client that binds its token by a proof: a
// token for the asking, and 200 from the API.
func (h *hand) honestByProof() {
	h.Helper()
	got := h.ask("reports", "/oauth2/token", "", h.tokenProof(h.key, nil, nil))
	o := object(h.T, got.body)
	if got.status != http.StatusOK || o["token_type"] != "DPoP" {
		h.Fatalf("honest token request: got %d %s, want 200 and a token of type DPoP", got.status, got.body)
	}
	h.token, _ = o["access_token"].(string)
	if got := do(h.T, h.c, h.with(h.proof(h.key, nil))); got.status != http.StatusOK {
		h.Fatalf("honest request: got %d %v, want 200", got.status, got.header["Www-Authenticate"])
	}
}

func TestTokenEndpointRefusesAbusiveProofs(t *testing.T) {
	t.Parallel()
	s := startAbused(t) // no store is asked about a proof
	for _, protocol := range protocols {
		c := s.client(t, protocol)
		for _, abuse := range proofAbuses {
			t.Run(protocol+" "+abuse.name, func(t *testing.T) {
				h := s.deal(t, c)
				client, path, key := abuse.client, abuse.path, ""
				if client == "" {
					client = "reports"
				}
				if path == "" {
					path = "/oauth2/token"
				}
				if abuse.key != "" {
					key = cnfKey(t, fixture.Load(t, abuse.key))
				}
				proofs := abuse.proofs(h)
				since := len(s.log(t))
				got := h.ask(client, path, key, proofs...)
				if got.proto != protocol {
					t.Fatalf("spoke %s, want %s", got.proto, protocol)
				}
				s.refusedEndpoint(t, got, since, abuse.want)
				s.assertSilent(t, proofs...)
				if nonce := got.header.Get("DPoP-Nonce"); nonce != "" {
					h.nonce = nonce // what is offered must do
				}
				h.honestByProof()
			})
		}
	}
	s.assertSilent(t, marker)
}

func TestProofAtTheTokenEndpointServesOnce(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	for _, protocol := range protocols {
		h := s.deal(t, s.client(t, protocol))
		proof := h.tokenProof(h.key, nil, nil)
		// a request that is refused for something else spends nothing
		if got := h.ask("inspector", "/oauth2/token", "", proof); got.status != http.StatusBadRequest {
			t.Fatalf("a client without the grant: got %d %s, want 400", got.status, got.body)
		}
		if got := h.ask("reports", "/oauth2/token", "", proof); got.status != http.StatusOK {
			t.Fatalf("first use: got %d %s, want 200", got.status, got.body)
		}
		for name, again := range map[string]string{
			"T26 the same":                    proof,
			"T26 with s replaced by n-s":      h.key.FlipS(t, proof),
			"T26 signed again, with that jti": h.tokenProof(h.key, nil, map[string]any{"jti": claimOf(t, proof, "jti")}),
		} {
			t.Run(protocol+" "+name, func(t *testing.T) {
				h.T = t
				since := len(s.log(t))
				got := h.ask("reports", "/oauth2/token", "", again)
				s.refusedEndpoint(t, got, since, badTokenProof(oauth.ProofReplayed))
				if jkt := s.refusals(t, since)[0]["jkt"]; jkt != h.key.Thumbprint(t) {
					t.Errorf("the log names the key %v, want %v", jkt, h.key.Thumbprint(t))
				}
				h.honestByProof()
			})
		}
	}
}

// claimOf reads a claim of a proof.
func claimOf(t *testing.T, proof, name string) any {
	t.Helper()
	payload, err := base64.RawURLEncoding.DecodeString(strings.Split(proof, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return object(t, string(payload))[name]
}
