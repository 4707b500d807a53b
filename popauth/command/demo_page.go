// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// page is the printed story.
type page struct {
	out    io.Writer
	colour bool
	scenes int
}

// newPage uses colour on a terminal only, and not where it is unwanted
// (no-color.org).
func newPage(out io.Writer) *page {
	f, ok := out.(*os.File)
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return &page{out: out}
	}
	info, err := f.Stat()
	return &page{out: out, colour: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (p *page) paint(code, s string) string {
	if !p.colour {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *page) bold(s string) string  { return p.paint("1", s) }
func (p *page) green(s string) string { return p.paint("32", s) }
func (p *page) red(s string) string   { return p.paint("31", s) }
func (p *page) dim(s string) string   { return p.paint("2", s) }

// scene begins a part of the story.
func (p *page) scene(title string) {
	p.scenes++
	fmt.Fprintf(p.out, "\n%s\n", p.bold(fmt.Sprintf("%d. %s", p.scenes, title)))
}

func (p *page) prose(text string) { fmt.Fprintf(p.out, "\n%s\n\n", text) }

// line prints one line of what was sent, got or found.
func (p *page) line(text string) {
	if text != "" {
		text = "  " + text
	}
	fmt.Fprintln(p.out, text)
}

// json prints a JSON text, what reads like a token in it shortened.
func (p *page) json(text []byte) {
	var b bytes.Buffer
	if json.Indent(&b, bytes.TrimSpace(text), "", "  ") != nil {
		b.Reset()
		b.Write(text)
	}
	for line := range strings.SplitSeq(b.String(), "\n") {
		p.line(p.dim("| ") + abridge(printable(line)))
	}
}

// exchange prints a request and its answer as HTTP.
func (p *page) exchange(e *exchange) {
	sent, got := heads(e.response)
	p.message("> ", sent, e.sent, e.request.Header)
	p.line("")
	p.message("< ", got, e.got, e.response.Header)
	p.line("")
}

// message prints a head but for the fields that say nothing here, and the
// body.
func (p *page) message(mark string, head []string, body []byte, header http.Header) {
	for _, line := range head {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Accept", "Alt-Svc", "Content-Length", "Date", "Server", "User-Agent", "Via":
			continue
		}
		p.line(p.dim(mark) + line)
	}
	p.line(p.dim(strings.TrimSpace(mark)))
	if len(body) == 0 {
		return
	}
	text := string(body)
	if strings.HasPrefix(header.Get("Content-Type"), "application/json") {
		var b bytes.Buffer
		if json.Indent(&b, bytes.TrimSpace(body), "", "  ") == nil {
			text = b.String()
		}
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		p.line(p.dim(mark) + abridge(printable(line)))
	}
}
