// Package openapitest checks in tests that the server's responses match the API document.
//
// Only tests import it, so neither it nor its validator is part of the program.
package openapitest
