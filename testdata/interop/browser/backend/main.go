// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"strings"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", token)
	// only pages of the same origin may ask
	log.Fatal(http.ListenAndServe("localhost:9000", http.NewCrossOriginProtection().Handler(mux)))
}

// token gets a token for the page that asks. It is bound to the key that the
// page has proven, so nobody but that browser can use it.
func token(w http.ResponseWriter, r *http.Request) {
	// Who is it? Here, look at the session of your visitor.

	form := url.Values{"grant_type": {"client_credentials"}}
	request, err := http.NewRequestWithContext(r.Context(), http.MethodPost,
		"https://auth.localhost:8443/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	request.SetBasicAuth("reports", url.QueryEscape(os.Getenv("REPORTS_SECRET")))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header["Dpop"] = r.Header["Dpop"] // the proof, as it came

	resp, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Print(err)
		http.Error(w, "", http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	for _, name := range []string{"Content-Type", "Cache-Control", "DPoP-Nonce"} {
		if value := resp.Header.Get(name); value != "" {
			w.Header().Set(name, value)
		}
	}
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body)
}
