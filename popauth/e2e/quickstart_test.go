// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// quickStart is a folder in which the commands of the README run. The ports of
// the README are replaced by free ones.
type quickStart struct {
	dir   string
	ports map[string]string // by the port in the README
	names []string          // hosts of the Caddyfile
	env   []string          // of the commands, besides this process's own
	ran   bool
}

func newQuickStart(t *testing.T) *quickStart {
	t.Helper()
	q := &quickStart{dir: t.TempDir(), ports: map[string]string{}}
	free := freePorts(t, 4)
	for i, port := range []string{"8080", "8443", "2019", "9000"} {
		q.ports[port] = strconv.Itoa(free[i])
	}
	caddy := fmt.Sprintf("#!/bin/sh\n%s=${%s:-1} exec '%s' \"$@\"\n", asCaddy, asCaddy, program())
	if err := os.WriteFile(filepath.Join(q.dir, "caddy"), []byte(caddy), 0o700); err != nil {
		t.Fatal(err)
	}
	return q
}

// swap replaces the ports of the README by those in use, or the other way.
func (q *quickStart) swap(text string, back bool) string {
	for documented, used := range q.ports {
		if back {
			documented, used = used, documented
		}
		text = strings.ReplaceAll(text, documented, used)
	}
	return text
}

var siteAddress = regexp.MustCompile(`(?m)^([a-z.]+\.localhost) \{$`)

// save writes the Caddyfile, with an admin endpoint of its own.
func (q *quickStart) save(t *testing.T, text string) {
	t.Helper()
	for _, m := range siteAddress.FindAllStringSubmatch(text, -1) {
		q.names = append(q.names, m[1])
	}
	text = strings.Replace(text, "{\n", "{\n\tadmin localhost:2019\n", 1)
	if err := os.WriteFile(filepath.Join(q.dir, "Caddyfile"), []byte(q.swap(text, false)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// session runs the commands of a block and returns it with what they printed.
func (q *quickStart) session(t *testing.T, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		command, ok := strings.CutPrefix(line, "$ ")
		if !ok {
			continue
		}
		out.WriteString(line)
		if command = strings.TrimSpace(command); command == "./caddy run" {
			q.run(t)
			continue
		}
		printed := q.bash(t, command)
		if printed != "" && !strings.HasSuffix(printed, "\n") {
			printed += "\n"
		}
		out.WriteString(printed)
	}
	return out.String()
}

// bash runs one command.
func (q *quickStart) bash(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startup)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", q.swap(command, false))
	cmd.Dir = q.dir
	cmd.Env = append(os.Environ(), "HOME="+q.dir, "XDG_DATA_HOME="+q.dir+"/data", "XDG_CONFIG_HOME="+q.dir+"/config")
	cmd.Env = append(cmd.Env, q.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v: %s", command, err, stderr.String())
	}
	text := q.swap(strings.ReplaceAll(string(out), "\r", ""), true)
	return jwt.ReplaceAllString(text, "$1…")
}

// run starts Caddy and waits until its sites have certificates.
func (q *quickStart) run(t *testing.T) {
	t.Helper()
	q.ran = true
	cmd := exec.CommandContext(t.Context(), "./caddy", "run")
	cmd.Dir = q.dir
	cmd.Env = append(os.Environ(), asCaddy+"=child", "HOME="+q.dir, "XDG_DATA_HOME="+q.dir+"/data", "XDG_CONFIG_HOME="+q.dir+"/config")
	output := filepath.Join(q.dir, "output.txt")
	file, err := os.Create(output)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close() // the child ends with it
		_ = cmd.Wait()
	})
	q.await(t, output)
}

// await returns when every site answers.
func (q *quickStart) await(t *testing.T, output string) {
	t.Helper()
	retry := time.NewTicker(50 * time.Millisecond)
	defer retry.Stop()
	end := time.After(startup)
	for _, name := range q.names {
		for {
			conn, err := tls.Dial("tcp", net.JoinHostPort("127.0.0.1", q.ports["8443"]), &tls.Config{
				ServerName: name, InsecureSkipVerify: true, // only to see whether there is a certificate
			})
			if err == nil {
				_ = conn.Close()
				break
			}
			select {
			case <-retry.C:
			case <-end:
				printed, _ := os.ReadFile(output)
				t.Fatalf("%s does not answer: %v\n%s", name, err, printed)
			}
		}
	}
}
