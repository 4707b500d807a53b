// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// pop runs a sub-command as the command line would.
func pop(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = popTo(strings.NewReader(stdin), &out, &errs, args...)
	return out.String(), errs.String(), err
}

// popTo is pop with other places to read from and write to.
func popTo(in io.Reader, out, errs io.Writer, args ...string) error {
	pop := &cobra.Command{Use: "pop"}
	assemble(pop)
	caddy := &cobra.Command{Use: "caddy", SilenceUsage: true}
	caddy.AddCommand(pop)
	caddy.SetIn(in)
	caddy.SetOut(out)
	caddy.SetErr(errs)
	caddy.SetArgs(append([]string{"pop"}, args...))
	return caddy.Execute()
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

func TestHelpExplainsWhatItIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args, same []string
		want       string
	}{
		"nothing":        {[]string{"help"}, []string{"--help"}, "Available Commands:"},
		"no arguments":   {nil, []string{"--help"}, "Available Commands:"},
		"a command":      {[]string{"help", "token"}, []string{"token", "--help"}, "--secret-file"},
		"another":        {[]string{"help", "cnf-key"}, []string{"cnf-key", "--help"}, "--bare"},
		"help of itself": {[]string{"help", "help"}, []string{"help", "--help"}, "help [<command>]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr := mustPop(t, c.args...)
			if stderr != "" || !strings.Contains(stdout, c.want) {
				t.Errorf("stdout = %q, stderr = %q; want help with %q and nothing", stdout, stderr, c.want)
			}
			if same, _ := mustPop(t, c.same...); stdout != same {
				t.Errorf("stdout = %q, want what %v prints: %q", stdout, c.same, same)
			}
		})
	}
}

func TestWrongCommandLinesAreToldInOneStyle(t *testing.T) {
	t.Parallel()
	token := func(args ...string) []string { return append([]string{"token"}, args...) }
	secret := []string{"--client", "x", "--secret-file", "s"}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"an unknown command":             {[]string{"nonsense"}, `unknown command "nonsense"`},
		"help of an unknown command":     {[]string{"help", "nonsense"}, `unknown command "nonsense"`},
		"help of too much":               {[]string{"help", "token", "more"}, `unknown command "more"`},
		"an unknown option":              {token("--nonsense"), "unknown flag: --nonsense"},
		"an option without its value":    {token("--key"), "flag needs an argument: --key"},
		"a word too many":                {[]string{"key", "key.json"}, `unexpected argument "key.json"`},
		"token without an issuer":        {token(), "--issuer is missing"},
		"token with issuer and URL":      {token("--issuer", "a", "--url", "b"), "--issuer and --url exclude each other"},
		"token without a client":         {token("--issuer", "a"), "--client is missing"},
		"token without a secret":         {token("--issuer", "a", "--client", "x"), "--secret-file is missing"},
		"token with two secrets":         {token(append(secret, "--url", "a", "--secret-env", "S")...), "--secret-file and --secret-env exclude each other"},
		"token by two ways":              {token(append(secret, "--url", "a", "--basic", "--post")...), "--basic and --post exclude each other"},
		"token without a key":            {token(append(secret, "--url", "a")...), "--key is missing"},
		"cnf-key without a key":          {[]string{"cnf-key"}, "--key is missing"},
		"request without a URL":          {[]string{"request"}, "the URL is missing"},
		"request with two URLs":          {[]string{"request", "https://a", "https://b"}, `unexpected argument "https://b"`},
		"request without a token":        {[]string{"request", "https://localhost/"}, "--token is missing"},
		"request without a key":          {[]string{"request", "--token", "x", "https://localhost/"}, "--key is missing"},
		"request of two minds about TLS": {[]string{"request", "--key", keyFile(t, "ES256"), "--token", "x", "-k", "--cacert", "x", "https://localhost/"}, "--cacert and --insecure exclude each other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stdout, stderr, err := pop(t, "", c.args...)
			lines := strings.Split(stderr, "\n")
			if err == nil || stdout != "" || len(lines) != 3 || lines[0] != "error: "+c.want || !strings.HasPrefix(lines[1], "hint: ") {
				t.Errorf("error = %v, stdout = %q, stderr = %q; want the error %q and a hint, each on its line", err, stdout, stderr, c.want)
			}
		})
	}
}

func TestTerminalKnowsWhetherItsStreamsAreOne(t *testing.T) {
	t.Parallel()
	open := func(name string) *os.File {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	one, other := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "other")
	var buffer bytes.Buffer
	for name, c := range map[string]struct {
		out, err io.Writer
		want     bool
	}{
		"one file, opened twice": {open(one), open(one), true},
		"two files":              {open(one), open(other), false},
		"a file and no file":     {open(one), &buffer, false},
		"one writer":             {&buffer, &buffer, true},
		"two writers":            {&buffer, io.Discard, false},
	} {
		if got := (terminal{out: c.out, err: c.err}).together(); got != c.want {
			t.Errorf("%s: together() = %t, want %t", name, got, c.want)
		}
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
