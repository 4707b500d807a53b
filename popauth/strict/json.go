// SPDX-License-Identifier: Apache-2.0

// Package strict reads JSON and base64url so that one text has one meaning.
//
// What arrives from outside is read by several programs: by us, by the
// application behind us, by somebody's log analysis. Where a text can be read
// in two ways, an attacker shows each reader another one. So there are no
// duplicate members, no names that match in another case, no invalid UTF-8
// that becomes a replacement character, nothing after the end, and no second
// spelling in base64url of the same bytes.
//
// The package knows no names of members and does not map JSON to Go types.
// Its errors name the rule that was broken and where, and never contain
// anything of the input, so that they can be shown to clients.
package strict

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Limits caps a JSON text. A zero field refuses everything: nobody parses
// foreign bytes without having thought about how many.
type Limits struct {
	Size    int // bytes of the whole text
	Depth   int // nesting of objects and arrays; the outer object is 1
	Members int // members and elements, over all levels
}

// ParseObject parses one JSON object and nothing after it but whitespace:
// the grammar of RFC 8259, valid UTF-8 without a byte order mark, no lone
// surrogates in escapes, no number beyond float64, and no duplicate members
// on any level, compared after the escapes are resolved. The result does not
// refer to data.
func ParseObject(data []byte, l Limits) (Object, error) {
	if len(data) > l.Size {
		return Object{}, fmt.Errorf("JSON text is longer than %d bytes", l.Size)
	}
	if !utf8.Valid(data) {
		return Object{}, errors.New("JSON text is not valid UTF-8")
	}
	p := parser{text: string(data), depth: l.Depth, members: l.Members}
	p.blank()
	if p.peek() != '{' {
		return Object{}, errors.New("JSON text is not an object")
	}
	members, err := p.object()
	if err != nil {
		return Object{}, err
	}
	p.blank()
	if p.at < len(p.text) {
		return Object{}, p.broken("something follows the JSON object")
	}
	return Object{members: members}, nil
}

// parser goes over a text once. Its methods leave at behind what they read;
// depth and members count down.
type parser struct {
	text    string
	at      int
	depth   int
	members int
}

func (p *parser) broken(rule string) error {
	return fmt.Errorf("%s at byte %d", rule, p.at)
}

// peek is the next byte, 0 at the end. A NUL byte is nowhere allowed, so the
// two need not be told apart.
func (p *parser) peek() byte {
	if p.at < len(p.text) {
		return p.text[p.at]
	}
	return 0
}

// take skips the next byte if it is c.
func (p *parser) take(c byte) bool {
	if p.at < len(p.text) && p.text[p.at] == c {
		p.at++
		return true
	}
	return false
}

// blank skips the four whitespace characters of RFC 8259 §2.
func (p *parser) blank() {
	for p.at < len(p.text) {
		switch p.text[p.at] {
		case ' ', '\t', '\n', '\r':
			p.at++
		default:
			return
		}
	}
}

func (p *parser) value() (Value, error) {
	switch c := p.peek(); {
	case c == '{':
		members, err := p.object()
		return Value{kind: ObjectKind, members: members}, err
	case c == '[':
		list, err := p.array()
		return Value{kind: Array, list: list}, err
	case c == '"':
		text, err := p.str()
		return Value{kind: String, text: text}, err
	case c == '-' || isDigit(c):
		n, err := p.number()
		return Value{kind: Number, number: n}, err
	case p.literal("true"):
		return Value{kind: Bool, truth: true}, nil
	case p.literal("false"):
		return Value{kind: Bool}, nil
	case p.literal("null"):
		return Value{}, nil
	}
	return Value{}, p.broken("no JSON value")
}

func (p *parser) literal(word string) bool {
	if len(p.text)-p.at < len(word) || p.text[p.at:p.at+len(word)] != word {
		return false
	}
	p.at += len(word)
	return true
}

// enter is called at { and [, leave at the end of what they open. The depth
// also bounds the recursion.
func (p *parser) enter() error {
	if p.depth <= 0 {
		return p.broken("JSON is nested too deeply")
	}
	p.depth--
	p.at++
	p.blank()
	return nil
}

func (p *parser) leave() { p.depth++ }

// count is called for each member and element.
func (p *parser) count() error {
	if p.members <= 0 {
		return p.broken("JSON has too many members")
	}
	p.members--
	return nil
}

func (p *parser) object() ([]member, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.take('}') {
		return nil, nil
	}
	var members []member
	var names index
	for {
		if err := p.count(); err != nil {
			return nil, err
		}
		if p.peek() != '"' {
			return nil, p.broken("no JSON member name")
		}
		name, err := p.str()
		if err != nil {
			return nil, err
		}
		if !names.add(members, name) {
			return nil, p.broken("duplicate JSON member")
		}
		p.blank()
		if !p.take(':') {
			return nil, p.broken("no colon after a JSON member name")
		}
		p.blank()
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		members = append(members, member{name, v})
		p.blank()
		if p.take('}') {
			return members, nil
		}
		if !p.take(',') {
			return nil, p.broken("JSON object is not closed")
		}
		p.blank()
	}
}

func (p *parser) array() ([]Value, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	if p.take(']') {
		return nil, nil
	}
	var list []Value
	for {
		if err := p.count(); err != nil {
			return nil, err
		}
		v, err := p.value()
		if err != nil {
			return nil, err
		}
		list = append(list, v)
		p.blank()
		if p.take(']') {
			return list, nil
		}
		if !p.take(',') {
			return nil, p.broken("JSON array is not closed")
		}
		p.blank()
	}
}

// index finds duplicate names. Few members are compared one by one, which
// needs no memory; a map takes over before that becomes quadratic.
type index map[string]struct{}

func (x *index) add(members []member, name string) bool {
	const few = 16
	if len(members) < few {
		return !(Object{members: members}).Has(name)
	}
	if *x == nil {
		*x = make(index, 2*few)
		for i := range members {
			(*x)[members[i].name] = struct{}{}
		}
	}
	if _, dup := (*x)[name]; dup {
		return false
	}
	(*x)[name] = struct{}{}
	return true
}
