// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"strings"
)

// Limits of what is read. A server that sends more is not one to talk to.
const (
	maxChallengeBytes  = 16 << 10
	maxChallengeParams = 32
)

// Param is a parameter of a challenge.
type Param struct{ Name, Value string }

// Challenge is one challenge of a WWW-Authenticate field (RFC 9110 §11.6.1).
type Challenge struct {
	// Scheme is the authentication scheme, a token. Schemes are compared
	// without regard to case.
	Scheme string

	// Token68 is what follows the scheme in place of parameters, as in
	// Negotiate; mostly empty.
	Token68 string

	// Params are the parameters in their order, their values unquoted. No name
	// occurs twice, in whichever letter case. Names are tokens.
	Params []Param
}

// String is the challenge as it is written into a field. All values are
// quoted, as RFC 9110 §11.5 demands of realm and RFC 6750 §3 of the others.
// Controls become question marks: with CR and LF a value could begin a field
// of its own. Scheme, Token68 and the names are written as they are.
func (c Challenge) String() string {
	if c.Token68 != "" {
		return c.Scheme + " " + c.Token68
	}
	var b strings.Builder
	b.WriteString(c.Scheme)
	for i, p := range c.Params {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(" " + p.Name + "=")
		quote(&b, p.Value)
	}
	return b.String()
}

// quote writes a quoted-string (RFC 9110 §5.6.4).
func quote(b *strings.Builder, value string) {
	b.WriteByte('"')
	for i := range len(value) {
		switch c := value[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case !isQuotable(c):
			b.WriteByte('?')
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
}

// Param returns the value of a parameter. Names are compared without regard
// to case.
func (c Challenge) Param(name string) (string, bool) {
	for _, p := range c.Params {
		if strings.EqualFold(p.Name, name) {
			return p.Value, true
		}
	}
	return "", false
}

// ParseChallenges reads all WWW-Authenticate fields of an answer, each of
// which may hold several challenges, in their order. One that can't be read
// in exactly one way spoils all: who skipped it could take the parameters of
// one challenge for those of another. Errors do not quote the input.
func ParseChallenges(fields []string) ([]Challenge, error) {
	var all []Challenge
	size := 0
	for _, field := range fields {
		if size += len(field); size > maxChallengeBytes {
			return nil, errors.New("reading challenges: the fields are too large")
		}
		p := challengeParser{rest: field}
		if err := p.list(); err != nil {
			return nil, err
		}
		all = append(all, p.found...)
	}
	return all, nil
}

// challengeParser reads one field from left to right.
type challengeParser struct {
	rest  string
	found []Challenge

	// open says that the last challenge found may still get parameters: its
	// scheme was followed by a space, and not by a token68.
	open bool
}

// list reads #challenge. The commas between challenges and those between the
// parameters of one are the same, so what follows a comma is told apart by
// its equals sign. Empty list elements are allowed (RFC 9110 §5.6.1.2).
func (p *challengeParser) list() error {
	for {
		p.skip(" \t,")
		if p.rest == "" {
			return nil
		}
		name := p.take(isTokenChar)
		if name == "" {
			return errors.New("reading challenges: a scheme or parameter is missing")
		}
		behind := p.rest
		p.skip(" \t")
		var err error
		if strings.HasPrefix(p.rest, "=") {
			err = p.param(name)
		} else {
			p.rest = behind
			err = p.scheme(name)
		}
		if err != nil {
			return err
		}
		p.skip(" \t")
		if p.rest != "" && p.rest[0] != ',' {
			return errors.New("reading challenges: a comma is missing")
		}
	}
}

// scheme begins a challenge and reads its token68 or its first parameter.
func (p *challengeParser) scheme(name string) error {
	p.found = append(p.found, Challenge{Scheme: name})
	p.open = strings.HasPrefix(p.rest, " ")
	p.skip(" ")
	if !p.open || p.rest == "" || p.rest[0] == ',' {
		return nil
	}
	if token68, ok := p.token68(); ok {
		p.found[len(p.found)-1].Token68 = token68
		p.open = false
		return nil
	}
	first := p.take(isTokenChar)
	if first == "" {
		return errors.New("reading challenges: the name of a parameter is missing")
	}
	p.skip(" \t")
	return p.param(first)
}

// token68 reads 1*(ALPHA / DIGIT / "-._~+/") *"=" if it is all there is up to
// the next comma or the end, and nothing else.
func (p *challengeParser) token68() (string, bool) {
	start := p.rest
	if p.take(isToken68Char) == "" {
		return "", false
	}
	p.skip("=")
	token68 := start[:len(start)-len(p.rest)]
	p.skip(" \t")
	if p.rest == "" || p.rest[0] == ',' {
		return token68, true
	}
	p.rest = start
	return "", false
}

// param reads the equals sign and the value of a parameter.
func (p *challengeParser) param(name string) error {
	if !p.open {
		return errors.New("reading challenges: a parameter belongs to no challenge")
	}
	c := &p.found[len(p.found)-1]
	if _, again := c.Param(name); again {
		return errors.New("reading challenges: a parameter is repeated")
	}
	if len(c.Params) == maxChallengeParams {
		return errors.New("reading challenges: there are too many parameters")
	}
	if !strings.HasPrefix(p.rest, "=") {
		return errors.New("reading challenges: a parameter has no value")
	}
	p.rest = p.rest[1:]
	p.skip(" \t")
	if strings.HasPrefix(p.rest, `"`) {
		value, err := p.quoted()
		if err != nil {
			return err
		}
		c.Params = append(c.Params, Param{Name: name, Value: value})
		return nil
	}
	value := p.take(isTokenChar)
	if value == "" {
		return errors.New("reading challenges: a parameter has no value")
	}
	c.Params = append(c.Params, Param{Name: name, Value: value})
	return nil
}

// quoted reads a quoted-string and takes the backslashes out.
func (p *challengeParser) quoted() (string, error) {
	var b strings.Builder
	for i := 1; i < len(p.rest); i++ {
		c := p.rest[i]
		if c == '"' {
			p.rest = p.rest[i+1:]
			return b.String(), nil
		}
		if c == '\\' && i+1 < len(p.rest) {
			i++
			c = p.rest[i]
		}
		if !isQuotable(c) {
			return "", errors.New("reading challenges: a quoted string holds a control")
		}
		b.WriteByte(c)
	}
	return "", errors.New("reading challenges: a quoted string does not end")
}

// skip drops leading characters of the set.
func (p *challengeParser) skip(set string) { p.rest = strings.TrimLeft(p.rest, set) }

// take reads characters as long as they belong.
func (p *challengeParser) take(belongs func(byte) bool) string {
	n := 0
	for n < len(p.rest) && belongs(p.rest[n]) {
		n++
	}
	taken := p.rest[:n]
	p.rest = p.rest[n:]
	return taken
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}

// ValidToken says that s is a token of RFC 9110 §5.6.2, such as a method or the
// name of a header field.
func ValidToken(s string) bool {
	for i := range len(s) {
		if !isTokenChar(s[i]) {
			return false
		}
	}
	return s != ""
}

// isTokenChar is tchar of RFC 9110 §5.6.2.
func isTokenChar(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// isToken68Char is that of RFC 9110 §11.2, without the trailing equals signs.
func isToken68Char(c byte) bool {
	return isAlphanumeric(c) || strings.IndexByte("-._~+/", c) >= 0
}

// isQuotable is what a quoted-string may hold, plain or behind a backslash:
// HTAB, SP, VCHAR and obs-text.
func isQuotable(c byte) bool { return c == '\t' || c >= 0x20 && c != 0x7f }
