// SPDX-License-Identifier: Apache-2.0

package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"

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
		RunE: run(func(ctx context.Context, t terminal, _ []string) error { return demonstrate(ctx, t, serve) }),
	}
	cmd.Flags().BoolVar(&serve, "serve", false, "Keep the servers running and show commands to try")
	return cmd
}

func demonstrate(ctx context.Context, t terminal, serve bool) error {
	// before there is a folder that could be left behind
	ctx, out, release := interruptible(ctx, t.out)
	defer release()
	s, err := newStage()
	if err != nil {
		return err
	}
	p := newPage(t.out) // which may be a terminal, while out is none
	p.out = out
	return s.strike(ctx, perform(&demo{ctx: ctx, stage: s, page: p}, serve))
}

// perform starts the servers and tells the story on them.
func perform(d *demo, serve bool) error {
	// Caddy finishes in the background what it has begun, certificates and keys,
	// and would write them into a folder that is removed already: an interrupt
	// waits for the start and for the exchange it comes in
	if err := d.stage.start(context.WithoutCancel(d.ctx)); err != nil {
		return err
	}
	d.stage.client.Transport = gate{ctx: d.ctx, Transport: d.stage.client.Transport.(*http.Transport)}
	if err := d.tell(); err != nil {
		return err
	}
	if cause := context.Cause(d.ctx); cause != nil {
		return cause
	}
	if d.wrong > 0 {
		return fmt.Errorf("%d of %d checks went otherwise than they must", d.wrong, d.checks)
	}
	if !serve {
		return nil
	}
	d.invite()
	<-d.ctx.Done()
	// to be told to end is no fault here
	if cause := context.Cause(d.ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// strike stops Caddy and removes the folder, all but the log if the
// demonstration went wrong and nobody interrupted it. err is how it went.
func (s *stage) strike(ctx context.Context, err error) error {
	s.stop()
	if err == nil {
		return s.remove()
	}
	if cause := context.Cause(ctx); cause != nil {
		// all that went wrong after it follows from it
		return errors.Join(cause, s.remove())
	}
	if keepErr := s.keepLog(); keepErr == nil {
		err = hint(err, "the log of the servers is %s", quote(s.logFile()))
	}
	return err
}

// demo tells the story, checking every step of it.
type demo struct {
	*page
	ctx   context.Context
	stage *stage

	// the client's visit without a proof, to compare the thief's with
	alone struct {
		step int
		gist string
	}

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
