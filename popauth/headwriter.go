// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// headWriter amends the header of an upstream's answer when its head is
// written, so that ours are not beside the upstream's own fields.
type headWriter struct {
	*caddyhttp.ResponseWriterWrapper

	// nonce is a fresh one; empty for none. A cache that kept the answer would
	// hand one client's nonce to others.
	nonce string

	cors   *CORS  // may be nil
	origin string // of the page that may read the answer; empty for none

	amended bool
}

// serveNext calls the handlers behind, and amends the header of their answer
// where there is something to say: a nonce, or who may read it.
func serveNext(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler, nonce string, cors *CORS) error {
	if nonce == "" && cors == nil {
		return next.ServeHTTP(w, r)
	}
	head := &headWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		nonce:                 nonce, cors: cors, origin: cors.reader(r),
	}
	err := next.ServeHTTP(head, r)
	// errors and empty answers are written beneath that writer
	head.amend()
	return err
}

// amend sets the fields, once.
func (w *headWriter) amend() {
	if w.amended {
		return
	}
	w.amended = true
	h := w.Header()
	if w.nonce != "" {
		h.Set("DPoP-Nonce", w.nonce)
		h.Set("Cache-Control", "no-store")
	}
	w.cors.amend(h, w.origin)
}

// WriteHeader sets the fields with the final status. Other 1xx answers than
// 101 are followed by one.
func (w *headWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.amend()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write sets the fields, since it writes the head if nobody has.
func (w *headWriter) Write(b []byte) (int, error) {
	w.amend()
	return w.ResponseWriterWrapper.Write(b)
}

// ReadFrom does as Write does.
func (w *headWriter) ReadFrom(r io.Reader) (int64, error) {
	w.amend()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError does as Write does. Without it, http.ResponseController would go
// straight to the writer beneath.
func (w *headWriter) FlushError() error {
	w.amend()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Interface guards
var (
	_ http.ResponseWriter = (*headWriter)(nil)
	_ io.ReaderFrom       = (*headWriter)(nil)
)
