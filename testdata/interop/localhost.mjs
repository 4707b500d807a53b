// SPDX-License-Identifier: Apache-2.0
//
// Names beneath localhost mean this machine (RFC 6761 §6.3), also where the
// system's resolver does not know that: node --import ./localhost.mjs …

import dns from 'node:dns'

const { lookup } = dns

dns.lookup = (name, options, callback) => {
  if (typeof name === 'string' && name.endsWith('.localhost')) name = '127.0.0.1'
  return lookup(name, options, callback)
}
