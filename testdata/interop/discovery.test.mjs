// SPDX-License-Identifier: Apache-2.0
//
// A client that knows nothing but the URL of an API: its metadata (RFC 9728)
// leads to the issuer, and that to a token.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import * as oauth from 'oauth4webapi'
import * as openid from 'openid-client'

import { client, issuers, site } from './sites.mjs'

// describe is the metadata of an API.
async function describe(resource) {
  return oauth.processResourceDiscoveryResponse(resource, await oauth.resourceDiscoveryRequest(resource))
}

// named is where the challenge of an API says that its metadata is.
async function named(url) {
  const refusal = await oauth.protectedResourceRequest('unknown', 'GET', url).catch((err) => err)
  assert.ok(refusal instanceof oauth.WWWAuthenticateChallengeError, String(refusal))
  return refusal.cause[0].parameters.resource_metadata
}

// visit gets a token for an API from an issuer that its metadata names, and
// uses it.
async function visit(metadata, issuer, url) {
  const config = await openid.discovery(new URL(issuer), client.id, undefined, openid.ClientSecretBasic(client.secret), { algorithm: 'oauth2' })
  assert.deepEqual(metadata.dpop_signing_alg_values_supported, config.serverMetadata().dpop_signing_alg_values_supported)
  const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))
  const parameters = { resource: metadata.resource, ...(metadata.scopes_supported && { scope: metadata.scopes_supported.join(' ') }) }
  const { access_token: token } = await openid.clientCredentialsGrant(config, parameters, { DPoP })
  const about = await openid.tokenIntrospection(config, token)
  assert.equal(about.aud, metadata.resource)
  const response = await openid.fetchProtectedResource(config, token, url, 'GET', null, undefined, { DPoP })
  assert.equal(await response.text(), `GET ${url.pathname} by ${client.id}`)
}

test('from an API that is a whole site to a token of each issuer', async () => {
  const metadata = await describe(site('api'))
  assert.deepEqual(metadata.authorization_servers, issuers.map((name) => site(name).origin))
  assert.equal(metadata.dpop_bound_access_tokens_required, true)
  assert.equal(await named(site('api', '/reports')), site('api', '/.well-known/oauth-protected-resource').href)
  for (const issuer of metadata.authorization_servers) await visit(metadata, issuer, site('api', '/reports'))
})

test('from an API with a path to a token', async () => {
  const metadata = await describe(site('files', '/v1/'))
  assert.deepEqual(metadata.scopes_supported, ['read'])
  await visit(metadata, metadata.authorization_servers[0], site('files', '/v1/reports'))
})

test('from a challenge to a token', async () => {
  const response = await fetch(await named(site('files', '/v1/reports')))
  const metadata = await oauth.processResourceDiscoveryResponse(site('files', '/v1/'), response)
  await visit(metadata, metadata.authorization_servers[0], site('files', '/v1/reports'))
})
