// SPDX-License-Identifier: Apache-2.0

package accesstoken

import (
	"cmp"
	"time"

	"github.com/popauth/caddy-popauth/popauth/clock"
	"github.com/popauth/caddy-popauth/popauth/keys"
)

// Config of a Service.
type Config struct {
	// Issuer is the iss of all tokens, compared byte for byte. Required.
	Issuer string

	// Lifetime of a token in whole seconds, a fraction is cut off.
	// Default: 5m.
	Lifetime time.Duration

	// Keys sign and verify. Required.
	Keys *keys.Ring

	// Clock tells the wall time. Required.
	Clock clock.Clock

	// Known says whether a client is still registered. nil: none is.
	Known func(clientID string) bool
}

// Service mints and verifies one issuer's tokens. It is safe for concurrent
// use.
type Service struct {
	issuer   string
	lifetime time.Duration
	keys     *keys.Ring
	clock    clock.Clock
	known    func(clientID string) bool
	cache    *cache
}

// New returns a service. It starts nothing and touches no storage.
func New(c Config) *Service {
	s := &Service{
		issuer:   c.Issuer,
		lifetime: cmp.Or(c.Lifetime, 5*time.Minute).Truncate(time.Second),
		keys:     c.Keys,
		clock:    c.Clock,
		known:    c.Known,
		cache:    newCache(),
	}
	if s.known == nil {
		s.known = func(string) bool { return false }
	}
	return s
}

// Issuer is the URL that the tokens carry as iss.
func (s *Service) Issuer() string { return s.issuer }
