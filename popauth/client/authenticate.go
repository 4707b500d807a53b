// SPDX-License-Identifier: Apache-2.0

package client

import (
	"net/http"
	"slices"

	"github.com/popauth/caddy-popauth/popauth/oauth"
)

// Authenticate finds out which client sent a request, by client_secret_basic
// or client_secret_post (RFC 6749 §2.3.1). The form has been read from the
// body.
//
// A Basic field is tried in both of its readings (see [oauth.Basic]). An id
// that has a colon must be form-encoded in it, since the first colon ends a
// raw id. A client_id in the body beside the field must be the same id, and
// only the readings with that id are tried.
//
// Two ways at once, or two ids, are ClientAuthRepeated; all else is
// ClientUnauthenticated, the same for an unknown client as for a wrong secret,
// with the difference in the cause, for the log.
func (r *Registry) Authenticate(h http.Header, form oauth.Form) (Authentication, *oauth.Refusal) {
	readings, usedHeader, refusal := oauth.Basic(h)
	a := Authentication{UsedHeader: usedHeader}
	id, secret := form.Get("client_id"), form.Get("client_secret")
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
