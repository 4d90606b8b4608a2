// Package openapitest holds what the server answers to the API document, in tests.
//
// It is for tests alone: nothing of it, nor of the validator behind it, is part of the program.
package openapitest
