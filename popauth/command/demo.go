// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
)

func demoCommand() *cobra.Command {
	var serve bool
	cmd := &cobra.Command{
		Use:   "demo [--serve]",
		Short: "Shows what a thief can do with a bound token",
		Long: `
Runs an authorization server and a protected API on loopback, lets a client get
and use a token, and then a thief try to. Every request and answer that is shown
was sent, and every reason was read from the server's log. Needs no
configuration, changes none, and leaves nothing behind.

The exit status is 1 if anything went otherwise than it must.
`,
		Args: cobra.NoArgs,
		RunE: run(func(ctx context.Context, t terminal, _ []string) error {
			ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
			defer stop()
			return demonstrate(ctx, t, serve)
		}),
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "Keep the servers running and show commands to try")
	return cmd
}

func demonstrate(ctx context.Context, t terminal, serve bool) (err error) {
	s, err := newStage()
	if err != nil {
		return err
	}
	defer func() {
		s.stop()
		if err == nil {
			err = s.remove()
			return
		}
		if keepErr := s.keepLog(); keepErr == nil {
			err = hint(err, "the log of the servers is %s", quote(s.logFile()))
		}
	}()
	if err := s.start(ctx); err != nil {
		return err
	}
	d := &demo{ctx: ctx, stage: s, page: newPage(t.out)}
	if err := d.tell(); err != nil {
		return err
	}
	if d.wrong > 0 {
		return fmt.Errorf("%d of %d checks went otherwise than they must", d.wrong, d.checks)
	}
	if !serve {
		return nil
	}
	d.invite()
	<-ctx.Done()
	return nil
}

// demo tells the story, checking every step of it.
type demo struct {
	*page
	ctx   context.Context
	stage *stage

	wrong, checks int
}

// tell is the story: the owner of the key first, since the thief takes from
// it what there is to take.
func (d *demo) tell() error {
	loot, err := d.owner()
	if err != nil {
		return err
	}
	return d.thief(loot)
}

// check prints how a step went.
func (d *demo) check(want, got string) {
	d.checks++
	if got == want {
		d.line(d.green("✓ " + got))
		return
	}
	d.wrong++
	d.line(d.red("✗ expected: " + want))
	d.line(d.red("       got: " + got))
}

// get sends a GET to the API, with an Authorization field and, unless it is
// empty, a proof.
func (d *demo) get(path, authorization, proof string) (*exchange, error) {
	u, err := url.Parse(d.stage.api + path)
	if err != nil {
		return nil, err
	}
	r, err := request(d.ctx, "GET", u, nil, nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", authorization)
	if proof != "" {
		r.Header.Set("DPoP", proof)
	}
	if err := d.stage.journal.skip(); err != nil {
		return nil, err
	}
	e, err := trade(d.stage.client, r, nil)
	if err != nil {
		return nil, err
	}
	d.exchange(e)
	return e, nil
}

// invite shows how to go on by hand.
func (d *demo) invite() {
	s := d.stage
	self := quote(os.Args[0])
	ca := quote(s.rootCert())
	d.scene("Now you")
	d.prose("The servers run until you press Ctrl-C. In another terminal:")
	d.line(self + " pop key --out demo-key.json")
	d.line("SECRET=" + s.clientSecret + " " + self + " pop token --issuer " + s.auth +
		" --client reports --secret-env SECRET --key demo-key.json --cacert " + ca + " --raw > demo-token")
	d.line(self + " pop request --key demo-key.json --token @demo-token --cacert " + ca + " -v " + s.api + "/reports")
	d.prose("And as the thief:")
	d.line(`curl -i --cacert ` + ca + ` -H "Authorization: Bearer $(cat demo-token)" ` + s.api + "/reports")
	d.prose("The log, with the reason of every refusal: " + quote(s.logFile()))
}

// keepLog removes everything but the log.
func (s *stage) keepLog() error {
	if _, err := os.Stat(s.logFile()); err != nil {
		return errors.Join(err, s.remove())
	}
	return os.RemoveAll(filepath.Join(s.dir, "storage"))
}
