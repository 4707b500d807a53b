// SPDX-License-Identifier: Apache-2.0

package oauth

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// formTime is how long a form may take to arrive, from the end of the header to
// the last byte. It is at most 64 KiB, which a modem sends in that time. A
// limit on every read, as servers have, would not do: a client that sends a
// byte now and then holds a connection for hours.
const formTime = 10 * time.Second

// AnswerSoon has the answer to a request of an endpoint wait for no body, and no
// body be waited for any longer than a form may take. Over HTTP/1.1, net/http
// would read up to 256 KiB of it before it answers, and as much afterwards, at
// the pace of the client. It is to be called first.
func AnswerSoon(w http.ResponseWriter) {
	connection := http.NewResponseController(w)
	// neither is known over HTTP/3, where nobody waits
	_ = connection.EnableFullDuplex()
	_ = connection.SetReadDeadline(time.Now().Add(formTime))
}

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
