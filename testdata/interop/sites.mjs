// SPDX-License-Identifier: Apache-2.0
//
// Where the server is that the suite runs against, and what it is called by
// the libraries. The libraries are used as they come: `fetch` is only watched.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'

const { POPAUTH_PORT: port, POPAUTH_KEYS: keys } = process.env
if (!port || !keys) throw new Error('POPAUTH_PORT and POPAUTH_KEYS must be set: run this by go test ./popauth/e2e -run TestInterop')

// site is a URL of the site <name>.localhost.
export const site = (name, path = '/') => new URL(path, `https://${name}.localhost:${port}`)

// The two issuers: one takes proofs without a nonce and issues JWTs, the other
// wants a nonce and issues opaque tokens.
export const issuers = ['auth', 'strict']

// The APIs, by how they want nonces.
export const apis = {
  api: 'nonce required',
  single: 'nonce single_use',
  off: 'nonce off',
}

// What clients authenticate with. The secret holds what is easily lost between
// form encoding and Basic.
export const client = { id: 'cc:odd/1', secret: 'a+b%41: c&d=~' }
export const introspector = { id: 'api', secret: 'api-secret' }

// Clients that authenticate by a key: keyed-<algorithm>.
export const keyedAlgorithms = ['ES256', 'ES384', 'Ed25519', 'PS256', 'RS256']

// privateKey is the key of such a client, registered with its algorithm as kid.
export async function privateKey(alg) {
  const file = { ES256: 'p256', ES384: 'p384', Ed25519: 'ed25519', PS256: 'rsa2048', RS256: 'rsa2048' }[alg]
  const { kid, use, alg: named, ...jwk } = JSON.parse(readFileSync(join(keys, `${file}.json`)))
  const algorithm = {
    ES256: { name: 'ECDSA', namedCurve: 'P-256' },
    ES384: { name: 'ECDSA', namedCurve: 'P-384' },
    Ed25519: { name: 'Ed25519' },
    PS256: { name: 'RSA-PSS', hash: 'SHA-256' },
    RS256: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' },
  }[alg]
  return { key: await crypto.subtle.importKey('jwk', jwk, algorithm, false, ['sign']), kid: alg }
}

// watch is fetch, and the statuses of what it was answered.
export function watch() {
  const statuses = []
  const watched = async (url, init) => {
    const response = await fetch(url, init)
    statuses.push(response.status)
    return response
  }
  // since the last time it was asked
  watched.statuses = () => statuses.splice(0)
  return watched
}

// fiveMinutes lets an assertion expire as late as it may. The server has just
// begun to remember which were used, and takes none that could have been used
// before: of those that expire after a minute, for its first minute.
export function fiveMinutes(header, payload) {
  payload.exp = payload.iat + 300
}
