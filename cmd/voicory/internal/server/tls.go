package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"sync"

	"github.com/voicory/warehouse/warehouse"
)

// reloadingTLSConfig returns a TLS configuration that reads the certificate again for every handshake, so that the
// files can be renewed in place. If they cannot be read or do not match, as while they are replaced, the configuration
// keeps using the last valid certificate. It returns warehouse.ErrInvalid if the certificate cannot be loaded at the
// start.
func reloadingTLSConfig(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	first, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: --tls-cert, --tls-key: %w", warehouse.ErrInvalid, err)
	}
	var mu sync.Mutex
	current := &first
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		fresh, err := tls.LoadX509KeyPair(certFile, keyFile)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			log.Error("reload the certificate; the previous one stays in use", "error", err)
			return current, nil
		}
		current = &fresh
		return current, nil
	}}, nil
}
