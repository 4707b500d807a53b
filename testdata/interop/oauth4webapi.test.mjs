// SPDX-License-Identifier: Apache-2.0

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as oauth from 'oauth4webapi'

import { apis, client, fiveMinutes, introspector, issuers, keyedAlgorithms, privateKey, site, watch } from './sites.mjs'

// discover is the metadata of an issuer.
async function discover(name) {
  const url = site(name)
  const response = await oauth.discoveryRequest(url, { algorithm: 'oauth2' })
  return oauth.processDiscoveryResponse(url, response)
}

const metadata = Object.fromEntries(await Promise.all(issuers.map(async (name) => [name, await discover(name)])))

const me = { client_id: client.id }
const byBasic = oauth.ClientSecretBasic(client.secret)
const api = { client_id: introspector.id }
const byAPI = oauth.ClientSecretBasic(introspector.secret)

// once repeats what was refused for want of a nonce, as the library's guide
// tells its users to.
async function once(attempt) {
  try {
    return await attempt()
  } catch (err) {
    if (!oauth.isDPoPNonceError(err)) throw err
    return attempt()
  }
}

// getToken gets a token by a proof.
function getToken(as, DPoP, { who = me, how = byBasic, parameters = {}, fetch = watch() } = {}) {
  return once(async () => {
    const options = { DPoP, [oauth.customFetch]: fetch }
    const response = await oauth.clientCredentialsGrantRequest(as, who, how, new URLSearchParams(parameters), options)
    return oauth.processClientCredentialsResponse(as, who, response)
  })
}

// call calls an API.
function call(token, DPoP, url, { method = 'GET', body = null, fetch = watch() } = {}) {
  return once(() => oauth.protectedResourceRequest(token, method, url, new Headers(), body, { DPoP, [oauth.customFetch]: fetch }))
}

// introspect asks what a token stands for.
async function introspect(as, token, who = api, how = byAPI) {
  const response = await oauth.introspectionRequest(as, who, how, token)
  return oauth.processIntrospectionResponse(as, who, response)
}

const newKey = async (alg = 'ES256') => oauth.DPoP({}, await oauth.generateKeyPair(alg))

// refusedWith is the error of a challenge.
const refusedWith = (code) => (err) => {
  assert.ok(err instanceof oauth.WWWAuthenticateChallengeError, String(err))
  assert.equal(err.status, 401)
  assert.equal(err.cause.length, 1, 'one challenge')
  assert.equal(err.cause[0].scheme, 'dpop')
  assert.equal(err.cause[0].parameters.error, code)
  return true
}

// EdDSA is the older name of Ed25519, and this library signs with the newer.
const algorithms = metadata.auth.dpop_signing_alg_values_supported.filter((alg) => alg !== 'EdDSA')

test('discovery', () => {
  for (const name of issuers) {
    const as = metadata[name]
    assert.equal(as.token_endpoint, site(name, '/oauth2/token').href)
    assert.deepEqual(as.grant_types_supported, ['client_credentials'])
    for (const method of ['client_secret_basic', 'client_secret_post', 'private_key_jwt']) {
      assert.ok(as.token_endpoint_auth_methods_supported.includes(method), method)
    }
  }
  assert.equal(algorithms.length, 9, 'the algorithms of proofs')
})

for (const issuer of issuers) {
  const as = metadata[issuer]
  const wantsNonce = issuer === 'strict'

  for (const alg of algorithms) {
    test(`${issuer}: a token by a proof with ${alg}, and an API`, async () => {
      const DPoP = await newKey(alg)
      const fetch = watch()
      const token = await getToken(as, DPoP, { fetch })
      assert.equal(token.token_type, 'dpop')
      assert.equal(fetch.statuses().at(-1), 200)

      const about = await introspect(as, token.access_token)
      assert.equal(about.active, true)
      assert.equal(about.client_id, client.id)
      assert.equal(about.token_type, 'DPoP')
      assert.deepEqual(about.cnf, { jkt: await DPoP.calculateThumbprint() })

      const response = await call(token.access_token, DPoP, site('api', '/reports?month=1'))
      assert.equal(response.status, 200)
      assert.equal(await response.text(), `GET /reports?month=1 by ${client.id}`)
    })
  }

  test(`${issuer}: one retry for a nonce, and none later`, async () => {
    const DPoP = await newKey()
    const fetch = watch()
    await getToken(as, DPoP, { fetch })
    if (wantsNonce) assert.deepEqual(fetch.statuses(), [400, 200])
    else fetch.statuses() // just after its start the server asks for a nonce, too
    for (let i = 0; i < 3; i++) {
      await getToken(as, DPoP, { fetch })
      assert.deepEqual(fetch.statuses(), [200])
    }
  })

  test(`${issuer}: client_secret_post`, async () => {
    const how = oauth.ClientSecretPost(client.secret)
    const { access_token: token } = await getToken(as, await newKey(), { how })
    assert.equal((await introspect(as, token, me, how)).active, true)
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, me, how, token))
    assert.deepEqual(await introspect(as, token, me, how), { active: false })
  })

  for (const alg of keyedAlgorithms) {
    test(`${issuer}: private_key_jwt with ${alg}`, async () => {
      const who = { client_id: `keyed-${alg}` }
      const how = oauth.PrivateKeyJwt(await privateKey(alg), { [oauth.modifyAssertion]: fiveMinutes })
      const { access_token: token } = await getToken(as, await newKey(), { who, how })
      assert.equal((await introspect(as, token, who, how)).active, true)
      await oauth.processRevocationResponse(await oauth.revocationRequest(as, who, how, token))
      assert.deepEqual(await introspect(as, token), { active: false })
    })
  }

  test(`${issuer}: a revoked token`, async () => {
    const DPoP = await newKey()
    const { access_token: token } = await getToken(as, DPoP)
    assert.equal((await call(token, DPoP, site('api'))).status, 200)
    await oauth.processRevocationResponse(await oauth.revocationRequest(as, me, byBasic, token))
    assert.deepEqual(await introspect(as, token), { active: false })
    await assert.rejects(call(token, DPoP, site('api')), refusedWith('invalid_token'))
  })

  test(`${issuer}: a stolen token`, async () => {
    const { access_token: token } = await getToken(as, await newKey())
    await assert.rejects(call(token, await newKey(), site('api')), refusedWith('invalid_token'))
    await assert.rejects(call(token, undefined, site('api')), refusedWith('invalid_token'))
  })

  test(`${issuer}: scopes and resources`, async () => {
    const DPoP = await newKey()
    const { scope } = await getToken(as, DPoP, { parameters: { scope: 'read' } })
    assert.ok(scope === undefined || scope === 'read', scope)
    for (const [parameters, code] of [
      [{ scope: 'admin' }, 'invalid_scope'],
      [{ resource: 'https://other.example' }, 'invalid_target'],
    ]) {
      await assert.rejects(getToken(as, DPoP, { parameters }), (err) => err instanceof oauth.ResponseBodyError && err.status === 400 && err.error === code)
    }
  })

  test(`${issuer}: a wrong secret`, async () => {
    await assert.rejects(getToken(as, await newKey(), { how: oauth.ClientSecretBasic('wrong') }), (err) =>
      err instanceof oauth.WWWAuthenticateChallengeError && err.status === 401 && err.cause[0].scheme === 'basic')
    await assert.rejects(getToken(as, await newKey(), { how: oauth.ClientSecretPost('wrong') }), (err) =>
      err instanceof oauth.ResponseBodyError && err.status === 400 && err.error === 'invalid_client')
  })

  test(`${issuer}: no token without a key`, async () => {
    await assert.rejects(getToken(as, undefined), (err) => err instanceof oauth.ResponseBodyError && err.error === 'invalid_request')
  })
}

for (const [name, mode] of Object.entries(apis)) {
  test(`an API with ${mode}`, async () => {
    const DPoP = await newKey()
    const { access_token: token } = await getToken(metadata.auth, DPoP)
    const fetch = watch()
    const text = async (path, options) => (await call(token, DPoP, site(name, path), { fetch, ...options })).text()

    assert.equal(await text('/first'), `GET /first by ${client.id}`)
    if (name === 'off') fetch.statuses() // just after its start the server asks for a nonce, too
    else assert.deepEqual(fetch.statuses(), [401, 200])
    for (const [method, body] of [['GET'], ['POST', 'a=1'], ['PUT', 'x'], ['DELETE']]) {
      assert.equal(await text('/later?a=%20b', { method, body }), `${method} /later?a=%20b by ${client.id}`)
      assert.deepEqual(fetch.statuses(), [200], method)
    }
  })
}

test('an API takes several requests at once', async () => {
  const DPoP = await newKey()
  const { access_token: token } = await getToken(metadata.auth, DPoP)
  const answers = await Promise.all(Array.from({ length: 20 }, (_, i) => call(token, DPoP, site('api', `/${i}`))))
  assert.deepEqual(answers.map((a) => a.status), Array(20).fill(200))
})

test('the library as the resource server: our JWTs are what it wants', async () => {
  const as = metadata.auth
  const DPoP = await newKey()
  const { access_token: token } = await getToken(as, DPoP)
  // the request that the library itself makes is the one that it judges
  let request
  const capture = async (url, init) => {
    request = new Request(url, { method: init.method, headers: init.headers })
    return new Response()
  }
  await call(token, DPoP, site('api', '/reports'), { fetch: capture })
  const claims = await oauth.validateJwtAccessToken(as, request, site('api').origin, { requireDPoP: true })
  assert.equal(claims.client_id, client.id)
  assert.equal(claims.iss, as.issuer)
  assert.deepEqual(claims.cnf, { jkt: await DPoP.calculateThumbprint() })
})
