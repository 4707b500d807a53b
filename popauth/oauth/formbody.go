// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// formTime is how long a form may take to arrive, from the end of the header to
// the last byte. It is at most 64 KiB, which a modem sends in that time. A
// limit on every read, as servers have, would not do: a client that sends a
// byte now and then holds a connection for hours.
const formTime = 10 * time.Second

// LimitBody has the body of a request to an endpoint take no longer than a form
// may, whether or not it is read. It is to be called first.
func LimitBody(w http.ResponseWriter) {
	// HTTP/3 knows no deadlines, and there nobody waits
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(formTime))
}

// LeaveBody has a request be answered without what is left of its body. It is to
// be called before the answer is written, and the body must not be read then.
//
// Over HTTP/1.1 the connection ends with the answer. Else net/http would read up
// to 256 KiB before it answers, at the pace of the client. Full duplex would
// spare that, and is worse: with it, net/http does not notice that a body is
// broken, nor, since Caddy wraps bodies, that it has not come to its end, and
// takes the rest for the next request. Behind a proxy that keeps its
// connections, the answer to that would be somebody else's.
func LeaveBody(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor != 1 || r.ContentLength == 0 {
		return
	}
	w.Header().Set("Connection", "close")
	for wrapped, ok := w.(unwrapper); ok; wrapped, ok = w.(unwrapper) {
		w = wrapped.Unwrap()
	}
	// This is how net/http is told that there is more than will be read. It then
	// hangs up in a way that does not take the answer from a client that is
	// still sending.
	_, _ = http.MaxBytesReader(w, io.NopCloser(strings.NewReader("more")), 0).Read(make([]byte, 1))
}

// unwrapper is a writer around another one, as http.ResponseController knows it.
type unwrapper interface{ Unwrap() http.ResponseWriter }

// readBody reads a form's body of at most maxFormBytes, and says whether it took
// longer than the limit. The time is that of the connection, since that is what
// is to be freed.
func readBody(w http.ResponseWriter, r *http.Request, limit time.Duration) (body []byte, late bool, err error) {
	connection := http.NewResponseController(w)
	var closed atomic.Bool
	if err := connection.SetReadDeadline(time.Now().Add(limit)); err != nil {
		// HTTP/3 has no deadlines, but there closing the body ends a read; over
		// HTTP/1.1 it would wait for it
		timer := time.AfterFunc(limit, func() {
			closed.Store(true)
			_ = r.Body.Close()
		})
		defer timer.Stop()
	}
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxFormBytes))
	if err == nil {
		// else net/http, which goes on reading to see whether the client hangs
		// up, would cancel the request when the time is over
		_ = connection.SetReadDeadline(time.Time{})
	}
	return body, closed.Load() || errors.Is(err, os.ErrDeadlineExceeded), err
}
