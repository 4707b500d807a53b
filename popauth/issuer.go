// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/popauth/caddy-popauth/introspect"
	"github.com/popauth/caddy-popauth/popauth/accesstoken"
	"github.com/popauth/caddy-popauth/popauth/client"
	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/issue"
	"github.com/popauth/caddy-popauth/popauth/keys"
)

// provision resolves and checks the configuration and puts the parts together.
func (i *Issuer) provision(a *App, logger *zap.Logger) error {
	var err error
	if i.url, err = resolve("url", i.URL); err != nil {
		return err
	}
	if err := checkIssuerURL(i.url); err != nil {
		return err
	}
	if i.audience, err = resolveAll("audience", i.Audience); err != nil {
		return err
	}
	if len(i.audience) == 0 {
		i.audience = []string{i.url}
	}
	backend, err := loadBackend(a.ctx, i)
	if err != nil {
		return err
	}
	h, err := a.store(backend)
	if err != nil {
		return err
	}
	if i.store, err = newTenancy(h, a.host.storage, i.url); err != nil {
		return err
	}
	if err := i.checkAccessToken(); err != nil {
		return err
	}
	if i.keys, err = i.ring(a, logger); err != nil {
		return err
	}
	if i.clients, i.scopes, err = registry(i.Clients, client.Assertions{Issuer: i.url, Store: i.store, Clock: a.clock}); err != nil {
		return err
	}
	if err := i.provisionEndpoints(); err != nil {
		return err
	}
	i.provisionTokens(a.clock)
	if err := i.provisionProofs(a); err != nil {
		return err
	}
	i.answering = &introspect.Answerer{Tokens: i.tokens}
	return nil
}

// checkAccessToken sets the defaults of the access tokens and checks the rest.
func (i *Issuer) checkAccessToken() error {
	if i.AccessToken == nil {
		i.AccessToken = new(AccessToken)
	}
	t := i.AccessToken
	switch t.Format {
	case "", "jwt", "opaque":
	default:
		return fmt.Errorf("access_token is %q, expected jwt or opaque", t.Format)
	}
	if t.Lifetime == 0 {
		t.Lifetime = caddy.Duration(5 * time.Minute)
	}
	if time.Duration(t.Lifetime) < time.Second {
		return fmt.Errorf("lifetime is %v, expected at least 1s", time.Duration(t.Lifetime))
	}
	switch t.Confirmation {
	case "", "jwk", "jkt":
	default:
		return fmt.Errorf("confirmation is %q, expected jwk or jkt", t.Confirmation)
	}
	return nil
}

// provisionTokens sets up minting and verifying.
func (i *Issuer) provisionTokens(c clock.Clock) {
	i.tokens = accesstoken.New(accesstoken.Config{
		Issuer:   i.url,
		Lifetime: time.Duration(i.AccessToken.Lifetime),
		Keys:     i.keys,
		Store:    i.store,
		Clock:    c,
		Known: func(clientID string) bool {
			_, ok := i.clients.Lookup(clientID)
			return ok
		},
	})
	i.issuing = &issue.Issuer{
		URL:                 i.url,
		DefaultAudience:     i.audience,
		Tokens:              i.tokens,
		Opaque:              i.AccessToken.Format == "opaque",
		ConfirmByThumbprint: i.AccessToken.Confirmation == "jkt",
	}
}

// provisionEndpoints computes the paths and prints the metadata document from
// the same list.
func (i *Issuer) provisionEndpoints() error {
	if i.Endpoints == nil {
		i.Endpoints = new(Endpoints)
	}
	paths := map[string]string{}
	for name, path := range map[string]*string{
		"token": &i.Endpoints.Token, "introspect": &i.Endpoints.Introspect,
		"revoke": &i.Endpoints.Revoke, "jwks": &i.Endpoints.JWKS,
	} {
		if *path == "" {
			*path = "/oauth2/" + name
		}
		paths[name] = *path
	}
	var err error
	if i.endpoints, err = issue.Endpoints(i.url, paths); err != nil {
		return err
	}
	i.metadata, err = issue.Metadata(i.url, i.endpoints, issue.Features{
		Scopes:         i.scopes,
		Grants:         i.clients.Grants(),
		AuthMethods:    i.clients.Methods(),
		AuthAlgorithms: i.clients.Algorithms(),
	})
	return err
}

// checkIssuerURL wants what RFC 8414 §2 wants, and one spelling: iss is
// compared as a string, so a trailing slash or an upper-case host would only
// ever cause a mismatch.
func checkIssuerURL(raw string) error {
	u, err := url.Parse(raw)
	switch {
	case strings.Contains(raw, "@"):
		// first, since the other messages quote all of it, and that may be a
		// password
		return errors.New("issuer must not contain user information")
	case err != nil, !u.IsAbs(), u.Host == "":
		return fmt.Errorf("issuer %q is not a URL such as https://auth.example.com", raw)
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		return fmt.Errorf("issuer %q must have neither a query nor a fragment", raw)
	case strings.HasSuffix(raw, "/"):
		return fmt.Errorf("issuer %q must not end in a slash", raw)
	case u.Host != strings.ToLower(u.Host), !strings.HasPrefix(raw, u.Scheme):
		return fmt.Errorf("issuer %q must be written with a lower-case scheme and host", raw)
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLocal(u.Hostname()):
		return nil
	}
	return fmt.Errorf("issuer %q must use https (http only on loopback and .localhost)", raw)
}

// isLocal says whether a host never leaves this machine.
func isLocal(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// storagePrefix is where everything of an issuer is kept in Caddy's storage.
func storagePrefix(issuerURL string) string {
	sum := sha256.Sum256([]byte(issuerURL))
	return "popauth/" + hex.EncodeToString(sum[:])
}

// ring sets up the signing keys.
func (i *Issuer) ring(a *App, logger *zap.Logger) (*keys.Ring, error) {
	if i.Signing == nil {
		i.Signing = new(Signing)
	}
	s := i.Signing
	given := make([]*keys.Given, 0, len(s.Keys))
	for n, value := range s.Keys {
		text, err := resolveSecret("signing_key", value)
		if err != nil {
			return nil, err
		}
		key, err := keys.ParseGiven(text)
		if err != nil {
			return nil, fmt.Errorf("signing_key %d: %w", n+1, err)
		}
		given = append(given, key)
	}
	ring, err := keys.NewRing(keys.Config{
		Storage:   a.ctx.Storage(),
		Prefix:    storagePrefix(i.url) + "/keys",
		Algorithm: s.Algorithm,
		Lifetime:  time.Duration(i.AccessToken.Lifetime),
		Given:     given,
		Clock:     a.clock,
		Notify:    func(e keys.Event) { logKeyEvent(logger, e) },
	})
	if err != nil {
		return nil, err
	}
	if signs := ring.Algorithms()[0]; s.Algorithm != "" && s.Algorithm != signs {
		return nil, fmt.Errorf("signing_algorithm is %s, but the first signing_key is for %s", s.Algorithm, signs)
	}
	return ring, nil
}

// logKeyEvent tells the operator what happens to the signing keys.
func logKeyEvent(logger *zap.Logger, e keys.Event) {
	if e.Err != nil {
		logger.Error(e.Message, zap.String("kid", e.KeyID), zap.Error(e.Err))
		return
	}
	logger.Info(e.Message, zap.String("kid", e.KeyID))
}

// registry registers the clients and collects the scopes they may ask for.
func registry(clients []*Client, assertions client.Assertions) (*client.Registry, []string, error) {
	configs := make([]client.Config, 0, len(clients))
	var scopes []string
	for n, c := range clients {
		if c == nil {
			return nil, nil, fmt.Errorf("client number %d is null, expected at least an id and a secret or a key", n+1)
		}
		config, err := c.resolve()
		if err != nil {
			return nil, nil, fmt.Errorf("client %q: %w", c.ID, err)
		}
		configs = append(configs, config)
		scopes = append(scopes, config.Scopes...)
	}
	r, err := client.NewRegistry(configs, assertions)
	return r, scopes, err
}

// resolve fills in the placeholders of a client.
func (c *Client) resolve() (config client.Config, err error) {
	config.ID, config.Grants, config.TokenFormat = c.ID, c.Grants, c.AccessToken
	config.BindingMethods = c.BindingMethods
	var failures [3]error
	config.Scopes, failures[0] = resolveAll("scopes", c.Scopes)
	config.Audience, failures[1] = resolveAll("audience", c.Audience)
	for _, value := range c.Secrets {
		secret, err := resolveSecret("secret", value)
		if err != nil {
			return config, err
		}
		config.Secrets = append(config.Secrets, secret)
	}
	if config.Keys, err = c.resolveKeys(); err != nil {
		return config, err
	}
	switch c.Binding {
	case "", "required":
	case "optional":
		config.BindingOptional = true
	default:
		return config, fmt.Errorf("binding is %q, expected required or optional", c.Binding)
	}
	switch c.CNFKeyProof {
	case "", "optional":
	case "required":
		config.KeyProofRequired = true
	default:
		return config, fmt.Errorf("cnf_key_proof is %q, expected required or optional", c.CNFKeyProof)
	}
	if c.Introspect != nil {
		config.Introspect = new(client.Introspect)
		config.Introspect.Audience, failures[2] = resolveAll("introspect", c.Introspect.Audience)
	}
	return config, errors.Join(failures[:]...)
}
