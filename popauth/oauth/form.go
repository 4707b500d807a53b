// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// The largest form that we read. A token request with an RSA-4096 key and an
// assertion stays under 16 KiB.
const (
	maxFormBytes      = 64 << 10
	maxFormParameters = 64
)

// Form is a strictly read application/x-www-form-urlencoded body, in which
// every name but resource occurs at most once. Its values are bytes as the
// client sent them: of any length, and not necessarily UTF-8. The zero Form
// has no parameters. A Form is immutable.
type Form struct {
	// values has a key for every name in the body, without a value when the
	// only one was empty.
	values map[string][]string
}

// ReadForm reads the body of a POST. The method is judged by the caller.
//
// It refuses any query (ParameterInQuery), a Content-Type field that is
// missing, doubled or names another type (ContentTypeWrong), a body of more
// than 64 KiB or of more than a body limit in front of us allows
// (FormTooLarge), one that takes longer than ten seconds to arrive
// (FormTooSlow), more than 64 parameters, a bad percent sign and a body that
// can't be read (FormMalformed), and a second parameter of the same name, be
// it known or not, empty or not (ParameterRepeated; RFC 6749 §3.2). Only
// resource may be repeated (RFC 8707 §2).
//
// Parameters of unknown names are kept and do no harm; empty ones count as
// absent (RFC 6749 §3.2).
func ReadForm(w http.ResponseWriter, r *http.Request) (Form, *Refusal) {
	// http.Request.ParseForm is of no use here: it mixes the query into the
	// form, keeps going after an error, and takes a JSON body for an empty form.

	// RFC 6749 §2.3.1 keeps credentials out of the URI, since URIs are logged.
	// A bare question mark is an empty query.
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		LeaveBody(w, r)
		return Form{}, Refuse(ParameterInQuery, "")
	}
	if !isForm(r.Header.Values("Content-Type")) {
		LeaveBody(w, r)
		return Form{}, Refuse(ContentTypeWrong, "")
	}
	body, late, err := readBody(w, r, formTime)
	if err != nil {
		LeaveBody(w, r)
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return Form{}, &Refusal{
			Reason: FormTooLarge, Limit: strconv.FormatInt(tooLarge.Limit, 10) + " bytes", Cause: err,
		}
	}
	if late && err != nil {
		return Form{}, &Refusal{Reason: FormTooSlow, Limit: formTime.String(), Cause: err}
	}
	if err != nil {
		return Form{}, &Refusal{Reason: FormMalformed, Detail: "the body cannot be read", Cause: err}
	}
	return parseForm(string(body))
}

// isForm says whether there is exactly one Content-Type field and it is that
// of a form. Media type parameters don't matter: the encoding is ASCII.
func isForm(fields []string) bool {
	if len(fields) != 1 {
		return false
	}
	mediaType, _, err := mime.ParseMediaType(fields[0])
	return err == nil && mediaType == "application/x-www-form-urlencoded"
}

// parseForm parses a form. A semicolon is an ordinary character of a value:
// who takes it for a separator sees other parameters than we do.
func parseForm(body string) (Form, *Refusal) {
	f := Form{values: map[string][]string{}}
	count := 0
	for pair := range strings.SplitSeq(body, "&") {
		if pair == "" {
			continue
		}
		if count++; count > maxFormParameters {
			return Form{}, &Refusal{
				Reason: FormMalformed, Detail: "there are too many parameters",
				Limit: strconv.Itoa(maxFormParameters) + " parameters",
			}
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, errName := url.QueryUnescape(rawName)
		value, errValue := url.QueryUnescape(rawValue)
		if errName != nil || errValue != nil {
			// the error of url quotes the input, which may be a secret
			return Form{}, Refuse(FormMalformed, "a percent sign is not followed by two hexadecimal digits")
		}
		// also when one of the two is empty: a proxy that keeps the other one
		// would have judged another request than the one we answer
		values, seen := f.values[name]
		if seen && name != "resource" {
			return Form{}, Refuse(ParameterRepeated, wellKnown(name))
		}
		if value != "" {
			values = append(values, value)
		}
		f.values[name] = values
	}
	return f, nil
}

// wellKnown returns the name if it is one of our own parameters, so that it
// may be shown to the client, else nothing.
func wellKnown(name string) string {
	ours := []string{"grant_type", "scope", "cnf_key", "client_id", "client_secret", "client_assertion", "client_assertion_type", "token", "token_type_hint"}
	if slices.Contains(ours, name) {
		return name
	}
	return ""
}

// NewForm returns a form that was not read from a request. Nothing is
// checked; empty values are dropped, as they are from a body.
func NewForm(pairs map[string][]string) Form {
	f := Form{values: make(map[string][]string, len(pairs))}
	for name, values := range pairs {
		f.values[name] = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
	}
	return f
}

// Get returns the value of a parameter, the first one of resource. It is
// empty when the parameter is absent or empty.
func (f Form) Get(name string) string {
	if values := f.values[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// All returns all values of a parameter that are not empty, in the order of
// the body. Only resource can have more than one.
func (f Form) All(name string) []string { return slices.Clone(f.values[name]) }
