// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// Refusal is a refused request: the reason, what may be told to the client,
// and what helps the operator. It is an error, so that Caddy can carry it;
// its text is safe to show, since handle_errors shows it.
//
// Detail goes to the client and must therefore be text of our own (the name
// of a rule, never the input). Expected, Got, Hint and Cause go to the log
// only. None of them may hold a token, a proof or a secret.
type Refusal struct {
	// Reason is why.
	Reason Reason

	// Detail names the rule that was broken, where one reason covers many.
	Detail string

	// Expected and Got are what was compared, where something was.
	Expected, Got string

	// Hint is one sentence for the log on what is probably wrong.
	Hint string

	// Limit is the limit in force, Option the setting that changes it.
	Limit, Option string

	// RetryAfter is the value of the Retry-After field where the rule wants
	// one. 0: one second.
	RetryAfter time.Duration

	// Cause is the error behind it, if any.
	Cause error
}

// Refuse returns a refusal with a detail, which may be empty.
func Refuse(reason Reason, detail string) *Refusal {
	return &Refusal{Reason: reason, Detail: detail}
}

// Unavailable returns the refusal for something that cannot answer, with the
// cause for the log.
func Unavailable(reason Reason, cause error) *Refusal {
	return &Refusal{Reason: reason, Cause: cause}
}

// Error is the description. It does not contain the cause: Caddy hands the
// text of an error to handle_errors, and so to the client.
func (r *Refusal) Error() string { return r.Description() }

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Cause }

// Description is the error_description: the fixed text of the reason and,
// after a colon, the detail. RFC 6749 §5.2 allows neither " nor \ nor
// anything outside printable ASCII in it, so those are replaced.
func (r *Refusal) Description() string {
	text := r.Reason.Rule().Text
	if r.Detail != "" {
		text += ": " + r.Detail
	}
	return strings.Map(func(c rune) rune {
		switch {
		case c == '"', c == '\\':
			return '\''
		case c < 0x20 || c > 0x7e:
			return '?'
		}
		return c
	}, text)
}

// RetryAfterSeconds is the value of the Retry-After field (RFC 9110 §10.2.3): in
// whole seconds, rounded up and at least one, since 0 would bring the client
// back at once.
func (r *Refusal) RetryAfterSeconds() string {
	seconds := max(1, (r.RetryAfter+time.Second-1)/time.Second)
	return strconv.FormatInt(int64(seconds), 10)
}

// AsRefusal finds the refusal in an error.
func AsRefusal(err error) (*Refusal, bool) { return errors.AsType[*Refusal](err) }
