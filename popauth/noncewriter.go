// SPDX-License-Identifier: Apache-2.0

package popauth

import (
	"io"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// nonceWriter adds a fresh nonce to an answer, when its head is written: the
// upstream's own Cache-Control would otherwise stand beside ours, and a cache
// that kept the answer would hand one client's nonce to others.
type nonceWriter struct {
	*caddyhttp.ResponseWriterWrapper
	nonce   string
	renewed bool
}

// renew sets the fields, once.
func (w *nonceWriter) renew() {
	if w.renewed {
		return
	}
	w.renewed = true
	w.Header().Set("DPoP-Nonce", w.nonce)
	w.Header().Set("Cache-Control", "no-store")
}

// WriteHeader sets the fields with the final status. Other 1xx answers than
// 101 are followed by one.
func (w *nonceWriter) WriteHeader(status int) {
	if status >= http.StatusOK || status == http.StatusSwitchingProtocols {
		w.renew()
	}
	w.ResponseWriterWrapper.WriteHeader(status)
}

// Write sets the fields, since it writes the head if nobody has.
func (w *nonceWriter) Write(b []byte) (int, error) {
	w.renew()
	return w.ResponseWriterWrapper.Write(b)
}

// ReadFrom does as Write does.
func (w *nonceWriter) ReadFrom(r io.Reader) (int64, error) {
	w.renew()
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError does as Write does. Without it, http.ResponseController would go
// straight to the writer beneath.
func (w *nonceWriter) FlushError() error {
	w.renew()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// Interface guards
var (
	_ http.ResponseWriter = (*nonceWriter)(nil)
	_ io.ReaderFrom       = (*nonceWriter)(nil)
)
