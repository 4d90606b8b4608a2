//go:build !linux

package torture

import (
	"context"
	"os"
	"path/filepath"
)

func openPlace(_ context.Context, dir string, _ bool) (*place, string, error) {
	p := &place{dir: dir, folder: filepath.Join(dir, "mount")}
	return p, "only Linux has file systems that can fail", os.MkdirAll(p.folder, 0o700)
}

func (p *place) close() error { return nil }

func placeFaults() []*fault { return nil }
