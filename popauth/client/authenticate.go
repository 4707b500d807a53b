// SPDX-License-Identifier: Apache-2.0

package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Authenticate finds out which client sent a request, by client_secret_basic
// or client_secret_post (RFC 6749 §2.3.1) or by private_key_jwt (RFC 7523
// §2.2). The form has been read from the body. What Authenticate lets in must
// still be used up, see [Authentication.Consume].
//
// Two ways at once, or two ids beside an Authorization field, are
// ClientAuthRepeated; all else is ClientUnauthenticated, the same for an
// unknown client as for a wrong secret or key, with the difference in the
// cause, for the log.
func (r *Registry) Authenticate(h http.Header, form oauth.Form) (Authentication, *oauth.Refusal) {
	if form.Get("client_assertion") != "" || form.Get("client_assertion_type") != "" {
		return r.byAssertion(h, form)
	}
	return r.bySecret(h, form)
}

// byAssertion is private_key_jwt. A client_id in the body must be that of the
// assertion (RFC 7521 §4.2).
func (r *Registry) byAssertion(h http.Header, form oauth.Form) (Authentication, *oauth.Refusal) {
	id := form.Get("client_id")
	a := Authentication{ClaimedID: id, UsedHeader: len(h.Values("Authorization")) > 0}
	unauthenticated := func(cause error) (Authentication, *oauth.Refusal) {
		return a, &oauth.Refusal{Reason: oauth.ClientUnauthenticated, Cause: cause}
	}
	switch {
	case a.UsedHeader:
		return a, oauth.Refuse(oauth.ClientAuthRepeated, "there is an Authorization field and a client_assertion")
	case form.Get("client_secret") != "":
		return a, oauth.Refuse(oauth.ClientAuthRepeated, "there is a client_secret and a client_assertion")
	case form.Get("client_assertion_type") != assertionType:
		return unauthenticated(errors.New("the client_assertion_type is not " + assertionType))
	case r.assertions.Clock == nil:
		return unauthenticated(errUnknown) // nobody has keys, see NewRegistry
	}
	read, err := readAssertion(form.Get("client_assertion"), r.assertions.Issuer, r.assertions.Clock.Now())
	if err != nil {
		return unauthenticated(fmt.Errorf("client assertion: %w", err))
	}
	if id != "" && id != read.client {
		return unauthenticated(errors.New("the client_id is not the iss of the assertion"))
	}
	a.ClaimedID = read.client
	c, known := r.clients[read.client]
	if !known {
		c = &r.nobody
	}
	switch err := r.verify(c, read.message); {
	case !known:
		return unauthenticated(errUnknown)
	case err != nil:
		return unauthenticated(fmt.Errorf("client %q: %w", c.id, err))
	}
	a.Client = c
	a.consume = func(ctx context.Context) *oauth.Refusal { return r.assertions.use(ctx, c, read) }
	return a, nil
}

// bySecret is client_secret_basic and client_secret_post.
//
// A Basic field is tried in both of its readings (see [oauth.Basic]). An id
// that has a colon must be form-encoded in it, since the first colon ends a
// raw id. A client_id in the body beside the field must be the same id, and
// only the readings with that id are tried.
func (r *Registry) bySecret(h http.Header, form oauth.Form) (Authentication, *oauth.Refusal) {
	readings, usedHeader, refusal := oauth.Basic(h)
	id, secret := form.Get("client_id"), form.Get("client_secret")
	a := Authentication{ClaimedID: id, UsedHeader: usedHeader}
	if id == "" && len(readings) > 0 {
		a.ClaimedID = readings[0].ID
	}
	switch {
	case usedHeader && secret != "":
		// RFC 6749 §2.3: whoever logs or limits by the one would be looking at
		// another client than the one that is let in by the other
		return a, oauth.Refuse(oauth.ClientAuthRepeated, "there is an Authorization field and a client_secret")
	case refusal != nil:
		return a, refusal
	case usedHeader && id != "":
		readings = slices.DeleteFunc(readings, func(reading oauth.Credentials) bool { return reading.ID != id })
		if len(readings) == 0 {
			return a, oauth.Refuse(oauth.ClientAuthRepeated, "client_id is not the id in the Authorization field")
		}
	case !usedHeader && (id == "" || secret == ""):
		return a, oauth.Refuse(oauth.ClientUnauthenticated, "there is neither an Authorization field nor both client_id and client_secret")
	case !usedHeader:
		readings = []oauth.Credentials{{ID: id, Secret: secret}}
	}
	c, err := r.match(readings)
	if err != nil {
		return a, &oauth.Refusal{Reason: oauth.ClientUnauthenticated, Cause: err}
	}
	a.Client = c
	return a, nil
}

// match returns the client of the first reading that is right. All readings
// are tried even so, and one with an unknown id takes the same steps as any
// other: else the time would tell which ids exist.
func (r *Registry) match(readings []oauth.Credentials) (*Client, error) {
	var found *Client
	failure := errUnknown
	for _, reading := range readings {
		c, known := r.clients[reading.ID]
		if known {
			failure = c.failure
		} else {
			c = &r.nobody
		}
		// no secret is that long; hashing a whole form of it would only be work
		fits := len(reading.Secret) <= maxSecret
		if fits && c.holds(reading.Secret) && known && found == nil {
			found = c
		}
	}
	if found == nil {
		return nil, failure
	}
	return found, nil
}
