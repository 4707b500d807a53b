// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as openid from 'openid-client'

import { apis, client, fiveMinutes, introspector, issuers, keyedAlgorithms, privateKey, site, watch } from './sites.mjs'

// discover is a client of an issuer that knows its metadata.
async function discover(issuer, id = client.id, how = openid.ClientSecretBasic(client.secret)) {
  const fetch = watch()
  const config = await openid.discovery(site(issuer), id, undefined, how, { algorithm: 'oauth2', [openid.customFetch]: fetch })
  assert.deepEqual(fetch.statuses(), [200])
  return { config, fetch }
}

const newKey = async (config, alg = 'ES256') => openid.getDPoPHandle(config, await openid.randomDPoPKeyPair(alg))

// how clients authenticate, by method
const methods = {
  client_secret_basic: async () => [client.id, openid.ClientSecretBasic(client.secret)],
  client_secret_post: async () => [client.id, openid.ClientSecretPost(client.secret)],
  ...Object.fromEntries(keyedAlgorithms.map((alg) => [
    `private_key_jwt ${alg}`, async () => [`keyed-${alg}`, openid.PrivateKeyJwt(await privateKey(alg), { [openid.modifyAssertion]: fiveMinutes })],
  ])),
}

for (const issuer of issuers) {
  for (const [method, authentication] of Object.entries(methods)) {
    test(`${issuer}: ${method}`, async () => {
      const { config } = await discover(issuer, ...await authentication())
      const DPoP = await newKey(config)
      const token = await openid.clientCredentialsGrant(config, {}, { DPoP })
      assert.equal(token.token_type, 'dpop')
      // what is left of it, by the clock of this machine
      assert.ok(token.expiresIn() > 240 && token.expiresIn() <= 300, `it lives for ${token.expiresIn()} seconds`)
      const about = await openid.tokenIntrospection(config, token.access_token)
      assert.equal(about.active, true)
      assert.deepEqual(about.cnf, { jkt: await DPoP.calculateThumbprint() })
      await openid.tokenRevocation(config, token.access_token)
      assert.deepEqual(await openid.tokenIntrospection(config, token.access_token), { active: false })
    })
  }

  test(`${issuer}: the library's own retry for a nonce`, async () => {
    const { config, fetch } = await discover(issuer)
    for (const alg of config.serverMetadata().dpop_signing_alg_values_supported.filter((name) => name !== 'EdDSA')) {
      const DPoP = await newKey(config, alg)
      await openid.clientCredentialsGrant(config, {}, { DPoP })
      if (issuer === 'strict') assert.deepEqual(fetch.statuses(), [400, 200], alg)
      else fetch.statuses()
      const { access_token: token } = await openid.clientCredentialsGrant(config, {}, { DPoP })
      assert.deepEqual(fetch.statuses(), [200], alg)

      for (const name of Object.keys(apis)) {
        const get = () => openid.fetchProtectedResource(config, token, site(name, '/reports?month=1'), 'GET', null, undefined, { DPoP })
        assert.equal(await (await get()).text(), `GET /reports?month=1 by ${client.id}`)
        if (name === 'off') fetch.statuses()
        else assert.deepEqual(fetch.statuses(), [401, 200], `${alg} ${name}`)
        assert.equal((await get()).status, 200)
        assert.deepEqual(fetch.statuses(), [200], `${alg} ${name}`)
      }
    }
  })
}

test('a client that introspects others’ tokens', async () => {
  const { config } = await discover('strict')
  const { config: api } = await discover('strict', introspector.id, openid.ClientSecretBasic(introspector.secret))
  const { access_token: token } = await openid.clientCredentialsGrant(config, {}, { DPoP: await newKey(config) })
  assert.equal((await openid.tokenIntrospection(api, token)).client_id, client.id)
})
