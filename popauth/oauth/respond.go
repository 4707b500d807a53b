// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"bytes"
	"encoding/json"
	"net/http"
)

// basicChallenge asks for client credentials. RFC 7617 §2 wants a realm; a
// fixed one does, since an issuer has one set of clients for all endpoints.
var basicChallenge = Challenge{Scheme: "Basic", Params: []Param{{Name: "realm", Value: "popauth"}}}

// WriteError writes the answer of an endpoint to a refused request (RFC 6749
// §5.2): the status of the rule, the JSON error, Cache-Control: no-store and,
// where the rule wants it, Retry-After.
//
// invalid_client is a 401 with a Basic challenge if authenticate is true, else
// a 400. The token endpoint wants true only for clients that used
// the Authorization field. The Allow field of a 405 is set by the caller, and
// so is a DPoP-Nonce. A reason that does not occur at endpoints is a 500.
func WriteError(w http.ResponseWriter, r *Refusal, authenticate bool) {
	rule := r.Reason.Rule()
	if rule.Endpoint == 0 {
		r = &Refusal{}
		rule = r.Reason.Rule()
	}
	status := rule.Endpoint
	h := w.Header()
	if rule.Code == invalidClient {
		if authenticate {
			h.Set("WWW-Authenticate", basicChallenge.String())
		} else {
			status = http.StatusBadRequest
		}
	}
	if rule.Retry {
		h.Set("Retry-After", r.RetryAfterSeconds())
	}
	body, err := encode(struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}{rule.CodeAtEndpoint(), r.Description()})
	if err != nil {
		panic("internal error: two strings can't be encoded: " + err.Error())
	}
	write(w, status, body)
}

// WriteJSON writes a 200 with a JSON body that nobody may cache (RFC 6749
// §5.1). The error is that of encoding the body, and then nothing has been
// written yet. A client that no longer listens is not an error.
func WriteJSON(w http.ResponseWriter, body any) error {
	b, err := encode(body)
	if err != nil {
		return err
	}
	w.Header().Set("Pragma", "no-cache")
	write(w, http.StatusOK, b)
	return nil
}

func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// encode leaves <, > and & alone: the escapes of encoding/json are for JSON
// inside HTML, and people read these bodies in terminals.
func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
