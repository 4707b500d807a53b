// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/popauth/caddy-popauth/popauth/jwk"
)

func cnfKeyCommand() *cobra.Command {
	var key string
	var bare bool
	cmd := &cobra.Command{
		Use:   "cnf-key --key <file> [--bare]",
		Short: "Prints the cnf_key parameter for a key",
		Long: `
Prints the value of the cnf_key parameter of a token request: the Base64 of
{"jwk":{…}} with the public part of the key. It still has to be form-encoded,
as curl does with --data-urlencode:

	$ curl -u reports -d grant_type=client_credentials \
	      --data-urlencode "cnf_key=$(caddy pop cnf-key --key key.json)" \
	      https://auth.example.com/oauth2/token
`,
		RunE: run(func(_ context.Context, t terminal, _ []string) error {
			p, err := t.readKey(key)
			if err != nil {
				return err
			}
			value, err := cnfKey(p.key, bare)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(t.out, value)
			return err
		}),
	}
	cmd.Flags().StringVar(&key, "key", "", "The file with the private JWK; - is the standard input")
	cmd.Flags().BoolVar(&bare, "bare", false, "The Base64 of the JWK alone, without {\"jwk\":…} around it")
	return cmd
}

// cnfKey is the cnf_key parameter: padded Base64 of the standard alphabet,
// since OpenAM takes no other.
func cnfKey(key *jwk.Key, bare bool) (string, error) {
	var content any = map[string]*jwk.Key{"jwk": key}
	if bare {
		content = key
	}
	text, err := json.Marshal(content)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(text), nil
}
