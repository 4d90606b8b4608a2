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

// SigningKey returns the key that signs cursors, signed URLs and the like, which clients send back. Each purpose has
// its own key. The keys stay the same after a restart. Servers that must accept each other's signatures share the file
// signing.key of the data folder.
func (w *Warehouse) SigningKey(purpose string) []byte {
	key, err := hkdf.Key(sha256.New, w.signing, nil, purpose, signingBytes)
	if err != nil {
		panic(err) // unreachable: the only error is a length above the limit of HKDF
	}
	return key
}

// loadSigningSecret reads the secret from its file, and creates a missing file. It returns ErrInvalid if the file has a
// wrong size.
func (f *dataFolder) loadSigningSecret() ([]byte, error) {
	path := f.join(signingFile)
	secret, err := f.readFile(path)
	if errors.Is(err, os.ErrNotExist) {
		secret = make([]byte, signingBytes)
		rand.Read(secret) // never fails
		return secret, f.writeFileAtomic(path, secret)
	}
	if err == nil && len(secret) != signingBytes {
		err = fmt.Errorf("%w: %s does not hold %d bytes; restore the file, or run `voicory repair`, which makes a "+
			"new one and so invalidates all cursors and signed URLs", ErrInvalid, path, signingBytes)
	}
	return secret, err
}
