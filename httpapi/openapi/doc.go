// Package openapi holds the description of the API: an OpenAPI 3.1 document, and an HTML page that is rendered from it.
//
// openapi.json is written by hand and served unchanged. It is the contract: responses are described completely, so that
// an undescribed field or header is an error of the server or of the document. Package openapitest checks responses
// against it. The document has the operations that clients call. HEAD equals GET without the body. The responses to
// OPTIONS and to other methods are the components Options and MethodNotAllowed.
//
// The page uses no scripts, no network and no external assets, and its Content-Security-Policy forbids all of them. The
// package starts no goroutines and holds no locks.
package openapi
