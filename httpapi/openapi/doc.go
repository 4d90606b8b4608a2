// Package openapi holds the description of the API: an OpenAPI 3.1 document, and an HTML page that is rendered from it.
//
// The document is written by hand, as YAML, a file per tag, in the folder document. `go generate` bundles it into
// openapi.json, which is embedded and served unchanged. It uses only features that generators of clients support:
// OpenAPI 3.0, one schema per response, without oneOf and allOf, open to new fields and codes.
//
// It is also the contract. Package openapitest checks responses against it, and more strictly than clients should: an
// undescribed field, code or header is an error of the server or of the document, and so is a violation of a rule of
// x-contract in the YAML files. The document has the operations that clients call. HEAD equals GET without the body.
// The responses to OPTIONS and to other methods are the components Options and MethodNotAllowed.
//
// The page uses no scripts, no network and no external assets, and its Content-Security-Policy forbids all of them. The
// package starts no goroutines and holds no locks.
package openapi
