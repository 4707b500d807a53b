// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// apiAbuse is one hostile request to the API.
type apiAbuse struct {
	name string
	make func(h *hand) *http.Request
	want want
}

// The kinds of answers.
func badToken(reason oauth.Reason) want { return want{401, "invalid_token", reason, true, ""} }
func badProof(reason oauth.Reason) want { return want{401, "invalid_dpop_proof", reason, true, ""} }
func retry(reason oauth.Reason) want    { return want{401, "use_dpop_nonce", reason, true, ""} }
func ambiguous(reason oauth.Reason) want {
	return want{400, "invalid_request", reason, false, ""}
}

// credentialAbuses are about the header fields, the token's binding and scope.
var credentialAbuses = []apiAbuse{
	{"R01 no Authorization", func(h *hand) *http.Request { return h.get("/reports") }, want{401, "", oauth.TokenMissing, true, ""}},
	{"R01 another scheme", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", basic("reports", "reports-secret"))
	}, want{401, "", oauth.TokenMissing, true, ""}},
	{"R02 a token bound by thumbprint as Bearer", func(h *hand) *http.Request {
		token := h.minted(nil, map[string]any{"cnf": map[string]any{"jkt": h.key.Thumbprint(h)}})
		return h.get("/reports", "Authorization", "Bearer "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.BearerDowngrade)},
	{"R02 a stolen token as Bearer, alone", func(h *hand) *http.Request { return h.get("/reports", "Authorization", "Bearer "+h.token) }, retry(oauth.ProofMissing)},
	{"R03 a stolen token with the DPoP scheme, alone", func(h *hand) *http.Request { return h.get("/reports", "Authorization", "DPoP "+h.token) }, retry(oauth.ProofMissing)},
	{"R04 an unbound token", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"cnf": nil}) }, badToken(oauth.TokenUnbound)},
	{"R04 an unbound token with the DPoP scheme where unbound ones pass", func(h *hand) *http.Request {
		token := h.minted(nil, map[string]any{"cnf": nil})
		return h.get("/unbound", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.TokenUnbound)},
	{"R04 a bound token without a proof where unbound ones pass", func(h *hand) *http.Request { return h.get("/unbound", "Authorization", "Bearer "+h.token) }, retry(oauth.ProofMissing)},
	{"R14 scope too small", func(h *hand) *http.Request {
		return h.get("/scoped", "Authorization", "DPoP "+h.token, "Dpop", h.proof(h.key, map[string]any{"htu": h.s.site("api", "/scoped")}))
	}, want{403, "insufficient_scope", oauth.ScopeInsufficient, false, ""}},
	{"R15 token in the query", func(h *hand) *http.Request { return h.get("/reports?access_token=" + h.token) }, ambiguous(oauth.AmbiguousTokenInQuery)},
	{"R15 token in the query, spelled otherwise", func(h *hand) *http.Request { return h.get("/reports?a=1&access%5Ftoken=" + h.token) }, ambiguous(oauth.AmbiguousTokenInQuery)},
	{"R15 token in the form", func(h *hand) *http.Request {
		return newRequest(h.T, http.MethodPost, h.s.site("api", "/reports"), "access_token="+h.token, "Content-Type", "application/x-www-form-urlencoded")
	}, want{401, "", oauth.TokenMissing, true, ""}},
	{"R16 cnf {}", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"cnf": map[string]any{}}) }, badToken(oauth.ConfirmationUnsupported)},
	{"R16 cnf null", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"cnf": null}) }, badToken(oauth.ConfirmationUnsupported)},
	{"R16 cnf a string", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"cnf": "jwk"}) }, badToken(oauth.ConfirmationUnsupported)},
	{"R16 an unknown member", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"cnf": map[string]any{"kid": "x"}})
	}, badToken(oauth.ConfirmationUnsupported)},
	{"R16 jkt and a certificate", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"cnf": map[string]any{"jkt": h.key.Thumbprint(h), "x5t#S256": h.key.Thumbprint(h)}})
	}, badToken(oauth.ConfirmationUnsupported)},
	{"R16 jkt of one key and jwk of another", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"cnf": map[string]any{"jkt": h.thief.Thumbprint(h), "jwk": h.key.JWK}})
	}, badToken(oauth.ConfirmationUnsupported)},
	{"R23 two Authorization fields", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token, "Authorization", "DPoP "+h.token, "Dpop", h.proof(h.key, nil))
	}, ambiguous(oauth.AmbiguousAuthorization)},
	{"R23 two tokens", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token+" "+h.token, "Dpop", h.proof(h.key, nil))
	}, ambiguous(oauth.AmbiguousAuthorization)},
	{"R23 two tokens with a comma", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token+","+h.token, "Dpop", h.proof(h.key, nil))
	}, ambiguous(oauth.AmbiguousAuthorization)},
	{"R23 two proofs", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token, "Dpop", h.proof(h.key, nil), "Dpop", h.proof(h.key, nil))
	}, ambiguous(oauth.AmbiguousProof)},
	{"R23 two proofs with a comma", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, nil) + ", " + h.proof(h.key, nil))
	}, ambiguous(oauth.AmbiguousProof)},
	{"R30 early data, by the word of a proxy", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token, "Dpop", h.proof(h.key, nil), "Early-Data", "1")
	}, tooEarly},
	{"R24 Authorization over 8 KiB", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+strings.Repeat("x", 8<<10))
	}, ambiguous(oauth.CredentialsTooLarge)},
	{"R24 header fields over 16 KiB", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token, "X-Filler", strings.Repeat("x", 16<<10))
	}, want{431, "", oauth.HeadersTooLarge, false, ""}},
}

// badTokens are about tokens that are wrong in themselves.
var badTokens = []apiAbuse{
	{"R13 expired by a second", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"exp": time.Now().Unix() - 1})
	}, badToken(oauth.TokenExpired)},
	{"R13 nbf ahead", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"nbf": time.Now().Unix() + 60})
	}, badToken(oauth.TokenNotYetValid)},
	{"R13 no exp", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"exp": nil}) }, badToken(oauth.TokenMalformed)},
	{"R13 exp 2^63-1", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"exp": uint64(1<<63 - 1)}) }, badToken(oauth.TokenMalformed)},
	{"R13 exp a string", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"exp": "x"}) }, badToken(oauth.TokenMalformed)},
	{"R13 exp -1", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"exp": -1}) }, badToken(oauth.TokenMalformed)},
	{"R17 alg none", func(h *hand) *http.Request {
		token := h.minted(map[string]any{"alg": "none"}, nil)
		token = token[:strings.LastIndexByte(token, '.')+1]
		return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.TokenMalformed)},
	{"R17 alg None with a signature", func(h *hand) *http.Request { return h.forge(map[string]any{"alg": "None"}, nil) }, badToken(oauth.TokenForged)},
	{"R17 HS256 over the public key", func(h *hand) *http.Request {
		signed := h.minted(map[string]any{"alg": "HS256"}, nil)
		input := signed[:strings.LastIndexByte(signed, '.')]
		der, err := x509.MarshalPKIXPublicKey(h.issuer.Public())
		if err != nil {
			h.Fatal(err)
		}
		mac := hmac.New(sha256.New, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		mac.Write([]byte(input))
		token := input + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
		return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.TokenForged)},
	{"R17 another alg of the same family", func(h *hand) *http.Request { return h.forge(map[string]any{"alg": "ES256"}, nil) }, badToken(oauth.TokenForged)},
	{"signed by the client itself", func(h *hand) *http.Request {
		h.issuer = h.key
		return h.forge(map[string]any{"alg": "ES256", "kid": fixture.Load(h, "p384").Thumbprint(h)}, nil)
	}, badToken(oauth.TokenForged)},
	{"R18 kid that is a path", func(h *hand) *http.Request { return h.forge(map[string]any{"kid": "../../x"}, nil) }, badToken(oauth.TokenForged)},
	{"R18 unknown kid", func(h *hand) *http.Request { return h.forge(map[string]any{"kid": "unknown"}, nil) }, badToken(oauth.TokenForged)},
	{"R20 crit []", func(h *hand) *http.Request { return h.forge(map[string]any{"crit": []string{}}, nil) }, badToken(oauth.TokenMalformed)},
	{"R20 crit foo", func(h *hand) *http.Request { return h.forge(map[string]any{"crit": []string{"foo"}}, nil) }, badToken(oauth.TokenMalformed)},
	{"R20 crit b64", func(h *hand) *http.Request {
		return h.forge(map[string]any{"crit": []string{"b64"}, "b64": true}, nil)
	}, badToken(oauth.TokenMalformed)},
	{"R20 b64 false", func(h *hand) *http.Request { return h.forge(map[string]any{"b64": false}, nil) }, badToken(oauth.TokenMalformed)},
	{"R20 zip", func(h *hand) *http.Request { return h.forge(map[string]any{"zip": "DEF"}, nil) }, badToken(oauth.TokenMalformed)},
	{"R18 jku", func(h *hand) *http.Request { return h.forge(map[string]any{"jku": "https://evil.example"}, nil) }, badToken(oauth.TokenMalformed)},
	{"R18 jwk", func(h *hand) *http.Request {
		jwk := h.thief.JWK
		h.issuer = h.thief
		return h.forge(map[string]any{"alg": "ES256", "jwk": jwk, "kid": fixture.Load(h, "p384").Thumbprint(h)}, nil)
	}, badToken(oauth.TokenMalformed)},
	{"R18 x5u", func(h *hand) *http.Request { return h.forge(map[string]any{"x5u": "https://evil.example"}, nil) }, badToken(oauth.TokenMalformed)},
	{"R18 x5c", func(h *hand) *http.Request { return h.forge(map[string]any{"x5c": []string{marker}}, nil) }, badToken(oauth.TokenMalformed)},
	{"R18 no kid", func(h *hand) *http.Request { return h.forge(map[string]any{"kid": nil}, nil) }, badToken(oauth.TokenForged)},
	{"R20 the JSON form", func(h *hand) *http.Request {
		parts := strings.Split(h.token, ".")
		token := `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`
		return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, ambiguous(oauth.AmbiguousAuthorization)},
	{"R20 duplicate member", func(h *hand) *http.Request {
		token := h.issuer.Raw(h, []byte(`{"typ":"at+jwt","alg":"ES384","alg":"ES384","kid":"`+h.issuer.Thumbprint(h)+`"}`), []byte(`{}`), "ES384")
		return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.TokenMalformed)},
	{"R20 five parts", func(h *hand) *http.Request {
		return h.get("/reports", "Authorization", "DPoP "+h.token+".x.y", "Dpop", h.proof(h.key, nil))
	}, badToken(oauth.TokenMalformed)},
	{"R21 an ID token", func(h *hand) *http.Request { return h.forge(map[string]any{"typ": "JWT"}, nil) }, badToken(oauth.TokenTypeWrong)},
	{"R21 a proof as token", func(h *hand) *http.Request {
		token := h.proof(h.key, nil)
		return h.get("/reports", "Authorization", "DPoP "+token, "Dpop", h.proofFor(token))
	}, badToken(oauth.TokenTypeWrong)},
	{"R21 a client assertion", func(h *hand) *http.Request {
		return h.forge(map[string]any{"typ": "client-authentication+jwt"}, nil)
	}, badToken(oauth.TokenTypeWrong)},
	{"R22 another aud", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"aud": "https://other.example.com"}) }, badToken(oauth.TokenAudienceWrong)},
	{"R22 aud []", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"aud": []string{}}) }, badToken(oauth.TokenAudienceWrong)},
	{"R22 no aud", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"aud": nil}) }, badToken(oauth.TokenAudienceWrong)},
	{"R22 iss with a slash", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"iss": h.s.site("auth", "/")}) }, badToken(oauth.TokenIssuerWrong)},
	{"R22 iss in other case", func(h *hand) *http.Request {
		return h.forge(nil, map[string]any{"iss": strings.Replace(h.s.site("auth", ""), "auth", "Auth", 1)})
	}, badToken(oauth.TokenIssuerWrong)},
	{"a client that is not registered", func(h *hand) *http.Request { return h.forge(nil, map[string]any{"client_id": "gone"}) }, badToken(oauth.TokenClientUnknown)},
}

// badProofs are about proofs that are wrong in themselves.
var badProofs = []apiAbuse{
	{"R05 C02 another client's key", func(h *hand) *http.Request { return h.with(h.proof(h.thief, nil)) }, badToken(oauth.ProofKeyMismatch)},
	{"R06 no ath", func(h *hand) *http.Request { return h.with(h.proof(h.key, map[string]any{"ath": nil})) }, badProof(oauth.ProofTokenMismatch)},
	{"R06 C02 ath of another token", func(h *hand) *http.Request { return h.with(h.proofFor(h.token + "x")) }, badProof(oauth.ProofTokenMismatch)},
	{"R06 ath padded", func(h *hand) *http.Request {
		sum := sha256.Sum256([]byte(h.token))
		return h.with(h.proof(h.key, map[string]any{"ath": base64.URLEncoding.EncodeToString(sum[:])}))
	}, badProof(oauth.ProofTokenMismatch)},
	{"R06 ath in hex", func(h *hand) *http.Request {
		sum := sha256.Sum256([]byte(h.token))
		return h.with(h.proof(h.key, map[string]any{"ath": hex.EncodeToString(sum[:])}))
	}, badProof(oauth.ProofTokenMismatch)},
	{"R07 C02 htm HEAD for GET", func(h *hand) *http.Request { return h.with(h.proof(h.key, map[string]any{"htm": "HEAD"})) }, badProof(oauth.ProofMethodMismatch)},
	{"R07 htm get for GET", func(h *hand) *http.Request { return h.with(h.proof(h.key, map[string]any{"htm": "get"})) }, badProof(oauth.ProofMethodMismatch)},
	{"R07 method get", func(h *hand) *http.Request {
		r := h.with(h.proof(h.key, map[string]any{"htm": "get"}))
		r.Method = "get"
		return r
	}, ambiguous(oauth.AmbiguousMethod)},
	{"R09 C02 another path", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"htu": h.s.site("api", "/other")}))
	}, badProof(oauth.ProofURLMismatch)},
	{"R09 C02 another host", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"htu": h.s.site("evil", "/reports")}))
	}, badProof(oauth.ProofURLMismatch)},
	{"R09 http for https", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"htu": "http" + strings.TrimPrefix(h.s.site("api", "/reports"), "https")}))
	}, badProof(oauth.ProofURLMismatch)},
	{"R09 a trailing slash", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"htu": h.s.site("api", "/reports/")}))
	}, badProof(oauth.ProofURLMismatch)},
	{"R09 an encoded slash", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"htu": h.s.site("api", "%2Freports")}))
	}, badProof(oauth.ProofURLMismatch)},
	{"R12 no nonce", func(h *hand) *http.Request { return h.with(h.proof(h.key, map[string]any{"nonce": nil})) }, retry(oauth.NonceMissing)},
	{"R12 C01 forged nonce", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"nonce": base64.RawURLEncoding.EncodeToString(make([]byte, 32))}))
	}, retry(oauth.NonceInvalid)},
	{"R12 C01 a flipped bit", func(h *hand) *http.Request {
		return h.with(h.proof(h.key, map[string]any{"nonce": flipBit(h.T, h.nonce)}))
	}, retry(oauth.NonceInvalid)},
	{"R12 empty nonce", func(h *hand) *http.Request { return h.with(h.proof(h.key, map[string]any{"nonce": ""})) }, retry(oauth.NonceInvalid)},
	{"R12 too old an iat without nonces", func(h *hand) *http.Request {
		return h.clock(map[string]any{"iat": time.Now().Unix() - 301})
	}, retry(oauth.ProofExpired)},
	{"R12 an iat in the future without nonces", func(h *hand) *http.Request {
		return h.clock(map[string]any{"iat": time.Now().Unix() + 90})
	}, retry(oauth.ProofFromFuture)},
	{"R12 an iat from before the start", func(h *hand) *http.Request {
		return h.clock(map[string]any{"iat": time.Now().Unix() - 290})
	}, retry(oauth.Fenced)},
	{"no proof where no nonce is used", func(h *hand) *http.Request {
		return h.get("/clock", "Authorization", "DPoP "+h.token)
	}, want{401, "invalid_dpop_proof", oauth.ProofMissing, false, ""}},
	{"C04 a proof that is no JWT", func(h *hand) *http.Request { return h.with("this-is-no-JWT") }, badProof(oauth.ProofMalformed)},
	{"C04 a proof without its last part", func(h *hand) *http.Request {
		proof := h.proof(h.key, nil)
		return h.with(proof[:strings.LastIndexByte(proof, '.')+1])
	}, badProof(oauth.ProofMalformed)},
	{"C04 a proof with another signature", func(h *hand) *http.Request {
		proof, other := h.proof(h.key, nil), h.proof(h.key, nil)
		return h.with(proof[:strings.LastIndexByte(proof, '.')] + other[strings.LastIndexByte(other, '.'):])
	}, badProof(oauth.ProofSignatureInvalid)},
	{"C04 a proof of typ JWT", func(h *hand) *http.Request {
		return h.with(h.key.Proof(h, fixture.Proof{Method: "GET", URL: h.s.site("api", "/reports"), Token: h.token, Nonce: h.nonce, Header: map[string]any{"typ": "JWT"}}))
	}, badProof(oauth.ProofTypeWrong)},
	{"C04 a proof with alg none", func(h *hand) *http.Request {
		return h.with(h.key.Proof(h, fixture.Proof{Method: "GET", URL: h.s.site("api", "/reports"), Token: h.token, Nonce: h.nonce, Header: map[string]any{"alg": "none"}}))
	}, badProof(oauth.ProofAlgorithmWrong)},
	{"C04 a proof with a private key", func(h *hand) *http.Request {
		jwk := with(h.key.JWK, "d", marker)
		return h.with(h.key.Proof(h, fixture.Proof{Method: "GET", URL: h.s.site("api", "/reports"), Token: h.token, Nonce: h.nonce, Header: map[string]any{"jwk": jwk}}))
	}, badProof(oauth.ProofKeyInvalid)},
}

// flipBit is a nonce with another last bit.
func flipBit(t *testing.T, nonce string) string {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(nonce)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-1] ^= 1
	return base64.RawURLEncoding.EncodeToString(b)
}

// clock is a request to the path where proofs are judged by their iat.
func (h *hand) clock(claims map[string]any) *http.Request {
	h.Helper()
	claims["htu"], claims["nonce"] = h.s.site("api", "/clock"), nil
	return h.get("/clock", "Authorization", "DPoP "+h.token, "Dpop", h.proof(h.key, claims))
}
