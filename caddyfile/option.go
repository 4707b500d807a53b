// SPDX-License-Identifier: Apache-2.0

package caddyfile

import (
	"math"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// option is a line that a block may have.
type option struct {
	// usage is the line as the grammar has it: the name, then the arguments.
	// It ends up in error messages.
	usage string

	// repeatable says that the line may occur more than once.
	repeatable bool

	// read reads the rest of the line and the block, if one may follow. The
	// dispenser is at the name.
	read func(d *caddyfile.Dispenser) error
}

// name is the first word of the usage.
func (o option) name() string {
	name, _, _ := strings.Cut(o.usage, " ")
	return name
}

// readBlock reads the block that may follow, which may have these options. An
// unknown one is an error, and so is a second one of a kind that is not
// repeatable: a line that is ignored is one that somebody relies on.
func readBlock(d *caddyfile.Dispenser, owner string, options ...option) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		i := slices.IndexFunc(options, func(o option) bool { return o.name() == name })
		if i < 0 {
			return d.Errf("unrecognized option %q in %s, expected %s", name, owner, names(options))
		}
		if seen[name] && !options[i].repeatable {
			return d.Errf("%s is already specified", name)
		}
		seen[name] = true
		if err := options[i].read(d); err != nil {
			return err
		}
	}
	return nil
}

// names lists the names of options for an error message.
func names(options []option) string {
	var list []string
	for _, o := range options {
		list = append(list, o.name())
	}
	return oneOf(list)
}

// oneOf writes "a, b or c".
func oneOf(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// arguments reads the rest of the line. None may be empty. The errors do not
// repeat the arguments, since some are secrets.
func arguments(d *caddyfile.Dispenser, usage string, least, most int) ([]string, error) {
	args := d.RemainingArgs()
	if len(args) < least || len(args) > most {
		return nil, d.Errf("wrong number of arguments, expected: %s", usage)
	}
	if slices.Contains(args, "") {
		return nil, d.Errf("empty argument, expected: %s", usage)
	}
	return args, nil
}

// unlimited is for options that take any number of arguments.
const unlimited = math.MaxInt

// line reads the arguments of an option that has no block.
func line(d *caddyfile.Dispenser, usage string, least, most int) ([]string, error) {
	args, err := arguments(d, usage, least, most)
	if err != nil {
		return nil, err
	}
	if opensBlock(d) {
		return nil, d.Errf("unexpected block, expected: %s", usage)
	}
	return args, nil
}

// opensBlock says whether a block follows. To NextBlock an empty one is none.
func opensBlock(d *caddyfile.Dispenser) bool {
	if !d.Next() {
		return false
	}
	defer d.Prev()
	return d.ValRaw() == "{"
}

// value is an option with one value.
func value(usage string, target *string) option {
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, 1)
		if err != nil {
			return err
		}
		*target = args[0]
		return nil
	}}
}

// list is an option with one or more values. A further line adds to them.
func list(usage string, target *[]string) option {
	return option{usage: usage, repeatable: true, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, unlimited)
		if err != nil {
			return err
		}
		*target = append(*target, args...)
		return nil
	}}
}

// choice is an option with one of the values that its usage names, such as
// <required|optional>.
func choice(usage string, target *string) option {
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		if err := value(usage, target).read(d); err != nil {
			return err
		}
		return checkChoices(d, usage, *target)
	}}
}

// choices is an option with one or more of the values that its usage names. A
// further line adds to them.
func choices(usage string, target *[]string) option {
	return option{usage: usage, repeatable: true, read: func(d *caddyfile.Dispenser) error {
		if err := list(usage, target).read(d); err != nil {
			return err
		}
		return checkChoices(d, usage, *target...)
	}}
}

// checkChoices refuses values that are not among the <first|second> of a usage.
func checkChoices(d *caddyfile.Dispenser, usage string, values ...string) error {
	_, rest, _ := strings.Cut(usage, "<")
	alternatives, _, _ := strings.Cut(rest, ">")
	allowed := strings.Split(strings.TrimSuffix(alternatives, "..."), "|")
	for _, v := range values {
		if !slices.Contains(allowed, v) {
			return d.Errf("unrecognized value %q, expected: %s", v, usage)
		}
	}
	return nil
}

// flag is an option that says all by being there.
func flag(usage string, target *bool) option {
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		*target = true
		_, err := line(d, usage, 0, 0)
		return err
	}}
}

// duration is an option with a positive duration. Zero is refused, since it
// stands for the default in the JSON.
func duration(usage string, target *caddy.Duration) option {
	return option{usage: usage, read: func(d *caddyfile.Dispenser) error {
		args, err := line(d, usage, 1, 1)
		if err != nil {
			return err
		}
		parsed, err := caddy.ParseDuration(args[0])
		if err != nil || parsed <= 0 {
			return d.Errf("invalid duration %q, expected a positive one such as 90s or 5m: %s", args[0], usage)
		}
		*target = caddy.Duration(parsed)
		return nil
	}}
}
