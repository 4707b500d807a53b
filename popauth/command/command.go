// SPDX-License-Identifier: Apache-2.0

// Package command is `caddy pop …`: a client for sender-constrained access
// tokens on the command line, and a demonstration of both halves of popauth.
//
// It is a client only. What it needs of the server's side it gets over HTTP,
// also in the demonstration, so that it works with other authorization servers
// and APIs as well. It keeps nothing: keys and tokens are where the user puts
// them.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "pop",
		Usage: "<key|cnf-key|token|request|demo>",
		Short: "Gets and uses access tokens that only the holder of a key can use",
		Long: `
Makes a key, gets an access token that is bound to it, and sends requests that
prove the possession of the key (RFC 7800, RFC 9449):

	$ caddy pop key --out key.json
	$ caddy pop token --issuer https://auth.example.com --client reports \
	      --secret-file secret --key key.json --raw > token
	$ caddy pop request --key key.json --token @token https://api.example.com/reports

'caddy pop demo' shows all of it, and what a thief of the token meets, without
any configuration.
`,
		CobraFunc: assemble,
	})
}

// assemble makes cmd the command that has all the others beneath it.
func assemble(cmd *cobra.Command) {
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return help(cmd, cmd, args) }
	cmd.AddCommand(keyCommand(), cnfKeyCommand(), tokenCommand(), requestCommand(), demoCommand(), helpCommand())
	// what cobra finds wrong with a command line is told like all else
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		on(cmd).fail(hint(err, "%s --help lists the options", cmd.CommandPath()))
		return err
	})
	for _, c := range append(cmd.Commands(), cmd) {
		c.SilenceErrors, c.SilenceUsage = true, true
	}
}

// helpCommand takes the place of cobra's, which only looks for commands right
// beneath the program.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [<command>]",
		Short: "Explains a command",
		RunE:  func(cmd *cobra.Command, args []string) error { return help(cmd, cmd.Parent(), args) },
	}
}

// help prints the help of the command that is named beneath top, or of top
// itself.
func help(cmd, top *cobra.Command, name []string) error {
	topic, rest, err := top.Find(name)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("unknown command %q", rest[0])
	}
	if err != nil {
		on(cmd).fail(hint(err, "%s --help lists the commands", top.CommandPath()))
		return err
	}
	topic.InitDefaultHelpFlag() // it is shown among the options
	return topic.Help()
}

// terminal is where a command reads and writes. The rules are those of a
// filter: what was asked for goes to out and nothing else does; errors,
// warnings and hints go to err, each on a line of its own that says what it
// is, without a capital at its start or a full stop at its end.
type terminal struct {
	in       io.Reader
	out, err io.Writer
}

// on is the terminal of a command.
func on(cmd *cobra.Command) terminal {
	return terminal{in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
}

// together says whether out and err end up in the same place: one terminal, or
// one file or pipe for both.
func (t terminal) together() bool {
	out, isFile := t.out.(*os.File)
	errs, areFile := t.err.(*os.File)
	if !isFile || !areFile {
		return t.out == t.err
	}
	a, err := out.Stat()
	b, err2 := errs.Stat()
	return err == nil && err2 == nil && os.SameFile(a, b)
}

func (t terminal) note(format string, args ...any) {
	fmt.Fprintf(t.err, format+"\n", args...)
}

func (t terminal) warn(err error) { t.tell("warning", err) }

func (t terminal) fail(err error) { t.tell("error", err) }

func (t terminal) tell(kind string, err error) {
	fmt.Fprintf(t.err, "%s: %v\n", kind, err)
	if h, ok := errors.AsType[*hinted](err); ok {
		fmt.Fprintf(t.err, "hint: %s\n", h.hint)
	}
}

// run wraps a command's function for cobra: its error is shown with its hint,
// and the exit status is 1. The function gets one argument for each operand,
// which are named for the errors.
func run(f func(ctx context.Context, t terminal, args []string) error, operands ...string) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		t := on(cmd)
		err := count(args, operands)
		if err != nil {
			err = hint(err, "usage: caddy pop %s", cmd.Use)
		} else {
			err = f(cmd.Context(), t, args)
		}
		// who closes a pipe, as head does, has seen enough and needs no telling
		if err != nil && !errors.Is(err, errUnread) {
			t.fail(err)
		}
		return err
	}
}

// count compares what is on the command line besides options with what must be
// there.
func count(args, operands []string) error {
	switch {
	case len(args) < len(operands):
		return fmt.Errorf("the %s is missing", operands[len(args)])
	case len(args) > len(operands):
		return fmt.Errorf("unexpected argument %q", abridge(args[len(operands)]))
	}
	return nil
}

// hinted is an error with advice. The advice is not part of its text.
type hinted struct {
	err  error
	hint string
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// hint adds advice to an error.
func hint(err error, format string, args ...any) error {
	return &hinted{err: err, hint: fmt.Sprintf(format, args...)}
}
