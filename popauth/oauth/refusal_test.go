// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestRefusalDescription(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		detail string
		want   string
	}{
		{"no detail", "", "Invalid cnf_key parameter"},
		{"a detail", "the jwk has a private member 'd'", "Invalid cnf_key parameter: the jwk has a private member 'd'"},
		{"characters that RFC 6749 forbids", "a\"b\\c\r\n\x00ü", "Invalid cnf_key parameter: a'b'c????"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := Refuse(ConfirmationKeyInvalid, tt.detail)
			if got := r.Description(); got != tt.want {
				t.Errorf("Description() = %q, want %q", got, tt.want)
			}
			if got := r.Error(); got != tt.want {
				t.Errorf("Error() = %q, want %q", got, tt.want)
			}
		})
	}
}

// Caddy hands the text of an error to handle_errors, and so to the client.
func TestRefusalDoesNotShowItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("dial 10.0.0.1")
	r := Unavailable(StoreUnavailable, cause)
	r.Expected, r.Got, r.Limit, r.Option = "expected", "got", "limit", "option"
	for _, private := range []string{"10.0.0.1", "expected", "got", "limit", "option"} {
		if strings.Contains(r.Error(), private) {
			t.Errorf("Error() = %q shows %q", r.Error(), private)
		}
	}
	if !errors.Is(r, cause) {
		t.Error("the cause is not in the chain")
	}
}

func TestAsRefusalFindsAWrappedOne(t *testing.T) {
	t.Parallel()
	r := Refuse(TokenExpired, "")
	if got, ok := AsRefusal(fmt.Errorf("serving: %w", r)); !ok || got != r {
		t.Errorf("AsRefusal = %v, %v; want the refusal", got, ok)
	}
	if got, ok := AsRefusal(errors.New("serving")); ok {
		t.Errorf("AsRefusal = %v of an error without one", got)
	}
}
