// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

// timed is a connection with read deadlines.
type timed struct {
	*httptest.ResponseRecorder
	deadlines []time.Time
}

func (c *timed) SetReadDeadline(t time.Time) error {
	c.deadlines = append(c.deadlines, t)
	return nil
}

// dripping is a body whose reads end at once with an error, or when it is closed
// if there is none.
type dripping struct {
	failure error
	closed  chan struct{}
	once    sync.Once
}

func (d *dripping) Read([]byte) (int, error) {
	if d.failure != nil {
		return 0, d.failure
	}
	<-d.closed
	return 0, io.ErrClosedPipe
}

func (d *dripping) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

func formRequest(body io.ReadCloser) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/oauth2/token", nil)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Body, r.ContentLength = body, -1
	return r
}

func TestFormThatTakesTooLongIsRefused(t *testing.T) {
	t.Parallel()
	c := &timed{ResponseRecorder: httptest.NewRecorder()}
	_, refusal := ReadForm(c, formRequest(&dripping{failure: os.ErrDeadlineExceeded, closed: make(chan struct{})}))
	if refusal == nil || refusal.Reason != FormTooSlow || refusal.Reason.Rule().Endpoint != http.StatusRequestTimeout {
		t.Errorf("got %v, want %s with 408", refusal, FormTooSlow)
	}
	if got := c.Header().Get("Connection"); got != "close" {
		t.Errorf("got Connection %q, want close", got)
	}
	// the deadline stays: nobody may go on reading
	if len(c.deadlines) != 1 || c.deadlines[0].IsZero() {
		t.Errorf("got deadlines %v, want one", c.deadlines)
	}
}

// After a body that came in time, the connection has no deadline left, which
// would cancel a request that takes longer itself.
func TestDeadlineEndsWithTheForm(t *testing.T) {
	t.Parallel()
	c := &timed{ResponseRecorder: httptest.NewRecorder()}
	form, refusal := ReadForm(c, formRequest(io.NopCloser(strings.NewReader("scope=a"))))
	if refusal != nil || form.Get("scope") != "a" {
		t.Fatalf("got %v, want the form", refusal)
	}
	if len(c.deadlines) != 2 || !c.deadlines[1].IsZero() {
		t.Errorf("got deadlines %v, want one and then none", c.deadlines)
	}
}

// Where a connection has no deadlines, the body is closed.
func TestBodyIsClosedWhereThereAreNoDeadlines(t *testing.T) {
	t.Parallel()
	body := &dripping{closed: make(chan struct{})}
	_, late, err := readBody(httptest.NewRecorder(), formRequest(body), time.Millisecond)
	if !late || err == nil {
		t.Errorf("got late %v, %v; want it late, with an error", late, err)
	}
	_, late, err = readBody(httptest.NewRecorder(), formRequest(io.NopCloser(strings.NewReader("a=b"))), time.Hour)
	if late || err != nil {
		t.Errorf("got late %v, %v for a body that is there", late, err)
	}
}
