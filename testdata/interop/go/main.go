// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

func main() {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		log.Fatal(err)
	}
	// the same transport proves the key at the token endpoint and at the API
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Transport: &prover{key: key}})
	config := clientcredentials.Config{
		ClientID:     "reports",
		ClientSecret: os.Getenv("REPORTS_SECRET"),
		TokenURL:     "https://auth.localhost:8443/oauth2/token",
		AuthStyle:    oauth2.AuthStyleInHeader,
	}
	resp, err := config.Client(ctx).Get("https://api.localhost:8443/")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(resp.Status, string(body))
}

// prover is a transport that adds a DPoP proof to every request.
type prover struct {
	key    *ecdsa.PrivateKey
	nonces sync.Map // by origin
}

func (p *prover) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, used, err := p.send(r)
	if err != nil || !challenged(resp) || p.nonce(r.URL) == used {
		return resp, err
	}
	// once more, with the nonce that the server has sent
	again := r.Clone(r.Context())
	if r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return resp, nil // the body can't be sent twice
		}
		if again.Body, err = r.GetBody(); err != nil {
			return resp, nil
		}
	}
	resp.Body.Close()
	resp, _, err = p.send(again)
	return resp, err
}

// challenged says whether a nonce may be what is missing: an API answers with
// 401 then, and the token endpoint with 400.
func challenged(resp *http.Response) bool {
	if _, ok := token(resp.Request); ok {
		return resp.StatusCode == http.StatusUnauthorized && strings.Contains(resp.Header.Get("WWW-Authenticate"), "use_dpop_nonce")
	}
	return resp.StatusCode == http.StatusBadRequest
}

// token is the access token in a request to an API.
func token(r *http.Request) (string, bool) {
	return strings.CutPrefix(r.Header.Get("Authorization"), "DPoP ")
}

// send sends a request with a proof, and returns which nonce was in it.
func (p *prover) send(r *http.Request) (*http.Response, string, error) {
	nonce := p.nonce(r.URL)
	proof, err := p.proof(r, nonce)
	if err != nil {
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, "", err
	}
	r = r.Clone(r.Context())
	r.Header.Set("DPoP", proof)
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, "", err
	}
	if next := resp.Header.Get("DPoP-Nonce"); next != "" {
		p.nonces.Store(r.URL.Host, next)
	}
	return resp, nonce, nil
}

func (p *prover) nonce(u *url.URL) string {
	nonce, _ := p.nonces.Load(u.Host)
	text, _ := nonce.(string)
	return text
}

func (p *prover) proof(r *http.Request, nonce string) (string, error) {
	if r.URL.Scheme != "https" {
		return "", errors.New("proofs are for https")
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: p.key},
		(&jose.SignerOptions{EmbedJWK: true}).WithType("dpop+jwt"),
	)
	if err != nil {
		return "", err
	}
	claims := map[string]any{
		"jti": rand.Text(),
		"htm": r.Method,
		"htu": "https://" + r.URL.Host + r.URL.EscapedPath(),
		"iat": time.Now().Unix(),
	}
	if token, ok := token(r); ok {
		sum := sha256.Sum256([]byte(token))
		claims["ath"] = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	return jwt.Signed(signer).Claims(claims).Serialize()
}
