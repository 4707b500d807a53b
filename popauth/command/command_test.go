// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// pop runs a sub-command as the command line would.
func pop(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := &cobra.Command{Use: "pop"}
	cmd.AddCommand(keyCommand(), cnfKeyCommand(), tokenCommand(), requestCommand(), demoCommand())
	var out, errs bytes.Buffer
	cmd.SetIn(strings.NewReader(stdin))
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SetArgs(args)
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

// mustPop fails the test if the sub-command does.
func mustPop(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	stdout, stderr, err := pop(t, "", args...)
	if err != nil {
		t.Fatalf("pop %s: %v\n%s", strings.Join(args, " "), err, stderr)
	}
	return stdout, stderr
}

func TestErrorsComeOnceAndWithAHint(t *testing.T) {
	t.Parallel()
	_, stderr, err := pop(t, "", "cnf-key", "--key", "no such file.json")
	if err == nil {
		t.Fatal("a missing key file is no error")
	}
	want := "error: open no such file.json: no such file or directory\n" +
		"hint: caddy pop key --out 'no such file.json' makes a key\n"
	if stderr != want {
		t.Errorf("stderr = %q, want %q", stderr, want)
	}
}

func TestQuote(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{
		"/tmp/key.json": "/tmp/key.json",
		"my key":        "'my key'",
		"it's":          `'it'\''s'`,
		"$HOME":         "'$HOME'",
		"":              "''",
	} {
		if got := quote(word); got != want {
			t.Errorf("quote(%q) = %s, want %s", word, got, want)
		}
	}
}
