// SPDX-License-Identifier: Apache-2.0
//
// A client that knows nothing of DPoP: the library gets its token as a bearer
// token, with the key in cnf_key, and the proofs are made by hand with jose.

import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import { test } from 'node:test'

import * as jose from 'jose'
import * as openid from 'openid-client'

import { client, issuers, site } from './sites.mjs'

const discover = (issuer) => openid.discovery(site(issuer), client.id, undefined, openid.ClientSecretBasic(client.secret), { algorithm: 'oauth2' })

// prove makes a proof for a GET.
function prove(alg, { privateKey, jwk }, url, token, nonce) {
  return new jose.SignJWT({
    htm: 'GET', htu: url.origin + url.pathname, ath: createHash('sha256').update(token).digest('base64url'), nonce,
  }).setProtectedHeader({ typ: 'dpop+jwt', alg, jwk }).setJti(randomUUID()).setIssuedAt().sign(privateKey)
}

async function makeKey(alg) {
  const { privateKey, publicKey } = await jose.generateKeyPair(alg)
  return { privateKey, jwk: await jose.exportJWK(publicKey) }
}

// advertised are the algorithms that a challenge names.
const advertised = (response) => /\balgs="([^"]+)"/.exec(response.headers.get('www-authenticate'))[1].split(' ')

for (const issuer of issuers) {
  const config = await discover(issuer)
  for (const alg of config.serverMetadata().dpop_signing_alg_values_supported) {
    test(`${issuer}: cnf_key, and proofs with ${alg}`, async () => {
      const key = await makeKey(alg)
      const token = await openid.clientCredentialsGrant(config, { cnf_key: Buffer.from(JSON.stringify({ jwk: key.jwk })).toString('base64url') })
      assert.equal(token.token_type, 'bearer')
      const { cnf } = await openid.tokenIntrospection(config, token.access_token)
      assert.equal(await jose.calculateJwkThumbprint(cnf.jwk), await jose.calculateJwkThumbprint(key.jwk))

      const url = site('api', '/reports?month=1')
      const bearer = { authorization: `Bearer ${token.access_token}` }
      const challenge = await fetch(url, { headers: bearer })
      assert.equal(challenge.status, 401)
      assert.match(challenge.headers.get('www-authenticate'), /^DPoP error="use_dpop_nonce"/)
      assert.ok(advertised(challenge).includes(alg), 'the challenge names the algorithm')
      const nonce = challenge.headers.get('dpop-nonce')

      for (const scheme of ['Bearer', 'DPoP']) {
        const headers = { authorization: `${scheme} ${token.access_token}`, dpop: await prove(alg, key, url, token.access_token, nonce) }
        const response = await fetch(url, { headers })
        assert.equal(response.status, 200, scheme)
        assert.equal(await response.text(), `GET /reports?month=1 by ${client.id}`)
        assert.equal((await fetch(url, { headers })).status, 401, 'a proof serves once')
      }
      const thief = await makeKey(alg)
      const stolen = await fetch(url, { headers: { ...bearer, dpop: await prove(alg, thief, url, token.access_token, nonce) } })
      assert.equal(stolen.status, 401)
    })
  }
}

test('anybody can verify our JWTs by the published keys', async () => {
  const config = await discover('auth')
  const as = config.serverMetadata()
  const { jwk } = await makeKey('ES256')
  const token = await openid.clientCredentialsGrant(config, { cnf_key: Buffer.from(JSON.stringify({ jwk })).toString('base64') })
  const keys = jose.createRemoteJWKSet(new URL(as.jwks_uri))
  const { payload } = await jose.jwtVerify(token.access_token, keys, { typ: 'at+jwt', issuer: as.issuer, audience: site('api').origin, requiredClaims: ['jti', 'client_id', 'cnf', 'sub', 'exp', 'iat'] })
  assert.deepEqual(payload.cnf.jwk, jwk)
})
