// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"fmt"
	"time"

	"github.com/popauth/caddy-popauth/popauth/dpop"
	"github.com/popauth/caddy-popauth/popauth/replay"
)

// The time of proofs without a nonce at the token endpoint: how far their iat
// may lie in the past and in the future.
const (
	issuerProofMaxAge = 5 * time.Minute
	issuerClockSkew   = time.Minute
)

// provisionProofs sets up how DPoP proofs are judged at the token endpoint. It
// needs the endpoints and what issues the tokens.
func (i *Issuer) provisionProofs(a *App) error {
	mode := replay.Off
	switch i.Nonce {
	case "", "optional", "off":
		a.observeWindow(issuerProofMaxAge, issuerClockSkew)
	case "required":
		mode = replay.Required
	default:
		return fmt.Errorf("nonce is %q, expected required, optional or off", i.Nonce)
	}
	i.issuing.Freshness = replay.Policy{Mode: mode, MaxAge: issuerProofMaxAge, Skew: issuerClockSkew}
	i.issuing.OfferNonces = i.Nonce != "off"
	i.issuing.Memory = a.runtime.memory
	for _, e := range i.endpoints {
		if e.Name != "token" {
			continue
		}
		var err error
		if i.issuing.TokenURL, err = dpop.Normalize(e.URL); err != nil {
			return fmt.Errorf("issuer %q: no proof could name its token endpoint %q: %w", i.url, e.URL, err)
		}
	}
	return nil
}
