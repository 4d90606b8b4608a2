package warehouse

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
)

const signingBytes = 32

// SigningKey returns the key with which the server signs what clients bring back, another one for each purpose. It outlives
// restarts; servers that are to understand each other's signatures share the file signing.key of the data folder.
func (w *Warehouse) SigningKey(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, w.signing, nil, purpose, signingBytes)
	if err != nil {
		panic(err) // only a key that is too long is refused
	}
	return key
}

// loadSigningSecret reads the secret, and creates it if it is missing.
func (f *dataFolder) loadSigningSecret() ([]byte, error) {
	path := f.join(signingFile)
	secret, err := f.readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		secret = make([]byte, signingBytes)
		rand.Read(secret) // never fails
		return secret, f.writeAtomic(path, func(temp string) error { return f.writeFile(temp, secret) })
	}
	if err == nil && len(secret) != signingBytes {
		err = fmt.Errorf("%w: %s does not hold %d bytes; put the right file back, or remove it: then cursors and signed URLs given out before end", ErrInvalid, path, signingBytes)
	}
	return secret, err
}
