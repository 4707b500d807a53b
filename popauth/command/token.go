// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

type tokenOptions struct {
	wire                  wire
	url, issuer           string
	client                string
	secretFile, secretEnv string
	clientKey             string
	key                   string
	scopes, resources     []string
	basic, post, raw      bool
	dpop, cnfKey          bool
}

func tokenCommand() *cobra.Command {
	var o tokenOptions
	cmd := &cobra.Command{
		Use:   "token --issuer <url> --client <id> --secret-file <file> --key <file>",
		Short: "Gets an access token that is bound to a key",
		Long: `
Asks an authorization server for an access token by the client_credentials
grant and sends the public part of the key along as cnf_key, so that the token
gets bound to it. With --dpop it sends a DPoP proof by the key instead, or with
--dpop --cnf-key both; if the server asks for a nonce in the proof, it is asked
once more. Prints the answer, or with --raw the access token alone.

The secret comes from a file or an environment variable, not from an argument:
everybody on the machine can read the arguments of a running program. A client
that is registered with a key has none: --client-key signs an assertion with the
private key instead (private_key_jwt). That may be another key than --key.
`,
		Example: `  $ caddy pop token --issuer https://auth.example.com --client reports \
        --secret-file secret --key key.json --raw > token`,
		RunE: run(func(ctx context.Context, t terminal, _ []string) error { return o.run(ctx, t) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.issuer, "issuer", "", "The URL of the issuer, whose metadata names the token endpoint")
	f.StringVar(&o.url, "url", "", "The URL of the token endpoint")
	f.StringVar(&o.client, "client", "", "The id of the client")
	f.StringVar(&o.secretFile, "secret-file", "", "The file with the client's secret; - is the standard input")
	f.StringVar(&o.secretEnv, "secret-env", "", "The environment variable with the client's secret")
	f.StringVar(&o.clientKey, "client-key", "", "The file with the private JWK that the client authenticates with, instead of a secret")
	f.StringVar(&o.key, "key", "", "The file with the private JWK; - is the standard input")
	f.StringArrayVar(&o.scopes, "scope", nil, "A scope to ask for, or several with spaces between; repeatable")
	f.StringArrayVar(&o.resources, "resource", nil, "The URI of the API that the token is for (RFC 8707); repeatable")
	f.BoolVar(&o.basic, "basic", false, "Send id and secret in the Authorization field (default)")
	f.BoolVar(&o.post, "post", false, "Send id and secret in the body")
	f.BoolVar(&o.cnfKey, "cnf-key", false, "Send the key as cnf_key (default, unless --dpop is given)")
	f.BoolVar(&o.dpop, "dpop", false, "Send a DPoP proof by the key (RFC 9449)")
	f.BoolVar(&o.raw, "raw", false, "Print the access token alone")
	o.wire.flags(cmd)
	return cmd
}

// check finds options that are missing or exclude each other. A key that is
// missing is told where it is read.
func (o tokenOptions) check() error {
	switch {
	case o.issuer == "" && o.url == "":
		return hint(errors.New("--issuer is missing"), "give the URL of the issuer, or with --url that of its token endpoint")
	case o.issuer != "" && o.url != "":
		return hint(errors.New("--issuer and --url exclude each other"), "--issuer is enough if the issuer publishes its metadata")
	case o.client == "":
		return hint(errors.New("--client is missing"), "give the id under which the server knows the client")
	case o.clientKey != "" && (o.secretFile != "" || o.secretEnv != "" || o.basic || o.post):
		return hint(errors.New("--client-key and the options for a secret exclude each other"), "give the one that the client is registered with")
	case o.clientKey != "" && o.issuer == "":
		return hint(errors.New("--client-key needs --issuer"), "the assertion names the issuer as the one that it is for")
	case o.clientKey == "-" && o.key == "-":
		return errors.New("the two keys can't both come from the standard input")
	case o.clientKey != "":
	case o.secretFile == "" && o.secretEnv == "":
		return hint(errors.New("--secret-file is missing"), "give the file with the client's secret, or with --secret-env the environment variable, or with --client-key its key")
	case o.secretFile != "" && o.secretEnv != "":
		return hint(errors.New("--secret-file and --secret-env exclude each other"), "give the one that has the secret")
	case o.basic && o.post:
		return hint(errors.New("--basic and --post exclude each other"), "give the one that the server wants; most take both")
	}
	return nil
}

func (o tokenOptions) run(ctx context.Context, t terminal) error {
	if err := o.check(); err != nil {
		return err
	}
	p, err := t.readKey(o.key)
	if err != nil {
		return err
	}
	var secret string
	var by *asserter
	if o.clientKey != "" {
		key, err := t.readKey(o.clientKey)
		if err != nil {
			return err
		}
		by = &asserter{prover: key, client: o.client, issuer: o.issuer}
	} else if secret, err = o.secret(t); err != nil {
		return err
	}
	client, err := o.wire.client()
	if err != nil {
		return err
	}
	defer client.CloseIdleConnections()
	endpoint := o.url
	if o.issuer != "" {
		document, err := discover(ctx, client, o.issuer)
		if err != nil {
			return err
		}
		endpoint = document.token
	}
	ask := tokenRequest{
		endpoint: endpoint, client: o.client, secret: secret, post: o.post,
		scopes: o.scopes, resources: o.resources, asserter: by,
	}
	if o.cnfKey || !o.dpop {
		ask.key = p.key
	}
	if o.dpop {
		ask.prover = &p
	}
	e, err := ask.send(ctx, client)
	if err != nil {
		return err
	}
	token, err := readToken(e)
	if err != nil {
		return err
	}
	warnUnbound(t, token, p, o.dpop)
	if o.raw {
		_, err := fmt.Fprintln(t.out, token)
		return err
	}
	var text bytes.Buffer
	if err := json.Indent(&text, bytes.TrimSpace(e.got), "", "  "); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	_, err = fmt.Fprintln(t.out, text.String())
	return err
}

func (o tokenOptions) secret(t terminal) (string, error) {
	if o.secretEnv != "" {
		secret, ok := os.LookupEnv(o.secretEnv)
		if !ok || secret == "" {
			return "", fmt.Errorf("the environment variable %q is not set", o.secretEnv)
		}
		return secret, nil
	}
	if o.secretFile == "-" && o.key == "-" {
		return "", errors.New("the key and the secret can't both come from the standard input")
	}
	secret, err := t.read(o.secretFile)
	if err != nil {
		return "", fmt.Errorf("reading the secret: %w", err)
	}
	if secret == "" {
		return "", fmt.Errorf("the file %q with the secret is empty", o.secretFile)
	}
	t.checkMode("client's secret", o.secretFile)
	return secret, nil
}

// warnUnbound tells of a server that does not know cnf_key or DPoP: it ignores
// them, as it must (RFC 6749 §3.2), and the token is an ordinary one.
func warnUnbound(t terminal, token string, p prover, proven bool) {
	means := "the cnf_key parameter"
	if proven {
		means = "DPoP"
	}
	content, ok := peek(token)
	switch {
	case !ok:
	case !content.bound:
		t.warn(hint(errors.New("the token is not bound to the key: whoever gets hold of it can use it"),
			"does the server know %s?", means))
	case content.thumbprint != p.key.Thumbprint():
		t.warn(errors.New("the token is bound, but not to this key"))
	}
}
