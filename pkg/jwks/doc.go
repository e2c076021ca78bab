// Package jwks reads the public keys of token issuers (JSON Web Key Sets, RFC 7517), and fetches them.
//
// Envoy refuses a whole configuration for one bad key set. So nothing that a person wrote or a server sent
// gets there: Parse takes a set apart and writes anew what is good in it. A Fetcher does so for sets at a
// URI, keeps the last good one through failures, and tells its owner when keys change. What it hands to Keep and is
// given as Kept outlives it: a set that another run fetched not long ago is in force until the first success.
package jwks
