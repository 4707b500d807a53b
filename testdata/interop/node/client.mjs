// SPDX-License-Identifier: Apache-2.0

import * as openid from 'openid-client'

const config = await openid.discovery(
  new URL('https://auth.localhost:8443'),
  'reports',
  undefined,
  openid.ClientSecretBasic(process.env.REPORTS_SECRET),
  { algorithm: 'oauth2' },
)

// The handle makes the proofs, and keeps the nonces. Use one for as long as
// the key lives.
const DPoP = openid.getDPoPHandle(config, await openid.randomDPoPKeyPair('ES256'))

const { access_token: token } = await openid.clientCredentialsGrant(config, {}, { DPoP })

const url = new URL('https://api.localhost:8443/')
const response = await openid.fetchProtectedResource(config, token, url, 'GET', undefined, undefined, { DPoP })
console.log(response.status, await response.text())
