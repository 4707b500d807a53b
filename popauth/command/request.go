// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

type requestOptions struct {
	wire             wire
	method           string
	headers, data    []string
	key, token       string
	output           string
	include, verbose bool
}

func requestCommand() *cobra.Command {
	var o requestOptions
	cmd := &cobra.Command{
		Use:   "request --key <file> --token <token|@file> <url>",
		Short: "Sends a request with a bound token and a proof",
		Long: `
Sends a request like curl does, with a bound access token and a proof that you
hold the key. If the server asks for a proof with its nonce, it gets one, once.
Redirects are not followed.

The body of the answer goes to standard output. The exit status is 0 if the
answer is a success (2xx), else 1. Names beneath localhost mean this machine.

HTTP/3 is for those who ask for it with --http 3. It goes straight to the
server, over UDP and past the proxies that the environment names.
`,
		Example: `  $ caddy pop request --key key.json --token @token https://api.example.com/reports
  $ caddy pop request --key key.json --token @token -d @new.json \
        -H 'Content-Type: application/json' -i https://api.example.com/reports`,
		RunE: run(func(ctx context.Context, t terminal, args []string) error { return o.run(ctx, t, args[0]) }, "URL"),
	}
	f := cmd.Flags()
	f.StringVar(&o.key, "key", "", "The file with the private JWK; - is the standard input")
	f.StringVar(&o.token, "token", "", "The access token, or @ and the file that has it; @- is the standard input")
	f.StringVarP(&o.method, "request", "X", "", "The method (default: GET, or POST with --data)")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "A header field, as in 'Accept: text/plain'; repeatable")
	f.StringArrayVarP(&o.data, "data", "d", nil, "The body, or @ and the file that has it; repeatable, joined by &")
	f.BoolVarP(&o.include, "include", "i", false, "Print the head of the answer as well")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "Show the heads of all requests and answers, tokens and proofs shortened, on standard error")
	f.StringVarP(&o.output, "output", "o", "", "The file to write the answer to (default: standard output)")
	o.wire.flags(cmd)
	return cmd
}

func (o requestOptions) run(ctx context.Context, t terminal, raw string) error {
	c, err := o.call(t, raw)
	if err != nil {
		return err
	}
	client, err := o.wire.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	show := func(*http.Response) {}
	if o.verbose {
		show = func(resp *http.Response) {
			sent, got := heads(resp)
			printLines(t.err, "> ", append(sent, ""))
			printLines(t.err, "< ", append(got, ""))
		}
	}
	resp, err := c.do(ctx, client, show)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	show(resp)
	out := &printed{Writer: t.out}
	err = o.write(out, resp)
	if err == nil && resp.StatusCode/100 != 2 {
		err = c.refused(resp)
	}
	if err != nil && out.unended() && t.together() {
		// the body is printed as it came, but the error needs a line of its own
		fmt.Fprintln(t.err)
	}
	return err
}

// call puts together what the options ask for.
func (o requestOptions) call(t terminal, raw string) (call, error) {
	if o.token == "" {
		return call{}, hint(errors.New("--token is missing"), "caddy pop token gets one")
	}
	u, err := target(raw)
	if err != nil {
		return call{}, err
	}
	header, err := parseHeader(o.headers)
	if err != nil {
		return call{}, err
	}
	p, err := t.readKey(o.key)
	if err != nil {
		return call{}, err
	}
	token, err := t.accessToken(o.token)
	if err != nil {
		return call{}, err
	}
	c := call{method: http.MethodGet, url: u, header: header, token: token, prover: p}
	if len(o.data) > 0 {
		c.method = http.MethodPost
		if c.body, err = t.body(o.data); err != nil {
			return call{}, err
		}
		if header.Get("Content-Type") == "" {
			header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
	}
	if o.method != "" {
		c.method = o.method
	}
	return c, nil
}

// parseHeader reads the -H options. The fields that this command is about are
// not among those that can be given.
func parseHeader(given []string) (http.Header, error) {
	header := http.Header{}
	for _, line := range given {
		name, value, ok := strings.Cut(line, ":")
		name = strings.TrimSpace(name)
		if !ok || name == "" {
			return nil, hint(errors.New("a header field has no name or no colon"), "write it as -H 'Accept: text/plain'")
		}
		switch http.CanonicalHeaderKey(name) {
		case "Authorization", "Dpop":
			return nil, hint(fmt.Errorf("the field %s is made by this command", name), "give the token with --token")
		case "Host":
			return nil, errors.New("the field Host follows from the URL")
		}
		header.Add(name, strings.TrimSpace(value))
	}
	return header, nil
}

// body joins the --data options as curl does. They are read before the first
// attempt, since there may be a second one.
func (t terminal) body(data []string) ([]byte, error) {
	var body []byte
	for i, d := range data {
		if i > 0 {
			body = append(body, '&')
		}
		name, isFile := strings.CutPrefix(d, "@")
		if !isFile {
			body = append(body, d...)
			continue
		}
		f, err := t.open(name)
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(f)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("reading %q: %w", name, err)
		}
		body = append(body, content...)
	}
	return body, nil
}

func (o requestOptions) write(out io.Writer, resp *http.Response) (err error) {
	if o.output != "" && o.output != "-" {
		f, err := os.Create(o.output)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	if o.include {
		printLines(out, "", append(responseHead(resp, verbatim), ""))
	}
	if _, err := io.Copy(out, resp.Body); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}
