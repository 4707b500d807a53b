// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/popauth/caddy-popauth/popauth/fixture"
	"github.com/popauth/caddy-popauth/popauth/oauth"
)

type members = map[string]any

// refuse verifies a token twice: a cache must not change the verdict, nor keep
// what was refused.
func refuse(t *testing.T, s *Service, token string, want oauth.Reason) {
	t.Helper()
	for range 2 {
		got, refusal := s.Verify(t.Context(), token)
		if got != nil || reason(refusal) != want {
			t.Errorf("Verify = %v, %q (%v), want %q", got, reason(refusal), refusal, want)
		}
	}
	if n := len(s.cache.entries); n != 0 {
		t.Errorf("%d refused tokens in the cache", n)
	}
}

func TestVerifyRefusesClaims(t *testing.T) {
	t.Parallel()
	now := start.Unix()
	key := fixture.Load(t, "p256")
	public := members{"kty": "EC", "crv": "P-256", "x": key.JWK["x"], "y": key.JWK["y"]}
	for name, test := range map[string]struct {
		changes members
		want    oauth.Reason
	}{
		"expired a second ago": {members{"exp": now - 1}, oauth.TokenExpired},
		"expires this second":  {members{"exp": now}, oauth.TokenExpired},
		"exp absent":           {members{"exp": nil}, oauth.TokenMalformed},
		"exp null":             {members{"exp": json.RawMessage("null")}, oauth.TokenMalformed},
		"exp a string":         {members{"exp": "1700000300"}, oauth.TokenMalformed},
		"exp negative":         {members{"exp": -1}, oauth.TokenMalformed},
		"exp 2^63-1":           {members{"exp": json.Number("9223372036854775807")}, oauth.TokenMalformed},
		"exp 1e308":            {members{"exp": json.Number("1e308")}, oauth.TokenMalformed},
		"exp 1e400":            {members{"exp": json.Number("1e400")}, oauth.TokenMalformed},
		"iat absent":           {members{"iat": nil}, oauth.TokenMalformed},
		"iat a string":         {members{"iat": "1700000000"}, oauth.TokenMalformed},
		"nbf ahead":            {members{"nbf": now + 2}, oauth.TokenNotYetValid},
		"nbf a string":         {members{"nbf": "1700000000"}, oauth.TokenMalformed},

		"sub absent":         {members{"sub": nil}, oauth.TokenMalformed},
		"sub empty":          {members{"sub": ""}, oauth.TokenMalformed},
		"jti absent":         {members{"jti": nil}, oauth.TokenMalformed},
		"jti a number":       {members{"jti": 1}, oauth.TokenMalformed},
		"client_id absent":   {members{"client_id": nil}, oauth.TokenMalformed},
		"client_id an array": {members{"client_id": []string{"reports"}}, oauth.TokenMalformed},
		"scope an array":     {members{"scope": []string{"reports:read"}}, oauth.TokenMalformed},

		"aud absent":              {members{"aud": nil}, oauth.TokenAudienceWrong},
		"aud null":                {members{"aud": json.RawMessage("null")}, oauth.TokenAudienceWrong},
		"aud an object":           {members{"aud": members{}}, oauth.TokenAudienceWrong},
		"aud with a number in it": {members{"aud": []any{"https://api.example.com", 1}}, oauth.TokenAudienceWrong},

		"iss absent":                {members{"iss": nil}, oauth.TokenIssuerWrong},
		"iss an array":              {members{"iss": []string{issuerURL}}, oauth.TokenIssuerWrong},
		"iss with a trailing slash": {members{"iss": issuerURL + "/"}, oauth.TokenIssuerWrong},
		"iss in another case":       {members{"iss": "https://Auth.example.com"}, oauth.TokenIssuerWrong},

		"client no longer registered": {members{"client_id": "gone"}, oauth.TokenClientUnknown},

		"cnf empty":                {members{"cnf": members{}}, oauth.ConfirmationUnsupported},
		"cnf null":                 {members{"cnf": json.RawMessage("null")}, oauth.ConfirmationUnsupported},
		"cnf a string":             {members{"cnf": "jkt"}, oauth.ConfirmationUnsupported},
		"cnf.jkt empty":            {members{"cnf": members{"jkt": ""}}, oauth.ConfirmationUnsupported},
		"cnf.jwk against policy":   {members{"cnf": members{"jwk": members{"kty": "oct", "k": "AA"}}}, oauth.ConfirmationUnsupported},
		"cnf.jwk fine, jkt broken": {members{"cnf": members{"jwk": public, "jkt": 1}}, oauth.ConfirmationUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, key := service(t)
			refuse(t, s, key.JWS(t, header(t, key, nil), claims(test.changes)), test.want)
		})
	}
}

func TestVerifyAcceptsClaims(t *testing.T) {
	t.Parallel()
	now := start.Unix()
	for name, test := range map[string]struct {
		changes members
		check   func(*Claims) bool
	}{
		"audience of several":         {members{"aud": []string{"a", "b"}}, func(c *Claims) bool { return len(c.Audience) == 2 }},
		"audience of nobody":          {members{"aud": []string{}}, func(c *Claims) bool { return len(c.Audience) == 0 }},
		"no scope":                    {members{"scope": nil}, func(c *Claims) bool { return c.Scope == "" }},
		"nbf passed":                  {members{"nbf": now}, func(c *Claims) bool { return true }},
		"a second left":               {members{"exp": now + 1}, func(c *Claims) bool { return c.Expires.Unix() == now+1 }},
		"exp with a fraction":         {members{"exp": json.Number("1700000000.9")}, func(c *Claims) bool { return c.Expires.After(start) }},
		"an unknown claim":            {members{"acr": "1"}, func(c *Claims) bool { return c.ID == "one" }},
		"not bound":                   {nil, func(c *Claims) bool { return !c.Confirmation.Bound() }},
		"an unknown cnf member, kept": {members{"cnf": members{"x5t#S256": "x"}}, func(c *Claims) bool { return len(c.Confirmation.Unsupported) == 1 }},
		"two cnf members, both kept": {
			members{"cnf": members{"x5t#S256": "x", "jkt": "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"}},
			func(c *Claims) bool { return len(c.Confirmation.Members()) == 2 },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, key := service(t)
			token := key.JWS(t, header(t, key, nil), claims(test.changes))
			for range 2 {
				got, refusal := s.Verify(t.Context(), token)
				if refusal != nil {
					t.Fatalf("Verify: %v", refusal)
				}
				if !test.check(got) {
					t.Errorf("Verify = %+v", got)
				}
			}
		})
	}
}

func TestVerifyGivesNoLeeway(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	token := key.JWS(t, header(t, key, nil), claims(nil))
	c.Step(time.Unix(start.Unix()+300, -1).Sub(start))
	if _, refusal := s.Verify(t.Context(), token); refusal != nil {
		t.Errorf("Verify = %v, a nanosecond before exp", refusal)
	}
	c.Step(1)
	for _, cached := range []bool{true, false} {
		if _, refusal := s.Verify(t.Context(), token); reason(refusal) != oauth.TokenExpired {
			t.Errorf("Verify = %v at exp (cached: %v), want %s", refusal, cached, oauth.TokenExpired)
		}
	}
}

func TestVerifyRefusesHeaders(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	for name, test := range map[string]struct {
		changes members
		want    oauth.Reason
	}{
		// an ID token, a DPoP proof, a client assertion by a key of ours
		"typ JWT":                {members{"typ": "JWT"}, oauth.TokenTypeWrong},
		"typ absent":             {members{"typ": nil}, oauth.TokenTypeWrong},
		"typ of a DPoP proof":    {members{"typ": "dpop+jwt"}, oauth.TokenTypeWrong},
		"typ of an assertion":    {members{"typ": "client-authentication+jwt"}, oauth.TokenTypeWrong},
		"typ in another case":    {members{"typ": "AT+JWT"}, oauth.TokenTypeWrong},
		"typ no string":          {members{"typ": 1}, oauth.TokenMalformed},
		"a jwk":                  {members{"jwk": key.JWK}, oauth.TokenMalformed},
		"a jku":                  {members{"jku": "https://thief.example/jwks"}, oauth.TokenMalformed},
		"an x5u":                 {members{"x5u": "https://thief.example/x"}, oauth.TokenMalformed},
		"an x5c":                 {members{"x5c": []string{"AA"}}, oauth.TokenMalformed},
		"crit empty":             {members{"crit": []string{}}, oauth.TokenMalformed},
		"crit unknown":           {members{"crit": []string{"foo"}, "foo": 1}, oauth.TokenMalformed},
		"crit b64":               {members{"crit": []string{"b64"}, "b64": true}, oauth.TokenMalformed},
		"b64 false":              {members{"b64": false}, oauth.TokenMalformed},
		"zip":                    {members{"zip": "DEF"}, oauth.TokenMalformed},
		"kid a path":             {members{"kid": "../../x"}, oauth.TokenForged},
		"kid unknown":            {members{"kid": "x"}, oauth.TokenForged},
		"kid absent":             {members{"kid": nil}, oauth.TokenForged},
		"kid no string":          {members{"kid": 1}, oauth.TokenMalformed},
		"alg absent":             {members{"alg": nil}, oauth.TokenMalformed},
		"alg none":               {members{"alg": "none"}, oauth.TokenForged},
		"alg None":               {members{"alg": "None"}, oauth.TokenForged},
		"alg in another case":    {members{"alg": "es256"}, oauth.TokenForged},
		"alg of another curve":   {members{"alg": "ES384"}, oauth.TokenForged},
		"alg HS256":              {members{"alg": "HS256"}, oauth.TokenForged},
		"a header of 3 KiB":      {members{"pad": strings.Repeat("x", 3<<10)}, oauth.TokenMalformed},
		"a token beyond 8 KiB":   {nil, oauth.TokenMalformed},
		"a fine one, by a thief": {nil, oauth.TokenForged},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, key := service(t)
			good, payload := header(t, key, nil), claims(nil)
			switch name {
			case "a token beyond 8 KiB":
				payload["pad"] = strings.Repeat("x", MaxSize)
			case "a fine one, by a thief":
				key = fixture.Load(t, "p256-thief")
			}
			refuse(t, s, key.JWS(t, lay(good, test.changes), payload), test.want)
		})
	}
}

func TestVerifyAcceptsTheLongMediaType(t *testing.T) {
	t.Parallel()
	s, _, key := service(t)
	token := key.JWS(t, header(t, key, members{"typ": "application/at+jwt"}), claims(nil))
	if _, refusal := s.Verify(t.Context(), token); refusal != nil {
		t.Errorf("Verify: %v", refusal)
	}
}

func TestVerifyTakesTheAlgorithmFromTheKey(t *testing.T) {
	t.Parallel()
	t.Run("HMAC over our public key", func(t *testing.T) {
		t.Parallel()
		s, _, key := service(t)
		for _, secret := range [][]byte{key.JSON(t), []byte(key.JWK["x"].(string))} {
			head, _ := json.Marshal(header(t, key, members{"alg": "HS256"}))
			body, _ := json.Marshal(claims(nil))
			input := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(input))
			refuse(t, s, input+"."+base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), oauth.TokenForged)
		}
	})
	for _, alg := range []string{"PS256", "RS384", "RS512", "PS512"} {
		t.Run(alg+" by an RS256 key", func(t *testing.T) {
			t.Parallel()
			s, _, key := service(t, "rsa2048")
			refuse(t, s, key.JWS(t, header(t, key, members{"alg": alg}), claims(nil)), oauth.TokenForged)
		})
	}
	t.Run("the signature of another algorithm", func(t *testing.T) {
		t.Parallel()
		s, _, key := service(t, "rsa2048")
		head, _ := json.Marshal(header(t, key, nil))
		body, _ := json.Marshal(claims(nil))
		refuse(t, s, key.Raw(t, head, body, "PS256"), oauth.TokenForged)
	})
}

func TestVerifyRefusesOtherShapes(t *testing.T) {
	t.Parallel()
	key := fixture.Load(t, "p256")
	good := key.JWS(t, header(t, key, nil), claims(nil))
	parts := strings.Split(good, ".")
	head, body := header(t, key, nil), claims(nil)
	rawHead, _ := json.Marshal(head)
	for name, token := range map[string]string{
		"empty":              "",
		"opaque":             "pop_at_0123456789012345678901234567890123456789012",
		"dots":               "..",
		"many dots":          strings.Repeat(".", MaxSize),
		"a megabyte of dots": strings.Repeat(".", 1<<20),
		"no signature":       parts[0] + "." + parts[1] + ".",
		"two parts":          parts[0] + "." + parts[1],
		"a five-part JWE":    good + ".AA.AA",
		"JSON":               `{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`,
		"CR LF at the end":   good + "\r\n",
		"LF in the payload":  parts[0] + "." + parts[1][:10] + "\n" + parts[1][10:] + "." + parts[2],
		"a leading blank":    " " + good,
		"padding":            good + "==",
		"standard alphabet":  parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43),
		"a doubled claim":    key.Raw(t, rawHead, []byte(`{"iss":"`+issuerURL+`","iss":"`+issuerURL+`"}`), "ES256"),
		"a doubled header":   key.Raw(t, []byte(`{"alg":"ES256","typ":"at+jwt","typ":"at+jwt"}`), []byte(`{}`), "ES256"),
		"a payload array":    key.Raw(t, rawHead, []byte(`[]`), "ES256"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _, _ := service(t)
			refuse(t, s, token, oauth.TokenMalformed)
		})
	}
	t.Run("trailing bits of the signature", func(t *testing.T) {
		t.Parallel()
		// 64 bytes leave 4 unused bits in the last of 86 characters
		const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
		s, _, _ := service(t)
		last := strings.IndexByte(alphabet, good[len(good)-1])
		for bits := 1; bits < 16; bits++ {
			refuse(t, s, good[:len(good)-1]+string(alphabet[last|bits]), oauth.TokenMalformed)
		}
	})
	t.Run("a changed claim", func(t *testing.T) {
		t.Parallel()
		s, _, _ := service(t)
		body["scope"] = "admin"
		changed, _ := json.Marshal(body)
		refuse(t, s, parts[0]+"."+base64.RawURLEncoding.EncodeToString(changed)+"."+parts[2], oauth.TokenForged)
	})
}

// A second valid spelling of a token is the same token: it has the same jti,
// by which it would be revoked, and lives no longer.
func TestVerifySeesTheOtherSignatureAsTheSameToken(t *testing.T) {
	t.Parallel()
	s, c, key := service(t)
	token := key.JWS(t, header(t, key, nil), claims(nil))
	twin := key.FlipS(t, token)
	if twin == token {
		t.Fatal("FlipS changed nothing")
	}
	for _, spelling := range []string{token, twin} {
		if got, refusal := s.Verify(t.Context(), spelling); refusal != nil || got.ID != "one" {
			t.Errorf("Verify = %v, %v, want the token one", got, refusal)
		}
	}
	c.Advance(5 * time.Minute)
	for _, spelling := range []string{token, twin} {
		if _, refusal := s.Verify(t.Context(), spelling); reason(refusal) != oauth.TokenExpired {
			t.Errorf("Verify = %v, want %s", refusal, oauth.TokenExpired)
		}
	}
}

func TestVerifyNeverQuotesTheToken(t *testing.T) {
	t.Parallel()
	s, _, key := service(t)
	for _, changes := range []members{{"exp": "marker"}, {"aud": members{"marker": 1}}, {"cnf": members{"jkt": "marker"}}, {"iss": "marker"}} {
		_, refusal := s.Verify(t.Context(), key.JWS(t, header(t, key, nil), claims(changes)))
		if refusal == nil || strings.Contains(refusal.Description(), "marker") {
			t.Errorf("%v: description %v, want a refusal without the marker", changes, refusal)
		}
	}
}

func FuzzVerify(f *testing.F) {
	s, _, key := service(f)
	good := key.JWS(f, header(f, key, nil), claims(nil))
	f.Add(good)
	f.Add(key.FlipS(f, good))
	f.Add(good + "\n")
	f.Add(key.JWS(f, header(f, key, members{"alg": "none"}), claims(nil)))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		got, refusal := s.Verify(t.Context(), token)
		if (got == nil) == (refusal == nil) {
			t.Fatalf("Verify = %v, %v, want one of them", got, refusal)
		}
		// only what the key has signed passes, and that is one token
		if got != nil && (got.ID != "one" || !strings.HasPrefix(token, good[:strings.LastIndexByte(good, '.')+1])) {
			t.Fatalf("Verify accepted %q", token)
		}
		if refusal != nil && refusal.Reason.Rule().API < 400 {
			t.Fatalf("Verify = %q, which is no refusal of an API", refusal.Reason)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s, _, key := service(b)
	cnfKey := fixture.Load(b, "p256-thief")
	token := key.JWS(b, header(b, key, nil), claims(members{"cnf": members{"jwk": cnfKey.JWK}}))
	b.Run("uncached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := s.verify(b.Context(), token); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
	b.Run("opaque", func(b *testing.B) {
		opaque, _, refusal := s.Mint(b.Context(), Grant{
			ClientID: "reports", Subject: "reports", Audience: []string{"https://api.example.com"},
			Scope: "reports:read", Confirmation: confirmationOf(b, "p256-thief"), Opaque: true,
		})
		if refusal != nil {
			b.Fatal(refusal)
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := s.Verify(b.Context(), opaque); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, refusal := s.Verify(b.Context(), token); refusal != nil {
				b.Fatal(refusal)
			}
		}
	})
}
