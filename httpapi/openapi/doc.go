// Package openapi owns the description of the API: an OpenAPI 3.1 document for programs, and a page made of it for people.
//
// The document is written by hand, and openapi.json is what is served, byte for byte. It is the contract: answers are described
// completely, so that a field or a header it does not know is a fault of the server or of the document. Package openapitest
// holds answers to it. Operations are those that clients call; HEAD is what GET is without the body, and the answers to OPTIONS and to
// other methods stand among the components, as Options and MethodNotAllowed.
//
// The page needs no script, no network and no asset of others, so its policy can forbid all of them.
package openapi
