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
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Args = cobra.NoArgs
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
			cmd.AddCommand(keyCommand(), cnfKeyCommand(), tokenCommand(), requestCommand(), demoCommand())
		},
	})
}

// terminal is where a command reads and writes. The rules are those of a
// filter: what was asked for goes to out and nothing else does; errors,
// warnings and hints go to err, each on a line of its own that says what it
// is, without a capital at its start or a full stop at its end.
type terminal struct {
	in       io.Reader
	out, err io.Writer
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
// and the exit status is 1.
func run(f func(ctx context.Context, t terminal, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cmd.SilenceErrors, cmd.SilenceUsage = true, true
		t := terminal{in: cmd.InOrStdin(), out: cmd.OutOrStdout(), err: cmd.ErrOrStderr()}
		err := f(cmd.Context(), t, args)
		if err != nil {
			t.fail(err)
		}
		return err
	}
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
