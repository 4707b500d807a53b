// SPDX-License-Identifier: Apache-2.0

// The key of this browser. It can't be extracted, only used; IndexedDB keeps it.
async function loadKeys() {
  const fresh = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, false, ['sign'])
  const opening = indexedDB.open('popauth', 1)
  opening.onupgradeneeded = () => opening.result.createObjectStore('keys')
  const store = (await done(opening)).transaction('keys', 'readwrite').objectStore('keys')
  const kept = await done(store.get('dpop'))
  if (!kept) await done(store.put(fresh, 'dpop'))
  return kept ?? fresh
}

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result)
  request.onerror = () => reject(request.error)
})

const keys = loadKeys()
const nonces = new Map() // by origin

const encode = (text) => new TextEncoder().encode(text)
const base64url = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)))
  .replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '')

async function makeProof(method, url, token) {
  const { privateKey, publicKey } = await keys
  const { kty, crv, x, y } = await crypto.subtle.exportKey('jwk', publicKey)
  const header = { typ: 'dpop+jwt', alg: 'ES256', jwk: { kty, crv, x, y } }
  const claims = {
    jti: crypto.randomUUID(),
    htm: method,
    htu: url.origin + url.pathname,
    iat: Math.floor(Date.now() / 1000),
    nonce: nonces.get(url.origin),
  }
  if (token) claims.ath = base64url(await crypto.subtle.digest('SHA-256', encode(token)))
  const text = [header, claims].map((part) => base64url(encode(JSON.stringify(part)))).join('.')
  const signature = await crypto.subtle.sign({ name: 'ECDSA', hash: 'SHA-256' }, privateKey, encode(text))
  return `${text}.${base64url(signature)}`
}

// wantsNonce: an API says so in its challenge, the token endpoint in the body.
async function wantsNonce(response) {
  if (response.status === 401) return response.headers.get('WWW-Authenticate')?.includes('use_dpop_nonce')
  if (response.status !== 400) return false
  const body = await response.clone().json().catch(() => undefined)
  return body?.error === 'use_dpop_nonce'
}

// proven sends a request with a proof, and once more if it lacked a nonce.
async function proven(method, url, token, send) {
  for (let retried = false; ; retried = true) {
    const response = await send(await makeProof(method, url, token))
    const nonce = response.headers.get('DPoP-Nonce')
    if (nonce) nonces.set(url.origin, nonce)
    if (retried || !await wantsNonce(response)) return response
  }
}

// getToken gets a token from the backend, which has the client's secret. The
// proof is for the token endpoint, to which the backend passes it on.
export async function getToken(endpoint) {
  const response = await proven('POST', new URL(endpoint), undefined,
    (proof) => fetch('/token', { method: 'POST', headers: { DPoP: proof } }))
  if (!response.ok) throw new Error(`no token: ${response.status}`)
  return (await response.json()).access_token
}

// call is fetch for an API, with a token.
export function call(token, target, { method = 'GET', headers, ...rest } = {}) {
  const url = new URL(target)
  return proven(method, url, token, (proof) => fetch(url, {
    ...rest, method, headers: { ...headers, Authorization: `DPoP ${token}`, DPoP: proof },
  }))
}
