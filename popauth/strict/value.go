// SPDX-License-Identifier: Apache-2.0

package strict

import "slices"

// Kind is the type of a JSON value.
type Kind uint8

// The types of RFC 8259 §3. The zero Value is null.
const (
	Null Kind = iota
	Bool
	Number
	String
	Array
	ObjectKind
)

// Object is a JSON object with exact member names, each of them once. The
// zero value has no members. It never changes and may be shared.
type Object struct {
	members []member
}

type member struct {
	name  string
	value Value
}

// Len is the number of members.
func (o Object) Len() int { return len(o.members) }

// Has says whether there is a member of that name, whatever its value: null
// is a value.
func (o Object) Has(name string) bool {
	_, ok := o.Get(name)
	return ok
}

// Get returns the member of that name. Case matters.
func (o Object) Get(name string) (Value, bool) {
	for i := range o.members {
		if o.members[i].name == name {
			return o.members[i].value, true
		}
	}
	return Value{}, false
}

// Names returns the member names in order of appearance.
func (o Object) Names() []string {
	names := make([]string, len(o.members))
	for i := range o.members {
		names[i] = o.members[i].name
	}
	return names
}

// Text returns the member of that name if it is a string. It does not tell a
// missing member from one of another type; Has does.
func (o Object) Text(name string) (string, bool) {
	v, _ := o.Get(name)
	return v.Text()
}

// Value is a JSON value. Each accessor returns false for a value of another
// kind; none converts.
type Value struct {
	kind    Kind
	truth   bool
	number  float64
	text    string
	list    []Value
	members []member
}

// Kind is the type of the value.
func (v Value) Kind() Kind { return v.kind }

// Text returns a string with its escapes resolved.
func (v Value) Text() (string, bool) { return v.text, v.kind == String }

// Bool returns true or false.
func (v Value) Bool() (value, ok bool) { return v.truth, v.kind == Bool }

// Number returns a number, rounded to the nearest float64. It is finite:
// larger ones do not pass ParseObject.
func (v Value) Number() (float64, bool) { return v.number, v.kind == Number }

// Object returns an object.
func (v Value) Object() (Object, bool) {
	return Object{members: v.members}, v.kind == ObjectKind
}

// Array returns the elements of an array, in a slice of the caller's own.
func (v Value) Array() ([]Value, bool) {
	return slices.Clone(v.list), v.kind == Array
}
